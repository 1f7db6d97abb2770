"""What the paper claims, as rules that numbers of a study can fail: no judgement by eye."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from transferscope.analyses.estimates import Estimate
from transferscope.bounds import Flag
from transferscope.published import published

__all__ = ["CLAIMS", "Claim", "Estimates", "Verdict", "decide", "doubt", "judge"]

Estimates = Mapping[str, Sequence[Estimate]]
"""The numbers of a study, by the name of their analysis."""


class Verdict(StrEnum):
    """What a study says of a finding."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    UNDECIDED = "undecided"
    NOT_MEASURED = "not measured"


_BARRIER = 0.02
"""Share of errors under which a path counts as free of barriers, as in :func:`transferscope.measures.stability`."""

_DOUBTS: Mapping[Flag, str] = {
    "still_improving": "RI-T is still improving",
    "too_few_epochs": "RI-T has too few epochs to tell whether it is still improving",
    "incomplete": "it is not defined for some networks or pairs",
    "uncontrolled": "pairs whose answer is known are not told apart",
}
"""Flags with which no claim is made, and why."""


def _first(found: Sequence[Estimate]) -> Estimate | None:
    return found[0] if found else None


@dataclass(frozen=True)
class Claim:
    """One finding of the paper as a rule on one number.

    Attributes:
        key: short and unique.
        sentence: the finding.
        section: where the paper has it.
        numbers: what it rests on there, in words; empty where the package has none of it.
        analysis: whose estimate the rule reads.
        quantity: key of the estimate.
        side: whether the number must lie above or below ``margin``.
        margin: what it is compared with.
        at: coordinates the estimate must have.
        choose: which one where several have them, in their order.
    """

    key: str
    sentence: str
    section: str
    numbers: str
    analysis: str
    quantity: str
    side: Literal["above", "below"] = "above"
    margin: float = 0
    at: Mapping[str, str] = field(default_factory=dict)
    choose: Callable[[Sequence[Estimate]], Estimate | None] = _first

    def number(self, estimates: Estimates) -> Estimate | None:
        """The number the claim stands or falls with; None where the study did not measure it.

        One without a value counts where a flag says why: part of it was measured.
        """
        return self.choose(
            [
                item
                for item in estimates.get(self.analysis, ())
                if item.quantity == self.quantity and self.at.items() <= item.at.items()
                if item.value is not None or doubt(item)
            ]
        )


def doubt(estimate: Estimate) -> str:
    """Why no claim can be made from a number; empty where one can."""
    return "; ".join(words for flag, words in _DOUBTS.items() if flag in estimate.flags)


def decide(claim: Claim, low: float | None, high: float | None) -> Verdict:
    """Reproduced where the whole interval lies on the claimed side of the margin, not reproduced where it lies wholly
    on the other; undecided where it spans the margin, or where there is none.
    """
    if low is None or high is None:
        return Verdict.UNDECIDED
    above, below = low > claim.margin, high < claim.margin
    if claim.side == "below":
        above, below = below, above
    return Verdict.REPRODUCED if above else Verdict.NOT_REPRODUCED if below else Verdict.UNDECIDED


def judge(claim: Claim, estimates: Estimates) -> tuple[Verdict, Estimate | None]:
    """Whether the finding is met in a study, by the 95 % interval alone.

    Undecided too where the number rests on fewer than three seeds (and on no interval over examples), or where one of
    its flags forbids a claim.

    Args:
        claim: the finding.
        estimates: of a finished study.

    Returns:
        The verdict, and the number it rests on; None where the study did not measure it.
    """
    number = claim.number(estimates)
    if number is None:
        return Verdict.NOT_MEASURED, None
    if doubt(number) or number.basis not in ("seeds", "examples"):
        return Verdict.UNDECIDED, number
    return decide(claim, number.low, number.high), number


def _longest(found: Sequence[Estimate]) -> Estimate | None:
    """Against RI-T trained longer where the study has it: equal updates favour P-T."""
    return max(found, key=lambda item: item.at["rival"] == "RI_T_long", default=None)


def _by_side(found: Sequence[Estimate]) -> list[Estimate]:
    sizes = [item for item in found if str(item.at["block"]).isdigit()]
    return sorted(sizes, key=lambda item: int(item.at["block"]))


def _smallest_blocks(found: Sequence[Estimate]) -> Estimate | None:
    """At the smallest blocks of more than one pixel."""
    return _first([item for item in _by_side(found) if int(item.at["block"]) > 1])


