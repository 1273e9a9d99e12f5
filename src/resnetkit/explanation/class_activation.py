"""Class activation maps: feature maps weighed by how much a class's logit depends on them.

They differ in the weights alone. Grad-CAM gives a feature map one weight, the mean of its gradient;
Grad-CAM++ counts the pixels whose gradient is positive, and more so in small objects; LayerCAM
weighs every pixel by itself, so that its maps are sharp in early stages too. Only Grad-CAM has
weights below 0, and with them evidence against a class.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from resnetkit.explanation.attribution_settings import AttributionSettings
from resnetkit.explanation.evidence import Evidence
from resnetkit.explanation.layer_gradients import layer_gradients
from resnetkit.models.zoo import Network


def grad_cam(
    network: Network,
    images: Tensor,
    targets: Tensor,
    _settings: AttributionSettings,
    stage: str | None,
) -> Evidence:
    """Selvaraju 2017 (arXiv:1610.02391), equations 1 and 2."""
    found = layer_gradients(network, images, targets, stage)
    weights = grad_cam_weights(found.gradients)
    values = (weights * found.features).sum(1)
    evidence = _enlarge(values, images, found.stage)
    return replace(evidence, signed=_resize(values, images))


def grad_cam_plus_plus(
    network: Network,
    images: Tensor,
    targets: Tensor,
    _settings: AttributionSettings,
    stage: str | None,
) -> Evidence:
    """Chattopadhay 2018 (arXiv:1710.11063), equations 5, 7 and 19."""
    found = layer_gradients(network, images, targets, stage)
    weights = grad_cam_plus_plus_weights(found.features, found.gradients)
    return _enlarge((weights * found.features).sum(1), images, found.stage)


def layer_cam(
    network: Network,
    images: Tensor,
    targets: Tensor,
    _settings: AttributionSettings,
    stage: str | None,
) -> Evidence:
    """Jiang 2021 (IEEE TIP 30, "LayerCAM"), equations 6 to 8."""
    found = layer_gradients(network, images, targets, stage)
    weights = found.gradients.clamp(min=0)
    return _enlarge((weights * found.features).sum(1), images, found.stage)


def grad_cam_weights(gradients: Tensor) -> Tensor:
    """One weight per feature map [N,C,1,1]: the mean of its gradient [N,C,h,w] (equation 1)."""
    return gradients.mean((2, 3), keepdim=True)


def grad_cam_plus_plus_weights(features: Tensor, gradients: Tensor) -> Tensor:
    """One weight per feature map [N,C,1,1], of features and gradients [N,C,h,w].

    Equation 19 is G²/(2G² + S G³) with S, the sum of the feature map, which is 1/(2 + S G) where
    G is not 0; written so, small gradients do not vanish in their cubes. Its score is the
    exponential of the logit (section 3.1), which scales a whole map by one number: left out, since
    it would overflow. The derivation presupposes feature maps behind a ReLU; elsewhere S can be
    negative, and pixels where 2 + S G is not positive count nothing.
    """
    divisors = 2 + features.sum((2, 3), keepdim=True) * gradients
    counts = (gradients > 0) & (divisors > 0)
    return torch.where(counts, gradients / divisors, 0.0).sum((2, 3), keepdim=True)


def _enlarge(values: Tensor, images: Tensor, stage: str) -> Evidence:
    """Maps [N,h,w] at the images' size; what speaks against the class is cut off before."""
    height, width = values.shape[1:]
    maps = _resize(values.clamp(min=0), images)
    return Evidence(maps=maps, signed=None, resolution=(height, width), stage=stage)


def _resize(values: Tensor, images: Tensor) -> Tensor:
    return F.interpolate(values[:, None], images.shape[2:], mode="bilinear")[:, 0]
