"""What is said of a ranking, from numbers set by hand."""

from tests.approved import Approved
from transferscope.look.result import ModelFacts, Preprocessing
from transferscope.report.score_words import missing_lines, preparation_lines, sentences, table_of
from transferscope.scores.quantities import QUANTITIES
from transferscope.scores.result import CandidateScores, Scores

DECLARED = Preprocessing(224, (0.5,) * 3, (0.5,) * 3, 0.875, "bilinear")


def candidate(name: str, probe: float, parameters: float, *, start: str = "pretrained") -> CandidateScores:
    row = {"value": probe, "low": probe - 0.03, "high": probe + 0.03, "basis": "examples", "n": 1204}
    values = {"knn": probe - 0.05, "logme": probe - 1, "h_score": 4.25, "leep": -1.25, "nce": -1.5}
    numbers = [QUANTITIES["linear"].at_row(row, candidate=name)]
    for key, value in values.items():
        if start == "random" and key in ("leep", "nce"):
            numbers.append(QUANTITIES[key].undefined("a random start has no source classes", 1204, candidate=name))
        else:
            numbers.append(QUANTITIES[key].number(value, 1204, candidate=name))
    numbers += [
        QUANTITIES["parameters"].number(parameters, None, candidate=name),
        QUANTITIES["step_seconds"].number(0.5, None, candidate=name),
        QUANTITIES["probability_best"].number(0.7, 1204, candidate=name),
    ]
    facts = ModelFacts(name, f"timm:{name}", start, DECLARED, DECLARED, 512)  # type: ignore[arg-type]
    return CandidateScores(facts, "timm", tuple(numbers))


def scores(*candidates: CandidateScores, metric: str = "top1", ratio: float = 1.0) -> Scores:
    lost = {"value": 0.003, "low": 0.0, "high": 0.011, "basis": "examples", "n": 1204}
    numbers = [
        QUANTITIES["images"].number(1204.0, 1500),
        QUANTITIES["classes"].number(8.0, 1500),
        QUANTITIES["classes_torn"].number(1.0 if metric == "auc" else 0.0, 1204),
        QUANTITIES["size_ratio"].number(ratio, None, verdict="unlike" if ratio >= 1.5 else "alike"),
        QUANTITIES["regret"].at_row(lost, confirmed=1),
        QUANTITIES["regret"].at_row({**lost, "value": 0.0004, "high": 0.002}, confirmed=3),
    ]
    return Scores("photos", "photos", metric, "divided", candidates, tuple(numbers), tuple("abcdefgh"))


def test_of_several_candidates_of_unlike_size(approved: Approved) -> None:
    found = scores(
        candidate("wide", 0.81, 4e6), candidate("deep", 0.805, 2.5e7), candidate("random", 0.5, 4e6, start="random"),
        ratio=6.25,
    )  # fmt: skip
    assert [one.name for one in found.first_by("linear")] == ["wide"]
    assert found.first_by("leep") == ()  # not defined of all
    columns, rows = table_of(found)
    approved("\n".join(sentences(found)), "\n".join(" | ".join(map(str, row)) for row in (columns, *rows)),
             "\n".join(missing_lines(found)), "\n".join(preparation_lines(found)))  # fmt: skip


def test_of_labels_that_hold_at_once(approved: Approved) -> None:
    approved("\n".join(sentences(scores(candidate("wide", 0.81, 4e6), candidate("deep", 0.8, 4e6), metric="auc"))))


def test_of_one_candidate(approved: Approved) -> None:
    approved("\n".join(sentences(scores(candidate("wide", 0.81, 4e6)))))
