"""What people in Python see of a finished study: every table, number, figure and network, under a name."""

import html.parser
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch

import transferscope
from tests.python.conftest import CLASSES, settings
from tests.report import synthetic
from transferscope import Study, StudyResults, load_results
from transferscope.analyses.evidence import Evidence
from transferscope.analyses.finished import finished_table
from transferscope.analyses.learning_rate.analysis import LearningRate
from transferscope.analyses.tuned import tuned_member
from transferscope.commands import printing
from transferscope.context.context import Context
from transferscope.context.resolve import resolve
from transferscope.errors import MissingExtraError, OptionError, StoreError, StudyError, TransferscopeError
from transferscope.plots.theme import Figure
from transferscope.python import study as study_module
from transferscope.report import render
from transferscope.report.fragment import fragment
from transferscope.running.failures import Failure
from transferscope.running.results import Results
from transferscope.store import Store


@pytest.fixture
def frames() -> None:
    for package in ("pandas", "pyarrow", "xarray"):
        pytest.importorskip(package, reason=f"{package} is a test dependency")


def opened(results: Results) -> StudyResults:
    return study_module._opened(results, None, allow_code=True)


@pytest.fixture(scope="module")
def written(results: StudyResults) -> Path:
    """The folder of the report, in the store."""
    return results.write_report().parent


