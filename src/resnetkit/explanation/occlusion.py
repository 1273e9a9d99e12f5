"""Occlusion: how much a class's logit falls when a square of the image is covered."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from resnetkit.explanation.attribution_settings import AttributionSettings
from resnetkit.explanation.evidence import Evidence, signed_evidence
from resnetkit.models.zoo import Network
from resnetkit.types import UserError

WINDOWS_PER_SIDE = 8  # of the default size, side by side along the shorter side


def occlusion(
    network: Network,
    images: Tensor,
    targets: Tensor,
    settings: AttributionSettings,
    _stage: None,
) -> Evidence:
    """Zeiler & Fergus 2014 (arXiv:1311.2901), section 4.2, with a square of the mean colour.

    A pixel's value is the mean fall over all squares that cover it. Raises UserError where the
    square is larger than the image, or pixels would be skipped between two of its places.
    """
    from captum.attr import Occlusion

    window, stride = choose_window(images.shape[2], images.shape[3], settings)
    channels = images.shape[1]
    falls = Occlusion(network).attribute(
        images,
        sliding_window_shapes=(channels, window, window),
        strides=(channels, stride, stride),
        baselines=0.0,
        target=targets,
        perturbations_per_eval=max(1, settings.batch_size // len(images)),
    )
    evidence = signed_evidence(falls[:, 0])  # all channels are covered together
    return replace(evidence, settings={"occlusion_window": window, "occlusion_stride": stride})


def choose_window(height: int, width: int, settings: AttributionSettings) -> tuple[int, int]:
    """Side of the square and pixels between its places, for images of this size."""
    shorter = min(height, width)
    window = settings.occlusion_window
    if window is None:
        window = max(2, shorter // WINDOWS_PER_SIDE)
    if window > shorter:
        raise UserError(
            f"occlusion_window: needs images at least as large as the square that covers them, got "
            f"{height}x{width} pixels for a square of {window}; make it {shorter} or smaller, or "
            "choose another method."
        )
    stride = settings.occlusion_stride
    if stride is None:
        stride = max(1, window // 2)
    if stride > window:
        raise UserError(
            f"occlusion_stride: needs at most the side of the square, {window} pixels, or some "
            f"pixels would never be covered; got {stride}. Make it smaller."
        )
    return window, stride
