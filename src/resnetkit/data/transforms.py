"""Bringing images to the contract on the CPU, one or a whole split: colour, resize, crop."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from resnetkit.data.color_mode import to_color_mode
from resnetkit.data.contract import CHANNELS, RESAMPLE_CODES, InputContract, Interpolation
from resnetkit.data.decode import UnreadableImage, decode_image, image_header, load_picture
from resnetkit.data.encoded import Encoded
from resnetkit.data.source_types import Split
from resnetkit.types import UserError

__all__ = [
    "UnreadableImage",
    "decode_image",
    "decode_split",
    "find_unreadable",
    "fit_image",
    "image_sizes",
    "load_contract_image",
    "to_color_mode",
]

MAX_RESIZED_PIXELS = 2**26

CHUNK = 64  # images a thread takes at a time

ImageLike = Encoded | Image.Image | np.ndarray
Unreadable = list[tuple[int, str]]  # (index within the split, message that names the image)
Progress = Callable[[int], None]  # told how many images are done so far, in the calling thread


def load_contract_image(
    image: ImageLike, contract: InputContract, name: str = "image"
) -> np.ndarray:
    """The one way an image enters a model: uint8 [C,H,W] as the contract says.

    `image`: encoded bytes, a file, a Pillow image, or uint8 [H,W] or [H,W,C] with C of 1, 3, 4.
    Raises `UnreadableImage` where it cannot be decoded, `UserError` for an array of another kind.
    """
    if isinstance(image, np.ndarray):
        picture = _array_to_image(image, name)
    elif isinstance(image, Image.Image):
        picture = load_picture(image, name)
    else:
        picture = decode_image(image, name)
    picture = to_color_mode(picture, contract.color_mode, contract.exif_transpose, name)
    return fit_image(picture, contract, name)


def _array_to_image(pixels: np.ndarray, name: str) -> Image.Image:
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise UserError(
            f"The array {name!r} must be uint8 [height, width] or [height, width, channels] with "
            f"1, 3 or 4 channels and values 0..255; got {pixels.dtype} {list(pixels.shape)}."
        )
    if 0 in pixels.shape:
        raise UserError(f"The array {name!r} has no pixels: its shape is {list(pixels.shape)}.")
    return Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and channels == 1 else pixels)


def fit_image(image: Image.Image, contract: InputContract, name: str = "image") -> np.ndarray:
    """Resize the shorter side to `contract.resize`, crop the centre: uint8 [C,H,W].

    Sizes and offsets are rounded as torchvision's `Resize` and `CenterCrop` do. An image that
    has its size already keeps every bit. `image` is in the contract's colour mode.
    """
    return np.ascontiguousarray(fit_pixels(image, contract, name).transpose(2, 0, 1))


def fit_pixels(image: Image.Image, contract: InputContract, name: str = "image") -> np.ndarray:
    """What `fit_image` gives, as it lies in memory before: uint8 [H,W,C]."""
    assert image.mode == contract.color_mode, (image.mode, contract.color_mode)
    image = resize_shorter(image, contract.resize, contract.interpolation, name)
    crop_height, crop_width = contract.crop
    left, top = crop_corner(image.size, contract)
    if (crop_width, crop_height) != image.size:
        image = image.crop((left, top, left + crop_width, top + crop_height))
    return picture_pixels(image)


def resize_shorter(
    image: Image.Image, shorter: int, interpolation: Interpolation, name: str = "image"
) -> Image.Image:
    """The image with a shorter side of `shorter` pixels; itself where it has that already."""
    size = resized_size(image, shorter, name)
    if size == image.size:
        return image
    return image.resize(size, Image.Resampling(RESAMPLE_CODES[interpolation]))


def resized_size(image: Image.Image, shorter: int, name: str = "image") -> tuple[int, int]:
    """(width, height) of `image` with a shorter side of `shorter` pixels.

    Raises `UnreadableImage` for a hair-thin image, which would fill the memory.
    """
    return resized_sides(image.size, shorter, name)


def resized_sides(size: tuple[int, int], shorter: int, name: str = "image") -> tuple[int, int]:
    """What `resized_size` gives for a picture of `size` (width, height)."""
    width, height = size
    if width <= height:
        resized = shorter, int(shorter * height / width)
    else:
        resized = int(shorter * width / height), shorter
    if resized[0] * resized[1] > MAX_RESIZED_PIXELS:
        raise UnreadableImage(
            f"Cannot use image {name!r}: {width} x {height} pixels are too elongated "
            f"to be resized to a shorter side of {shorter}; crop it."
        )
    return resized


def crop_corner(size: tuple[int, int], contract: InputContract) -> tuple[int, int]:
    """Left and top of the contract's crop in a resized picture of `size` (width, height)."""
    (width, height), (crop_height, crop_width) = size, contract.crop
    return round((width - crop_width) / 2), round((height - crop_height) / 2)


