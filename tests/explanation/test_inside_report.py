import json
from dataclasses import replace

import pytest

from resnetkit.explanation.inside_report import InsideReport, NormFacts, PartFacts, UnitFacts


def part(name, **changes):
    facts = {
        "activation": 1.0,
        "gradient": 0.1,
        "weights": 5.0,
        "weight_gradient": 0.2,
        "effective_rank": 12.0,
        "rank_limit": 64,
    }
    return PartFacts(name=name, **{**facts, **changes})


SOUND = InsideReport(
    images=256,
    classes=10,
    loss=0.3,
    parts=(part("stem"), part("stage1"), part("stage2"), part("head", effective_rank=6.0)),
    units=(UnitFacts(name="layer1.0.activation #1", units=64, dead=2, active_share=0.4),),
    norms=(
        NormFacts(name="bn1", channels=64, drift=0.01, worst_drift=0.3, worst_channel=5),
        NormFacts(name="layer1.0.bn1", channels=64, drift=0.03, worst_drift=0.2, worst_channel=9),
    ),
)


def with_part(number, **changes):
    parts = list(SOUND.parts)
    parts[number] = replace(parts[number], **changes)
    return replace(SOUND, parts=tuple(parts))


def test_nothing_unusual_is_said_so():
    assert SOUND.unusual == ()
    assert json.loads(json.dumps(SOUND.as_dict(), allow_nan=False))["unusual"] == []


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (replace(SOUND, images=12), "only 12 images: units may seem dead"),
        (with_part(1, activation=float("nan")), "stage1: not all values are finite"),
        (with_part(2, weights=0.0), "stage2: all weights are zero"),
        (with_part(2, activation=40.0), "stage2: activations of 40 after 1 in stage1"),
        (with_part(0, activation=0.0), "stage1: activations of 1 after 0 in stem"),
        (with_part(0, gradient=1e-4), "stem: a gradient of 1.00e-04 where stage1 has 1.00e-01"),
        (with_part(2, effective_rank=3.0), "stage2: the features that enter the head use 3.0"),
        (
            replace(SOUND, units=(replace(SOUND.units[0], dead=9),)),
            "layer1.0.activation #1: 9 of 64 channels are 0 everywhere",
        ),
        (
            replace(SOUND, norms=(replace(SOUND.norms[0], drift=0.4, worst_drift=2.0),)),
            "bn1: what it receives is 0.4 nats from its running statistics",
        ),
        (
            replace(SOUND, norms=(replace(SOUND.norms[0], worst_drift=2.0),)),
            "bn1: what channel 5 receives is 2 nats from its running statistics",
        ),
    ],
)
def test_what_is_unusual_is_told_with_its_reason(report, said):
    assert len(report.unusual) == 1, report.unusual
    assert report.unusual[0].startswith(said)
    assert report.as_dict()["unusual"] == list(report.unusual)


def test_few_features_or_images_are_no_collapse():
    narrow = with_part(2, effective_rank=3.0, rank_limit=8)
    assert narrow.unusual == ()


def test_no_gradient_at_all():
    silent = replace(SOUND, parts=tuple(replace(one, gradient=0.0) for one in SOUND.parts))
    assert silent.unusual[0].startswith("the loss has no gradient anywhere")
