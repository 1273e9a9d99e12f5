"""Write golden/corruptions/goldens.npz: what the libraries of the published code give.

Image by image, through scikit-image, OpenCV, SciPy and Pillow as the scripts that made CIFAR-10-C,
Tiny-ImageNet-C and ImageNet-C call them; motion blur, ImageMagick's there, pixel by pixel. The
draws are ours. See golden/corruptions/README.md for how it is run.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates, zoom
from skimage.color import hsv2rgb, rgb2hsv
from skimage.filters import gaussian

from resnetkit.evaluation.corruptions.keys import image_keys
from resnetkit.evaluation.corruptions.severities import find_parameters

SEED, INDEX = 7, 123
CASES = {32: (1, 2, 3, 4, 5), 64: (3, 5), 224: (2, 5)}  # severities by side
KEPT = {32: 1, 64: 2, 224: 7}  # every so many pixels are compared
OUT = Path(__file__).parent / "corruptions" / "goldens.npz"


def draw_image(side: int) -> np.ndarray:
    """A picture with flat parts, edges, gradients and texture: uint8 [side,side,3]."""
    generator = np.random.default_rng(side)
    y, x = np.mgrid[:side, :side] / side
    image = np.stack([200 * x, 90 + 120 * y, 128 + 100 * np.sin(9 * x * y)], axis=2)
    image[side // 8 : side // 3, side // 6 : side // 2] = (250, 40, 10)
    image[(x - 0.65) ** 2 + (y - 0.6) ** 2 < 0.05] = (20, 200, 240)
    image[int(0.85 * side) :, : side // 2] = 0
    image[int(0.85 * side) :, side // 2 :] = 255
    texture = generator.normal(0, 25, image.shape) * (y > 0.35)[..., None] * (y < 0.8)[..., None]
    return np.clip(image + texture, 0, 255).astype(np.uint8)


def gaussian_noise(image, deviation, rng):
    noise = rng.standard_normal((3, *image.shape[:2])).transpose(1, 2, 0)
    return np.clip(image / 255.0 + noise * deviation, 0, 1) * 255


def shot_noise(image, photons, rng):
    counts = rng.poisson(image.transpose(2, 0, 1) / 255.0 * photons).transpose(1, 2, 0)
    return np.clip(counts / photons, 0, 1) * 255


def defocus_blur(image, parameters, rng):
    radius, softness = parameters
    reach, size = (8, (3, 3)) if radius <= 8 else (radius, (5, 5))
    x, y = np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1))
    kernel = np.array(x**2 + y**2 <= radius**2, dtype=np.float32)
    kernel = cv2.GaussianBlur(kernel / kernel.sum(), ksize=size, sigmaX=softness)
    channels = [cv2.filter2D(image[:, :, k] / 255.0, -1, kernel) for k in range(3)]
    return np.clip(np.stack(channels, axis=2), 0, 1) * 255


def glass_blur(image, parameters, rng):
    deviation, reach, rounds = parameters
    height, width = image.shape[:2]
    pixels = np.uint8(gaussian(image / 255.0, sigma=deviation, channel_axis=-1) * 255)
    for _ in range(rounds):
        rows, columns = range(height - reach, reach, -1), range(width - reach, reach, -1)
        steps = iter(rng.integers(-reach, reach, (len(rows) * len(columns), 2)))
        for row in rows:
            for column in columns:
                dx, dy = next(steps)
                # As published, with the views that make an overwriting of this swap.
                here, there = (row, column), (row + dy, column + dx)
                pixels[here], pixels[there] = pixels[there], pixels[here]
    return np.clip(gaussian(pixels / 255.0, sigma=deviation, channel_axis=-1), 0, 1) * 255


def magick_motion(image, radius, deviation, degrees):
    """ImageMagick's MotionBlurImage on uint8 [H,W] or [H,W,C], rounded to 8 bits."""
    width = 2 * radius + 1
    kernel = [math.exp(-(i**2) / (2 * deviation**2)) for i in range(width)]
    kernel = [weight / sum(kernel) for weight in kernel]
    point = width * math.sin(math.radians(degrees)), width * math.cos(math.radians(degrees))
    total = np.zeros(image.shape)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    for i, weight in enumerate(kernel):
        dx = math.ceil(i * point[1] / math.hypot(*point) - 0.5)
        dy = math.ceil(i * point[0] / math.hypot(*point) - 0.5)
        from_y = np.clip(y + dy, 0, image.shape[0] - 1)
        total += weight * image[from_y, np.clip(x + dx, 0, image.shape[1] - 1)]
    return np.floor(total + 0.5).astype(np.uint8)


def motion_blur(image, parameters, rng):
    return magick_motion(image, *parameters, rng.uniform(-45, 45, 1)[0])


def zoomed(image, factor):
    side = image.shape[0]
    kept = int(np.ceil(side / factor))
    top = (side - kept) // 2
    part = zoom(image[top : top + kept, top : top + kept], (factor, factor, 1), order=1)
    spare = (part.shape[0] - side) // 2
    return part[spare : spare + side, spare : spare + side]


def zoom_blur(image, parameters, rng):
    values = (image / 255.0).astype(np.float32)
    factors = np.arange(1, *parameters)
    total = np.zeros_like(values)
    for factor in factors:
        total += zoomed(values, factor)
    return np.clip((values + total) / (len(factors) + 1), 0, 1) * 255


