"""Whether two images show the same picture: laid over each other, then compared by their detail.

Two files of one photograph differ in size, crop, brightness, colour and compression, and agree in
where edges and texture are. So both are made grey and small, one is laid over the other by an
affine map (Lucas-Kanade with free gain and offset: Evangelidis & Psarakis 2008, "Parametric image
alignment using enhanced correlation coefficient maximization", section 3), and what is compared is
the detail: the correlation left after what varies slowly is taken away. Likeness of layout alone,
two ships on two horizons, does not pass.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image

SMALLEST_SIDE = 24  # pixels: in fewer, different pictures look the same
THUMBNAIL_SIDE = 32
_FINE_SIDE = 64  # where both images have as many pixels, they are compared at this side as well
_MARGIN = 4  # of THUMBNAIL_SIDE, on each side: how far a picture may be shifted or cropped
_MIDDLE = 1 - 2 * _MARGIN / THUMBNAIL_SIDE  # the part of a side that is compared
_NOISE, _FINE, _COARSE = 0.6 / 32, 1.2 / 32, 3.0 / 32  # blurs: standard deviation over side
_SCALES = (0.88, 0.94, 1.0, 1.06, 1.13)
_STEPS = 8
_CERTAIN = 0.95
_HOPELESS = 0.55  # correlation before the fine alignment; pictures that are the same had 0.61
_HOPELESS_AFTER_THREE = 0.75  # and after three of its steps
# How much of its size a picture may be stretched, turned or sheared: copies differ in crop and
# scale, and what has to be turned to fit is another picture of a similar shape.
_STRETCHED, _TURNED = 0.35, 0.12
_IDENTITY = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # offset, then what y and x turn into

Views = tuple[np.ndarray, ...]  # a picture in grey without noise: float32 [32,32], maybe [64,64]


def make_views(pixels: np.ndarray) -> Views:
    """What two pictures are compared by, made of one's pixels uint8 [H,W,3]."""
    sides = [THUMBNAIL_SIDE]
    if min(pixels.shape[:2]) >= _FINE_SIDE:
        sides.append(_FINE_SIDE)
    grey = Image.fromarray(pixels).convert("L")
    small = [grey.resize((s, s), Image.Resampling.BICUBIC, reducing_gap=3.0) for s in sides]
    return tuple(_blur(np.asarray(view, np.float32), _NOISE) for view in small)


def mirror(views: Views) -> Views:
    """The views of the same picture turned left to right."""
    return tuple(view[:, ::-1] for view in views)


def count_details(views: Views) -> float:
    """How many independent details a picture has, about: 3 of a ship on a calm sea, 16 of a frog.

    Participation ratios: over pixels, because where nothing is to be seen nothing can differ, and
    over frequencies, because neighbouring pixels of smooth shapes tell the same.
    """
    detail = _centred(_detail(_sample(views[0], _IDENTITY), _COARSE))
    power = np.abs(np.fft.fft2(detail)) ** 2
    shares = [values.sum() ** 2 / ((values**2).sum() + 1e-9) for values in (detail**2, power)]
    return float(shares[0] * shares[1] / detail.size)


