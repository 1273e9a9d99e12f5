"""How a worker, thread or process, makes rows of a batch: from encoded images or from a pack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnetkit.data.color_mode import to_color_mode
from resnetkit.data.contract import InputContract
from resnetkit.data.crops import CROP_DRAWS, crop_boxes, crop_shares, resize_part
from resnetkit.data.decode import decode_image
from resnetkit.data.decode_pixels import decode_pixels
from resnetkit.data.draws import stream, uniform_draws
from resnetkit.data.encoded import Encoded
from resnetkit.data.packed import PackedImages
from resnetkit.data.source_types import Split
from resnetkit.data.transforms import fit_pixels, to_picture

Decoded = Image.Image | np.ndarray  # to be fitted whole, as judging has it; pixels to crop from


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the pixels of a row depend on besides the image, its number and the epoch."""

    contract: InputContract
    seed: int
    crop_scale: tuple[float, float] | None  # of a random resized crop; None fits the image

    def draws(self, epoch: int, numbers: np.ndarray) -> np.ndarray:
        """The random numbers of images `numbers` int64 [N] in `epoch`: float32 [N,CROP_DRAWS]."""
        return uniform_draws((self.seed, epoch, stream("resized_crop")), numbers, CROP_DRAWS)


class Item(NamedTuple):
    """One image to be read; all that a worker has to be told about it."""

    number: int  # `Batch.indices`
    name: str
    encoded: Encoded


def list_items(split: Split, numbers: np.ndarray) -> list[Item]:
    """What a worker is told of images `numbers` int64 [N], which repeats may take beyond the split.

    See `Batch.indices`.
    """
    assert split.encoded is not None
    positions: list[tuple[int, int]] = [(n, n % len(split)) for n in numbers.tolist()]
    return [Item(number, split.names[i], split.encoded[i]) for number, i in positions]


def new_rows(reading: Reading, count: int, pinned: bool = False) -> Tensor:
    """Room for `count` images: uint8 [N,H,W,C]."""
    height, width = reading.contract.crop
    shape = (count, height, width, reading.contract.channels)
    return torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)


def read_encoded(reading: Reading, epoch: int, items: Sequence[Item], rows: np.ndarray) -> None:
    """Decode `items` into `rows` uint8 [N,H,W,C]; raises `UnreadableImage`."""
    draws = reading.draws(epoch, np.array([item.number for item in items], dtype=np.int64))
    for row, (item, draw) in enumerate(zip(items, draws, strict=True)):
        rows[row] = fit_item(reading, decode_item(reading, item, draw), item.name, draw)


def read_packed(
    reading: Reading, epoch: int, numbers: np.ndarray, packed: PackedImages, rows: np.ndarray
) -> None:
    """Images `numbers` int64 [N] out of the pack into `rows` uint8 [N,H,W,C]."""
    contract, positions = reading.contract, numbers % len(packed)
    pictures = [packed[position] for position in positions.tolist()]
    if reading.crop_scale is None:
        for row, picture in enumerate(pictures):
            rows[row] = fit_pixels(to_picture(picture), contract)
        return
    sizes = np.array([picture.shape[:2] for picture in pictures])
    boxes: list[list[int]] = crop_boxes(
        reading.draws(epoch, numbers), sizes, reading.crop_scale
    ).tolist()
    for row, (picture, (top, left, height, width)) in enumerate(zip(pictures, boxes, strict=True)):
        rows[row] = resize_part(picture[top : top + height, left : left + width], contract)


def decode_item(reading: Reading, item: Item, draw: np.ndarray) -> Decoded:
    """An image in the contract's colour mode; where a part is cropped, no larger than it needs."""
    contract, scale = reading.contract, reading.crop_scale
    if scale is None:
        picture = decode_image(item.encoded, item.name)
        return to_color_mode(picture, contract.color_mode, contract.exif_transpose, item.name)

    def reduction(height: int, width: int) -> float:
        part = crop_shares(draw[None], width / height, scale)[0] * (height, width)
        return float((part / contract.crop).min())

    return decode_pixels(item.encoded, item.name, contract, reduction)


def fit_item(reading: Reading, decoded: Decoded, name: str, draw: np.ndarray) -> np.ndarray:
    """The whole image, or a random part of it, at the contract's crop size: uint8 [H,W,C]."""
    if reading.crop_scale is None:
        assert isinstance(decoded, Image.Image)
        return fit_pixels(decoded, reading.contract, name)
    assert isinstance(decoded, np.ndarray)
    sizes = np.array([decoded.shape[:2]])
    top, left, height, width = crop_boxes(draw[None], sizes, reading.crop_scale)[0].tolist()
    return resize_part(decoded[top : top + height, left : left + width], reading.contract)
