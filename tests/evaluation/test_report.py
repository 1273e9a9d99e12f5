"""The report: what it tells of a run and of an evaluation, on the page, in Markdown, as figures."""

import json
import re
import time

import numpy as np
import pytest
from whole_report import answer, multilabel_report, run_records, samples, whole_report

from resnetkit.evaluation.metrics import compute_metrics
from resnetkit.evaluation.multilabel import compute_multilabel_metrics
from resnetkit.evaluation.report import describe_report, render_report, write_report, write_reports
from resnetkit.evaluation.report_figures import plain
from resnetkit.evaluation.report_input import EvaluationReport
from resnetkit.page.blocks import Beside, Chart, Table
from resnetkit.page.markdown import render_markdown

HOSTILE = '<script src="https://example.org/x.js">alert(1)</script>&"\''
ORDER = [
    "Other seeds",
    "Curves",
    "Per class (test)",
    "Confusion (test)",
    "Calibration",
    "When not to answer",
    "Worst errors",
    "Sample predictions",
    "Slices",
    "Likely label errors",
    "What the data gate knows",
    "Prediction sets",
    "Images of another kind",
    "Common corruptions",
    "Adversarial attacks",
    "Inside the network",
    "Feature map",
    "Which map to believe",
    "Speed and size",
    "What was trained",
    "How it was made",
]


@pytest.fixture(scope="module")
def whole():
    return whole_report()


def small_report(names=("cat", "dog", "emu"), images=60, text="plain", **changes):
    logits, labels = answer(images, len(names))
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
        "records": run_records(3),
        "evaluations": {"validation": compute_metrics(logits, labels, names, resamples=20)},
        "samples": samples([0, 1], logits, labels, names),
        "notes": (f"skipped {text}",),
    }
    return EvaluationReport(**(fields | changes))


def section(html, title):
    return re.search(rf"<h2>{re.escape(title)}</h2>.*?</section>", html, re.DOTALL)[0]


