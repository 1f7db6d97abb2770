"""The results of a study as a piece of a page, for notebooks: no script, nothing from outside, every text escaped."""

import base64
from collections.abc import Sequence

from markupsafe import Markup

from transferscope.plots.export import svg
from transferscope.plots.theme import Figure
from transferscope.report.answer import answer
from transferscope.report.render import environment
from transferscope.report.sections import headline, slugs, subtitle
from transferscope.running.results import Results

__all__ = ["figure_fragment", "fragment"]


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


def figure_fragment(figure: Figure) -> str:
    """A figure with its words, as a piece of a page; white in a dark one too, as its colours are made for white."""
    # As a picture of its own: ids within one drawing would meet those of another in the same page.
    data = base64.b64encode(svg(figure.chart()).encode()).decode()
    page = Markup(
        '<figure style="margin:0;padding:0.6em;background:#fff;color:#1b1f24;max-width:60rem">'
        "<figcaption><strong>{title}.</strong> {caption}</figcaption>"
        '<img style="max-width:100%" alt="{description}" src="data:image/svg+xml;base64,{data}"></figure>'
    ).format(title=figure.title, caption=figure.caption, description=figure.description, data=data)
    # No Markup for callers: it would escape what it is joined to.
    return str(page)
