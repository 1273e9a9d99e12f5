"""Augmentation on the device, a whole batch at a time: no per-image Python in the hot path.

Every function maps a batch to a batch and takes its randomness from `Draws`, so an augmentation is
a pure function of (seed, epoch, image index). Images are floats: in [0, 1] up to `normalise`,
normalised afterwards; what a crop or a hole leaves empty is then zero, the mean colour.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resnetkit.data.augment_config import AugmentConfig
from resnetkit.data.augmix import augment_and_mix
from resnetkit.data.contract import InputContract, normalise
from resnetkit.data.crops import CROP_DRAWS, crop_shares
from resnetkit.data.draws import Draws
from resnetkit.data.policy import POLICIES
from resnetkit.types import Batch


def prepare_batch(
    batch: Batch,
    draws: Draws,
    config: AugmentConfig,
    contract: InputContract,
    *,
    crop: bool,
    views: bool = False,
) -> tuple[Tensor, Tensor]:
    """What one training step learns from: images float [N,C,H,W] and targets float [N,K].

    Targets are the class alone, or soft labels or indicators as the batch has them; then mixed.
    `crop` says whether the random resized crop is still to be done here; images decoded by workers
    come cropped already, where the full resolution was at hand. With `views` there are three images
    for each target, see `augment_views`.
    """
    targets = to_targets(batch.labels, contract.num_classes)
    if views:
        return augment_views(batch.images, draws, config, contract, crop=crop), targets
    images = augment_images(batch.images, draws, config, contract, crop=crop)
    return mix_batch(images, targets, draws, config)


def to_targets(labels: Tensor, num_classes: int) -> Tensor:
    """Labels int64 [N], or soft labels or indicators [N,K], as targets float32 [N,K]."""
    targets = labels if labels.ndim == 2 else F.one_hot(labels, num_classes).float()
    assert targets.shape == (len(labels), num_classes), targets.shape
    return targets


def augment_images(
    images: Tensor, draws: Draws, config: AugmentConfig, contract: InputContract, *, crop: bool
) -> Tensor:
    """Images uint8 [N,C,H,W] augmented and normalised: float [N,C,H,W]."""
    images = apply_policy(images, draws, config)
    return _present(images, draws, config, contract, crop=crop)


def augment_views(
    images: Tensor, draws: Draws, config: AugmentConfig, contract: InputContract, *, crop: bool
) -> Tensor:
    """Three views of each image uint8 [N,C,H,W], one after the other: float [3N,C,H,W].

    The image without the policy and two independent mixtures of AugMix, all in the same crop, flip
    and colours: what the Jensen-Shannon consistency compares (Hendrycks et al. 2020, section 3).
    """
    assert config.policy == "augmix", config.policy
    assert not config.mixup_alpha, "mixed targets belong to no single image"
    assert not config.cutmix_alpha, "mixed targets belong to no single image"
    shown = [images, *(apply_policy(images, draws, config, view) for view in (0, 1))]
    views = [_present(one, draws, config, contract, crop=crop) for one in shown]
    return torch.stack(views, dim=1).flatten(0, 1)


def apply_policy(images: Tensor, draws: Draws, config: AugmentConfig, view: int = 0) -> Tensor:
    """Images uint8 [N,C,H,W] under the policy: in 0…255, uint8 or, where mixed, float32."""
    if config.policy == "none":
        return images
    if config.policy == "augmix":
        return augment_and_mix(images, draws, config, view)
    return POLICIES[config.policy](
        images, draws, config.randaugment_operations, config.randaugment_magnitude
    )


def _present(
    images: Tensor, draws: Draws, config: AugmentConfig, contract: InputContract, *, crop: bool
) -> Tensor:
    """Images [N,C,H,W] in 0…255 with all but the policy done to them, normalised: float."""
    if config.color_jitter:
        images = jitter_color(images, draws, config.color_jitter)
    images = normalise(images, contract)
    if crop and config.resized_crop_scale is not None:
        images = random_resized_crop(images, draws, config.resized_crop_scale)
    if config.pad_crop:
        images = pad_and_crop(images, draws, config.pad_crop)
    if config.horizontal_flip:
        images = flip_half(images, draws, alternate=config.alternate_flips)
    if config.cutout:
        images = cut_hole(images, draws, config.cutout)
    return images


def shrink(images: Tensor, side: int) -> Tensor:
    """Images [N,C,H,W] at `side` pixels, bilinear with antialiasing."""
    return F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)


def pad_and_crop(images: Tensor, draws: Draws, padding: int) -> Tensor:
    """Zero-pad every side, crop back at random (He et al. 2015, section 4.2): [N,C,H,W]."""
    height, width = images.shape[-2:]
    offsets = draws.integers("pad_crop", 2, 2 * padding + 1)
    padded = F.pad(images, (padding, padding, padding, padding))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # [N,C,offset_y,offset_x,H,W], a view
    image = torch.arange(len(images), device=images.device)
    return windows[image, :, offsets[:, 0], offsets[:, 1]]


def flip_half(images: Tensor, draws: Draws, *, alternate: bool = False) -> Tensor:
    """Mirror half of the images left to right, by chance or in alternate epochs: [N,C,H,W]."""
    flipped = draws.alternating("flip") if alternate else draws.uniform("flip", 1)[:, 0] < 0.5
    return _pick(flipped, images.flip(3), images)


def _pick(chosen: Tensor, ones: Tensor, others: Tensor) -> Tensor:
    """`ones` where `chosen` bool [N], else `others`: [N,C,H,W]; may write into `ones`.

    In words of memory where images lie densely alike, since `where` takes its time for each byte.
    """
    by_pixel = ones.permute(0, 2, 3, 1), others.permute(0, 2, 3, 1)
    whole = others[:1].numel() * others.element_size() % 8 == 0
    if not whole or not all(images.is_contiguous() for images in by_pixel):
        return torch.where(chosen.view(-1, 1, 1, 1), ones, others)
    words, other_words = (images.flatten(1).view(torch.int64) for images in by_pixel)
    torch.where(chosen[:, None], words, other_words, out=words)
    return ones


def cut_hole(images: Tensor, draws: Draws, side: int) -> Tensor:
    """Set a square around a random centre to zero (DeVries & Taylor 2017, section 3.2)."""
    height, width = images.shape[-2:]
    centre = draws.uniform("cutout", 2)
    inside_y = _inside(centre[:, 0], height, side)  # [N,H]
    inside_x = _inside(centre[:, 1], width, side)  # [N,W]
    hole = inside_y[:, None, :, None] & inside_x[:, None, None, :]
    return torch.where(hole, 0.0, images)  # masked_fill would lose the memory order


def random_resized_crop(images: Tensor, draws: Draws, scale: tuple[float, float]) -> Tensor:
    """Crop a random area and aspect ratio, resize back (Szegedy et al. 2014, section 6).

    The part is the one that the loader would cut out of the same image, see `crop_shares`, to a
    fraction of a pixel. Resampling is bilinear.
    """
    numbers = draws.numbers("resized_crop", CROP_DRAWS)
    height, width = images.shape[-2:]
    shares = crop_shares(numbers, width / height, scale)
    shift_y, shift_x = ((1 - shares) * (2 * numbers[:, 2:] - 1)).T
    zero = np.zeros(len(images))
    rows = [shares[:, 1], zero, shift_x, zero, shares[:, 0], shift_y]
    matrices = torch.from_numpy(np.stack(rows, axis=1)).float().view(-1, 2, 3).to(images.device)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def jitter_color(images: Tensor, draws: Draws, strength: float) -> Tensor:
    """Random brightness, contrast and saturation factors in [1 - strength, 1 + strength].

    Images: uint8 [N,C,H,W], returned as uint8.
    """
    factors = 1 + strength * (2 * draws.uniform("color_jitter", 3) - 1)
    brightness, contrast, saturation = (factors[:, i].view(-1, 1, 1, 1) for i in range(3))
    pixels = (images.float() * brightness).clamp(0, 255)
    grey_level = to_grey(pixels).mean(dim=(1, 2, 3), keepdim=True)
    pixels = (grey_level + (pixels - grey_level) * contrast).clamp(0, 255)
    grey = to_grey(pixels)
    return (grey + (pixels - grey) * saturation).clamp(0, 255).round().to(torch.uint8)


def to_grey(pixels: Tensor) -> Tensor:
    """Luma of ITU-R BT.601: [N,1,H,W]."""
    if pixels.shape[1] == 1:
        return pixels
    weights = pixels.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (pixels * weights).sum(dim=1, keepdim=True)


def mix_batch(
    images: Tensor, targets: Tensor, draws: Draws, config: AugmentConfig
) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al. 2018, eq. 1) or CutMix (Yun et al. 2019, section 3.1) of a batch.

    Images float [N,C,H,W] and targets float [N,K] are mixed with a permutation of themselves.
    """
    if not config.mixup_alpha and not config.cutmix_alpha:
        return images, targets
    generator = draws.generator("mix")
    partner = torch.from_numpy(generator.permutation(len(images))).to(images.device)
    use_cutmix = config.cutmix_alpha > 0 and (config.mixup_alpha == 0 or generator.random() < 0.5)
    alpha = config.cutmix_alpha if use_cutmix else config.mixup_alpha
    share = float(generator.beta(alpha, alpha))
    if not use_cutmix:
        images = images * share + images[partner] * (1 - share)
    else:
        height, width = images.shape[-2:]
        top, bottom = _box(float(generator.random()), height, share)
        left, right = _box(float(generator.random()), width, share)
        images = images.clone()
        images[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (height * width)
    return images, targets * share + targets[partner] * (1 - share)


def _inside(centre: Tensor, length: int, side: int) -> Tensor:
    """Which positions [N,length] lie within `side` pixels around `centre`, a share of length."""
    start = (centre * length).floor() - side // 2
    position = torch.arange(length, device=centre.device)[None, :]
    return (position >= start[:, None]) & (position < start[:, None] + side)


def _box(centre: float, length: int, share: float) -> tuple[int, int]:
    """Start and end of CutMix's box along a side: sqrt(1 - share) of it, clipped at the border."""
    half = length * (1 - share) ** 0.5 / 2
    middle = centre * length
    return max(0, round(middle - half)), min(length, round(middle + half))
