"""Fingerprints of a picture: of its exact pixels, of how it looks, of how parts of it look."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
from PIL import Image

from resnetkit.data.color_mode import to_color_mode

FLAT = 0  # the perceptual hash of a picture in which there is nothing to recognise
CROPS = 9  # parts of a picture that are hashed as well
_CROPPED = 0.9  # of either side, at the corners, the middles of the sides and the centre
_SIDE = 32
_BITS = 64
_FREQUENCIES = 9  # along each side: as many as the lowest 64 reach
_FAINTEST = 1.0  # grey levels of 255: JPEG alone moves a blank page by as much


def pixel_hash(image: Image.Image) -> bytes:
    """16 bytes that two images share if, upright and as 8-bit RGB, they have the same pixels.

    BLAKE2b over width, height and pixels. Raises `UnreadableImage` as `to_color_mode` does.
    """
    upright = to_color_mode(image, "RGB", exif_transpose=True)
    state = hashlib.blake2b(digest_size=16)
    state.update(f"{upright.width}x{upright.height}".encode())
    state.update(upright.tobytes())
    return state.digest()


def perceptual_hash(image: Image.Image) -> int:
    """A 64-bit hash, few bits apart for one picture recompressed, rescaled or slightly cropped.

    The signs of the 64 lowest frequencies, without the constant one, of the discrete cosine
    transform of the upright grey image at 32 x 32 (pHash: Zauner 2010, "Implementation and
    benchmarking of perceptual image hash functions", section 3.2.1, but compared with zero and
    not with the median, so that brightness and contrast do not matter and `mirrored` is exact).
    `FLAT` where the strongest of these patterns stays below one grey level: the signs would be
    those of the noise. Raises `UnreadableImage` as `to_color_mode` does.
    """
    return int(perceptual_hashes(image)[0])


def perceptual_hashes(image: Image.Image) -> np.ndarray:
    """The perceptual hashes of the picture and of `CROPS` parts of it: uint64 [1 + CROPS].

    Of two versions of a picture of which one is cropped more, the hash of the smaller is near that
    of a part of the larger.
    """
    grey = to_color_mode(image, "L", exif_transpose=True)
    small = grey.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
    pixels = np.asarray(small, np.float32)
    rows, columns = _lowest_frequencies()
    whole, parts = _transforms()
    spectra = np.concatenate(
        [
            (whole @ pixels @ whole.T)[None],
            (parts @ pixels @ parts.T)
            .reshape(3, _FREQUENCIES, 3, _FREQUENCIES)
            .swapaxes(1, 2)
            .reshape(CROPS, _FREQUENCIES, _FREQUENCIES),
        ]
    )
    coefficients = spectra[:, rows, columns]
    signs = np.ascontiguousarray(np.packbits(coefficients > 0, axis=1))
    bits = signs.view(">u8")[:, 0].astype(np.uint64)
    return np.where(np.abs(coefficients).max(axis=1) < _FAINTEST, np.uint64(FLAT), bits)


def mirrored(hashes: np.ndarray) -> np.ndarray:
    """The hashes of the same pictures turned left to right: uint64 [N] of uint64 [N]."""
    _, columns = _lowest_frequencies()
    odd = int.from_bytes(np.packbits(columns % 2 == 1).tobytes(), "big")  # their signs turn
    return np.where(hashes == FLAT, hashes, hashes ^ np.uint64(odd))


@cache
def _transforms() -> tuple[np.ndarray, np.ndarray]:
    """Cosine transforms along one side: of all of it, float32 [9,32]; of its 3 parts, [27,32].

    Scaled to give amplitudes in grey levels.
    """
    frequencies = np.arange(_FREQUENCIES)[:, None]
    places = np.arange(_SIDE)[None, :] + 0.5
    cosines = np.cos(np.pi * frequencies * places / _SIDE) * np.sqrt(2) / _SIDE
    starts = [0.0, (1 - _CROPPED) / 2 * _SIDE, (1 - _CROPPED) * _SIDE]
    parts = [cosines @ _interpolation(start + _CROPPED * places[0] - 0.5) for start in starts]
    return cosines.astype(np.float32), np.concatenate(parts).astype(np.float32)


def _interpolation(places: np.ndarray) -> np.ndarray:
    """Weights [M,32] that take a side's pixels to its linear interpolation at `places` [M]."""
    distances = np.abs(np.clip(places, 0, _SIDE - 1)[:, None] - np.arange(_SIDE)[None, :])
    return np.maximum(0, 1 - distances)


@cache
def _lowest_frequencies() -> tuple[np.ndarray, np.ndarray]:
    """(row, column) numbers of the 64 frequencies kept, int64 [64] each, the lowest first."""
    grid = [
        (row, column)
        for row in range(_FREQUENCIES)
        for column in range(_FREQUENCIES)
        if row + column
    ]
    grid.sort(key=lambda place: (place[0] ** 2 + place[1] ** 2, place))
    lowest = np.array(grid[:_BITS])
    return lowest[:, 0], lowest[:, 1]
