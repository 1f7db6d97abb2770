"""The report in a real browser, offline: no requests, no errors, no sideways scrolling."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed")


@pytest.fixture(scope="module")
def report(whole_report: Path) -> str:
    return whole_report.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield found
        found.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_opens_offline_without_requests_errors_or_sideways_scrolling(browser: Any, report: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    page = context.new_page()
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(report)
    page.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true; })")
    wide = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth,"
        " [...document.querySelectorAll('.panel svg')].filter(item => item.getBoundingClientRect().right >"
        " document.documentElement.clientWidth).length]"
    )
    assert requests == [report]
    assert errors == []
    assert wide == [width, width, 0]
    small = page.evaluate(
        "[...document.querySelectorAll('.panel svg')].map(item => item.getBoundingClientRect().width /"
        " item.viewBox.baseVal.width).reduce((a, b) => Math.min(a, b))"
    )
    assert small >= 0.8  # an 11 px label stays above 8.8 px
    context.close()


def test_pointing_at_a_mark_shows_its_value(browser: Any, report: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(report)
    mark = page.locator("#similarity .panel [data-value]").first
    mark.scroll_into_view_if_needed()
    assert not page.locator("#value").is_visible()
    mark.hover()
    assert page.locator("#value").is_visible()
    assert page.locator("#value").inner_text() == mark.get_attribute("data-value")
    page.keyboard.press("Escape")
    assert not page.locator("#value").is_visible()
    page.close()


def test_works_without_scripts_and_injected_ones_do_not_run(browser: Any, report: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report)
    assert page.locator("figure svg").count() > 10
    assert not page.locator("#value").is_visible()
    context.close()
    page = browser.new_page()
    page.goto(report)
    page.evaluate(
        "() => { const item = document.createElement('script'); item.textContent = 'window.ran = 1';"
        " document.body.append(item); }"
    )
    assert page.evaluate("window.ran") is None
    page.close()


def test_print_opens_cards_and_cuts_no_figure(browser: Any, report: str) -> None:
    page = browser.new_page(viewport={"width": 720, "height": 1000})
    page.goto(report)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details.card:not([open])").count() == 0
    assert page.locator("details.rows[open]").count() == 0
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("details.card[open]").count() == 0
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('figure')).breakInside") == "avoid"
    assert not page.locator("nav").is_visible()
    page.close()


@pytest.mark.slow
def test_pictures_of_a_gallery_are_seen_offline_at_every_width_and_on_paper(browser: Any, report: str) -> None:
    for width in (390, 1280):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto(report)
        first = page.locator(".gallery .shown img").first
        first.scroll_into_view_if_needed()
        assert first.evaluate("item => item.complete && item.naturalWidth") == 64
        box = first.bounding_box()
        assert 60 <= box["width"] <= 120
        assert box["width"] == pytest.approx(box["height"], abs=1)
        folded = page.locator(".gallery details img").first
        assert not folded.is_visible()
        page.locator(".gallery summary").first.click()
        assert folded.is_visible()
        page.close()
    page = browser.new_page(viewport={"width": 720, "height": 1000})
    page.goto(report)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator(".gallery details img").first.is_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('.shown li')).breakInside") == "avoid"
    page.close()
