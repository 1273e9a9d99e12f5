import numpy as np
import pytest

from resnetkit.evaluation.conformal import (
    SCORES,
    Conformal,
    check_coverage,
    draws,
    fewest_images,
    fit_conformal,
    prediction_sets,
)
from resnetkit.evaluation.intervals import wilson_interval
from resnetkit.evaluation.probabilities import probabilities
from resnetkit.types import UserError

NAMES = ("a", "b", "c", "d")


def draw(images, seed, sharper=2.0):
    """Logits that are `sharper` than the truth their labels are drawn from."""
    generator = np.random.default_rng(seed)
    true = generator.normal(0, 1.5, (images, len(NAMES)))
    sums = probabilities(true, "single-label").cumsum(1)
    labels = (generator.random((images, 1)) > sums[:, :-1]).sum(1).astype(np.int64)
    return (true * sharper).astype(np.float32), labels


@pytest.mark.parametrize("method", list(SCORES))
@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_sets_hold_the_truth_as_often_as_promised(method, coverage):
    trials, fitted, judged = 150, 99, 200
    checks = []
    for seed in range(trials):
        logits, labels = draw(fitted + judged, seed)
        found = fit_conformal(logits[:fitted], labels[:fitted], coverage, method, seed)
        sets = prediction_sets(logits[fitted:], found, np.arange(fitted, fitted + judged))
        checks.append(check_coverage(sets, labels[fitted:], found, NAMES))
    # (fitted + 1) * coverage is whole, so that the promise is kept exactly on average.
    spread = np.sqrt(coverage * (1 - coverage) * (1 / judged + 1 / (fitted + 2)) / trials)
    mean = np.mean([check.covered for check in checks])
    assert mean == pytest.approx(coverage, abs=4 * spread)
    inside = np.mean([one.expected[0] <= one.covered <= one.expected[1] for one in checks])
    assert inside > 0.95 - 4 * np.sqrt(0.05 * 0.95 / trials)
    assert np.mean([one.kept for one in checks]) >= inside


def test_aps_keeps_its_promise_for_hard_images_as_for_easy_ones():
    logits, labels = draw(20000, 0, sharper=1.0)
    sure = probabilities(logits[10000:], "single-label").max(1)
    parts = np.digitize(sure, np.quantile(sure, (0.2, 0.4, 0.6, 0.8)))
    spreads, sizes = {}, {}
    for method in ("aps", "lac"):
        found = fit_conformal(logits[:10000], labels[:10000], 0.8, method)
        sets = prediction_sets(logits[10000:], found, np.arange(10000, 20000))
        held = sets[np.arange(10000), labels[10000:]]
        covered = [held[parts == part].mean() for part in range(5)]
        spreads[method], sizes[method] = max(covered) - min(covered), sets.sum(1).mean()
    assert spreads["aps"] < 0.06 < spreads["lac"]
    assert sizes["lac"] < sizes["aps"]  # the smallest on average


def test_the_quantile_is_the_next_score_up():
    shares = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    found = fit_conformal(np.log(shares), np.zeros(4, np.int64), 0.75)
    # ceil(5 * 0.75) = 4th of 0.1, 0.2, 0.3, 0.4
    assert found.quantile == pytest.approx(0.4)
    assert found.images == 4
    assert found.mean_size == 1.0
    sets = prediction_sets(np.log([[0.65, 0.35], [0.5, 0.5], [0.61, 0.39]]), found)
    assert sets.tolist() == [[True, False], [False, False], [True, False]]


def test_aps_scores_are_what_the_paper_says():
    shares = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    drawn = np.array([0.25, 1.0])
    scores = SCORES["aps"](shares, drawn)
    expected = [[0.8 + 0.05, 0.125, 0.5 + 0.075], [0.9, 1.0, 0.8]]
    np.testing.assert_allclose(scores, expected)


