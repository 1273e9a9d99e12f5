"""RandAugment and TrivialAugment for whole batches on the device.

Both draw from the same fourteen operations with torchvision's ranges. An operation is applied to
the images that drew it, all at once, each with its own strength. Ranges, centres, directions and
roundings are those of torchvision's tensor kernels, so that published settings carry over.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from resnetkit.data.draws import Draws

Operation = Callable[[Tensor, Tensor], Tensor]  # (pixels [N,C,H,W] in 0..255, strength [N,1,1,1])


def rand_augment(images: Tensor, draws: Draws, operations: int, magnitude: int) -> Tensor:
    """RandAugment (Cubuk et al. 2020, section 3): `operations` random ones at a fixed strength.

    Images uint8 [N,C,H,W]; magnitude from 0 to 30.
    """
    names = list(RANDAUGMENT_RANGES)
    for number in range(operations):
        draw = draws.uniform(f"randaugment{number}", 2)
        level = torch.full_like(draw[:, 0], magnitude / 30)
        images = _apply_drawn(images, draw, level, RANDAUGMENT_RANGES, names)
    return images


def trivial_augment(images: Tensor, draws: Draws, operations: int, magnitude: int) -> Tensor:
    """TrivialAugment Wide (Mueller & Hutter 2021, section 3): one operation, random strength.

    The last two arguments belong to RandAugment and are not used here.
    """
    draw = draws.uniform("trivialaugment", 3)
    height, width = images.shape[-2:]
    ranges = TRIVIALAUGMENT_RANGES | {
        "translate_x": min(1.0, WIDE_SHIFT_PIXELS / width),
        "translate_y": min(1.0, WIDE_SHIFT_PIXELS / height),
    }
    level = (draw[:, 2] * 31).floor() / 30  # the paper's strengths 0 to 30, all equally likely
    return _apply_drawn(images, draw, level, ranges, list(ranges))


def _apply_drawn(
    images: Tensor, draw: Tensor, level: Tensor, ranges: dict[str, float], names: list[str]
) -> Tensor:
    """Apply to each image the operation its first draw names, signed by its second draw."""
    chosen = (draw[:, 0] * len(names)).long()
    sign = torch.where(draw[:, 1] < 0.5, -1.0, 1.0)
    result = images.clone()
    for number, name in enumerate(names):
        rows = (chosen == number).nonzero().flatten()
        if name == "identity" or len(rows) == 0:
            continue
        strength = level[rows] * ranges[name]
        if name in SIGNED:
            strength = strength * sign[rows]
        pixels = OPERATIONS[name](images[rows].float(), strength.view(-1, 1, 1, 1))
        result[rows] = pixels.clamp(0, 255).to(torch.uint8)  # cut off, as torchvision and Pillow do
    return result


def shear_x(pixels: Tensor, strength: Tensor) -> Tensor:
    """Shear along x about the upper left corner; strength is the tangent of the angle."""
    return _warp(pixels, xy=strength, x0=strength * pixels.shape[2] / 2)


def shear_y(pixels: Tensor, strength: Tensor) -> Tensor:
    """Shear along y about the upper left corner; strength is the tangent of the angle."""
    return _warp(pixels, yx=strength, y0=strength * pixels.shape[3] / 2)


def translate_x(pixels: Tensor, strength: Tensor) -> Tensor:
    """Shift right by `strength` of the width, in whole pixels."""
    return _warp(pixels, x0=-_whole(strength * pixels.shape[3]))


def translate_y(pixels: Tensor, strength: Tensor) -> Tensor:
    """Shift down by `strength` of the height, in whole pixels."""
    return _warp(pixels, y0=-_whole(strength * pixels.shape[2]))


def rotate(pixels: Tensor, strength: Tensor) -> Tensor:
    """Turn counter-clockwise by `strength` degrees."""
    angle = strength * (math.pi / 180)
    return _warp(pixels, xx=angle.cos(), xy=-angle.sin(), yx=angle.sin(), yy=angle.cos())


def brightness(pixels: Tensor, strength: Tensor) -> Tensor:
    """Scale all values by 1 + strength."""
    return pixels * (1 + strength)


def color(pixels: Tensor, strength: Tensor) -> Tensor:
    """Move away from (or towards) the grey picture: saturation 1 + strength."""
    return pixels if pixels.shape[1] == 1 else _blend(pixels, _luma(pixels), strength)


def contrast(pixels: Tensor, strength: Tensor) -> Tensor:
    """Move away from (or towards) the mean grey level: contrast 1 + strength."""
    return _blend(pixels, _luma(pixels).mean(dim=(1, 2, 3), keepdim=True), strength)


def sharpness(pixels: Tensor, strength: Tensor) -> Tensor:
    """Move away from (or towards) the smoothed picture; the border stays as it is."""
    channels = pixels.shape[1]
    if min(pixels.shape[-2:]) <= 2:
        return pixels
    kernel = pixels.new_tensor([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    smooth = pixels.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(
        pixels, kernel.expand(channels, 1, 3, 3), groups=channels
    ).round()
    return _blend(pixels, smooth, strength)


def posterize(pixels: Tensor, strength: Tensor) -> Tensor:
    """Keep the 8 - round(strength) highest bits."""
    step = torch.exp2(strength.round())
    return (pixels / step).floor() * step


def solarize(pixels: Tensor, strength: Tensor) -> Tensor:
    """Invert what is at least 255 * (1 - strength)."""
    return torch.where(pixels >= 255 * (1 - strength), 255 - pixels, pixels)


def autocontrast(pixels: Tensor, strength: Tensor) -> Tensor:
    """Stretch every channel to the full range; a flat channel stays as it is."""
    low = pixels.amin(dim=(2, 3), keepdim=True)
    high = pixels.amax(dim=(2, 3), keepdim=True)
    flat = high == low
    return torch.where(flat, pixels, (pixels - low) / ((high - low + flat) * (1 / 255)))


def equalize(pixels: Tensor, strength: Tensor) -> Tensor:
    """Flatten every channel's histogram (PIL.ImageOps.equalize)."""
    count, channels, height, width = pixels.shape
    flat = pixels.reshape(count * channels, height * width).long()
    histogram = torch.zeros(len(flat), 256, device=pixels.device).scatter_add_(
        1, flat, torch.ones_like(flat, dtype=torch.float32)
    )
    last = 255 - (histogram.flip(1) > 0).float().argmax(dim=1, keepdim=True)
    step = ((height * width - histogram.gather(1, last)) / 255).floor()
    before = histogram.cumsum(dim=1) - histogram
    table = ((before + (step / 2).floor()) / step.clamp(min=1)).floor().clamp(0, 255)
    equalized = torch.where(step > 0, table.gather(1, flat), flat.float())
    return equalized.view_as(pixels)


