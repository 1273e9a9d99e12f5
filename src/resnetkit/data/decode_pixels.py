"""From encoded bytes to pixels for training, by the shortest way; judging goes through Pillow."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
import torch
from PIL import ImageFile
from torchvision.io import decode_jpeg

from resnetkit.data.color_mode import to_color_mode
from resnetkit.data.contract import InputContract
from resnetkit.data.decode import Reduction, cut_part, open_image, orientation, reduce_jpeg
from resnetkit.data.encoded import Crop, Encoded
from resnetkit.data.transforms import picture_pixels


def decode_pixels(
    encoded: Encoded, name: str, contract: InputContract, reduction: Reduction
) -> np.ndarray:
    """The image in the contract's colour mode: uint8 [H,W,C]; raises as `decode_image` does.

    A JPEG that needs no turning, no other colours and no reducing is decoded by torchvision, which
    has its bytes ready for PyTorch a third sooner than Pillow; both use libjpeg-turbo, with the
    same settings. What torchvision refuses, Pillow decides on.
    """
    with open_image(encoded, name) as image:
        size = image.size
        if not isinstance(encoded, Crop):
            reduce_jpeg(image, reduction)
        if image.size == size and _is_plain(image, encoded, contract):
            assert image.fp is not None
            if (pixels := _decode_jpeg(image.fp)) is not None:  # type: ignore[arg-type]
                return pixels
        image.load()
        picture = cut_part(image, encoded.box) if isinstance(encoded, Crop) else image
    picture = to_color_mode(picture, contract.color_mode, contract.exif_transpose, name)
    return picture_pixels(picture)


def _is_plain(image: ImageFile.ImageFile, encoded: Encoded, contract: InputContract) -> bool:
    upright = not contract.exif_transpose or orientation(image) == 1
    plain = image.format == "JPEG" and image.mode == contract.color_mode
    return plain and upright and not isinstance(encoded, Crop)


def _decode_jpeg(stream: BinaryIO) -> np.ndarray | None:
    """Pixels uint8 [H,W,C] of the JPEG in `stream`; None when torchvision finds fault with it."""
    stream.seek(0)
    content = torch.frombuffer(bytearray(stream.read()), dtype=torch.uint8)
    try:
        picture = decode_jpeg(content)
    except RuntimeError:
        return None
    assert isinstance(picture, torch.Tensor)
    return picture.permute(1, 2, 0).numpy()
