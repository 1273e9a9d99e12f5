"""Occlusion: what falls when a square is covered, and squares that cannot be."""

from __future__ import annotations

import pytest
import torch
from explanation_nets import build_network, draw_images
from torch import nn

from resnetkit.explanation.attribution import attribute
from resnetkit.explanation.attribution_settings import AttributionSettings
from resnetkit.explanation.occlusion import choose_window
from resnetkit.types import UserError

pytestmark = pytest.mark.usefixtures("one_thread")


class Corner(nn.Module):
    """Class 0 is the sum of the upper left 2x2 pixels, class 1 its negative."""

    def __init__(self):
        super().__init__()
        self.sign = nn.Parameter(torch.tensor([1.0, -1.0]))

    def forward(self, images):
        return images[:, :, :2, :2].sum((1, 2, 3))[:, None] * self.sign


def test_the_fall_is_shared_by_the_squares_that_cover_a_pixel():
    images = torch.ones(2, 1, 4, 6)
    settings = AttributionSettings(occlusion_window=2, occlusion_stride=2)
    found = attribute(Corner(), images, torch.tensor([0, 1]), "occlusion", settings=settings)
    expected = torch.zeros(2, 4, 6)
    expected[0, :2, :2], expected[1, :2, :2] = 4.0, -4.0
    torch.testing.assert_close(found.signed, expected)
    torch.testing.assert_close(found.maps, expected.clamp(min=0))
    overlapping = AttributionSettings(occlusion_window=2, occlusion_stride=1)
    found = attribute(Corner(), images, torch.tensor([0, 1]), "occlusion", settings=overlapping)
    first = found.signed[0]
    assert first[0, 0] == 4  # covered once, with the whole corner
    assert first[0, 1] == pytest.approx((4 + 2) / 2)
    assert first[1, 1] == pytest.approx((4 + 2 + 2 + 1) / 4)
    assert first[2, 2] == pytest.approx(1 / 4)
    assert first[1, 2] == pytest.approx((2 + 1 + 0 + 0) / 4)


def test_images_per_pass_change_nothing():
    network = build_network("preact")
    images, targets = draw_images(count=3)
    maps = [
        attribute(
            network,
            images,
            targets,
            "occlusion",
            settings=AttributionSettings(occlusion_window=9, occlusion_stride=8, batch_size=size),
        ).maps
        for size in (1, 2, 64)
    ]
    torch.testing.assert_close(maps[0], maps[2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(maps[1], maps[2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "expected"), [((32, 32), (4, 2)), ((224, 300), (28, 14)), ((8, 8), (2, 1))]
)
def test_the_default_square_is_an_eighth_of_the_shorter_side(size, expected):
    assert choose_window(*size, AttributionSettings()) == expected


def test_squares_that_cannot_be():
    network = build_network("basic")
    images, targets = draw_images()
    large = AttributionSettings(occlusion_window=17)
    words = r"occlusion_window: .*got 16x24 pixels for a square of 17; make it 16 or smaller"
    with pytest.raises(UserError, match=words):
        attribute(network, images, targets, "occlusion", settings=large)
    with pytest.raises(UserError, match=r"got 1x5 pixels for a square of 2; make it 1 or smaller"):
        choose_window(1, 5, AttributionSettings())
    gaps = AttributionSettings(occlusion_window=3, occlusion_stride=4)
    with pytest.raises(UserError, match=r"occlusion_stride: needs at most .* 3 pixels.*got 4"):
        attribute(network, images, targets, "occlusion", settings=gaps)
    whole = AttributionSettings(occlusion_window=16, occlusion_stride=16)
    found = attribute(network, images, targets, "occlusion", settings=whole)
    assert found.maps.isfinite().all()
