import bright_square
import pytest

from resnetkit.explanation.pixel_curves import CurveConfig
from resnetkit.explanation.pointing import mark_regions
from resnetkit.explanation.randomised_weights import RandomisedConfig
from resnetkit.explanation.trust import TrustConfig, check_method, prepare_trial
from resnetkit.explanation.trust_section import write_trust
from resnetkit.page.blocks import Beside, Chart, Document, Notes, Table, Text
from resnetkit.page.html import write_section
from resnetkit.page.markdown import render_markdown

CONFIG = TrustConfig(
    curves=CurveConfig(steps=5, insertion="zero"),
    randomised=RandomisedConfig(draws=2, pictures=8),
)
METHODS = {"noise": bright_square.noise, "faithful": bright_square.faithful}


@pytest.fixture(scope="module")
def checked(one_thread):
    """A trial with boxes, and what it says of two methods."""
    examples, corners = bright_square.examples(16)
    regions = mark_regions([one[None] for one in corners], examples.size)
    trial = prepare_trial(bright_square.trained(), examples, "single-label", regions, CONFIG)
    return [check_method(trial, name, method) for name, method in METHODS.items()], trial


def of_kind(extra, kind):
    return [block for block in extra.section.blocks if isinstance(block, kind)]


def test_maps_to_believe_come_first_and_controls_stay_below(checked):
    reports, trial = checked
    extra = write_trust(reports, trial, 0.75, ())
    (table,) = of_kind(extra, Table)
    believed = [row[1] for row in table.rows]
    assert believed == sorted(believed)  # "believe" before "do not believe"
    assert [row[0] for row in table.totals] == ["random order", "middle"]
    titles = [column.title for column in table.columns]
    assert {len(row) for row in (*table.rows, *table.totals)} == {len(titles)} == {11}
    row = dict(zip(titles, table.rows[0], strict=True))
    report = next(one for one in reports if one.method == row["Map"])
    assert row["Decisions kept there"] == report.randomised.decisive.decisions_kept
    assert row["Small objects ↑"].value == report.pointing.hard.share
    chance = dict(zip(titles, table.totals[0], strict=True))
    assert chance["Pointing game ↑"] == report.pointing.random
    said = [block.text for block in of_kind(extra, Text)]
    for report in reports:
        assert f"{report.method}: {report.verdict}." in said
    assert len(write_section(extra.section)) > 1000
    assert [one["method"] for one in extra.figures["methods"]] == list(METHODS)


def test_curves_and_forgetting_are_drawn_of_every_method(checked):
    extra = write_trust(*checked, 0.75, ())
    charts = of_kind(extra, Beside)[0].blocks
    assert [chart.title for chart in charts] == ["Insertion", "Deletion"]
    assert {len(chart.series) for chart in charts} == {4}
    (forgetting,) = of_kind(extra, Chart)
    lines = {line.label: line.points for line in forgetting.series}
    assert set(lines) == {*METHODS, "limit"}
    cascade = checked[0][1].randomised.cascade
    assert lines["faithful"][-1] == (len(cascade), cascade[-1].similarity.mean)
    assert "head, stage2, stage1, stem" in forgetting.says


def test_what_was_left_out_is_said_and_escaped(checked):
    extra = write_trust(*checked, 0.75, ["3 of 19 | pictures <b>have</b> no box"])
    assert extra.figures["notes"] == ["3 of 19 | pictures <b>have</b> no box"]
    assert extra.figures["recognised"] == 0.75
    assert of_kind(extra, Notes)
    text = render_markdown(Document(title="t", lead="l", sections=[extra.section]))
    assert r"3 of 19 \| pictures \<b\>have\</b\> no box" in text
    assert "16 pictures; the network recognises the explained class in 75.0" in text
    assert "<b>" not in write_section(extra.section)


def test_without_boxes_there_is_no_pointing_game(checked):
    examples = checked[1].examples
    trial = prepare_trial(bright_square.trained(), examples, "single-label", None, CONFIG)
    report = check_method(trial, "noise", bright_square.noise)
    (table,) = of_kind(write_trust([report], trial, 0.5, ()), Table)
    assert {len(row) for row in (*table.rows, *table.totals)} == {len(table.columns)} == {8}
