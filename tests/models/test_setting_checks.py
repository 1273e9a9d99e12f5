from __future__ import annotations

import pytest

from resnetkit.models.setting_checks import check_choice, check_positive, check_rate
from resnetkit.types import UserError


def test_unknown_choice_is_refused_with_all_choices_and_the_nearest():
    with pytest.raises(UserError, match=r"norm: needs one of batch, group, got 'bacth'.*'batch'"):
        check_choice("norm", "bacth", {"batch": 1, "group": 2})


def test_known_choice_passes():
    check_choice("norm", "group", ["batch", "group"])


@pytest.mark.parametrize("rate", [-0.1, 1.0, 2.0, float("nan")])
def test_rates_that_keep_nothing_are_refused(rate):
    with pytest.raises(UserError, match="dropout: needs a probability"):
        check_rate("dropout", rate)


@pytest.mark.parametrize("values", [(), (0,), (3, -1)])
def test_counts_below_one_are_refused(values):
    with pytest.raises(UserError, match="stage_depths: needs whole numbers of at least 1"):
        check_positive("stage_depths", *values)
