"""What the paper claims, as rules that tables of a study can fail: no judgement by eye."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from transferscope.analyses.pairs import interval_of
from transferscope.analyses.path_pairs import NEGATIVE
from transferscope.analyses.path_summary import ruler_of
from transferscope.keys import FINAL_GAP, SPEED_GAP
from transferscope.published import published

if TYPE_CHECKING:
    from transferscope.measures.intervals import Interval

__all__ = ["CLAIMS", "Claim", "Measurement", "Tables", "Verdict", "judge"]

Tables = Mapping[str, pl.DataFrame]
"""Tables by the name of their analysis; ``learning_curves-numbers`` holds its summary's numbers."""


class Verdict(StrEnum):
    """What a study says of a finding."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    UNDECIDED = "undecided"
    NOT_MEASURED = "not measured"


_BARRIER = 0.02
"""Share of errors under which a path counts as free of barriers, as in :func:`transferscope.measures.stability`."""


@dataclass(frozen=True)
class Measurement:
    """The number a claim stands or falls with.

    Attributes:
        what: the number in words.
        value: its estimate; None where it is not defined.
        low: lower end of the 95 % interval.
        high: upper end.
        basis: what the interval speaks of, as of :class:`~transferscope.analyses.contract.Number`.
        n: how many seeds or examples.
        unit: of the number.
        doubt: why no claim can be made from it; empty where one can.
    """

    what: str
    value: float | None
    low: float | None
    high: float | None
    basis: str | None
    n: int | None
    unit: str = "metric"
    doubt: str = ""


@dataclass(frozen=True)
class Claim:
    """One finding of the paper as a rule.

    Attributes:
        key: short and unique.
        sentence: the finding.
        section: where the paper has it.
        numbers: what it rests on there, in words; empty where the package has none of it.
        needs: the analyses whose tables the rule reads.
        side: whether the number must lie above or below ``margin``.
        margin: what it is compared with.
        test: the number, from tables; None where the study did not measure it.
    """

    key: str
    sentence: str
    section: str
    numbers: str
    needs: tuple[str, ...]
    side: Literal["above", "below"]
    margin: float
    test: Callable[[Tables], Measurement | None]


def judge(claim: Claim, tables: Tables) -> tuple[Verdict, Measurement | None]:
    """Whether the finding is met in a study, by the 95 % interval alone.

    Reproduced where the whole interval lies on the claimed side of the margin, not reproduced where it lies wholly on
    the other; undecided where it spans the margin, rests on fewer than three seeds, or its number is in doubt.

    Args:
        claim: the finding.
        tables: of a finished study, as :func:`transferscope.report.evidence_tables.small_table` leaves them.
    """
    if any(name not in tables for name in claim.needs):
        return Verdict.NOT_MEASURED, None
    tested = claim.test(tables)
    if tested is None:
        return Verdict.NOT_MEASURED, None
    if tested.doubt or tested.low is None or tested.high is None or tested.basis not in ("seeds", "examples"):
        return Verdict.UNDECIDED, tested
    above, below = tested.low > claim.margin, tested.high < claim.margin
    if claim.side == "below":
        above, below = below, above
    return Verdict.REPRODUCED if above else Verdict.NOT_REPRODUCED if below else Verdict.UNDECIDED, tested


_RISING = "RI-T is still improving"
_TOO_SHORT = "RI-T has too few epochs to tell whether it is still improving"

# -- final metric and speed ------------------------------------------------------------------------------


def _final(tables: Tables) -> Measurement | None:
    """Against RI-T trained longer where the study has it: equal updates favour P-T."""
    for rival, words in (("RI_T_long", "RI-T trained longer"), ("RI_T", "RI-T")):
        found = _number(tables, FINAL_GAP, rival)
        if found is not None:
            known = set(tables["learning_curves"].filter(pl.col("variant") == rival)["improving"])
            doubt = _RISING if True in known else "" if known == {False} else _TOO_SHORT
            return _tested(f"final test metric, P-T − {words}", found, doubt=doubt)
    return None


def _speed(tables: Tables) -> Measurement | None:
    found = _number(tables, SPEED_GAP, "RI_T")
    return None if found is None else _tested("optimisation speed, P-T − RI-T", found)


def _number(tables: Tables, quantity: str, subject: str) -> dict[str, Any] | None:
    asked = (pl.col("quantity") == quantity) & (pl.col("subject") == subject)
    rows = tables["learning_curves-numbers"].filter(asked)
    return None if rows.is_empty() else rows.row(0, named=True)


def _tested(what: str, row: Mapping[str, Any], unit: str = "metric", doubt: str = "") -> Measurement:
    return Measurement(what, row["value"], row["low"], row["high"], row["basis"], row["n"], unit, doubt)


# -- input ablations -------------------------------------------------------------------------------------


def _shuffled(level: str, quantity: Literal["test_metric", "speed"]) -> Callable[[Tables], Measurement | None]:
    """The gap, or its change against whole images, at the smallest blocks of more than one pixel."""

    def test(tables: Tables) -> Measurement | None:
        rows = _ablations(tables, level).filter((pl.col("place") > 0) & ~pl.col("block").is_in(["1", "*"]))
        if rows.is_empty():
            return None
        return _ablated(tables, rows.sort("place").row(-1, named=True), quantity)

    return test


def _permuted(quantity: Literal["test_metric", "speed"]) -> Callable[[Tables], Measurement | None]:
    """The gap where all values are permuted."""

    def test(tables: Tables) -> Measurement | None:
        rows = _ablations(tables, "gap").filter(pl.col("block") == "*")
        return None if rows.is_empty() else _ablated(tables, rows.row(0, named=True), quantity)

    return test


def _ablations(tables: Tables, level: str) -> pl.DataFrame:
    table = tables["block_shuffle"]
    own = (pl.col("origin") == "study") & (pl.col("ablation") == "block_shuffle") & (pl.col("level") == level)
    return table.filter(own & pl.col("basis").ne_missing("examples")).with_columns(pl.col("block").cast(pl.String))


def _ablated(tables: Tables, row: Mapping[str, Any], quantity: str) -> Measurement:
    ends = ("test_low", "test_high") if quantity == "test_metric" else ("speed_low", "speed_high")
    what = "final test metric" if quantity == "test_metric" else "optimisation speed"
    what = f"{row['label']}: {what}, P-T − RI-T"
    if row["level"] == "difference":
        what += ", minus the same on whole images"
    doubt = ""
    if quantity == "test_metric":
        # A difference is also one of the gap on whole images.
        places = [row["place"], *([0] if row["level"] == "difference" else [])]
        rival = (pl.col("level") == "variant") & (pl.col("origin") == "study") & (pl.col("variant") == "RI_T")
        known = (
            tables["block_shuffle"].filter(rival & pl.col("place").is_in(places))["improving"].drop_nulls().to_list()
        )
        doubt = _RISING if any(known) else _TOO_SHORT if len(known) < len(places) else ""
    return Measurement(what, row[quantity], row[ends[0]], row[ends[1]], row["basis"], row["n"], doubt=doubt)


# -- pairs of networks -----------------------------------------------------------------------------------


def _within(name: str, value: str) -> Callable[[Tables], Measurement | None]:
    """P-T/P-T minus RI-T/RI-T, pair of seeds by pair of seeds; leave one seed out."""

    def test(tables: Tables) -> Measurement | None:
        pairs = _by_seeds(_reduced(tables[name], name), value)
        ours, theirs = pairs.get(("P_T", "P_T"), {}), pairs.get(("RI_T", "RI_T"), {})
        common = {seeds: ours[seeds] - theirs[seeds] for seeds in ours if seeds in theirs}
        what = f"{_WORDS[name]}, P-T/P-T − RI-T/RI-T"
        return None if not common else _of(what, _left_out(common), _UNITS[name])

    return test


def _against_other(name: str, value: str) -> Callable[[Tables], Measurement | None]:
    """P-T/P-T minus the mean of the two P-T/RI-T of its seeds."""

    def test(tables: Tables) -> Measurement | None:
        pairs = _by_seeds(_reduced(tables[name], name), value)
        ours, across = pairs.get(("P_T", "P_T"), {}), pairs.get(("P_T", "RI_T"), {})
        common = {
            (a, b): found - (across[a, a] + across[b, b]) / 2
            for (a, b), found in ours.items()
            if (a, a) in across and (b, b) in across
        }
        what = f"{_WORDS[name]}, P-T/P-T − P-T/RI-T"
        return None if not common else _of(what, _left_out(common), _UNITS[name])

    return test


def _to_start(tables: Tables) -> Measurement | None:
    """CKA of P-T and P minus that of P-T and RI-T of the same seed."""
    from transferscope.measures.intervals import seeds_interval

    pairs = _by_seeds(_reduced(tables["similarity"], "similarity"), "cka")
    start = {seed: found for (_, seed), found in pairs.get(("P", "P_T"), {}).items()}
    across = {a: found for (a, b), found in pairs.get(("P_T", "RI_T"), {}).items() if a == b}
    common = [start[seed] - across[seed] for seed in sorted(start) if seed in across]
    return None if not common else _of(f"{_WORDS['similarity']}, P/P-T − P-T/RI-T", seeds_interval(common), "1")


_WORDS = {"mistakes": "error consistency κ", "similarity": "mean CKA of like modules", "distance": "ℓ2 of trunks"}
_UNITS = {"mistakes": "1", "similarity": "1", "distance": "ℓ2"}


def _reduced(table: pl.DataFrame, name: str) -> pl.DataFrame:
    """One row per pair of networks."""
    if name == "mistakes":
        return table.filter((pl.col("level") == "all") & pl.col("kappa").is_not_null())
    if name == "distance":
        return table.filter(pl.col("position") == -2)  # the trunk
    return (
        table.filter(pl.col("cka").is_not_null())
        .group_by("variant_a", "seed_a", "variant_b", "seed_b", maintain_order=True)
        .agg(pl.col("cka").mean())
    )


def _by_seeds(rows: pl.DataFrame, value: str) -> dict[tuple[str, str], dict[tuple[int, int], float]]:
    """Values by variants and seeds, variants in alphabetical order; within a variant the smaller seed first."""
    found: dict[tuple[str, str], dict[tuple[int, int], float]] = {}
    for row in rows.iter_rows(named=True):
        first, second = sorted([(row["variant_a"], row["seed_a"]), (row["variant_b"], row["seed_b"])])
        found.setdefault((first[0], second[0]), {})[first[1], second[1]] = row[value]
    return found


def _left_out(pairs: Mapping[tuple[int, int], float]) -> "Interval":
    from transferscope.measures.intervals import seed_pairs_interval

    return seed_pairs_interval(pairs)


def _of(what: str, interval: "Interval", unit: str) -> Measurement:
    return Measurement(what, interval.value, interval.low, interval.high, interval.basis, interval.n, unit)


def _barrier(pair: str) -> Callable[[Tables], Measurement | None]:
    """The test error's barrier over the mean of the ends; without an interval over seeds the highest of its pairs."""

    def test(tables: Tables) -> Measurement | None:
        from transferscope.measures.intervals import MAGNITUDE

        table = tables["path"]
        kind = (pl.col("split") == "test") & (pl.col("quantity") == "error") & (pl.col("baseline") == "mean")
        whole = (pl.col("pair") == pair) & (pl.col("moved") == "all") & (pl.col("role") == "pair")
        rows = table.filter(kind & whole)
        if rows["barrier"].drop_nulls().is_empty():
            return None
        what = f"error barrier of {pair} (test, over the mean of the ends)"
        doubt = _misled(table, pair)
        if rows["barrier"].null_count():
            rows, doubt = rows.drop_nulls("barrier"), "some pairs have no finite error between their ends"
        interval = interval_of(rows, bounds=MAGNITUDE)
        if interval.basis == "seeds":
            return Measurement(what, interval.value, interval.low, interval.high, "seeds", interval.n, "1", doubt)
        row = rows.sort("barrier").row(-1, named=True)
        if len(rows) > 1:
            what += f", the highest of {len(rows)}"
        basis = None if row["low"] is None else "examples"
        return Measurement(what, row["barrier"], row["low"], row["high"], basis, row["examples"], "1", doubt)

    return test


