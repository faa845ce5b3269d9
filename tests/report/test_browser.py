"""The pages in a real Chromium: on a phone and a desktop, light and dark, and on paper.

Needs playwright and a Chromium: playwright's own (``playwright install chromium``) or one on the PATH (Debian:
``apt-get install chromium``).
"""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import report_case as case

pytest.importorskip("jinja2", reason="reports need jinja2 and matplotlib: pip install 'spark-shap[report]'")

from spark_shap.report.html import applicant_page, run_page

pytestmark = pytest.mark.slow
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    with api.sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        path = own if Path(own).exists() else found
        if path is None:
            pytest.skip("no Chromium: apt-get install chromium, or playwright install chromium")
        # As root, in a container, its sandbox does not start; the pages are our own.
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    texts = {
        "run": run_page(case.evidence(earlier=0.1)),
        "applicant": applicant_page(case.applicant()),
        "several": run_page(case.against_several(replace(case.evidence(), curves=case.curves_of()))),
        "applicant-several": applicant_page(case.against_several(case.applicant())),
        "hostile": run_page(
            case.evidence(case.HOSTILE, outputs=case.HOSTILE[:1], segments=case.HOSTILE[:3], texts=case.HOSTILE)
        ),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return folder


def opened(browser, file, *, size=PHONE, scheme="light"):
    """Open a page; it must ask for nothing, log nothing and show no dialog."""
    context = browser.new_context(viewport=size, color_scheme=scheme)
    page = context.new_page()
    heard = []
    page.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else heard.append(request.url)
    )
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("dialog", lambda dialog: heard.append(dialog.message))
    page.goto(file.as_uri())
    assert heard == []
    return page


@pytest.mark.parametrize("name", ["run", "applicant", "hostile", "several", "applicant-several"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_a_page_is_no_wider_than_its_screen(browser, pages, name, size):
    page = opened(browser, pages / f"{name}.html", size=size)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    too_wide = """() => [...document.querySelectorAll('main *')].filter(one => !one.closest('.scroll, pre, svg')
        && one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 80))"""
    assert page.evaluate(too_wide) == []


@pytest.mark.parametrize("name", ["run", "applicant", "several"])
def test_the_text_of_figures_can_be_read_on_a_phone(browser, pages, name):
    page = opened(browser, pages / f"{name}.html")
    heights = page.evaluate("""[...document.querySelectorAll('svg text')].filter(one => one.checkVisibility())
        .map(one => one.getBoundingClientRect().height)""")
    assert len(heights) > 20
    assert min(heights) >= 9  # pixels of a line


def test_names_beside_bars_are_not_cut_off(browser, pages):
    page = opened(browser, pages / "hostile.html", size=DESKTOP)
    cut = """() => [...document.querySelectorAll('figure svg')].flatMap(svg => {
        const box = svg.getBoundingClientRect()
        return [...svg.querySelectorAll('text')].filter(one => {
            const own = one.getBoundingClientRect()
            return own.left < box.left - 12 || own.right > box.right + 12
        }).map(one => one.textContent)
    })"""
    assert page.evaluate(cut) == []


def test_dark_is_dark_and_figures_follow(browser, pages):
    colours = {}
    for scheme in ("light", "dark"):
        page = opened(browser, pages / "run.html", scheme=scheme)
        colours[scheme] = page.evaluate(
            """() => [getComputedStyle(document.body).backgroundColor,
                getComputedStyle(document.querySelector('figure svg text')).fill,
                getComputedStyle(document.querySelector('figure svg path[style*="fill: var(--main)"]')).fill]"""
        )
    (paper, text, bar), (dark_paper, dark_text, dark_bar) = colours["light"], colours["dark"]
    assert paper == "rgb(255, 255, 255)"
    assert sum(map(int, re.findall(r"\d+", dark_paper))) < 120
    assert text != dark_text
    assert bar != dark_bar


def test_nothing_in_the_data_becomes_part_of_the_page(browser, pages):
    page = opened(browser, pages / "hostile.html")
    assert page.evaluate("document.querySelectorAll('script, img, iframe, object').length") == 0
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator("text=<script>hacked()</script>").count() > 0
    assert page.evaluate("document.querySelectorAll('main').length") == 1


def test_figures_have_names_for_those_who_do_not_see_them(browser, pages):
    page = opened(browser, pages / "run.html")
    images = page.get_by_role("img")
    assert images.count() == page.evaluate("document.querySelectorAll('figure svg').length")
    assert page.get_by_role("img", name=re.compile(r"^Bar chart of mean \|SHAP\|")).count() == 1
    assert page.get_by_role("heading", level=2).count() == 6


def test_on_paper_everything_is_open_and_black_on_white(browser, pages):
    page = opened(browser, pages / "run.html", scheme="dark", size=DESKTOP)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    shown = "[...document.querySelectorAll('details table')].every(one => one.checkVisibility())"
    assert page.evaluate(shown)
    page.emulate_media(media="screen")
    assert not page.evaluate(shown)
    pdf = page.pdf(prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 20


@pytest.mark.parametrize("name", ["several", "applicant-several"])
def test_a_reference_is_chosen_without_a_script_and_paper_has_all(browser, pages, name):
    page = opened(browser, pages / f"{name}.html", size=DESKTOP, scheme="dark")

    def shown():
        return page.evaluate("""[...document.querySelectorAll('.against')].filter(one => one.checkVisibility())
            .map(one => one.className)""")

    n = len(page.query_selector_all(".against")) // 3
    assert shown() == ["against against-1"] * n
    page.get_by_role("radio", name="everyone").check()
    assert shown() == ["against against-3"] * n
    page.keyboard.press("ArrowUp")
    assert shown() == ["against against-2"] * n
    assert page.get_by_role("group", name="Show values against").count() == 1
    page.emulate_media(media="print")
    assert len(shown()) == 3 * n
    assert not page.get_by_role("group", name="Show values against").is_visible()
