import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_sample_image

from resnetkit.data.checks.pixel_match import (
    count_details,
    likeness,
    make_views,
    mirror,
    quick_likeness,
)

SAME = 0.88


def photograph(name):
    return Image.fromarray(load_sample_image(f"{name}.jpg"))


def tile(number, side=104):
    x, y = number % 6 * 104, number // 6 * 104
    return photograph("china").crop((x, y, x + side, y + side))


def views(image):
    return make_views(np.asarray(image.convert("RGB")))


def recompress(image, quality=30):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


CHANGES = {
    "recompressed": recompress,
    "smaller": lambda image: image.resize((40, 40), Image.Resampling.LANCZOS),
    "larger": lambda image: image.resize((260, 260), Image.Resampling.BICUBIC),
    "cropped": lambda image: image.crop((6, 3, 96, 98)),
    "one side cut off": lambda image: image.crop((0, 0, 92, 104)),
    "turned a little": lambda image: image.rotate(3, Image.Resampling.BICUBIC),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.5),
    "grey": lambda image: image.convert("L"),
    "another tint": lambda image: ImageEnhance.Color(image).enhance(2.0),
    "all at once": lambda image: recompress(
        ImageEnhance.Brightness(image.crop((4, 4, 100, 96)).resize((48, 48))).enhance(1.2), 60
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("number", [7, 14])
def test_one_picture_is_recognised(change, number):
    first, second = views(tile(number)), views(CHANGES[change](tile(number)))
    assert likeness(first, second) > SAME
    assert quick_likeness(first[0][None], second[0][None])[0] > 0.5


def test_itself_is_as_alike_as_can_be():
    assert likeness(views(tile(9)), views(tile(9))) == pytest.approx(1, abs=1e-3)


def test_mirrored_is_recognised_when_asked_for():
    first, second = views(tile(8)), views(ImageOps.mirror(tile(8)))
    assert likeness(first, second) < 0.7
    assert likeness(first, mirror(second)) == pytest.approx(1, abs=1e-3)


def test_what_has_to_be_turned_to_fit_is_another_picture():
    whole = tile(14, 150)
    turned = whole.rotate(12, Image.Resampling.BICUBIC).crop((23, 23, 127, 127))
    assert likeness(views(whole.crop((23, 23, 127, 127))), views(turned)) == -1


def test_neighbouring_pieces_of_a_photograph_are_different_pictures():
    pieces = [views(tile(number)) for number in range(12)]
    alike = [likeness(a, b) for i, a in enumerate(pieces) for b in pieces[:i]]
    assert max(alike) < 0.7


@pytest.mark.parametrize("smoothness", [1, 3, 8])
def test_textures_of_one_kind_are_different_pictures(smoothness):
    def texture(seed):
        noise = np.random.default_rng(seed).integers(0, 256, (96 // smoothness,) * 2)
        return views(Image.fromarray(noise.astype(np.uint8)).resize((96, 96)))

    textures = [texture(seed) for seed in range(8)]
    assert max(likeness(a, b) for i, a in enumerate(textures) for b in textures[:i]) < 0.8


def test_nothing_is_like_nothing():
    blank = views(Image.new("RGB", (50, 50), (255, 255, 255)))
    assert likeness(blank, blank) < 0.01
    assert quick_likeness(blank[0][None], blank[0][None])[0] == pytest.approx(0, abs=1e-3)
    assert count_details(blank) == pytest.approx(0, abs=1e-3)


def test_details_are_counted():
    stripe = np.full((40, 40, 3), 200, np.uint8)
    stripe[20:23, 10:30] = 90
    assert count_details(make_views(stripe)) < 6
    assert count_details(views(tile(7))) > 8


def test_large_pictures_are_compared_finely():
    assert [view.shape for view in views(tile(0))] == [(32, 32), (64, 64)]
    assert [view.shape for view in views(tile(0).resize((63, 200)))] == [(32, 32)]
