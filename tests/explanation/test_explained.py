"""One map as files and as a line of facts."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnetkit.data.lettering import Pen
from resnetkit.explanation import explained as module
from resnetkit.explanation.attribution import Attribution
from resnetkit.explanation.explained import (
    as_record,
    describe_explanation,
    draw_explanation,
    raw_map,
)
from resnetkit.explanation.subjects import Shown, Subject

SUBJECT = Subject(
    file=Path("/x/cow/7.png"),
    name="x/cow/7.png",
    says="predicted bee 70.0%",
    label="bee",
    probability=0.7,
    target="cow",
    target_number=2,
    target_probability=0.1,
    multi_label=False,
    folder_class="cow",
)
SHOWN = Shown(
    subjects=(SUBJECT,),
    pixels=torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
    images=torch.zeros(1, 3, 8, 8),
    targets=torch.tensor([2]),
)
SIGNED = torch.linspace(-1, 1, 64).view(1, 8, 8)
FOUND = Attribution(
    method="gradcam",
    stage="stage3",
    maps=SIGNED.clamp(min=0),
    signed=SIGNED,
    resolution=(2, 2),
    facts={"concentration": (0.3,), "share_for": (None,)},
    settings={},
)
BASE = Path("out/7.gradcam++")


@pytest.fixture
def captions(monkeypatch):
    """What is written on the pictures that are drawn."""
    seen = []

    def draw(_pen, _image, _heat, caption):
        seen.append(caption)
        return Image.new("RGB", (4, 4))

    monkeypatch.setattr(module, "draw_overlay", draw)
    return seen


def draw(found, heat=None):
    one = describe_explanation(SHOWN, found, 0, BASE)
    shown = found.maps[0].numpy() if heat is None else heat
    return draw_explanation(Pen([]), SHOWN.pixels[0].numpy(), shown, one)


def test_a_record_has_all_that_is_known_and_is_json():
    one = describe_explanation(SHOWN, FOUND, 0, BASE)
    record = json.loads(json.dumps(as_record(one), allow_nan=False))
    assert record == {
        "image": "x/cow/7.png",
        "label": "bee",
        "probability": 0.7,
        "folder_class": "cow",
        "target": "cow",
        "target_probability": 0.1,
        "method": "gradcam",
        "stage": "stage3",
        "resolution": [2, 2],
        "signed": True,
        "settings": {},
        "facts": {"concentration": 0.3, "share_for": None},
        "overlay": "7.gradcam++.png",
        "map": "7.gradcam++.npy",
    }


def test_the_raw_map_is_signed_where_signs_mean_something():
    assert np.array_equal(np.load(io.BytesIO(raw_map(FOUND, 0))), SIGNED[0].numpy())
    unsigned = replace(FOUND, signed=None)
    loaded = np.load(io.BytesIO(raw_map(unsigned, 0)))
    assert loaded.dtype == np.float32
    assert np.array_equal(loaded, FOUND.maps[0].numpy())


def test_the_caption_says_what_the_map_is(captions):
    draw(replace(FOUND, facts={"share_for": (0.6,)}))
    (caption,) = captions
    assert caption.heading == "predicted bee 70.0%"
    assert caption.explained == "cow (10.0%) by gradcam at stage3"
    assert caption.shows == "where it finds evidence"
    assert caption.notes == (
        "resolves 2x2, enlarged to 8x8",
        "60% of the evidence is for the class, the rest against it",
    )
    assert caption.name == "x/cow/7.png"


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (0.012, "adds up to the logit with an error of 1.2%"),
        (0.2, "adds up to the logit with an error of 20.0%; take more integration steps"),
    ],
)
def test_the_caption_says_how_complete_a_map_is(captions, error, note):
    facts = {"completeness_error": (error,)}
    whole = replace(
        FOUND, stage=None, resolution=(8, 8), facts=facts, method="integrated-gradients"
    )
    draw(whole)
    assert captions[0].notes == (note,)
    assert captions[0].explained == "cow (10.0%) by integrated-gradients"


def test_the_caption_says_where_there_is_no_evidence(captions):
    draw(replace(FOUND, signed=None, method="smoothgrad"), np.zeros((8, 8), np.float32))
    assert captions[0].notes[0] == "no evidence for this class: the map is 0 everywhere"
    assert captions[0].shows == "where pixels matter"


def test_the_picture_is_drawn():
    assert Image.open(io.BytesIO(draw(FOUND))).format == "PNG"
