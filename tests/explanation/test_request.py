"""What can be asked: known methods, and settings that one of them reads."""

from __future__ import annotations

import pytest

from resnetkit.explanation.attribution import METHODS
from resnetkit.explanation.attribution_settings import AttributionSettings
from resnetkit.explanation.request import ExplanationRequest
from resnetkit.types import UserError


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"methods": ("grad_cam",)}, r"needed one of gradcam, .*'grad_cam'; did you mean 'gradcam"),
        ({"methods": ()}, "needed one or more of gradcam"),
        (
            {"methods": ("occlusion", "smoothgrad"), "stage": "stem"},
            r"stage: has no effect on occlusion, smoothgrad; .*gradcam or gradcam\+\+ or layercam",
        ),
        (
            {"settings": AttributionSettings(noise_samples=3)},
            "noise_samples: has no effect on gradcam; leave it out, or choose smoothgrad",
        ),
        (
            {"methods": ("smoothgrad",), "settings": AttributionSettings(occlusion_window=3)},
            "occlusion_window: has no effect on smoothgrad; leave it out, or choose occlusion",
        ),
        (
            {"settings": AttributionSettings(seed=1)},
            "seed: has no effect on gradcam; leave it out, or choose smoothgrad",
        ),
    ],
)
def test_nothing_without_effect_is_accepted(wrong, words):
    with pytest.raises(UserError, match=words):
        ExplanationRequest(**wrong)


def test_what_one_of_several_methods_reads_is_accepted():
    asked = ExplanationRequest(
        methods=("gradcam", "occlusion"),
        stage="stage2",
        settings=AttributionSettings(occlusion_window=3, batch_size=7),
    )
    assert asked.settings.occlusion_window == 3
    assert all(ExplanationRequest(methods=(name,)) for name in METHODS)
