"""Names that changed: what holds the former ones, study files, keys and stores, goes on to be understood."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from transferscope.analyses.contract import analysis_of
from transferscope.analyses.finished import table_of
from transferscope.errors import StudyError
from transferscope.store import Store
from transferscope.study.columns import schema
from transferscope.study.file import load_study
from transferscope.study.registry import BUILT_IN, analysis_type, parse_analysis
from transferscope.study.renamed import COLUMNS, FORMAT, SETTINGS, former_settings

# As they were before any name changed: a store of then is found by them.
KEYS = {
    "learning_rate": "ac20f1569c898dd9f1ea52d0716ab5a6",
    "outcome": "51b559c7ab60bd5f678fb66aa141ec9a",
    "learning_curves": "2f56ca0c0db1eda16251e08feb27f86f",
    "mistakes": "efca65607c56d00617766d8bfcdb1dc3",
    "mistakes_in_training": "f9d7d836c74cd8bc0ae79849d1cfbe7f",
    "similarity": "02120148618edeca4a3e5b613610f809",
    "similarity_in_training": "a1c2a2d618afcd1bf20e086a260e64f3",
    "similarity_by_size": "dd7633b091ad95e0103cb95d44689121",
    "reused_channels": "8a6be3d0ffc7a5bdd4c1556db62fd873",
    "distance": "2914c70aba218f5349fbe2f8a1c31444",
    "distance_in_training": "e10d1b078819d8e0713ebf4ed39bf08f",
    "path": "d40a9e124e7ab15dc91650a481a4021d",
    "module_path": "45e040ffaf19d51bae500a4727bdb691",
    "path_in_training": "a538bfc24f00ec536a1d8ef1eddeddb1",
    "plane": "9729840b8afc0b07e4349d651cba738d",
    "basin": "e5c1f091bf39e5affdc3d89639907280",
    "flatness": "3567772048858bc91604310efc2c5d60",
    "curve": "203d48b63eabaeb4905deea34c8a30f8",
    "align": "3433dc9ebdf618e1d1d5eeb6218f8da5",
    "block_shuffle": "e1309e5f5c76627f47bb82c5c627d6db",
    "control": "5c9594d0f03b073e6ccd1adef3a15133",
    "transplant": "cbfe5debfbfc7257b5970eed73889528",
    "checkpoint": "fb9acd584851ff812fe0a8a2e7e52bae",
    "negative_transfer": "843a22857c90fbd06750ac2879e7d79c",
    "probe": "4685461fe3d53c7a9897f856cda7d69e",
    "reuse": "789ad7a0681a3f4710a0021c86324670",
    "domain_distance": "5ffee48577f0a9289697b01fa484bddf",
    "spectrum": "5d721c1130b2c3939fadbba56149ef0b",
    "criticality": "d0aceb2333f5aaa3056de40c45845118",
    "rewind": "4ee1b11627824652cec13981029a44a8",
    "average": "c38b5de6b3684daeed3cbafcbac01cc6",
    "label_budget": "7365fb2546be8339a1583e816d7248ac",
    "imbalance": "86f2aafa91953a2973f61aa781f79111",
    "freeze": "afb0c5c058f5daccb199ba226dc1c5b0",
    "start": "e2df567f00075799453da23ac3783ac6",
}
FORMER = [(analysis, old, new) for analysis, names in SETTINGS.items() for old, new in names.items()]
STUDY = """
name: renamed
source: {{architecture: "timm:resnet18", weights: timm}}
target: {{data: {{kind: folder, path: x}}}}
analyses:
  - {analysis}: {settings}
"""


def test_no_key_changes_with_a_name() -> None:
    assert {name: analysis_type(name)().key for name in BUILT_IN} == KEYS


@pytest.mark.parametrize(("analysis", "old", "new"), FORMER)
def test_settings_stand_under_their_former_names_in_keys(analysis: str, old: str, new: str) -> None:
    kind = analysis_type(analysis)
    assert new in kind.model_fields
    assert old not in kind.model_fields
    identity = kind().identity()
    assert old in identity
    assert new not in identity
    assert former_settings(analysis, {new: 1}) == {old: 1}


@pytest.mark.parametrize(("analysis", "old", "new"), FORMER)
def test_a_former_name_is_an_error_that_gives_the_present_one(
    tmp_path: Path, analysis: str, old: str, new: str
) -> None:
    said = f"{analysis}.{old}: there is no such setting; it is called '{new}' now"
    place = tmp_path / "study.yaml"
    place.write_text(STUDY.format(analysis=analysis, settings=f"{{{old}: 3}}"), encoding="utf-8")
    with pytest.raises(StudyError) as caught:
        load_study(place)
    assert f"line 6, analyses.0.{said}" in str(caught.value)
    place.write_text(STUDY.format(analysis=analysis, settings="{}"), encoding="utf-8")
    with pytest.raises(StudyError) as caught:
        load_study(place, overrides=[f"analyses.{analysis}.{old}=3"])
    assert said in str(caught.value)
    with pytest.raises(ValueError, match=f"it is called '{new}' now"):
        parse_analysis({analysis: {old: 3}})


def stored(store: Store, analysis: str, table: pl.DataFrame, **facts: Any) -> str:
    key = f"{len(facts):032x}"
    with store.entry("units", key).write({"analysis": analysis, **facts}) as folder:
        table.write_parquet(folder / "table.parquet")
    return key


@pytest.mark.parametrize("analysis", COLUMNS)
def test_tables_of_older_stores_are_read(tmp_path: Path, analysis: str) -> None:
    """One row each, by number: what stood in a column is found under its present name."""
    settings = analysis_of(analysis_type(analysis)())
    declared = schema(settings.columns)
    row = {name: _value(dtype, number) for number, (name, dtype) in enumerate(declared.items())}
    present = pl.DataFrame([row], schema=declared)
    former = {new: old for old, new in COLUMNS[analysis].items()}
    assert set(former) <= set(declared)
    store = Store(tmp_path)
    older = stored(store, analysis, present.rename(former))
    assert table_of(settings, store, [older]).equals(present)
    newer = stored(store, analysis, present, format=FORMAT)
    assert table_of(settings, store, [older, newer]).equals(pl.concat([present, present]))


def _value(dtype: Any, number: int) -> Any:
    if dtype == pl.Boolean():
        return bool(number % 2)
    return str(number) if dtype == pl.String() else number
