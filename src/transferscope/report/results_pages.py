"""``docs/results.md`` and a page of each study, from the results in ``docs/results``: neither can fall behind.

``python -m transferscope.report.results_pages docs/results docs/results.md``
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from transferscope.analyses.claims import CLAIMS, Claim, Measurement, Verdict
from transferscope.report.kept_results import KeptResults, kept_results
from transferscope.report.markdown import folded, table
from transferscope.report.numbers import MISSING, basis_words, interval_words, value_words
from transferscope.report.results_barriers import barriers
from transferscope.report.results_study import Judged, as_number, judged, study_page

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

    python -m transferscope.report.results_pages docs/results docs/results.md

Every number comes from {count}, which has a page of its own with all of its numbers and the
command that reproduces it; its tables, its study file and a manifest (versions, machine, hashes) lie beside that page.
Intervals are 95 %: over *seeds* they speak of training in general, over *images* of the trained networks alone. All
claims are for the pre-trained network of the study. The networks and images are far smaller than the paper's: what
differs from it may differ for that reason."""

_ABOUT_GAINS = """P-T − RI-T with its 95 % interval over seeds: the final test metric (against RI-T trained longer,
where the study has it), the optimisation speed (the clean training metric, averaged over epochs), and the final test
metric where both were trained and tested on images whose blocks of 8 pixels, or all of whose values, are permuted.
(?): no claim is made from it, for RI-T was still improving."""

_ABOUT_FINDINGS = f"""Each is a rule on one number of a study, fixed in `transferscope/analyses/claims.py`: reproduced
(yes) where its whole interval lies on the side the paper claims, not reproduced (**no**) where it lies wholly on the
other, else undecided (?). {MISSING}: not measured."""

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


def _gain(tested: Measurement | None) -> str:
    if tested is None or tested.value is None:
        return MISSING
    value = value_words(tested.value, tested.unit, fixed=True)
    spread = "" if tested.low is None and tested.high is None else f" ({interval_words(as_number(tested))})"
    return f"{value}{spread}{' (?)' if tested.doubt else ''}"


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


def _said(claim: Claim, tested: Measurement) -> str:
    said = f"{tested.what} {value_words(tested.value, tested.unit, fixed=True)}"
    if tested.low is not None or tested.high is not None:
        said += f" ({interval_words(as_number(tested))}; {basis_words(tested.basis, tested.n, short=True)})"
    else:
        said += " (no interval)"
    if claim.margin:
        said += f", margin {claim.margin:g}"
    return f"{said}: {tested.doubt}" if tested.doubt else said


def main(words: Sequence[str]) -> None:
    """The command."""
    if len(words) != 2:
        sys.exit("usage: python -m transferscope.report.results_pages FOLDER PAGE")
    print(*write_results_pages(Path(words[0]), Path(words[1])), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
