"""The results of a study as a piece of a page, for notebooks: no script, nothing from outside, every text escaped."""

from collections.abc import Sequence

from transferscope.report.answer import answer
from transferscope.report.render import environment
from transferscope.report.sections import headline, slugs, subtitle
from transferscope.running.results import Results

__all__ = ["fragment"]


def fragment(results: Results, further: Sequence[str] = ()) -> str:
    """The answer, what limits it, the four networks, one verdict per analysis; in the colours of the page around it.

    Args:
        results: of a finished study.
        further: lines below; code between backticks.

    Returns:
        One ``<div>`` with its own style, whose rules hold within it alone.
    """
    return (
        environment()
        .get_template("results.html.j2")
        .render(
            study=results.study,
            subtitle=subtitle(results),
            answer=answer(results),
            headline=headline(results),
            analyses=list(zip(slugs(results), results.analyses, strict=True)),
            failed=[item for item in results.analyses if item.failed],
            further=further,
        )
    )
