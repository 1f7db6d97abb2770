"""The schema of study files for editors, and the reference page."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from tests.study_files import MINIMAL, STUDIES, write
from transferscope.errors import StudyError
from transferscope.study.file import dump_study, load_study
from transferscope.study.registry import ANALYSES, analysis_type
from transferscope.study.schema import _models, setting_meanings, study_reference, study_schema
from transferscope.study.settings import Study, VariantRecipe
from transferscope.study.yaml import read_document


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = study_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("text", STUDIES)
def test_schema_accepts_what_is_read(tmp_path: Path, validator: jsonschema.Draft202012Validator, text: str) -> None:
    path = write(tmp_path, text)
    validator.validate(read_document(path).values)
    validator.validate(yaml.safe_load(dump_study(load_study(path, allow_code=True))))


@pytest.mark.parametrize(
    "change",
    [
        "analyses: [simmilarity]\n",
        "analyses: [similarity: {granularity: blok}]\n",
        "analyses: [{path: {}, mistakes: {}}]\n",
        "training: {recipe: {epoch: 3}}\n",
        "extra: 1\n",
    ],
)
def test_schema_refuses_what_is_refused(
    tmp_path: Path, validator: jsonschema.Draft202012Validator, change: str
) -> None:
    path = write(tmp_path, MINIMAL + change)
    with pytest.raises(StudyError):
        load_study(path)
    assert not validator.is_valid(read_document(path).values)


def test_schema_tells_the_meaning_of_each_setting_and_resolves_every_reference() -> None:
    schema = study_schema()
    text = json.dumps(schema)
    for name in re.findall(r'"#/\$defs/(\w+)"', text):
        assert name in schema["$defs"]
    assert schema["$defs"]["Target"]["properties"]["image_size"]["description"] == "height and width in pixels."
    for name in ANALYSES:
        assert analysis_type(name).question in text


def test_every_setting_has_a_meaning() -> None:
    for model in _models():
        missing = set(model.model_fields) - set(setting_meanings(model)) - {"kind"}
        assert not missing, f"{model.__name__}: no meaning in the docstring for {sorted(missing)}"


def test_reference_page_is_up_to_date() -> None:
    page = Path(__file__).parents[1] / "docs" / "study.md"
    assert page.read_text(encoding="utf-8") == study_reference(), (
        "write it again: transferscope schema --markdown > docs/study.md"
    )


def test_example_of_the_reference_page_is_a_study(tmp_path: Path) -> None:
    example = re.search(r"```yaml\n(.*?)```", study_reference(), re.DOTALL)
    assert example is not None
    assert load_study(write(tmp_path, example[1])).name == "solar-cells"


def test_recipe_of_a_study_refuses_what_a_recipe_refuses() -> None:
    for field in ("momentum", "label_smoothing", "mixup", "weight_decay", "warmup_epochs", "divergence_loss"):
        with pytest.raises(ValidationError, match=field):
            VariantRecipe.model_validate({field: -1})
    assert Study.model_fields["training"].default.recipe == VariantRecipe()
