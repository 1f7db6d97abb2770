"""``docs/results.md`` and a page of each study, from the results in ``docs/results``: neither can fall behind.

``python -m tools.results.results_pages docs/results docs/results.md``
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tools.results.claims import CLAIMS, Claim, Verdict, doubt
from tools.results.kept_results import KeptResults, kept_results
from tools.results.markdown import folded, table
from tools.results.results_barriers import barriers
from tools.results.results_pooled import pooled_table
from tools.results.results_study import Judged, judged, study_page
from transferscope.analyses.estimates import Estimate
from transferscope.report.numbers import MISSING, basis_words, interval_words, value_words

__all__ = ["results_page", "write_results_pages"]

_SIGNS: Mapping[Verdict, str] = {
    Verdict.REPRODUCED: "yes",
    Verdict.NOT_REPRODUCED: "**no**",
    Verdict.UNDECIDED: "?",
    Verdict.NOT_MEASURED: MISSING,
}

_GAINS = {
    "final": "P-T − RI-T, final",
    "speed": "speed",
    "blocks": "blocks of 8, final",
    "permuted": "all values, final",
}
"""Claims whose numbers are set side by side, and the heads of their columns."""

_INTRODUCTION = """# Results on real data

Generated from the tables under `docs/results` by

    python -m tools.results.results_pages docs/results docs/results.md