def quick_likeness(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The best correlation over whole-pixel shifts: float32 [N] of thumbnails [N,32,32] each.

    Much cheaper than `likeness`: it sorts out what is clearly different.
    """
    inner = slice(_MARGIN, THUMBNAIL_SIDE - _MARGIN)
    template = np.zeros_like(first)
    template[:, inner, inner] = _centred(_detail(first, _COARSE)[:, inner, inner])
    searched = _detail(second, _COARSE)
    spectrum = np.conj(np.fft.rfft2(template)) * np.fft.rfft2(searched)
    shifts = np.r_[-_MARGIN : _MARGIN + 1]
    products = np.fft.irfft2(spectrum, s=first.shape[1:])[:, shifts][:, :, shifts]
    energies = _window_energies(searched) * (template**2).sum((1, 2))[:, None, None]
    return (products / np.sqrt(energies + 1.0)).max((1, 2)).astype(np.float32)


def likeness(first: Views, second: Views) -> float:
    """How much of their detail two pictures share once aligned: at most 1; -1 if hardly any.

    The mean of the correlations of a coarse and a fine band of frequencies over the middle of the
    picture. Where that is not yet certain, the better of laying either over the other.
    """
    levels = list(zip(first, second, strict=False))
    value = _one_way(levels)
    if value >= _CERTAIN:
        return value
    return max(value, _one_way([(moving, fixed) for fixed, moving in levels]))


def _one_way(levels: list[tuple[np.ndarray, np.ndarray]]) -> float:
    warp, fit = _coarse_warp(*(_detail(picture, _COARSE) for picture in levels[0]))
    if fit < _HOPELESS:
        return -1.0
    for fixed, moving in levels:
        warp = _refine(_detail(fixed, _COARSE), _detail(moving, _COARSE), warp)
    change = np.abs(warp[1:] - np.eye(2))
    if change.diagonal().max() > _STRETCHED or max(change[0, 1], change[1, 0]) > _TURNED:
        return -1.0
    fixed, moving = levels[-1]
    middle, moved = _sample(fixed, _IDENTITY), _sample(moving, warp)
    bands = (_COARSE, _FINE)
    return float(np.mean([_correlation(_detail(middle, b), _detail(moved, b)) for b in bands]))


def _coarse_warp(fixed: np.ndarray, moving: np.ndarray) -> tuple[np.ndarray, float]:
    """The scale and whole-pixel shift at which the middle of `fixed` fits best, and how well."""
    middle = _sample(fixed, _IDENTITY)
    size = len(middle)
    best, warp = -2.0, _IDENTITY
    for scale in _SCALES:
        scaling = _scaling(len(moving), scale)
        whole = scaling @ moving @ scaling.T
        windows = np.lib.stride_tricks.sliding_window_view(whole, (size, size))
        windows = windows.reshape(-1, size * size)
        centred = windows - windows.mean(1, keepdims=True)
        fits = centred @ _centred(middle).ravel() / (np.sqrt((centred**2).sum(1)) + 1e-3)
        place = int(fits.argmax())
        if fits[place] > best:
            shift = np.array(divmod(place, 2 * _MARGIN + 1)) - _MARGIN
            best, warp = float(fits[place]), _IDENTITY * scale
            warp[0] = shift * scale / (size / 2)
    return warp, best


def _refine(fixed: np.ndarray, moving: np.ndarray, warp: np.ndarray) -> np.ndarray:
    """The affine warp near `warp` that lays `moving` best over the middle of `fixed`.

    Gauss-Newton on moving(warp) = gain * fixed + offset; the best of its steps is kept.
    """
    target = _centred(_sample(fixed, _IDENTITY))
    places = _grid(len(fixed)).reshape(2, -1)
    design = np.concatenate([np.ones((1, target.size)), places])
    constant = np.stack([-target.ravel(), -np.ones(target.size)])
    half = len(fixed) * _MIDDLE / 2
    layers = np.stack([moving, *(slope * half for slope in np.gradient(moving))])
    best, kept = -2.0, warp
    for number in range(_STEPS + 1):
        moved, down, right = _sample(layers, warp)
        fit = _correlation(moved, target)
        if fit > best:
            best, kept = fit, warp
        if number == 3 and best < _HOPELESS_AFTER_THREE:
            break
        system = np.concatenate([design * down.ravel(), design * right.ravel(), constant])
        normal = system @ system.T + np.diag([1e-3] * 8)
        step = np.linalg.solve(normal, -system @ moved.ravel())[:6].reshape(2, 3).T
        if np.abs(step).max() < 4e-3:  # of half a side: less than a twentieth of a pixel
            break
        warp = warp + np.clip(step, -0.12, 0.12)
    return kept


def _sample(pictures: np.ndarray, warp: np.ndarray) -> np.ndarray:
    """The warped middles of pictures [...,S,S], interpolated linearly; the border goes on."""
    side = pictures.shape[-1]
    grid = _grid(side)
    places = sum(part[:, None, None] * axis for part, axis in zip(warp[1:], grid, strict=True))
    places = (places + warp[0][:, None, None]) * (side * _MIDDLE / 2) + (side - 1) / 2
    y, x = np.clip(places, 0, side - 1.001)
    top, left = y.astype(np.intp), x.astype(np.intp)
    down, right = y - top, x - left
    flat, corner = pictures.reshape(*pictures.shape[:-2], -1), top * side + left
    upper = flat[..., corner] * (1 - right) + flat[..., corner + 1] * right
    lower = flat[..., corner + side] * (1 - right) + flat[..., corner + side + 1] * right
    return upper * (1 - down) + lower * down


@cache
def _scaling(side: int, scale: float) -> np.ndarray:
    """Weights [M,S] that take a side to its middle, and `_MARGIN` more, at another scale."""
    count = round(side * _MIDDLE)
    places = (np.arange(-_MARGIN, count + _MARGIN) + 0.5 - count / 2) * scale + (side - 1) / 2
    distances = np.abs(np.clip(places, 0, side - 1)[:, None] - np.arange(side)[None, :])
    return np.maximum(0, 1 - distances).astype(np.float32)


@cache
def _grid(side: int) -> np.ndarray:
    """(y, x) of the pixels of the middle, -1..1 across it: float64 [2,M,M]."""
    count = round(side * _MIDDLE)
    axis = (np.arange(count) + 0.5) / (count / 2) - 1
    return np.stack(np.meshgrid(axis, axis, indexing="ij"))


def _detail(pictures: np.ndarray, blur: float) -> np.ndarray:
    return pictures - _blur(pictures, blur)


def _blur(pictures: np.ndarray, deviation: float) -> np.ndarray:
    weights = _blur_weights(pictures.shape[-1], deviation)
    return weights @ pictures @ weights.T


@cache
def _blur_weights(side: int, deviation: float) -> np.ndarray:
    """Gaussian weights [side, side] with rows that sum to 1; `deviation` is a part of 32 / side."""
    distances = np.arange(side)[:, None] - np.arange(side)[None, :]
    weights = np.exp(-0.5 * (distances / (deviation * side)) ** 2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _window_energies(pictures: np.ndarray) -> np.ndarray:
    """Sum of squares about the mean in every window as large as the middle: [N,9,9]."""
    size = round(THUMBNAIL_SIDE * _MIDDLE)
    return _window_sums(pictures**2, size) - _window_sums(pictures, size) ** 2 / size**2


def _window_sums(pictures: np.ndarray, size: int) -> np.ndarray:
    sums = np.pad(pictures.astype(np.float64), ((0, 0), (1, 0), (1, 0))).cumsum(1).cumsum(2)
    rows = sums[:, size:] - sums[:, :-size]
    return rows[:, :, size:] - rows[:, :, :-size]


def _centred(pictures: np.ndarray) -> np.ndarray:
    return pictures - pictures.mean((-2, -1), keepdims=True)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    first, second = _centred(first).ravel(), _centred(second).ravel()
    return float(first @ second / np.sqrt((first @ first) * (second @ second) + 1.0))
