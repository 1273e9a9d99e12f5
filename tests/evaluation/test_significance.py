"""Tests of one difference and of many, against scipy and by their definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, hypergeom, norm

from resnetkit.evaluation.significance import (
    exact_mcnemar,
    fisher_exact,
    holm,
    resampled_p_value,
)


@given(lost=st.integers(0, 40), gained=st.integers(0, 40))
@settings(deadline=None, max_examples=50)
def test_mcnemars_is_scipys_exact_binomial_test(lost, gained):
    expected = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert exact_mcnemar(lost, gained) == pytest.approx(expected, rel=1e-9)


def test_thousands_of_images_are_no_problem():
    assert 0 < exact_mcnemar(5000, 4000) < 1e-20
    assert exact_mcnemar(5000, 5000) == 1.0
    assert exact_mcnemar(0, 5000) == 0.0  # 2 ** -4999 is below the smallest float


def test_fishers_sums_the_tables_that_are_no_likelier():
    # 3 of 4 against 1 of 6: all tables with 4 right of 10.
    ways = hypergeom(10, 4, 4)
    expected = sum(p for p in ways.pmf(range(5)) if p <= ways.pmf(3) * (1 + 1e-9))
    assert fisher_exact((3, 4), (1, 6)) == pytest.approx(expected)
    assert fisher_exact((5, 10), (5, 10)) == pytest.approx(1.0)
    assert fisher_exact((4, 4), (4, 4)) == 1.0


def test_resampled_differences_are_tested_as_normal_without_their_bias():
    values = np.random.default_rng(0).normal(0.12, 0.05, 100_000)
    expected = 2 * norm.sf(0.08 / 0.05)  # 0.1 measured, resamples 0.02 higher: 0.08 is left
    assert resampled_p_value(values, 0.1) == pytest.approx(expected, rel=0.03)
    known = np.concatenate([values, [np.nan]])
    assert resampled_p_value(known, 0.1) == resampled_p_value(values, 0.1)


@pytest.mark.parametrize(
    ("values", "estimate", "expected"),
    [
        ([], 0.1, None),
        ([0.1], 0.1, None),
        ([np.nan] * 3, 0.1, None),
        ([0.0] * 5, 0.0, 1.0),
        ([-0.1] * 5, -0.1, 0.0),
    ],
)
def test_resamples_without_spread(values, estimate, expected):
    assert resampled_p_value(np.array(values, float), estimate) == expected


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, None, 0.9]) == [1.0, None, 1.0]
    assert holm([]) == []
    assert holm([None]) == [None]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
@settings(deadline=None, max_examples=50)
def test_holm_is_the_closed_test_of_bonferronis(p_values):
    """Rejected is what every set of hypotheses that holds it rejects (Marcus et al. 1976)."""
    adjusted = holm(p_values)
    places = range(len(p_values))
    for place in places:
        sets = [
            chosen
            for size in range(1, len(p_values) + 1)
            for chosen in itertools.combinations(places, size)
            if place in chosen
        ]
        worst = max(min(1.0, len(s) * min(p_values[i] for i in s)) for s in sets)
        assert adjusted[place] == pytest.approx(worst)