def test_a_draw_is_a_function_of_seed_and_key():
    keys = np.arange(20000)
    one = draws(0, keys)
    assert np.array_equal(one, draws(0, keys))
    assert np.array_equal(one[::-1], draws(0, keys[::-1]))
    assert not np.array_equal(one, draws(1, keys))
    assert ((one >= 0) & (one < 1)).all()
    counts = np.bincount((one * 20).astype(int), minlength=20)
    assert counts.min() > 850
    assert counts.max() < 1150
    assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 0.03
    assert abs(np.corrcoef(one, draws(1, keys))[0, 1]) < 0.03


def test_the_same_key_gives_the_same_set():
    logits, labels = draw(500, 0)
    found = fit_conformal(logits, labels, 0.9, "aps")
    keys = np.random.default_rng(0).integers(0, 2**63, 500).astype(np.uint64)
    sets = prediction_sets(logits, found, keys)
    order = np.random.default_rng(1).permutation(500)
    assert np.array_equal(prediction_sets(logits[order], found, keys[order]), sets[order])
    assert not np.array_equal(prediction_sets(logits, found, keys + np.uint64(1)), sets)


def test_coverage_is_told_class_by_class():
    found = Conformal(coverage=0.9, quantile=0.5, images=100, mean_size=1.0)
    sets = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]], bool)
    check = check_coverage(sets, np.array([0, 1, 0, 0]), found, NAMES)
    assert check.covered == 0.5
    assert (check.empty, check.single, check.mean_size) == (0.25, 0.5, 1.0)
    assert [one.images for one in check.per_class] == [3, 1, 0, 0]
    assert check.per_class[0].covered == pytest.approx(1 / 3)
    assert check.per_class[0].interval == wilson_interval(1, 3)
    assert check.per_class[2].covered is None
    assert check.per_class[2].interval is None
    assert check.promised == 0.9
    assert check.kept == (check.expected[0] <= 0.5)


def test_a_broken_promise_is_seen():
    logits, labels = draw(2000, 0)
    found = fit_conformal(logits[:1000], labels[:1000], 0.9)
    assert check_coverage(prediction_sets(logits[1000:], found), labels[1000:], found, NAMES).kept
    elsewhere = np.roll(labels[1000:], 1)
    check = check_coverage(prediction_sets(logits[1000:], found), elsewhere, found, NAMES)
    assert not check.kept


@pytest.mark.parametrize(
    ("coverage", "needed"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99), (0.85, 6)]
)
def test_how_many_images_a_coverage_needs(coverage, needed):
    assert fewest_images(coverage) == needed
    logits, labels = draw(needed, 0)
    assert fit_conformal(logits, labels, coverage).images == needed
    with pytest.raises(UserError, match=rf"need {needed} or more images .*, got {needed - 1};"):
        fit_conformal(logits[1:], labels[1:], coverage)


def test_what_cannot_be_promised_is_refused():
    logits, labels = draw(50, 0)
    for coverage in (0.0, 1.0, -0.5, float("nan")):
        with pytest.raises(UserError, match="sets must be above 0 and below 1, got "):
            fit_conformal(logits, labels, coverage)
    several = np.ones((50, 4), np.float32)
    with pytest.raises(UserError, match=r"Prediction sets are for images of one class; .* a set "):
        fit_conformal(logits, several, 0.9, task="multi-label")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "raps"}, r"conformal\.method must be one of \['lac', 'aps'\], got 'raps'"),
        ({"coverage": 1.0}, r"conformal\.coverage must lie between 0 and 1, got 1\.0"),
        ({"quantile": -0.1}, r"conformal\.quantile must lie in 0…1, got -0\.1"),
        ({"quantile": float("nan")}, r"conformal\.quantile must lie in 0…1, got nan"),
        ({"images": 8}, r"conformal\.images must be 9 or more for a coverage of 0\.9, got 8"),
    ],
)
def test_sets_that_cannot_be_are_refused(change, message):
    good = {"coverage": 0.9, "quantile": 0.5, "images": 9, "mean_size": 1.0}
    Conformal(**good)
    with pytest.raises(UserError, match=message):
        Conformal(**{**good, **change})