class Tags(html.parser.HTMLParser):
    """The elements of a piece of a page, each closed; its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_results_have_every_table_of_the_report_under_its_name(results: StudyResults, written: Path) -> None:
    assert set(results.tables) == {path.stem for path in (written / "tables").glob("*.parquet")}
    for name in results.tables:
        assert results.table(name).equals(pl.read_parquet(written / "tables" / f"{name}.parquet")), name
    assert results.estimates.equals(results.table("estimates"))
    gap = results.estimates.filter(pl.col("quantity") == "gap")
    assert gap["value"].to_list() == [item.value for item in results.gap]


def test_results_have_every_figure_of_the_report(results: StudyResults, written: Path) -> None:
    assert set(results.figures) == {path.stem for path in (written / "figures").glob("*.svg")}
    figure = results.figure("distance-modules")
    assert isinstance(figure, Figure)
    assert figure.chart().to_dict()["$schema"].endswith(".json")
    assert results.figure("learning_curves").name == "curves"


def test_a_figure_shows_itself_without_a_script_or_the_network(results: StudyResults) -> None:
    page = Tags(results.figure("distance")._repr_html_())
    assert page.open == []
    (picture,) = [attributes for tag, attributes in page.seen if tag == "img"]
    assert str(picture["src"]).startswith("data:image/svg+xml;base64,")
    assert picture["alt"] == results.figure("distance").description
    assert len(repr(results.figure("distance"))) < 200


def test_a_page_of_a_notebook_says_what_the_report_says(results: StudyResults) -> None:
    text = results._repr_html_()
    page = Tags(text)
    assert page.open == []
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.seen}
    assert not re.search(r"https?://|url\(|@import", text)
    assert "tiny" in page.text
    for item in results.analyses:
        assert item.analysis.question in page.text
    for row in results.headline.filter(pl.col("split") == "test").to_dicts():
        assert transferscope.report.numbers.metric_words(row["value"], row["metric"]) in page.text


def test_the_page_takes_its_colours_from_the_page_around_it() -> None:
    text = fragment(synthetic.results())
    style = text.partition("<style>")[2].partition("</style>")[0]
    rules = re.findall(r"([^{}]+)\{([^}]*)\}", style)
    assert rules
    for selector, body in rules:
        assert all(part.strip().startswith(".transferscope-results") for part in selector.split(","))
        # A colour of its own would be lost on a light or a dark page; half-transparent grey stands on both.
        for name, value in re.findall(r"(?<![\w-])(color|background):\s*([^;}]+)", body):
            assert value.strip() in ("inherit", "none") or "rgba(128" in value, (name, value)


@pytest.mark.slow
def test_words_from_outside_are_escaped() -> None:
    bad = '<script>alert("1")</script>'
    first, second, *_ = synthetic.results().analyses
    assert second.summary is not None
    hostile = synthetic.results(
        analyses=(
            replace(first, summary=replace(first.summary, verdict=bad)),
            replace(second, table=None, summary=None, failed=Failure(bad)),
        ),
        headline=synthetic.headline().with_columns(note=pl.lit(bad)),
    )
    text = fragment(hostile, [f"a line {bad}"])
    assert "<script" not in text
    assert Tags(text).text.count(bad.replace('"', '"')) >= 4
    name = "</figcaption><script>"
    figure = replace(opened(synthetic.results()).figure("distance"), title=name, caption=name, description=f'"{name}')
    assert "<script" not in figure._repr_html_()


@pytest.mark.parametrize(
    ("ask", "wrong", "offered"),
    [
        (lambda results, name: results.table(name), "outcom", "'outcome'"),
        (lambda results, name: results.table(name), "estimate", "'estimates'"),
        (lambda results, name: results.figure(name), "distance-modul", "'distance-modules'"),
        (lambda results, name: results.figure(name), "curves", "'learning_curves'"),
        (lambda results, name: results.to_pandas(name), "headlines", "'headline'"),
        (lambda results, name: results.to_xarray("learning_curves", dims=["seed", name]), "epochs", "'epoch'"),
        (lambda results, name: results.to_xarray("outcome", level=name), "networks", "'network'"),
        (lambda results, name: results.network(name), "PT", "P_T"),
        (lambda results, name: results.network("P_T", seed=int(name)), "7", "0, 4"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(
    results: StudyResults, ask: Callable[[StudyResults, str], object], wrong: str, offered: str
) -> None:
    with pytest.raises(OptionError) as caught:
        ask(results, wrong)
    assert offered in str(caught.value)


def test_what_failed_or_was_not_run_says_why_it_has_no_table() -> None:
    made = synthetic.results(analyses=tuple(map(synthetic.result, ("learning_rate", "path", "distance"))))
    names = [item.analysis.name for item in made.analyses]
    path, distance = names.index("path"), names.index("distance")
    analyses = list(made.analyses)
    analyses[path] = replace(analyses[path], table=None, summary=None, failed=Failure("measuring P-T[0]: disk on fire"))
    analyses[distance] = replace(analyses[distance], table=None, summary=None, skip_reason="no two networks")
    results = opened(replace(made, analyses=tuple(analyses)))
    assert not {"path", "distance"} & {name.partition("-")[0] for name in (*results.tables, *results.figures)}
    for name, why in (("path", "disk on fire"), ("distance", "no two networks")):
        for ask in (results.table, results.figure, results.to_xarray):
            with pytest.raises(OptionError, match=why):
                ask(name)
    assert "disk on fire" in results._repr_html_()


@pytest.mark.usefixtures("frames")
def test_pandas_has_the_same_columns_and_values(results: StudyResults) -> None:
    for name in results.tables:
        found, table = results.to_pandas(name), results.table(name)
        assert list(found.columns) == table.columns
        for column in table.columns:
            ours = table[column].to_list()
            theirs = [None if value is None or value != value else value for value in found[column]]
            assert theirs == ours, (name, column)
    assert results.to_pandas().equals(results.to_pandas("estimates"))


@pytest.mark.usefixtures("frames")
@pytest.mark.parametrize(
    ("name", "where", "dims", "value"),
    [
        ("learning_curves", {}, {"seed", "variant", "epoch"}, "train_loss"),
        ("outcome", {"level": "network"}, {"seed", "variant", "split"}, "value"),
        ("distance", {}, {"pair", "seed_a", "seed_b", "part"}, "distance"),
        ("estimates", {"quantity": "gap"}, {"variant", "over"}, "value"),
    ],
)
def test_a_data_set_has_the_value_of_every_row_at_its_place(
    results: StudyResults, name: str, where: dict[str, str], dims: set[str], value: str
) -> None:
    found = results.to_xarray(name, **where)
    assert set(found.sizes) == dims
    table = results.table(name).filter(**where)
    for dim in dims:
        assert set(found[dim].values.tolist()) == set(table[dim])
    for row in table.to_dicts():
        assert found[value].sel({dim: row[dim] for dim in dims}).item() == pytest.approx(row[value], nan_ok=True)
    assert found[value].notnull().sum().item() == table.select(*dims, value).unique().height
    if name == "distance":
        assert found[value].attrs["units"] == results.analyses[-1].analysis.columns[value].unit


@pytest.mark.usefixtures("frames")
def test_one_seed_is_still_a_dimension(results: StudyResults) -> None:
    assert results.to_xarray(variant="P_T", seed=4).sizes == {"seed": 1, "variant": 1, "epoch": 3}


def test_rows_that_fall_together_are_not_made_one(results: StudyResults) -> None:
    with pytest.raises(OptionError, match="not told apart"):
        results.to_xarray("learning_curves", dims=["seed", "variant"])
    with pytest.raises(OptionError, match="have no seed"):
        results.to_xarray("outcome")


@pytest.mark.parametrize(("package", "extra"), [("pandas", "pandas"), ("xarray", "xarray"), ("pyarrow", "xarray")])
def test_an_extra_that_is_missing_is_named(
    results: StudyResults, monkeypatch: pytest.MonkeyPatch, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"pip install '.\[{extra}\]'"):
        results.to_pandas() if extra == "pandas" else results.to_xarray()


@pytest.mark.parametrize("variant", ["P_T", "RI-T"])
def test_a_network_predicts_as_the_study_did(results: StudyResults, variant: str) -> None:
    model = results.network(variant, seed=4)
    assert not model.training
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"cpu"}
    assert results.store is not None
    store = Store(results.store)
    study = resolve(results.study, store)
    context = Context(store, study)
    evidence = Evidence({LearningRate().key: finished_table(LearningRate(), study, store)})
    member = tuned_member(study, variant.replace("-", "_"), 4, evidence)
    outputs = context.outputs(member.spec, "test").logits
    with torch.inference_mode():
        ours = torch.cat([model(images) for images, _ in context.batches("test")])
    torch.testing.assert_close(ours, outputs, rtol=0, atol=1e-6)
    row = results.table("outcome").filter(
        level="network", variant=member.variant, seed=4, split="test", metric="top1"
    )  # fmt: skip
    right = (ours.argmax(1) == context.labels("test")).double().mean().item()
    assert row["value"].item() == pytest.approx(right)


def test_untrained_networks_are_there_and_differ(results: StudyResults) -> None:
    start, tuned = results.network("P", seed=0).state_dict(), results.network("P_T", seed=0).state_dict()
    assert start.keys() == tuned.keys()
    assert not torch.equal(start["stem.0.weight"], tuned["stem.0.weight"])


def test_export_gives_a_file_and_lines(results: StudyResults, tmp_path: Path) -> None:
    exported = results.export("P_T", output=tmp_path)
    assert exported.path == tmp_path / "tiny-P_T-seed0.safetensors"
    assert str(exported.path) in exported.snippet
    with pytest.raises(OptionError, match="exists already"):
        results.export("P_T", output=tmp_path)


def test_the_folder_of_a_report_is_enough_to_open_it(results: StudyResults, written: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(written, tmp_path / "copy")
    again = load_results(copy, allow_code=True)
    assert again.store is None
    assert again.study.key == results.study.key
    assert again.verdict == results.verdict
    assert again.gap == results.gap
    assert again.headline.equals(results.headline)
    assert again.estimates.equals(results.estimates)
    for ours, theirs in zip(again.analyses, results.analyses, strict=True):
        assert ours.analysis == theirs.analysis
        assert ours.summary == theirs.summary
        assert ours.files == theirs.files
        assert ours.table is not None
        assert ours.table.equals(theirs.table)
    with pytest.raises(StoreError, match="store of these results is not known"):
        again.network()
    assert again.figures == results.figures


def test_failures_and_reasons_are_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "svg", lambda chart: "")  # nothing is drawn here
    monkeypatch.setattr(render, "png", lambda drawn: b"")
    made = synthetic.results(analyses=tuple(map(synthetic.result, ("learning_rate", "distance", "learning_curves"))))
    first, second, *rest = made.analyses
    gone = (replace(first, table=None, summary=None, failed=Failure("what")), *rest)
    some = replace(made, analyses=(replace(second, table=None, summary=None, skip_reason="why"), *gone))
    opened(made).write_report(tmp_path)  # an older report in the same folder
    opened(some).write_report(tmp_path)
    again = load_results(tmp_path)
    assert [(item.failed and item.failed.what, item.skip_reason) for item in again.analyses[:2]] == [
        (None, "why"), ("what", None),
    ]  # fmt: skip
    assert [item.table is None for item in again.analyses[:3]] == [True, True, False]


def test_a_report_within_its_store_finds_its_networks_once_code_is_allowed(
    results: StudyResults, written: Path
) -> None:
    assert written.parent.parent == results.store
    with pytest.raises(StudyError, match="allow_code=True"):
        load_results(written).network()
    model = load_results(written, allow_code=True).network("P_T", 4)
    assert all(map(torch.equal, model.state_dict().values(), results.network("P_T", 4).state_dict().values()))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there are no results"),
        ("{}", "cannot be read"),
        ("[1", "cannot be read"),
        ('{"format": 1}', "another version"),
        ('{"format": 4, "settings": {"name": "x"}}', "cannot be read"),
    ],
)
def test_a_folder_that_is_no_report_is_told(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(StoreError, match=message) as caught:
        load_results(tmp_path)
    assert "transferscope report STUDY" in str(caught.value)


def test_a_study_that_is_not_finished_has_no_results(results: StudyResults, tmp_path: Path) -> None:
    assert results.store is not None
    study = Study.model_validate({**dict(results.study), "seeds": (0, 4, 5)})
    with pytest.raises(TransferscopeError, match=r"2 trainings"):
        study.results(results.store)
    with pytest.raises(StoreError, match="no store"):
        study.results(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_finished_study_is_opened_from_its_store(results: StudyResults) -> None:
    assert results.store is not None
    again = results.study.results(results.store)  # type: ignore[attr-defined]  # the study of Python
    assert again.estimates.equals(results.estimates)
    assert again.study is results.study


def test_the_study_of_a_file_runs_too(tmp_path: Path, results: StudyResults) -> None:
    (tmp_path / "study.yaml").write_text(results.study.to_yaml())  # type: ignore[attr-defined]  # the study of Python
    study = transferscope.load_study(tmp_path / "study.yaml", allow_code=True)
    assert study == results.study
    assert study.key == results.study.key
    assert results.store is not None
    plan = study.plan(results.store)
    assert plan.networks == ()
    changed = transferscope.load_study(tmp_path / "study.yaml", ["seeds=[0]"], allow_code=True)
    assert changed.run(results.store, quiet=True).study.seeds == (0,)


def test_names_of_classes_reach_the_tables_whole(results: StudyResults) -> None:
    assert results.manifest["classes"] == list(CLASSES)
    items = results.table("outcome").filter(level="class")["item"].unique()
    assert set(items) == set(CLASSES)
    assert "<b>red</b>" not in results._repr_html_()


def test_settings_that_are_wrong_are_told_when_the_study_is_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="report seeds"):
        Study(**settings(tmp_path, seeds=[1000], target={"data": {"kind": "folder", "path": "x"}}))


def test_python_and_the_command_keep_results_in_one_place() -> None:
    assert study_module.DEFAULT_STORE == printing.DEFAULT_STORE