def snow(image, parameters, rng):
    mean, deviation, factor, threshold, radius, blur, share = parameters
    height, width = image.shape[:2]
    flakes = mean + deviation * rng.standard_normal(height * width).reshape(height, width)
    flakes = zoomed(flakes[..., None], factor)[..., 0]
    flakes[flakes < threshold] = 0
    flakes = (np.clip(flakes, 0, 1) * 255).astype(np.uint8)
    layer = magick_motion(flakes, radius, blur, rng.uniform(-135, -45))[..., None] / 255.0
    values = np.array(image, dtype=np.float32) / 255.0
    grey = cv2.cvtColor(values, cv2.COLOR_RGB2GRAY)[..., None]
    values = share * values + (1 - share) * np.maximum(values, grey * 1.5 + 0.5)
    return np.clip(values + layer + np.rot90(layer, k=2), 0, 1) * 255


def diamond_square(side, decay, rng):
    heights = np.zeros((side, side))
    step, wibble = side, 100

    def around(total):
        return total / 4 + wibble * rng.uniform(-wibble, wibble, total.shape)

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        heights[half::step, half::step] = around(pairs + np.roll(pairs, -1, axis=1))
        centres = heights[half::step, half::step]
        beside = corners + np.roll(corners, -1, axis=1)
        heights[::step, half::step] = around(centres + np.roll(centres, 1, axis=0) + beside)
        beside = corners + np.roll(corners, -1, axis=0)
        heights[half::step, ::step] = around(centres + np.roll(centres, 1, axis=1) + beside)
        step, wibble = half, wibble / decay
    heights -= heights.min()
    return heights / heights.max()


def fog(image, parameters, rng):
    strength, decay = parameters
    side = image.shape[0]
    swirls = diamond_square({32: 32, 64: 64, 224: 256}[side], decay, rng)[:side, :side]
    values = image / 255.0
    largest = values.max()
    values = values + strength * swirls[..., None]
    return np.clip(values * largest / (largest + strength), 0, 1) * 255


def brightness(image, added, rng):
    values = rgb2hsv(image / 255.0)
    values[:, :, 2] = np.clip(values[:, :, 2] + added, 0, 1)
    return np.clip(hsv2rgb(values), 0, 1) * 255


def contrast(image, left, rng):
    values = image / 255.0
    means = np.mean(values, axis=(0, 1), keepdims=True)
    return np.clip((values - means) * left + means, 0, 1) * 255


def elastic_transform(image, parameters, rng):
    side = image.shape[0]
    strength, smoothness, shift = (share * {224: 244}.get(side, side) for share in parameters)
    draws = rng.uniform(-1, 1, 6 + 2 * side * side)
    values = np.array(image, dtype=np.float32) / 255.0
    middle, reach = np.float32((side, side)) // 2, side // 3
    corners = [middle + reach, [middle[0] + reach, middle[1] - reach], middle - reach]
    corners = np.float32(corners)
    moved = corners + (shift * draws[:6].reshape(3, 2)).astype(np.float32)
    matrix = cv2.getAffineTransform(corners, moved)
    values = cv2.warpAffine(values, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
    waves = draws[6:].reshape(2, side, side)
    if strength:
        waves = [
            gaussian(wave, smoothness, mode="reflect", truncate=3) * strength for wave in waves
        ]
    else:
        waves = np.zeros_like(waves)
    y, x = np.mgrid[:side, :side]
    places = y + waves[1], x + waves[0]
    channels = [map_coordinates(values[..., k], places, order=1, mode="reflect") for k in range(3)]
    return np.clip(np.stack(channels, axis=2), 0, 1) * 255


def pixelate(image, share, rng):
    side = image.shape[0]
    small = int(side * share), int(side * share)
    box = Image.Resampling.BOX
    return np.array(Image.fromarray(image).resize(small, box).resize((side, side), box))


def jpeg_compression(image, quality, rng):
    stored = io.BytesIO()
    Image.fromarray(image).save(stored, "JPEG", quality=quality)
    return np.array(Image.open(stored))


REFERENCES = (
    gaussian_noise,
    shot_noise,
    defocus_blur,
    glass_blur,
    motion_blur,
    zoom_blur,
    snow,
    fog,
    brightness,
    contrast,
    elastic_transform,
    pixelate,
    jpeg_compression,
)


def main() -> None:
    arrays: dict[str, Any] = {}
    for side, severities in CASES.items():
        image = draw_image(side)
        arrays[f"image/{side}"] = image.transpose(2, 0, 1)
        for reference in REFERENCES:
            name = reference.__name__
            key = image_keys(SEED, name, np.array([INDEX]))[0]
            for severity in severities:
                parameters = find_parameters(name, image.transpose(2, 0, 1)[None], severity)
                rng = np.random.Generator(np.random.Philox(key=key))
                changed = np.uint8(reference(image, parameters, rng))
                kept = changed[:: KEPT[side], :: KEPT[side]].transpose(2, 0, 1)
                arrays[f"{name}/{side}/{severity}"] = np.ascontiguousarray(kept)
    np.savez_compressed(OUT, **arrays)
    print(f"{OUT}: {len(arrays)} arrays, {OUT.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