def _smallest_shuffled(found: Sequence[Estimate]) -> Estimate | None:
    """The same of gaps: the largest block is that of whole images, which are always measured beside the others."""
    return _smallest_blocks(_by_side(found)[:-1])


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
        "final", "P-T ends above RI-T", "Fig. 2", f"P-T to RI-T, %: {final}", "learning_curves", "final_gap",
        choose=_longest,
    )  # fmt: skip
    yield Claim(
        "speed", "P-T learns faster than RI-T", "Fig. 2 and 3",
        f"mean training accuracy, {gaps(224, 'mean_train_accuracy')}", "learning_curves", "speed_gap",
        at={"rival": "RI_T", "at_rate": "own"},
    )  # fmt: skip
    block = {"origin": "study", "ablation": "block_shuffle"}
    yield Claim(
        "blocks", "Part of the final gain is left when blocks of the images are shuffled", "Fig. 3",
        f"blocks of 8 of 224 px, {gaps(8, 'test_accuracy')}", "block_shuffle", "final_gap", at=block,
        choose=_smallest_shuffled,
    )  # fmt: skip
    yield Claim(
        "shapes", "Shuffling blocks takes part of the final gain: features of shapes are reused", "Fig. 3",
        f"whole images, {gaps(224, 'test_accuracy')}; blocks of 8, {gaps(8, 'test_accuracy')}", "block_shuffle",
        "gap_minus_whole", "below", at=block, choose=_smallest_blocks,
    )  # fmt: skip
    yield Claim(
        "permuted", "Part of the final gain is left when all values are permuted", "Fig. 3",
        gaps("*", "test_accuracy"), "block_shuffle", "final_gap", at={**block, "block": "*"},
    )  # fmt: skip
    yield Claim(
        "permuted-speed", "P-T still learns faster when all values are permuted", "Fig. 3",
        f"mean training accuracy, {gaps('*', 'mean_train_accuracy')}", "block_shuffle", "speed_gap",
        at={**block, "block": "*"},
    )  # fmt: skip
    within, across = {"pair": "P-T/P-T", "rival": "RI-T/RI-T"}, {"pair": "P-T/P-T", "rival": "P-T/RI-T"}
    yield Claim(
        "mistakes", "Two P-T share more mistakes than two RI-T", "Sec. 3.2", "", "mistakes", "kappa_gap", at=within,
    )  # fmt: skip
    yield Claim(
        "mistakes-across", "Two P-T share more mistakes than P-T and RI-T", "Sec. 3.2", "", "mistakes", "kappa_gap",
        at=across,
    )  # fmt: skip
    yield Claim(
        "features", "Features of two P-T are more alike than those of two RI-T", "Table 1",
        f"mean CKA of 5 layers, CheXpert: {mean('P-T & P-T')}, {mean('RI-T & RI-T')}", "similarity", "cka_gap",
        at=within,
    )  # fmt: skip
    yield Claim(
        "features-kept", "P-T's features are more like P's than like RI-T's", "Table 1",
        f"mean CKA of 5 layers, CheXpert: {mean('P-T & P')}, {mean('P-T & RI-T')}", "similarity", "cka_gap",
        at={"pair": "P/P-T", "rival": "P-T/RI-T"},
    )  # fmt: skip
    yield Claim(
        "distance", "Two P-T lie closer together than two RI-T", "Table 2", f"two P-T to two RI-T: {trunks}",
        "distance", "within_gap", "below", at=within,
    )  # fmt: skip
    line = {"role": "pair", "split": "test", "baseline": "mean", "moves": "all"}
    for key, pair, side, sentence, section, row in (
        ("basin", "P-T/P-T", "below", "There is no barrier between two P-T", "Fig. 4", "P-T / P-T"),
        ("barrier", "RI-T/RI-T", "above", "There is a barrier between two RI-T", "Fig. 4", "RI-T / RI-T"),
        ("barrier-across", "P-T/RI-T", "above", "There is a barrier between P-T and RI-T", "Fig. 4", "RI-T / P-T"),
        (
            "barrier-init", "RI-T/RI-T, same init", "above",
            "There is a barrier between two RI-T from the same random start", "Fig. 16",
            "RI-T / RI-T, same random init",
        ),
    ):  # fmt: skip
        yield Claim(
            key, sentence, section, f"top-1, %: {path(row)}", "path", "error_barrier",
            "below" if side == "below" else "above", _BARRIER, {**line, "pair": pair},
        )  # fmt: skip


CLAIMS: tuple[Claim, ...] = tuple(_published())
"""The paper's findings that a study can test, in its order."""