def words(html):
    """What is read, without tags, on one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def table_of(report, title):
    """The first table of a section."""
    blocks = next(one for one in describe_report(report).sections if one.title == title).blocks
    flat = [inner for one in blocks for inner in (one.blocks if isinstance(one, Beside) else [one])]
    return next(one for one in flat if isinstance(one, Table))


def test_sections_stand_in_the_order_in_which_they_are_read(whole):
    html = render_report(whole)
    assert re.findall(r"<h2>([^<]+)</h2>", html) == ORDER
    text = render_markdown(describe_report(whole))
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ORDER


def test_a_run_has_no_empty_sections():
    report = small_report(evaluations={}, samples=(), notes=(), records=())
    html = render_report(report)
    assert re.findall(r"<h2>([^<]+)</h2>", html) == ["What was trained", "How it was made"]


def test_the_headline_has_its_interval_and_its_meaning(whole):
    shown = words(render_report(whole))
    metrics = whole.evaluations["test"]
    low, high = (f"{100 * end:.2f}" for end in metrics.top1_interval)
    assert f"Test accuracy {100 * metrics.top1:.2f} %" in shown
    assert f"95 % interval {low} to {high} %, 1,500 images" in shown
    right = round(metrics.top1 * metrics.images)
    assert f"Of 1,500 images of the test split, {right:,} were given their right class." in shown
    most = max(row.support for row in metrics.per_class)
    assert f"would be right for {100 * most / 1500:.1f} %" in shown
    assert shown.index("Test accuracy") < shown.index("Validation accuracy")
    assert "31 of these images show a picture that the training images show too" in shown


def test_it_says_what_was_trained_and_how():
    shown = words(render_report(small_report()))
    for text in (
        "269,722",
        "train 100, val 20",
        "resnetkit train plain",
        "skipped plain",
        "model name plain",
        "stem –",
        "cat, dog, emu",
    ):
        assert text in shown, text


@pytest.mark.parametrize(("epochs", "charts"), [(0, 0), (1, 0), (2, 3)])
def test_short_runs_show_the_curves_they_have(epochs, charts):
    html = render_report(small_report(records=run_records(epochs)))
    assert html.count('class="chart"') == charts


def test_a_run_of_one_epoch_has_curves_by_step():
    steps = [
        {"kind": "train", "step": k, "loss": 1 / (k + 1), "learning_rate": 0.1} for k in range(3)
    ]
    assert render_report(small_report(records=steps)).count('class="chart"') == 2


def test_curves_say_the_best_score(whole):
    shown = words(section(render_report(whole), "Curves"))
    best = max(whole.records, key=lambda record: record["top1"])
    assert f"Best {100 * best['top1']:.2f} % after epoch {best['epoch'] + 1}" in shown


def test_the_weakest_classes_come_first(whole):
    rows = table_of(whole, "Per class (test)").rows
    scores = [row[4].value for row in rows]
    assert scores == sorted(scores)
    by_name = {row.name: row for row in whole.evaluations["test"].per_class}
    for name, images, precision, recall, f1, auroc, _ in rows:
        metrics = by_name[name]
        assert images == metrics.support
        assert (precision.value, precision.interval) == (
            metrics.precision,
            metrics.precision_interval,
        )
        assert (recall.value, recall.interval) == (metrics.recall, metrics.recall_interval)
        assert (f1.value, f1.interval) == (metrics.f1, metrics.f1_interval)
        assert (auroc.value, auroc.interval) == (metrics.auroc, metrics.auroc_interval)


def test_absent_classes_are_named():
    logits, labels = answer(60, 4)
    labels[labels == 3] = 0
    names = ("cat", "dog", "emu", "yak")
    metrics = compute_metrics(logits, labels, names, resamples=0)
    html = render_report(small_report(names, evaluations={"test": metrics}))
    assert "No image is of yak; the averages are over the other 3 classes." in words(html)


def test_confused_pairs_come_with_their_images(whole):
    rows = table_of(whole, "Confusion (test)").rows
    counts = [row[2] for row in rows]
    assert counts == sorted(counts, reverse=True)
    assert {tuple(row[:2]) for row in rows[:2]} == {("cat", "dog"), ("dog", "cat")}
    for true, said, _, _, pictures in rows:
        assert 1 <= len(pictures) <= 4
        for picture in pictures:
            assert f"{true}, taken for {said}" in picture.alt


@pytest.mark.parametrize("classes", [25, 26, 401])
def test_large_matrices_are_pictures(classes):
    names = tuple(f"class {k}" for k in range(classes))
    logits, labels = answer(600, classes)
    metrics = compute_metrics(logits, labels, names, resamples=0)
    html = section(
        render_report(small_report(names, evaluations={"test": metrics})), "Confusion (test)"
    )
    assert ('class="heat' in html) == (classes <= 25)
    assert ("2 x 2 classes" in html) == (classes > 400)


def test_nothing_confused_is_said():
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2]]
    metrics = compute_metrics(logits, np.arange(3), ("a", "b", "c"), resamples=0)
    html = render_report(small_report(evaluations={"test": metrics}))
    assert "No image was taken for another class." in html


def test_calibration_before_and_after(whole):
    shown = words(section(render_report(whole), "Calibration"))
    part = whole.reliability
    assert part.after.ece < part.before.ece
    assert f"{100 * part.before.ece:.2f} % {100 * part.after.ece:.2f} %" in shown
    assert f"a temperature of {part.confidence.calibration.temperature:.3g}" in shown
    assert "on average, where" in shown


def test_a_package_without_calibration_says_so():
    shown = words(section(render_report(multilabel_report()), "Calibration"))
    assert "have not been calibrated" in shown
    assert "Calibrated:" not in shown


def test_the_threshold_is_marked_where_it_lies(whole):
    html = section(render_report(whole), "When not to answer")
    assert ">threshold</text>" in html
    reached = whole.answering.at_threshold
    assert f"{100 * reached.coverage:.1f} % of the images" in words(html)
    rows = table_of(whole, "When not to answer").rows
    assert rows[0][0] == 1.0
    assert rows[0][1].value == pytest.approx(whole.evaluations["test"].top1)


def test_a_threshold_that_leaves_nothing_answered_says_so(whole):
    from dataclasses import replace

    answering = replace(whole.answering, at_threshold=None)
    html = render_report(replace(whole, answering=answering))
    assert "The threshold leaves no image answered." in html
    assert ">threshold</text>" not in html


def test_errors_stand_beside_their_maps(whole):
    html = section(render_report(whole), "Worst errors")
    count = len(whole.mistakes.surest) + len(whole.mistakes.furthest)
    assert html.count("<figure") == count
    assert html.count("<img") == 2 * count
    assert html.count("with its map") == count
    assert "its map by gradcam" in html


def test_robustness_has_a_row_for_each_corruption_and_their_mean(whole):
    html = section(render_report(whole), "Common corruptions")
    rows = re.findall(r'<tr(?: class="total")?><th scope="row">([^<]+)</th>', html)
    assert len(rows) == 16
    assert rows[-1] == "mean"
    assert f">{100 * whole.robustness.mean_error:.1f}</td></tr></tbody>" in html


def test_attacks_are_drawn_from_the_clean_accuracy_down(whole):
    blocks = next(
        one for one in describe_report(whole).sections if one.title == "Adversarial attacks"
    ).blocks
    chart = next(inner for one in blocks if isinstance(one, Beside) for inner in one.blocks)
    assert isinstance(chart, Chart)
    for line in chart.series:
        assert line.points[0] == (0.0, whole.attacks.clean.accuracy)
        assert [x for x, _ in line.points] == [0, 0.5, 1, 2, 4, 8]


def test_slices_label_errors_gate_sets_and_strangers(whole):
    html = render_report(whole)
    assert "of 6 slices, tested together" in words(section(html, "Slices")).lower()
    assert "41 labels are likely wrong" in section(html, "Likely label errors")
    gate = words(section(html, "What the data gate knows"))
    assert "31 with train" in gate
    assert f"{100 * whole.gate.without_shared.top1:.2f} %" in gate
    kept = "kept" if whole.sets.check.kept else "broken"
    assert f"Here the promise is {kept}" in section(html, "Prediction sets")
    assert "400 images of svhn" in section(html, "Images of another kind")


def test_several_classes_an_image_have_average_precision_and_no_confusion_matrix():
    report = multilabel_report()
    metrics = report.evaluations["test"]
    html = render_report(report)
    shown = words(html)
    assert f"Test mean average precision {100 * metrics.mean_average_precision:.2f} %" in shown
    assert "Confusion" not in html
    rows = table_of(report, "Per class (test)").rows
    scores = [row[2].value for row in rows]
    assert scores == sorted(scores)


def test_the_figures_are_those_of_the_metrics_and_never_nan(whole, tmp_path):
    write_reports(tmp_path, whole)
    text = (tmp_path / "metrics.json").read_text(encoding="utf-8")
    figures = json.loads(text, parse_constant=pytest.fail)
    metrics = whole.evaluations["test"]
    assert figures["split"] == "test"
    assert figures["source"] == "cifar10"
    assert figures["top1"] == metrics.top1
    assert figures["per_class"][3]["name"] == "cat"
    assert figures["reliability"]["after"]["ece"] == whole.reliability.after.ece
    assert figures["attacks"]["clean"]["right"] == whole.attacks.clean.right
    assert figures["mistakes"]["surest"][0]["name"] == whole.mistakes.surest[0].name
    assert figures["inside"] == {"loss": None}
    assert figures["made"]["contract"] == "9f2c1a77d0b4"
    assert "image" not in figures["mistakes"]["surest"][0]
    assert len(text) < 300_000
    assert (tmp_path / "report.html").read_text(encoding="utf-8").endswith("</html>\n")
    assert (tmp_path / "report.md").read_text(encoding="utf-8").startswith("# resnet20 on cifar10")


def test_anything_becomes_plain_data():
    value = {1: np.float32(2), "a": (np.nan, float("inf"), np.arange(2)), "b": {"c": None}}
    assert plain(value) == {"1": 2.0, "a": [None, None, [0, 1]], "b": {"c": None}}


def test_nothing_of_the_user_becomes_markup():
    names = [f"{HOSTILE} {k}" for k in range(30)]
    logits, labels = answer(200, 30)
    shown = samples(range(4), logits, labels, names, mapped=True)
    metrics = compute_metrics(logits, labels, names, resamples=0)
    html = render_report(
        small_report(
            names,
            text=HOSTILE,
            evaluations={HOSTILE: metrics},
            samples=shown,
            pair_samples={(0, 1): shown},
            origin={HOSTILE: HOSTILE},
        )
    )
    assert html.count("<script") == 1
    assert " onerror" not in html
    assert html.count("&lt;script src=") > 60


def test_a_thousand_classes_stay_small_and_fast(tmp_path):
    names = tuple(f"class number {k}" for k in range(1000))
    logits, labels = answer(4000, 1000)
    metrics = compute_metrics(logits, labels, names, resamples=0)
    started = time.process_time()
    write_reports(tmp_path, small_report(names, evaluations={"test": metrics}))
    assert time.process_time() - started < 10
    size = (tmp_path / "report.html").stat().st_size
    assert size < 5_000_000
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "980 more classes are in report.html." in text


def test_a_page_of_several_labels_says_how_many_images(tmp_path):
    labels = (np.random.default_rng(0).random((40, 3)) < 0.4).astype(np.float32)
    metrics = compute_multilabel_metrics(2 * labels - 1, labels, ("a", "b", "c"), resamples=0)
    write_report(tmp_path / "猫.html", small_report(text="猫", evaluations={"test": metrics}))
    html = (tmp_path / "猫.html").read_text(encoding="utf-8")
    assert "猫" in html
    assert "On 40 images of the test split" in html
