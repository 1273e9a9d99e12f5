import json
from dataclasses import replace

import numpy as np

from resnetkit.explanation.feature_map import map_features
from resnetkit.explanation.inside_report import InsideReport, NormFacts, PartFacts, UnitFacts
from resnetkit.explanation.inside_section import write_feature_map, write_inside
from resnetkit.page.blocks import Document
from resnetkit.page.html import write_section
from resnetkit.page.markdown import render_markdown

PART = PartFacts(
    name="stage1",
    activation=0.731,
    gradient=0.0213,
    weights=14.2,
    weight_gradient=0.5,
    effective_rank=21.4,
    rank_limit=64,
)
REPORT = InsideReport(
    images=256,
    classes=3,
    loss=0.25,
    parts=(PART, replace(PART, name="stage2"), replace(PART, name="head")),
    units=(UnitFacts(name="layer1.0.activation #1", units=64, dead=30, active_share=0.4),),
    norms=(NormFacts(name="bn1", channels=64, drift=0.02, worst_drift=0.3, worst_channel=5),),
)


def test_a_report_names_parts_layers_and_what_is_unusual():
    extra = write_inside(REPORT)
    assert json.loads(json.dumps(extra.figures, allow_nan=False))["unusual"]
    text = write_section(extra.section)
    for said in ("stage1", "0.731", "21.4", "14.2", "layer1.0.activation #1", "bn1", "1 ReLUs"):
        assert said in text
    assert "30 of 64 channels are 0 everywhere" in text
    sound = replace(REPORT, units=(), norms=())
    text = write_section(write_inside(sound).section)
    assert "Nothing unusual." in text
    assert "ReLUs" not in text


def test_a_map_is_drawn_in_html_and_told_in_markdown():
    labels = np.arange(12) % 3
    features = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    names = [f"<{number}>.png" for number in range(12)]
    extra = write_feature_map(map_features(features), labels, ["a", "b", "<c>"], names)
    text, section = write_section(extra.section), extra.section
    assert extra.figures["images"] == 12
    assert " style=" not in text  # the page's policy would not let it in
    assert text.count("<path data-row=") == 12
    assert "<c>" not in text
    assert "Across: first direction (" in text
    told = render_markdown(Document(title="t", lead="l", sections=[section]))
    assert "what lies together here may be apart in the others" in told
