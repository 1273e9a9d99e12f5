"""Pages as a browser shows them: headless Chromium, desktop and phone, light and dark.

Driven by Playwright with the system's Chromium, because its own driver comes with the package:
Selenium would need a ChromeDriver of the very same version beside it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from whole_report import answer, multilabel_report, whole_report

from resnetkit.data.checks.check import check_source
from resnetkit.evaluation.metrics import compute_metrics
from resnetkit.evaluation.report import write_report

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
MUST_RUN = "RESNETKIT_BROWSER_TESTS"  # set by .ci/run, where a skip would go unnoticed
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZES = {"desktop": (1280, 900), "phone": (375, 812)}
NARROWEST = 360  # pixels; phones in use are hardly narrower
LEAST_CONTRAST = 4.5  # of text: WCAG 2.1 AA, and 3 where it is large

# Every visible text whose contrast with what lies behind it is too low: [text, ratio, place].
CONTRAST = """() => {
  const parse = (text) => {
    const found = text.match(/[\\d.]+/g).map(Number);
    return [found[0], found[1], found[2], found.length > 3 ? found[3] : 1];
  };
  const over = (top, below) => [0, 1, 2]
    .map((k) => top[3] * top[k] + (1 - top[3]) * below[k]).concat(1);
  const ground = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const color = parse(getComputedStyle(one).backgroundColor);
      if (color[3] > 0) layers.push(color);
      if (color[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const light = (color) => color.slice(0, 3).map((value) => {
    const share = value / 255;
    return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  }).reduce((sum, value, k) => sum + [0.2126, 0.7152, 0.0722][k] * value, 0);
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility() || element.closest("title")) continue;
    if (["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const back = ground(element);
    const front = over(parse(element.closest("svg") ? style.fill : style.color), back);
    const [high, low] = [light(front), light(back)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : LEAST)) poor.push([node.data.trim(), ratio, element.className]);
  }
  return poor;
}""".replace("LEAST)", f"{LEAST_CONTRAST})")
BROKEN_IMAGES = """() => [...document.images]
  .filter((image) => !image.complete || !image.naturalWidth).map((image) => image.alt)"""
# Elements that stick out of the page and lie in no frame of their own to scroll.
STICKING_OUT = """() => [...document.querySelectorAll("body *")].filter((element) =>
  element.getBoundingClientRect().right > innerWidth + 1
  && !element.closest(".scroll, pre, nav, svg"))
  .map((element) => element.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        if os.environ.get(MUST_RUN) or os.environ.get("CI"):
            pytest.fail(f"{MUST_RUN} asks for tests in a browser, but there is no Chromium.")
        pytest.skip("no Chromium on this machine: install one, such as Debian's package chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory, pictures):
    """The pages to look at, by name: each a file."""
    folder = tmp_path_factory.mktemp("pages")
    whole = whole_report()
    write_report(folder / "evaluation.html", whole)
    write_report(folder / "labels.html", multilabel_report())
    names = tuple(f"class number {k}" for k in range(60))
    logits, labels = answer(500, 60)
    labels[labels == 7] = 8  # a class without images has undefined figures
    many = compute_metrics(logits, labels, names, resamples=0)
    few = {
        "reliability": None,
        "answering": None,
        "sets": None,
        "robustness": None,
        "attacks": None,
    }
    report = replace(whole, class_names=names, evaluations={"test": many}, pair_samples={}, **few)
    write_report(folder / "many.html", report)
    found = check_source(str(pictures), folder / "check", progress=lambda *_: None)
    check = Path(found.paths["report"])
    return {**{path.stem: path for path in folder.glob("*.html")}, "check": check}


class Opened:
    """A page in a context of its own, with every complaint of the browser."""

    def __init__(self, browser, path, size="desktop", theme="light", script=True):
        width, height = SIZES[size]
        self._context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=theme,
            java_script_enabled=script,
            device_scale_factor=1,
        )
        self.page = self._context.new_page()
        self.complaints = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._refuse_network)
        self.page.goto(path.as_uri())

    def _refuse_network(self, request):
        if not request.url.startswith(("file:", "data:")):
            self.complaints.append(f"asked for {request.url}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._context.close()

    def column(self, table, number):
        """The texts of a column's visible rows, without what is below a figure."""
        return self.page.locator(
            f"{table} tbody tr:visible td:nth-child({number + 1})"
        ).evaluate_all(
            "cells => cells.map(cell => cell.firstChild ? cell.firstChild.textContent : '')"
        )


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("name", ["evaluation", "labels", "many", "check"])
def test_pages_are_whole_in_every_size_and_theme(browser, pages, name, size, theme):
    with Opened(browser, pages[name], size, theme) as opened:
        page = opened.page
        for details in page.locator("details").all():
            details.evaluate("element => element.open = true")
        assert page.evaluate(BROKEN_IMAGES) == []
        assert page.evaluate(CONTRAST) == []
        for width in (SIZES[size][0], NARROWEST):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate(STICKING_OUT) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert opened.complaints == []
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(245, 246, 248)", "dark": "rgb(15, 19, 23)"}[theme]


def test_what_is_checked_would_be_noticed(browser, tmp_path):
    """The checks themselves: a page with every fault that they look for."""
    faulty = tmp_path / "faulty.html"
    faulty.write_text(
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\"><body>"
        '<p style="color: #999; background: #fff">grey</p><div style="width: 2000px">wide</div>'
        '<img alt="gone" src="gone.png"><script>1</script>',
        encoding="utf-8",
    )
    with Opened(browser, faulty) as opened:
        assert [text for text, _, _ in opened.page.evaluate(CONTRAST)] == ["grey"]
        assert opened.page.evaluate(BROKEN_IMAGES) == ["gone"]
        assert len(opened.page.evaluate(STICKING_OUT)) == 1
        assert len(opened.complaints) >= 2  # the image and the script


TABLE = "#per-class-test table"


def numbers(texts):
    return [float(text.replace("−", "-")) for text in texts if text != "–"]


def test_tables_sort_by_click(browser, pages):
    with Opened(browser, pages["evaluation"]) as opened:
        head = opened.page.locator(f"{TABLE} th", has_text="Recall").first
        before = opened.column(TABLE, 3)
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        rising = opened.column(TABLE, 3)
        assert numbers(rising) == sorted(numbers(rising))
        assert sorted(rising) == sorted(before)
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "descending"
        assert numbers(opened.column(TABLE, 3)) == sorted(numbers(before), reverse=True)
        names = opened.page.locator(f"{TABLE} th").first
        names.locator("button").click()
        assert opened.column(TABLE, 0) == sorted(opened.column(TABLE, 0))
        assert head.get_attribute("aria-sort") is None
        foot = opened.page.locator(f"{TABLE} tfoot td").first
        assert foot.inner_text() == "Mean of classes"


def test_tables_sort_by_keyboard(browser, pages):
    with Opened(browser, pages["evaluation"]) as opened:
        page = opened.page
        page.locator(f"{TABLE} th button").nth(0).focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.locator(f"{TABLE} th").nth(1).get_attribute("aria-sort") == "ascending"
        page.keyboard.press("Space")
        assert page.locator(f"{TABLE} th").nth(1).get_attribute("aria-sort") == "descending"
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"  # where one is can be seen


def test_long_tables_fold_and_undefined_figures_stay_last(browser, pages):
    with Opened(browser, pages["many"]) as opened:
        page = opened.page
        assert len(opened.column(TABLE, 0)) == 20
        page.get_by_text("Show all 60 classes").click()
        assert len(opened.column(TABLE, 0)) == 60
        button = page.locator(f"{TABLE} th", has_text="Recall").first.locator("button")
        for _ in range(2):
            button.click()
            assert opened.column(TABLE, 3)[-1] == "–"
        page.get_by_text("Show 20 classes").click()
        falling = numbers(opened.column(TABLE, 3))
        assert len(falling) == 20
        assert falling == sorted(falling, reverse=True)


def test_without_script_the_page_stays_as_it_was_written(browser, pages):
    with Opened(browser, pages["many"], script=False) as opened:
        assert opened.page.locator("th button").count() == 0
        opened.page.get_by_text("Show all 60 classes").click()
        assert opened.page.locator(f"{TABLE} tbody tr:visible").count() == 60
        assert opened.complaints == []


def test_contents_lead_to_their_sections(browser, pages):
    with Opened(browser, pages["evaluation"]) as opened:
        opened.page.get_by_role("link", name="Adversarial attacks").click()
        top = opened.page.locator("#adversarial-attacks").evaluate(
            "element => element.getBoundingClientRect().top"
        )
        assert -1 <= top <= 200


def test_print_has_no_scroll_frames_and_no_contents(browser, pages):
    with Opened(browser, pages["evaluation"]) as opened:
        opened.page.emulate_media(media="print")
        assert not opened.page.locator("nav").is_visible()
        frames = opened.page.locator(".scroll").evaluate_all(
            "all => all.map(one => getComputedStyle(one).overflowX)"
        )
        assert set(frames) == {"visible"}