def _warp(pixels: Tensor, **entries: Tensor) -> Tensor:
    """Sample each image under its own affine map: nearest, black outside.

    `entries` [N,1,1,1] differ from the identity: the pixel at (x, y) from the centre takes its
    value from (xx * x + xy * y + x0, yx * x + yy * y + y0).
    """
    _, _, height, width = pixels.shape
    m = {name: value.view(-1, 1, 1) for name, value in entries.items()}
    x = torch.arange(width, device=pixels.device)[None, None, :] - (width - 1) / 2
    y = torch.arange(height, device=pixels.device)[None, :, None] - (height - 1) / 2
    # Term by term: a matrix product may round by the size of the batch, and an image's
    # augmentation must not depend on the others.
    source_x = m.get("xx", 1.0) * x + m.get("xy", 0.0) * y + m.get("x0", 0.0)
    source_y = m.get("yx", 0.0) * x + m.get("yy", 1.0) * y + m.get("y0", 0.0)
    shape = (len(pixels), height, width)
    grid = torch.stack(
        [(source_x / (width / 2)).expand(shape), (source_y / (height / 2)).expand(shape)], dim=3
    )
    return F.grid_sample(pixels, grid, mode="nearest", align_corners=False)


def _whole(shift: Tensor) -> Tensor:
    """Towards zero, but 16 pixels that came out as 15.999999 are 16."""
    return (shift + 1e-3 * shift.sign()).trunc()


def _luma(pixels: Tensor) -> Tensor:
    """Grey value in whole numbers, in torchvision's weights: [N,1,H,W]."""
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = pixels.split(1, dim=1)
    return (red * 0.2989 + green * 0.587 + blue * 0.114).floor()


def _blend(pixels: Tensor, other: Tensor, strength: Tensor) -> Tensor:
    """Move away from `other` by `strength` of the difference; towards it where negative."""
    return pixels * (1 + strength) - other * strength


OPERATIONS: dict[str, Operation] = {
    "shear_x": shear_x,
    "shear_y": shear_y,
    "translate_x": translate_x,
    "translate_y": translate_y,
    "rotate": rotate,
    "brightness": brightness,
    "color": color,
    "contrast": contrast,
    "sharpness": sharpness,
    "posterize": posterize,
    "solarize": solarize,
    "autocontrast": autocontrast,
    "equalize": equalize,
}

SIGNED = {
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
}

# Strength at the largest level; shifts as shares of the side (150/331 is RandAugment's own figure).
RANDAUGMENT_RANGES: dict[str, float] = {
    "identity": 0.0,
    "shear_x": 0.3,
    "shear_y": 0.3,
    "translate_x": 150 / 331,
    "translate_y": 150 / 331,
    "rotate": 30.0,
    "brightness": 0.9,
    "color": 0.9,
    "contrast": 0.9,
    "sharpness": 0.9,
    "posterize": 4.0,
    "solarize": 1.0,
    "autocontrast": 0.0,
    "equalize": 0.0,
}

# "Wide" shifts by up to 32 pixels; of a smaller image, by its whole side.
WIDE_SHIFT_PIXELS = 32
TRIVIALAUGMENT_RANGES: dict[str, float] = RANDAUGMENT_RANGES | {
    "shear_x": 0.99,
    "shear_y": 0.99,
    "translate_x": 1.0,
    "translate_y": 1.0,
    "rotate": 135.0,
    "brightness": 0.99,
    "color": 0.99,
    "contrast": 0.99,
    "sharpness": 0.99,
    "posterize": 6.0,
}

POLICIES: dict[str, Callable[[Tensor, Draws, int, int], Tensor]] = {
    "randaugment": rand_augment,
    "trivialaugment": trivial_augment,
}