Every number comes from {count}, which has a page of its own with all of its numbers and the
command that reproduces it; its tables, its study file and a manifest (versions, machine, hashes) lie beside that page.
Intervals are 95 %: over *seeds* they speak of training in general, over *images* of the trained networks alone. All
claims are for the pre-trained network of the study. The networks and images are far smaller than the paper's: what
differs from it may differ for that reason."""

_ABOUT_GAINS = """P-T − RI-T with its 95 % interval over seeds: the final test metric (against RI-T trained longer,
where the study has it), the optimisation speed (the clean training metric, averaged over epochs), and the final test
metric where both were trained and tested on images whose blocks of 8 pixels, or all of whose values, are permuted.
(?): no claim is made from it, for RI-T was still improving."""

_ABOUT_FINDINGS = f"""Each is a rule on one number of a study, fixed in `tools/results/claims.py`: reproduced
(yes) where its whole interval lies on the side the paper claims, not reproduced (**no**) where it lies wholly on the
other, else undecided (?). {MISSING}: not measured."""

_ABOUT_POOLED = """The same numbers, one mean over all studies that have one and in which nothing forbids a claim, also
those that are undecided by themselves. Studies that share a target or a pre-trained network are not independent: what
is counted are *targets* (the styles of one set of emoji are one), each with the mean of its studies. The mean has the
interval of Hartung and Knapp over targets with equal weights (errors from three seeds are too uncertain to weigh by);
where there are three pre-trained networks or more, also over those, and the wider one decides. With fewer the claim
holds for these pre-trained networks. τ: standard deviation of the true effects between targets; predicted: where a new
target with such errors would be measured in 95 of 100 cases; without one: the range of the mean when one target is left
out."""

_ABOUT_BARRIERS = """The test error's barrier over the mean of the ends, in points. Pairs: two trainings of one kind;
*same init*: from one random start; *same head*: from one start, head included; *trained on*: a run and its
continuation, the known positive. *Matched*: the units of the second network were permuted to those of the first, by
weights or by activations. A curve is a quadratic Bézier trained for low loss; that it joins two networks does not make
them linearly connected. A pair counts as connected where the upper limit is below 2 points, as separated where the
lower one is above."""


def results_page(studies: Sequence[KeptResults]) -> str:
    """The page that sets all finished studies side by side.

    Args:
        studies: in the order of the page.

    Returns:
        Markdown.
    """
    found = {study.name: judged(study) for study in studies}
    parts = [_INTRODUCTION.format(count="a finished study" if len(studies) < 2 else f"one of {len(studies)} studies")]
    if studies:
        parts += ["## The studies", _ABOUT_GAINS, _gains(studies, found)]
        parts += ["## The paper's findings", _ABOUT_FINDINGS, _findings(), _overview(studies, found)]
        parts += ["## The findings over all studies", _ABOUT_POOLED, pooled_table(studies, found)]
        parts += ["## Where the paper's finding is not reproduced", *_against(studies, found)]
        if between := barriers(studies):
            parts += ["## Barriers between solutions", _ABOUT_BARRIERS, between]
    else:
        parts.append("No study is finished yet.")
    return "\n\n".join(parts) + "\n"


def write_results_pages(folder: Path, place: Path) -> list[Path]:
    """Read what is kept in ``folder``, write the page of all studies to ``place`` and one page each into ``folder``.

    Returns:
        The pages.

    Raises:
        AnalysisError: what is kept is not what was collected.
    """
    studies = kept_results(folder)
    pages = {place: results_page(studies), **{folder / f"{study.name}.md": study_page(study) for study in studies}}
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")
    return list(pages)


def _link(study: KeptResults) -> str:
    return f"[{study.name}](results/{study.name}.md)"


def _gains(studies: Sequence[KeptResults], found: Mapping[str, Judged]) -> str:
    rows = [
        (
            _link(study),
            str(study.manifest["examples"]["train"]),
            str(study.manifest["trainings"]),
            *(_gain(found[study.name][key][1]) for key in _GAINS),
        )
        for study in studies
    ]
    return table(("study", "training images", "trainings", *_GAINS.values()), rows)


def _gain(tested: Estimate | None) -> str:
    if tested is None or tested.value is None:
        return MISSING
    value = value_words(tested.value, tested.unit, fixed=True)
    spread = "" if tested.low is None and tested.high is None else f" ({interval_words(tested)})"
    return f"{value}{spread}{' (?)' if doubt(tested) else ''}"


def _findings() -> str:
    rows = [
        (str(place), claim.sentence, claim.section, claim.numbers or MISSING)
        for place, claim in enumerate(CLAIMS, start=1)
    ]
    return table(("", "finding", "where", "in the paper (ResNet-50, ImageNet)"), rows)


def _overview(studies: Sequence[KeptResults], found: Mapping[str, Judged]) -> str:
    heads = ("study", *(str(place) for place in range(1, len(CLAIMS) + 1)))
    rows = [(_link(study), *(_SIGNS[found[study.name][claim.key][0]] for claim in CLAIMS)) for study in studies]
    return table(heads, rows)


def _against(studies: Sequence[KeptResults], found: Mapping[str, Judged]) -> Iterable[str]:
    listed = {
        wanted: [
            f"- {claim.sentence} ({claim.section}): {study.name}, {_said(claim, tested)}"
            for claim in CLAIMS
            for study in studies
            for said, tested in (found[study.name][claim.key],)
            if said is wanted and tested is not None
        ]
        for wanted in (Verdict.NOT_REPRODUCED, Verdict.UNDECIDED)
    }
    lines, open_ones = listed[Verdict.NOT_REPRODUCED], listed[Verdict.UNDECIDED]
    yield "The interval lies wholly on the other side:" if lines else "Nowhere, as far as the intervals decide."
    if lines:
        yield "\n".join(lines)
    if open_ones:
        title = f"{len(open_ones)} undecided: the interval spans the margin, or for the reason given"
        yield folded(title, "\n".join(open_ones))


def _said(claim: Claim, tested: Estimate) -> str:
    said = f"{tested.name} {value_words(tested.value, tested.unit, fixed=True)}"
    if tested.low is not None or tested.high is not None:
        said += f" ({interval_words(tested)}; {basis_words(tested.basis, tested.n, short=True)})"
    else:
        said += " (no interval)"
    if claim.margin:
        said += f", margin {claim.margin:g}"
    return f"{said}: {doubt(tested)}" if doubt(tested) else said


def main(words: Sequence[str]) -> None:
    """The command."""
    if len(words) != 2:
        sys.exit("usage: python -m tools.results.results_pages FOLDER PAGE")
    print(*write_results_pages(Path(words[0]), Path(words[1])), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
