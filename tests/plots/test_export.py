import altair as alt
import polars as pl
import pytest

from transferscope.plots.export import inline_svg, png, svg
from transferscope.plots.theme import Figure, hover, padded, themed, thinned


@pytest.fixture
def chart() -> alt.Chart:
    data = pl.DataFrame({"a": [1.0, 2.0, None], "b": [0.123456, 0.5, 0.7], "n": ["x<y", "p&q", '"z"']})
    data = data.with_columns(hover(pl.col("n"), ": ", pl.col("b").round(3), " / ", pl.col("a")))
    return alt.Chart(data).mark_circle(clip=True).encode(
        alt.X("a:Q", title="A (ratio)"), alt.Y("b:Q", title="B (ratio)"), description="hover:N"
    )  # fmt: skip


def test_svg_and_png_are_files_of_their_kind(chart: alt.Chart) -> None:
    assert svg(themed(chart)).startswith("<svg")
    assert png(svg(themed(chart))).startswith(b"\x89PNG\r\n")


@pytest.mark.kind("S4")
@pytest.mark.parametrize(
    "text", ["a\x1b[31mb", "\x00", "a\ufffeb", "\uffff", "\ud800", "caf\udce9", "\x0b\x0c", "\U0001fffe", "</svg>&"]
)
def test_no_text_can_end_the_process(text: str) -> None:
    data = alt.Data(values=[{text: 1, "name": text}, {text: 2, "name": "b"}])
    bars = alt.Chart(data, title=text).mark_bar().encode(alt.X("name:N", title=text), alt.Y("count():Q"))
    drawn = svg(bars)
    assert png(drawn).startswith(b"\x89PNG\r\n")
    drawn.encode()
    assert not any(character < " " and character != "\n" for character in drawn)


def test_inline_svg_scales_and_keeps_only_the_texts_meant_for_readers(chart: alt.Chart) -> None:
    text = inline_svg(themed(chart, legend=False), "p1")
    assert 'viewBox="0 0 ' in text.split(">")[0]
    assert "aria-" not in text
    assert "role=" not in text
    assert text.count("data-value=") >= 2
    assert 'data-value="x&lt;y: 0.123 / 1.0"' in text
    assert "•" not in text


def test_inline_svg_ids_do_not_meet_those_of_another(chart: alt.Chart) -> None:
    text = inline_svg(themed(chart), "p1")
    assert "url(#" in text
    assert text.count("url(#") == text.count("url(#p1-")
    assert text.count(' id="') == text.count(' id="p1-')


def test_figure_joins_its_panels(chart: alt.Chart) -> None:
    spec = Figure("a", "A", "caption", "alt", (chart, chart)).chart().to_dict()
    assert len(spec["concat"]) == 2
    assert spec["columns"] == 2


def test_padded_and_thinned_degenerate() -> None:
    assert padded([]) == [0.0, 1.0]
    assert padded([None, 0.5])[0] < 0.5 < padded([None, 0.5])[1]
    assert padded([0.0, 0.0]) == [-0.05, 0.05]
    assert thinned(["a"], 5) == ["a"]
    names = [str(place) for place in range(51)]
    assert thinned(names, 28)[0] == "0"
    assert thinned(names, 28)[-1] == "50"
    assert len(thinned(names, 28)) == 28
