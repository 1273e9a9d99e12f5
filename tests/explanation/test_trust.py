import json
from dataclasses import replace

import bright_square
import pytest
import torch

from resnetkit.explanation.examples import Mean
from resnetkit.explanation.pixel_curves import CurveConfig
from resnetkit.explanation.pointing import mark_regions
from resnetkit.explanation.randomised_weights import RandomisedConfig
from resnetkit.explanation.trust import (
    TrustConfig,
    check_method,
    decide,
    prepare_trial,
    probabilities_of,
    share_recognised,
)

CONFIG = TrustConfig(
    curves=CurveConfig(steps=10, insertion="zero"), randomised=RandomisedConfig(draws=4)
)
METHODS = {
    "faithful": bright_square.faithful,
    "edges": bright_square.edges,
    "noise": bright_square.noise,
}


def make_trial(boxes=True, count=32):
    examples, corners = bright_square.examples(count)
    regions = mark_regions([one[None] for one in corners], examples.size) if boxes else None
    return prepare_trial(bright_square.trained(), examples, "single-label", regions, CONFIG)


@pytest.fixture(scope="module")
def trial(one_thread):
    return make_trial()


@pytest.fixture(scope="module")
def reports(trial):
    return {name: check_method(trial, name, METHODS[name]) for name in METHODS}


def test_a_faithful_map_passes_everything(reports):
    found = reports["faithful"]
    assert found.believed, found.verdict
    assert len(found.because) == 3
    assert found.verdict.startswith("believe, because it depends on the weights (rank correlation ")
    assert found.gain_over_shifted.interval[0] > 0.2
    assert found.gain_over_random.interval[0] > 0
    assert found.gain_over_centre.interval[0] > 0
    assert found.pointing.points.share > 0.9
    assert found.pointing.energy.mean > 2 * found.pointing.area
    assert found.flat == 0


def test_noise_fails_where_it_should(reports):
    found = reports["noise"]
    assert not found.believed
    assert found.randomised.depends
    said = "; ".join(found.because)
    assert "the network does not use the pixels it names more than others" in said
    assert "it does not point at the objects" in said or "less often than the middle" in said
    assert not found.pointing.finds
    assert "weights" not in said


def test_an_edge_detector_looks_fine_and_fails(reports):
    found = reports["edges"]
    assert found.gain_over_shifted.interval[0] > 0.2, "the network does use what it names"
    assert found.pointing.finds, "and it does point at the objects"
    assert not found.believed
    (reason,) = found.because
    assert reason.startswith("it shows the picture more than the network: rank correlation 1.00, ")
    assert reason.endswith("with maps of networks that have learnt nothing")


def test_without_boxes_there_are_two_checks(trial):
    found = check_method(make_trial(boxes=False, count=8), "faithful", bright_square.faithful)
    assert found.pointing is None
    assert len(found.because) <= 2
    json.dumps(found.as_dict(), allow_nan=False)


def test_maps_that_say_nothing_are_not_believed(trial, reports):
    good = reports["faithful"]
    believed, because = decide(good.randomised, good.gain_over_shifted, good.pointing, 0.6)
    assert not believed
    assert because == ("it says nothing of 60.0 % of the pictures",)
    unsure = Mean(mean=0.3, interval=(-0.01, 0.61))
    assert not decide(good.randomised, unsure, None, 0.0)[0]


def test_curves_are_taken_of_some_pictures_where_there_are_many(one_thread):
    examples, _ = bright_square.examples(12)
    curves = CurveConfig(steps=4, pictures=5)
    some = TrustConfig(curves=curves, randomised=RandomisedConfig(draws=1, pictures=4))
    trial = prepare_trial(bright_square.trained(), examples, "single-label", None, some)
    assert trial.random.deletion.shape == (5, 5)
    found = check_method(trial, "edges", bright_square.edges)
    assert found.pictures == 12
    assert found.randomised.pictures == 4


def test_everything_is_json_and_the_same_again(trial, reports):
    record = reports["edges"].as_dict()
    text = json.dumps(record, allow_nan=False)
    assert json.loads(text)["verdict"] == reports["edges"].verdict
    assert record["depends_on_weights"] is False
    again = check_method(trial, "edges", bright_square.edges).as_dict()
    for one in (record, again):
        del one["milliseconds"]
    assert record == again


def test_signs_are_weighed_where_a_map_has_them_and_nowhere_else():
    """A method whose signs the weights decide, though it always shows the same picture."""

    def signed(network):
        sign = 1.0 if network is bright_square.trained() else -1.0
        return lambda images, targets: sign * (images[:, 0] - images[:, 0].mean())

    def cut_off(network):
        return lambda images, targets: signed(network)(images, targets).clamp(min=0)

    examples, _ = bright_square.examples(6)
    few = replace(CONFIG, randomised=RandomisedConfig(draws=1, pictures=4))
    trial = prepare_trial(bright_square.trained(), examples, "single-label", None, few)
    found = check_method(trial, "signed", cut_off, signed)
    last = found.randomised.decisive
    assert last.rank_correlation == pytest.approx(-1)
    assert last.absolute_rank_correlation == pytest.approx(1)
    assert not found.randomised.depends
    plain = check_method(trial, "cut off", cut_off)
    assert plain.curves.insertion == found.curves.insertion
    last = plain.randomised.decisive
    assert last.absolute_rank_correlation == last.rank_correlation < 1


def test_what_is_recognised_follows_the_task(trial):
    assert share_recognised(trial, "single-label") > 0.9
    assert 0 <= share_recognised(trial, "multi-label") <= 1


def test_probabilities_follow_the_task():
    logits = torch.tensor([[0.0, 0.0]])
    assert probabilities_of(lambda images: logits, "single-label")(logits).tolist() == [[0.5, 0.5]]
    three = torch.tensor([[3.0, 3.0]])
    several = probabilities_of(lambda images: three, "multi-label")(three)
    assert several.allclose(torch.sigmoid(three))