def picture_pixels(image: Image.Image) -> np.ndarray:
    """The pixels of a picture in mode RGB or L: uint8 [H,W,C]."""
    pixels = np.asarray(image, dtype=np.uint8)
    assert (pixels.ndim == 3) == (CHANNELS[image.mode] == 3), pixels.shape
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def to_picture(pixels: np.ndarray) -> Image.Image:
    """A Pillow image of uint8 [H,W,C] with C of 1 (mode L) or 3 (RGB)."""
    return Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])


def decode_split(
    split: Split,
    contract: InputContract,
    *,
    indices: Sequence[int] | np.ndarray | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[np.ndarray, Unreadable]:
    """The images at `indices` (all by default) as the contract says: uint8 [N,C,H,W].

    Also the unreadable ones, in order: their rows hold zeros, and the caller decides whether to
    stop or to leave them out. `threads` is one per core by default.
    """
    chosen = np.arange(len(split)) if indices is None else np.asarray(indices, dtype=np.int64)
    if split.images is not None and _already_fits(split.images, contract):
        return (split.images if indices is None else split.images[chosen]), []
    decoded = np.zeros((len(chosen), contract.channels, *contract.crop), dtype=np.uint8)

    def decode(position: int) -> None:
        index = int(chosen[position])
        decoded[position] = load_contract_image(
            _content(split, index, contract), contract, split.names[index]
        )

    unreadable = _for_each(decode, len(chosen), threads, progress)
    return decoded, [(int(chosen[position]), message) for position, message in unreadable]


def find_unreadable(
    split: Split, *, threads: int | None = None, progress: Progress | None = None
) -> Unreadable:
    """Decode every image in full and return those that cannot be, in order."""
    encoded = split.encoded
    if encoded is None:
        return []

    def check(index: int) -> None:
        name = split.names[index]
        to_color_mode(decode_image(encoded[index], name), "RGB", True, name)

    return _for_each(check, len(encoded), threads, progress)


def image_sizes(split: Split, limit: int | None = None) -> list[tuple[int, int, str]]:
    """(height, width, Pillow mode) of up to `limit` images spread evenly, from their headers.

    An image without a readable header is left out: `find_unreadable` names it.
    """
    count = len(split) if limit is None else min(limit, len(split))
    if split.images is not None:
        _, channels, height, width = split.images.shape
        return [(height, width, "L" if channels == 1 else "RGB")] * count
    assert split.encoded is not None
    headers = []
    indices: list[int] = np.linspace(0, len(split) - 1, count).astype(int).tolist()
    for index in indices:
        try:
            headers.append(image_header(split.encoded[index], split.names[index]))
        except UnreadableImage:
            continue
    return headers


def _already_fits(images: np.ndarray, contract: InputContract) -> bool:
    _, channels, height, width = images.shape
    same_size = (height, width) == contract.crop and min(height, width) == contract.resize
    return same_size and channels == contract.channels


def _content(split: Split, index: int, contract: InputContract) -> ImageLike:
    if split.packed is not None and split.packed.pack.fits_exactly(contract):
        return split.packed[index]
    if split.encoded is not None:
        return split.encoded[index]
    assert split.images is not None
    return np.ascontiguousarray(split.images[index].transpose(1, 2, 0))


def _for_each(
    work: Callable[[int], None], count: int, threads: int | None, progress: Progress | None
) -> Unreadable:
    """Do `work(0..count-1)` in threads; what was unreadable comes back in order."""

    def work_through(start: int) -> tuple[int, Unreadable]:
        unreadable: Unreadable = []
        stop = min(start + CHUNK, count)
        for position in range(start, stop):
            try:
                work(position)
            except UnreadableImage as error:
                unreadable.append((position, str(error)))
        return stop, unreadable

    found: Unreadable = []
    executor = ThreadPoolExecutor(max_workers=threads or os.cpu_count() or 1)
    try:
        for done, unreadable in executor.map(work_through, range(0, count, CHUNK)):
            found += unreadable
            if progress is not None:
                progress(done)
    finally:
        # Without this, Ctrl-C would wait until every image is decoded.
        executor.shutdown(wait=True, cancel_futures=True)
    return found
