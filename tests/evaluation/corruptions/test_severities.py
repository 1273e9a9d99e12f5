"""Which parameters are for which size."""

from __future__ import annotations

from resnetkit.evaluation.corruptions.catalogue import CORRUPTIONS
from resnetkit.evaluation.corruptions.severities import PARAMETERS, choose_parameter_set


def test_the_parameters_follow_the_size():
    sides = {28: "cifar", 32: "cifar", 45: "cifar", 46: "tiny-imagenet", 64: "tiny-imagenet"}
    sides |= {96: "tiny-imagenet", 119: "tiny-imagenet", 120: "imagenet", 224: "imagenet"}
    for side, name in sides.items():
        assert choose_parameter_set(side, side) == name
        assert choose_parameter_set(side, 2 * side) == choose_parameter_set(2 * side, side) == name
    assert PARAMETERS.keys() == CORRUPTIONS.keys()
    for by_set in PARAMETERS.values():
        assert list(by_set) == ["cifar", "tiny-imagenet", "imagenet"]
        assert {len(row) for row in by_set.values()} == {5}
