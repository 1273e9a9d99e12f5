"""AugMix for whole batches on the device (Hendrycks et al. 2020, "AugMix", algorithm 1).

An image is mixed with a mixture of chains of operations on itself. The operations are the nine that
are none of the test corruptions; ranges and roundings are those of Pillow, as in the published code
(github.com/google-research/augmix), so that published settings carry over. One place differs: there
it acts on the picture as cropped and padded, here, like the other policies, on the picture before.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resnetkit.data.augment_config import LARGEST_SEVERITY, AugmentConfig
from resnetkit.data.draws import Draws
from resnetkit.data.policy import autocontrast, equalize, posterize

DEEPEST = 3  # operations in a chain where their number is drawn
WEAKEST = 0.1  # strengths are drawn between this and the severity
# Values at strength 10, as in the published code.
DEGREES, SHEAR, SHIFT = 30.0, 0.3, 1 / 3  # shift: of the side
POSTERIZED_BITS, SOLARIZED = 4.0, 256.0

ROUNDING = 1e-3  # Pillow truncates; a whole number that came out a little less is still itself
RECOLOURING = ("autocontrast", "equalize", "posterize", "solarize")
MOVING = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = (*RECOLOURING, *MOVING)


def augment_and_mix(images: Tensor, draws: Draws, config: AugmentConfig, view: int = 0) -> Tensor:
    """Images uint8 [N,C,H,W] as mixtures of chains each: float32 [N,C,H,W] in 0…255.

    `view` numbers mixtures of one image that are independent of each other. An image's mixture does
    not depend on its batch mates.
    """
    width, depth, severity = config.augmix_width, config.augmix_depth, config.augmix_severity
    steps = depth or DEEPEST
    numbers = draws.numbers(f"augmix{view}", 1 + width * (2 + 3 * steps)).astype(np.float64)
    numbers += 2.0**-25  # away from 0, and from 1 by as much
    shares = _mixing_shares(numbers[:, : 1 + width], config.augmix_alpha)
    lengths = np.full((len(images), width), steps)
    if depth is None:
        lengths = 1 + (numbers[:, 1 + width : 1 + 2 * width] * DEEPEST).astype(np.int64)
    per_step = numbers[:, 1 + 2 * width :].reshape(len(images), width, steps, 3)
    clean = images.float()
    mixed = clean * _column(shares[:, 0], images)
    for chain in range(width):
        pixels = clean.clone()
        for step in range(steps):
            acting = np.flatnonzero(lengths[:, chain] > step)
            _apply_drawn(pixels, acting, per_step[acting, chain, step], severity)
        # Term by term: a sum over an axis may round by the size of the batch.
        mixed = mixed + pixels * _column(shares[:, 1 + chain], images)
    return mixed


def _mixing_shares(numbers: np.ndarray, alpha: float) -> np.ndarray:
    """What the image itself and each chain count, by uniform numbers [N,1+W]: [N,1+W], sum 1.

    The chains share by a Dirichlet distribution, and all of them have a part of Beta(alpha, alpha).
    """
    from scipy.special import betaincinv, gammaincinv

    chains = betaincinv(alpha, alpha, numbers[:, :1])
    sizes = gammaincinv(alpha, numbers[:, 1:])
    sizes /= sizes.sum(axis=1, keepdims=True)
    return np.concatenate([1 - chains, chains * sizes], axis=1)


def _column(values: np.ndarray, like: Tensor) -> Tensor:
    """Numbers [N] as float32 [N,1,1,1] on the device of `like`."""
    return torch.from_numpy(values.astype(np.float32)).to(like.device).view(-1, 1, 1, 1)


def _apply_drawn(pixels: Tensor, acting: np.ndarray, draws: np.ndarray, severity: int) -> None:
    """One operation on each of the rows `acting` of `pixels`, in place; draws [n,3] in 0…1."""
    chosen = (draws[:, 0] * len(OPERATIONS)).astype(np.int64)
    strength = (WEAKEST + (severity - WEAKEST) * draws[:, 1]) / LARGEST_SEVERITY
    sign = np.where(draws[:, 2] > 0.5, -1.0, 1.0)
    for number, name in enumerate(RECOLOURING):
        rows = np.flatnonzero(chosen == number)
        if len(rows):
            place = torch.from_numpy(acting[rows]).to(pixels.device)
            pixels[place] = recolour(pixels[place], name, strength[rows])
    rows = np.flatnonzero(chosen >= len(RECOLOURING))
    if len(rows):
        place = torch.from_numpy(acting[rows]).to(pixels.device)
        names = np.array(OPERATIONS)[chosen[rows]]
        pixels[place] = move(pixels[place], names, strength[rows], sign[rows])


def recolour(pixels: Tensor, name: str, strength: np.ndarray) -> Tensor:
    """One of `RECOLOURING` at strengths [N] in 0…1: pixels and result are whole numbers, float."""
    if name == "autocontrast":
        return (autocontrast(pixels, pixels) + ROUNDING).floor()
    if name == "equalize":
        return equalize(pixels, pixels)
    if name == "posterize":  # keeps 4 bits, or fewer
        return posterize(pixels, _column(4 + np.trunc(strength * POSTERIZED_BITS), pixels))
    threshold = _column(256 - np.trunc(strength * SOLARIZED), pixels)
    return torch.where(pixels >= threshold, 255 - pixels, pixels)


def move(pixels: Tensor, names: np.ndarray, strength: np.ndarray, sign: np.ndarray) -> Tensor:
    """Each image under its own of `MOVING` [N], signed; black where nothing was: whole numbers.

    Turned counter-clockwise, or slanted or shifted towards the origin, where the sign is positive.
    """
    height, width = pixels.shape[-2:]
    matrices = np.tile([1.0, 0, 0, 0, 1, 0], (len(names), 1))  # x' = a x + b y + c, and so on
    angles = np.deg2rad(sign * np.trunc(strength * DEGREES))
    cosine, sine, x, y = np.cos(angles), np.sin(angles), width / 2, height / 2
    turns = np.stack(
        [cosine, -sine, x - cosine * x + sine * y, sine, cosine, y - sine * x - cosine * y], axis=1
    )
    entries = {  # of the six, which one, and its value
        "shear_x": (1, strength * SHEAR),
        "shear_y": (3, strength * SHEAR),
        "translate_x": (2, np.trunc(strength * width * SHIFT)),
        "translate_y": (5, np.trunc(strength * height * SHIFT)),
    }
    matrices[names == "rotate"] = turns[names == "rotate"]
    for name, (entry, value) in entries.items():
        matrices[names == name, entry] = (sign * value)[names == name]
    return _sample(pixels, matrices)


def _sample(pixels: Tensor, matrices: np.ndarray) -> Tensor:
    """Each image under its own affine map [N,6] between pixel corners: bilinear, as Pillow's.

    Black where the centre of a pixel comes from outside; near the border the border counts double.
    """
    height, width = pixels.shape[-2:]
    entries = torch.from_numpy(matrices.astype(np.float32)).to(pixels.device)[:, :, None, None]
    x = torch.arange(width, device=pixels.device)[None, None, :] + 0.5
    y = torch.arange(height, device=pixels.device)[None, :, None] + 0.5
    from_x = entries[:, 0] * x + entries[:, 1] * y + entries[:, 2]
    from_y = entries[:, 3] * x + entries[:, 4] * y + entries[:, 5]
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    grid = torch.stack([2 * from_x / width - 1, 2 * from_y / height - 1], dim=3)
    moved = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    return torch.where(inside[:, None], (moved + ROUNDING).floor(), 0.0)
