"""Pictures of analyses in the page: escaped, offline, within their budget, for every reader."""

import io
import json
import re
from dataclasses import replace

import pytest
from PIL import Image

from tests.report import synthetic
from tests.report.synthetic_mistakes import cell, mistakes_files
from tests.report.test_render import EVIL, Tags
from transferscope.analyses.gallery import Gallery, GalleryGroup, GalleryImage, gallery_files
from transferscope.errors import AnalysisError
from transferscope.report.gallery import FIRST, galleries
from transferscope.report.render import render


def one(name: str = "cats", title: str = "Cats", file: str = "a.png", layout: str = "grid", count: int = 1) -> dict:
    image = GalleryImage(file=file, alt="a cat", lines=("true: cat",))
    group = GalleryGroup.model_validate({"title": name, "layout": layout, "images": [image] * count})
    return gallery_files(name, Gallery(title=title, groups=(group,)), {file: cell(0)})


def saved(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, format=kind)
    return file.getvalue()


def page_of(files: dict[str, bytes]) -> str:
    return render(synthetic.results(analyses=(replace(synthetic.result("learning_rate"), files=files),)))


def test_pictures_are_carried_in_the_page_with_words_and_sizes() -> None:
    text = page_of(mistakes_files())
    images = [attributes for tag, attributes in Tags(text).found if tag == "img"]
    assert len(images) == 25
    for attributes in images:
        assert str(attributes["src"]).startswith("data:image/png;base64,")
        assert str(attributes["alt"]).startswith("test image cell")
        assert (attributes["width"], attributes["height"]) == ("64", "64")
    assert "img-src data:" in text
    assert f"<summary>{20 - FIRST} more</summary>" in text
    assert "P-T: functional (2), defective (1)" in text
    assert "<h4>both wrong <span" in text
    assert "None." in text  # the empty group


def test_a_report_without_galleries_has_no_pictures() -> None:
    text = page_of({})
    assert "<img" not in text
    assert 'class="gallery"' not in text


def test_all_words_are_escaped() -> None:
    image = GalleryImage(file="a.png", alt=f'"{EVIL}', lines=(EVIL, '"><b>'))
    group = GalleryGroup(title=EVIL, note=EVIL, images=(image,))
    text = page_of(gallery_files("x", Gallery(title=f'"{EVIL}', caption=EVIL, groups=(group,)), {"a.png": cell(0)}))
    assert text.count("<script") == 1
    assert "&lt;script&gt;alert(" in text
    assert '"><b>' not in text


def test_galleries_of_equal_title_are_joined_in_the_order_of_their_names() -> None:
    files = {**one("b-second", file="b.png"), **one("a-first"), **one("c", title="Dogs", file="c.png")}
    found = galleries("learning_rate", files)
    assert [(block.title, [group.title for group in block.groups]) for block in found] == [
        ("Cats", ["a-first", "b-second"]),
        ("Dogs", ["c"]),
    ]


def test_strips_are_not_folded_and_few_pixels_are_not_blurred() -> None:
    (block,) = galleries("x", one(layout="strip", count=FIRST + 3))
    assert len(block.groups[0].first) == FIRST + 3
    assert block.groups[0].more == ()
    (block,) = galleries("x", {**one(), "a.png": saved("PNG")})
    assert block.groups[0].first[0].coarse
    text = page_of({**one(layout="strip"), "a.png": saved("PNG")})
    assert 'class="coarse"' in text
    assert '<ul class="shown strip">' in text
    assert 'width="32" height="32" class="coarse"' in text  # twice its 16 pixels


def test_jpeg_is_shown_as_such() -> None:
    (block,) = galleries("x", {**one(), "a.png": saved("JPEG")})
    assert block.groups[0].first[0].address.startswith("data:image/jpeg;base64,")


def test_pictures_beyond_the_budget_are_counted() -> None:
    (whole,) = galleries("x", one(count=5))
    size = len(whole.groups[0].first[0].address)
    (block,) = galleries("x", one(count=5), budget=2 * size)
    assert (len(block.groups[0].first), block.groups[0].left) == (2, 3)
    (block,) = galleries("x", one(count=5), budget=0)
    assert (block.groups[0].first, block.groups[0].left) == ((), 5)


def test_the_page_names_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transferscope.report.sections.galleries", lambda name, files: galleries(name, files, 0))
    text = page_of(one(count=5))
    assert re.search(r"5 more lie in <code>files/learning_rate</code>", text)
    assert "None." not in text


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"x.gallery.json": b"{"}, "cannot be read: x.gallery.json"),
        ({"x.gallery.json": json.dumps({"title": "t"}).encode()}, "groups: Field required"),
        ({"x.gallery.json": json.dumps({"title": "t", "groups": [], "odd": 1}).encode()}, "odd: Extra inputs"),
        ({name: data for name, data in one().items() if name != "a.png"}, "names a file that is not there"),
        ({**one(), "a.png": b"<svg onload='alert(1)'/>"}, "browsers may not show"),
        ({**one(), "a.png": saved("GIF")}, "GIF"),
    ],
)
def test_a_bad_gallery_is_named(files: dict[str, bytes], words: str) -> None:
    with pytest.raises(AnalysisError, match=re.escape(words)):
        galleries("learning_rate", files)
