import json

import bright_square
import numpy as np
import pytest

from resnetkit.explanation.feature_map import map_features
from resnetkit.explanation.inside_report import InsideReport, NormFacts, PartFacts, UnitFacts
from resnetkit.explanation.pixel_curves import CurveConfig
from resnetkit.explanation.pointing import mark_regions
from resnetkit.explanation.randomised_weights import RandomisedConfig
from resnetkit.explanation.report_sections import write_feature_map, write_inside, write_trust
from resnetkit.explanation.trust import TrustConfig, check_method, prepare_trial
from resnetkit.page.blocks import Beside, Drawing, Fold, Notes, Table, Text
from resnetkit.page.html import write_section

HOSTILE = "<script>alert(1)</script>"


def inside(dead=0):
    part = PartFacts(
        name="stem",
        activation=1.0,
        gradient=0.1,
        weights=5.0,
        weight_gradient=0.2,
        effective_rank=12.0,
        rank_limit=64,
    )
    return InsideReport(
        images=256,
        classes=10,
        loss=0.3,
        parts=(part, part),
        units=(UnitFacts(name="relu", units=64, dead=dead, active_share=0.4),),
        norms=(NormFacts(name="bn1", channels=64, drift=0.01, worst_drift=0.3, worst_channel=5),),
    )


def of_kind(extra, kind):
    return [block for block in extra.section.blocks if isinstance(block, kind)]


def test_inside_has_every_part_and_what_is_unusual():
    extra = write_inside(inside())
    assert of_kind(extra, Table)[0].rows[0] == ["stem", 1.0, 0.1, 12.0, 64, 5.0, 0.2]
    assert of_kind(extra, Notes) == []
    assert "Nothing unusual." in [text.text for text in of_kind(extra, Text)]
    assert [len(fold.blocks[0].rows) for fold in of_kind(extra, Fold)] == [1, 1]
    assert json.dumps(extra.figures, allow_nan=False)
    notes = of_kind(write_inside(inside(dead=30)), Notes)
    assert "30 of 64 channels" in notes[0].items[0]


def test_the_feature_map_is_escaped():
    labels = np.repeat([0, 1], 8)
    features = np.random.default_rng(0).normal(labels[:, None], 1, (16, 4)).astype(np.float32)
    extra = write_feature_map(
        map_features(features), labels, [HOSTILE, "b"], [f"{HOSTILE} {k}" for k in range(16)]
    )
    html = write_section(extra.section)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 8
    assert " style=" not in html  # the page's policy would not let it in
    assert of_kind(extra, Drawing)
    assert extra.figures["images"] == 16


@pytest.mark.parametrize("boxes", [True, False])
def test_maps_to_believe_come_first_and_controls_stay_below(one_thread, boxes):
    examples, corners = bright_square.examples(16)
    regions = mark_regions([one[None] for one in corners], examples.size) if boxes else None
    config = TrustConfig(
        curves=CurveConfig(steps=5, insertion="zero"),
        randomised=RandomisedConfig(draws=2, pictures=8),
    )
    trial = prepare_trial(bright_square.trained(), examples, "single-label", regions, config)
    methods = {"noise": bright_square.noise, "faithful": bright_square.faithful}
    reports = [check_method(trial, name, method) for name, method in methods.items()]
    extra = write_trust(reports, trial)
    table = of_kind(extra, Table)[0]
    believed = [row[1] for row in table.rows]
    assert believed == sorted(believed)  # "believe" before "do not believe"
    assert [row[0] for row in table.totals] == ["random order", "middle"]
    assert len(table.columns) == (9 if boxes else 7)
    charts = of_kind(extra, Beside)[0].blocks
    assert [chart.title for chart in charts] == ["Insertion", "Deletion"]
    assert {len(chart.series) for chart in charts} == {4}
    assert len(write_section(extra.section)) > 1000
    assert [one["method"] for one in extra.figures] == [row[0] for row in table.rows]
