import re
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest

from resnetkit.evaluation.metrics import compute_metrics
from resnetkit.evaluation.multilabel import compute_multilabel_metrics
from resnetkit.evaluation.report import ReportInput, render_report, write_report
from resnetkit.evaluation.samples import Sample

HOSTILE = '<script src="https://example.org/x.js">alert(1)</script>&"\''
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Checks that tags are balanced and collects names, attributes and visible text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], set(), [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style",):
            self.text.append(data)


def judge(classes, images=60):
    generator = np.random.default_rng(classes)
    labels = generator.integers(0, classes, images)
    logits = generator.normal(size=(images, classes)).astype(np.float32)
    logits[np.arange(images), labels] += 2
    return logits, labels


def records(epochs):
    for epoch in range(epochs):
        for step in range(2):
            yield {
                "kind": "train",
                "epoch": epoch,
                "step": epoch * 2 + step,
                "loss": 1.0 / (epoch + 1),
                "learning_rate": 0.1,
                "images_per_second": 100.0,
            }
        yield {
            "kind": "validation",
            "epoch": epoch,
            "step": epoch * 2 + 2,
            "loss": 1.1 / (epoch + 1),
            "top1": 0.5 + 0.01 * epoch,
            "train_loss": 1.0 / (epoch + 1),
            "learning_rate": 0.1,
            "seconds": 1.0,
        }


def report_input(classes=3, epochs=3, names=None, text="plain", **changes):
    names = names or [f"class {index}" for index in range(classes)]
    fields = {
        "title": f"Run {text}",
        "recipe": f"digits {text}",
        "model": f"resnet20 {text}",
        "parameters": 269722,
        "data": f"/data/{text}",
        "class_names": tuple(names),
        "images": {"train": 100, "val": 20},
        "command": f"resnetkit train {text}",
        "settings": {"seed": 0, "model": {"name": text, "stem": None}, "data": {"flip": [text]}},
        "environment": {"cpu": text, "gpu": None},
        "records": tuple(records(epochs)),
        "evaluations": {"validation": compute_metrics(*judge(classes), names)},
        "samples": (
            Sample(
                image=np.zeros((1, 8, 8), np.uint8),
                name=text,
                true=names[0],
                predicted=names[1],
                probability=0.75,
                right=False,
            ),
        ),
        "notes": (f"skipped {text}",),
    }
    return ReportInput(**(fields | changes))


@pytest.mark.parametrize("classes", [2, 25, 26, 200])
def test_the_page_needs_nothing_from_elsewhere_and_is_escaped(classes):
    names = [f"{HOSTILE} {index}" for index in range(classes)]
    html = render_report(report_input(classes, names=names, text=HOSTILE))
    page = Page(html)
    assert page.tags.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "form"})
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            assert value.startswith("data:image/png;base64,")
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    shown = " ".join(page.text)
    assert shown.count(HOSTILE) > 10
    assert "default-src 'none'" in html


def test_it_says_what_was_trained_and_how_well():
    report = report_input()
    shown = " ".join("".join(Page(render_report(report)).text).split())
    metrics = report.evaluations["validation"]
    for text in (
        "269,722",
        "train 100, val 20",
        "resnetkit train plain",
        f"{metrics.top1:.2%}".replace("%", " %"),
        f"{metrics.top1_interval[0]:.2%}".replace("%", " %"),
        "class 2",
        "best 52.00 % after epoch 3",
        "true: class 0",
        "75.0 %",
        "skipped plain",
        "model",
        "stem",
    ):
        assert text in shown, text


def test_the_test_split_comes_first_and_has_the_details():
    names = [f"class {index}" for index in range(3)]
    validation = compute_metrics(*judge(3, 50), names)
    test = compute_metrics(*judge(3, 70), names)
    html = render_report(report_input(evaluations={"validation": validation, "test": test}))
    assert html.index("Test accuracy") < html.index("Validation accuracy")
    assert "Per class (test)" in html
    assert "Per class (validation)" not in html


@pytest.mark.parametrize("epochs", [0, 1, 2])
def test_short_runs_show_the_curves_they_have(epochs):
    html = render_report(report_input(epochs=epochs))
    charts = html.count('class="chart"')
    assert charts == {0: 0, 1: 2, 2: 3}[epochs]
    Page(html)


def test_a_run_without_validation_or_samples_has_no_empty_sections():
    html = render_report(report_input(evaluations={}, samples=(), notes=(), records=()))
    Page(html)
    for heading in ("Confusion", "Per class", "Sample predictions", "Curves"):
        assert heading not in html


def test_many_classes_show_the_weakest_first():
    names = [f"class {index:03}" for index in range(40)]
    labels = np.repeat(np.arange(40), 3)
    logits = np.eye(40, dtype=np.float32)[labels]
    logits[labels == 33] = np.eye(40, dtype=np.float32)[34]
    metrics = compute_metrics(logits, labels, names)
    html = render_report(report_input(40, names=names, evaluations={"test": metrics}))
    table = html[html.index("Per class") :]
    assert table.index("class 033") < table.index("class 000")
    assert "20 more classes" in table
    pairs = html[html.index("Most confused") :]
    assert pairs.index("class 033") < pairs.index("class 034") < pairs.index("100.0")


def test_several_classes_an_image_have_average_precision_and_no_confusion_matrix():
    generator = np.random.default_rng(1)
    names = [f"{HOSTILE} {index:02}" for index in range(25)]
    labels = (generator.random((40, 25)) < 0.3).astype(np.float32)
    labels[:, 7] = 0
    logits = (generator.normal(size=(40, 25)) + labels).astype(np.float32)
    logits[:, 3] = 2 * labels[:, 3] - 1
    metrics = compute_multilabel_metrics(logits, labels, names)
    lines = [
        {k: v for k, v in line.items() if k != "top1"}
        | ({"mean_average_precision": 0.25} if line["kind"] == "validation" else {})
        for line in records(2)
    ]
    sample = Sample(
        image=np.zeros((3, 8, 8), np.uint8),
        name="x.png",
        true="cat, dog",
        predicted="cat 98 %",
        probability=None,
        right=False,
    )
    report = report_input(
        25, names=names, evaluations={"test": metrics}, records=lines, samples=(sample,)
    )
    html = render_report(report)
    shown = " ".join("".join(Page(html).text).split())
    assert metrics.mean_average_precision is not None
    assert f"{metrics.mean_average_precision:.2%}".replace("%", " %") in shown
    low, high = metrics.mean_average_precision_interval
    assert f"95 % interval {100 * low:.2f} % to {100 * high:.2f} %" in shown
    for text in ("Test mean average precision", "mAP (%)", "best 25.00 %", "5 more classes"):
        assert text in shown, text
    for text in ("true: cat, dog", "cat 98 %"):
        assert text in shown, text
    assert "Confusion" not in html
    table = html[html.index("Per class") :]
    assert "<script" not in html
    assert table.index(lowest_class(metrics)) < table.index("more classes")


def lowest_class(metrics):
    """The name, as the page escapes it, of the class with the lowest average precision."""
    known = [row for row in metrics.per_class if row.average_precision is not None]
    return escape(min(known, key=lambda row: row.average_precision).name)


def test_write_report_writes_utf8(tmp_path):
    write_report(tmp_path / "report.html", report_input(text="猫"))
    assert "猫" in (tmp_path / "report.html").read_text(encoding="utf-8")
