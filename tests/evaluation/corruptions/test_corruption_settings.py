"""What may be asked of the corruptions."""

from __future__ import annotations

import numpy as np
import pytest
from corrupted_pictures import pictures
from PIL import Image

from resnetkit.evaluation.corruptions.catalogue import CORRUPTIONS, corrupt
from resnetkit.evaluation.corruptions.settings import CorruptionConfig
from resnetkit.types import UserError


def test_all_fifteen_by_default_and_their_pictures_are_counted():
    config = CorruptionConfig()
    assert config.corruptions() == CORRUPTIONS
    assert len(CORRUPTIONS) == 15
    assert config.pictures_for(10) == 10 * 76
    assert CorruptionConfig(names=("fog",)).pictures_for(10) == 60


def test_a_folder_of_photographs_takes_the_place_of_the_made_textures(tmp_path):
    Image.new("RGB", (300, 300), (255, 255, 255)).save(tmp_path / "frost1.png")
    config = CorruptionConfig(names=("frost", "fog"), frost_textures=str(tmp_path))
    images, indices = pictures(2, 3, 32, 32), np.arange(2)
    corruptions = config.corruptions()
    assert list(corruptions) == ["frost", "fog"]
    changed = corrupt(images, "frost", 1, seed=0, indices=indices, corruptions=corruptions)
    assert np.array_equal(changed, np.clip(images + 0.2 * 255, 0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"names": ("frst",)}, r"unknown corruption 'frst'; did you mean 'frost'\? Known: gauss"),
        ({"names": ()}, r"needed one or more different names, got \[\]"),
        ({"names": ("fog", "fog")}, r"needed one or more different names, got \['fog', 'fog'\]"),
        ({"images": 0}, r"corruptions\.images must be 1 or more, got 0"),
        ({"seed": -1}, r"corruptions\.seed must be in \[0, 2\^63\), got -1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        CorruptionConfig(**settings)