def _misled(table: pl.DataFrame, pair: str) -> str:
    """Where pairs whose answer is known are not told apart no other is; two random starts may be the finding."""
    ruler = ruler_of(table)
    holds = ruler.positive == "stable" if pair == NEGATIVE else ruler.holds
    return "" if holds else f"the ruler does not hold ({ruler.text})"


# -- what is published -----------------------------------------------------------------------------------


def _published() -> Iterable[Claim]:
    shown, shuffles = published("findings"), published("block_shuffle")
    blocks = [dict(zip(shuffles["columns"], row, strict=True)) for row in shuffles["rows"]]

    def gaps(block: int | str, quantity: str) -> str:
        said = [
            f"{row['domain']} {row[f'{quantity}_p_t']:g} to {row[f'{quantity}_ri_t']:g}"
            for row in blocks
            if row["block"] == block
        ]
        return f"P-T to RI-T, %: {', '.join(said)}"

    def mean(pair: str) -> str:
        values = shown["cka"]["rows"][pair]
        return f"{pair.replace(' & ', '/')} {sum(values) / len(values):.2f}"

    def path(pair: str) -> str:
        rows = [row for row in shown["path"]["rows"] if row[1] == pair]
        return "; ".join(f"{row[0]} ends {row[2]:g} and {row[4]:g}, between them {row[3]:g}" for row in rows)

    final = ", ".join(f"{row[0]} {row[1]:g} to {row[2]:g}" for row in shown["final_metric"]["rows"])
    trunks = ", ".join(f"{name} {row[0]:g} to {row[1]:g}" for name, row in shown["distance"]["rows"].items())
    yield Claim(
        "final", "P-T ends above RI-T", "Fig. 2", f"P-T to RI-T, %: {final}",
        ("learning_curves", "learning_curves-numbers"), "above", 0, _final,
    )  # fmt: skip
    yield Claim(
        "speed", "P-T learns faster than RI-T", "Fig. 2 and 3", f"mean training accuracy, "
        f"{gaps(224, 'mean_train_accuracy')}", ("learning_curves-numbers",), "above", 0, _speed,
    )  # fmt: skip
    yield Claim(
        "blocks", "Part of the final gain is left when blocks of the images are shuffled", "Fig. 3",
        f"blocks of 8 of 224 px, {gaps(8, 'test_accuracy')}", ("block_shuffle",), "above", 0,
        _shuffled("gap", "test_metric"),
    )  # fmt: skip
    yield Claim(
        "shapes", "Shuffling blocks takes part of the final gain: features of shapes are reused", "Fig. 3",
        f"whole images, {gaps(224, 'test_accuracy')}; blocks of 8, {gaps(8, 'test_accuracy')}", ("block_shuffle",),
        "below", 0, _shuffled("difference", "test_metric"),
    )  # fmt: skip
    yield Claim(
        "permuted", "Part of the final gain is left when all values are permuted", "Fig. 3",
        gaps("*", "test_accuracy"), ("block_shuffle",), "above", 0, _permuted("test_metric"),
    )  # fmt: skip
    yield Claim(
        "permuted-speed", "P-T still learns faster when all values are permuted", "Fig. 3",
        f"mean training accuracy, {gaps('*', 'mean_train_accuracy')}", ("block_shuffle",), "above", 0,
        _permuted("speed"),
    )  # fmt: skip
    yield Claim(
        "mistakes", "Two P-T share more mistakes than two RI-T", "Sec. 3.2", "",
        ("mistakes",), "above", 0, _within("mistakes", "kappa"),
    )  # fmt: skip
    yield Claim(
        "mistakes-across", "Two P-T share more mistakes than P-T and RI-T", "Sec. 3.2",
        "", ("mistakes",), "above", 0, _against_other("mistakes", "kappa"),
    )  # fmt: skip
    yield Claim(
        "features", "Features of two P-T are more alike than those of two RI-T", "Table 1",
        f"mean CKA of 5 layers, CheXpert: {mean('P-T & P-T')}, {mean('RI-T & RI-T')}", ("similarity",), "above", 0,
        _within("similarity", "cka"),
    )  # fmt: skip
    yield Claim(
        "features-kept", "P-T's features are more like P's than like RI-T's", "Table 1",
        f"mean CKA of 5 layers, CheXpert: {mean('P-T & P')}, {mean('P-T & RI-T')}", ("similarity",), "above", 0,
        _to_start,
    )  # fmt: skip
    yield Claim(
        "distance", "Two P-T lie closer together than two RI-T", "Table 2", f"two P-T to two RI-T: {trunks}",
        ("distance",), "below", 0, _within("distance", "distance"),
    )  # fmt: skip
    yield Claim(
        "basin", "There is no barrier between two P-T", "Fig. 4", f"top-1, %: {path('P-T / P-T')}",
        ("path",), "below", _BARRIER, _barrier("P-T/P-T"),
    )  # fmt: skip
    yield Claim(
        "barrier", "There is a barrier between two RI-T", "Fig. 4", f"top-1, %: {path('RI-T / RI-T')}",
        ("path",), "above", _BARRIER, _barrier("RI-T/RI-T"),
    )  # fmt: skip
    yield Claim(
        "barrier-across", "There is a barrier between P-T and RI-T", "Fig. 4",
        f"top-1, %: {path('RI-T / P-T')}", ("path",), "above", _BARRIER, _barrier("P-T/RI-T"),
    )  # fmt: skip
    yield Claim(
        "barrier-init", "There is a barrier between two RI-T from the same random start", "Fig. 16",
        f"top-1, %: {path('RI-T / RI-T, same random init')}", ("path",), "above", _BARRIER,
        _barrier("RI-T/RI-T, same init"),
    )  # fmt: skip


CLAIMS: tuple[Claim, ...] = tuple(_published())
"""The paper's findings that a study can test, in its order."""
