"""Random resized crops: which part of an image, and that part at the network's size."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from resnetkit.data.contract import InputContract
from resnetkit.data.transforms import picture_pixels, to_picture

CROP_DRAWS = 4  # area, aspect ratio, place from the top, place from the left
ASPECT_RATIOS = (3 / 4, 4 / 3)  # width : height of a part, in pixels


def crop_shares(
    draws: np.ndarray, aspects: np.ndarray | float, scale: tuple[float, float]
) -> np.ndarray:
    """Height and width of a random part, as shares of the image's: float64 [N,2].

    `draws` are uniform numbers [N, 2 or more], `aspects` the images' width / height. The part's
    area is uniform in `scale`, its aspect ratio log-uniform in `ASPECT_RATIOS` (Szegedy et al.
    2014, section 6). Ratios that would not fit are never drawn, where torchvision draws up to ten
    times; of an image too elongated for the area, the largest part with an allowed ratio is taken.
    """
    draws, aspects = np.asarray(draws, dtype=np.float64), np.asarray(aspects, dtype=np.float64)
    nearest = np.clip(aspects, *ASPECT_RATIOS)
    area = scale[0] + (scale[1] - scale[0]) * draws[:, 0]
    area = np.minimum(area, np.minimum(aspects / nearest, nearest / aspects))
    low = np.log(np.maximum(ASPECT_RATIOS[0], aspects * area))
    high = np.log(np.minimum(ASPECT_RATIOS[1], aspects / area))
    ratio = np.exp(low + (high - low) * draws[:, 1])
    shares = np.stack([np.sqrt(area * aspects / ratio), np.sqrt(area * ratio / aspects)], axis=1)
    return np.minimum(shares, 1.0)  # rounding


def crop_boxes(draws: np.ndarray, sizes: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Random parts in pixels (top, left, height, width): int64 [N,4].

    `draws` are uniform numbers [N, CROP_DRAWS], `sizes` the images' (height, width) [N,2].
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    shares = crop_shares(draws, sizes[:, 1] / sizes[:, 0], scale)
    parts = np.maximum(np.rint(shares * sizes).astype(np.int64), 1)
    places = np.asarray(draws, dtype=np.float64)[:, 2:CROP_DRAWS] * (sizes - parts + 1)
    return np.concatenate([places.astype(np.int64), parts], axis=1)


def resize_part(part: np.ndarray, contract: InputContract) -> np.ndarray:
    """A part uint8 [h,w,C] at the contract's crop size: uint8 [H,W,C].

    By PyTorch's antialiased resampling of bytes, which is Pillow's algorithm in fewer bits with
    AVX2: no value differs by more than 1 (bicubic, in noise, by 10), in a third of the time, and
    threads can do it side by side.
    """
    height, width = size = contract.crop
    if part.shape[:2] == size:
        return part
    if contract.interpolation == "nearest":  # which PyTorch rounds otherwise
        return picture_pixels(to_picture(part).resize((width, height), Image.Resampling.NEAREST))
    # A copy, which PyTorch wants contiguous and writable; made here, where no OpenMP team starts.
    # Not `[None]`, whose stride of 0 would hide from PyTorch that the channels come last.
    channels_last = torch.from_numpy(np.array(part, order="C")).unsqueeze(0).permute(0, 3, 1, 2)
    resized = F.interpolate(channels_last, size, mode=contract.interpolation, antialias=True)
    return resized.permute(0, 2, 3, 1)[0].numpy()
