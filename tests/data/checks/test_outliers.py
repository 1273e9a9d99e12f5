"""Images that stand out, judged against the others of their source."""

import io

import numpy as np
import pytest
from PIL import Image
from planted import encode, picture

from resnetkit.data.checks.listing import list_loaded
from resnetkit.data.checks.outliers import find_outliers
from resnetkit.data.checks.part_store import PartStore
from resnetkit.data.checks.scan import scan_source
from resnetkit.data.source_types import Source, Split


def outliers(images):
    encoded = [
        encode(image, "PNG") if isinstance(image, Image.Image) else image for image in images
    ]
    split = Split(
        labels=np.zeros(len(encoded), np.int64),
        names=[str(number) for number in range(len(encoded))],
        encoded=encoded,
    )
    source = Source(
        location="x", class_names=("a", "b"), splits={"train": split}, present=("train",)
    )
    scan = scan_source(list_loaded(source), PartStore(None), lambda *_: None)
    return {
        kind: [(finding.names[0], finding.detail) for finding in found]
        for kind, found in find_outliers(scan).items()
    }


def usual(count=30, size=(60, 40)):
    return [picture(number, size) for number in range(count)]


def test_nothing_stands_out():
    assert outliers(usual()) == {}
    assert outliers([picture(n, (60, 40) if n % 3 else (40, 60)) for n in range(30)]) == {}
    assert outliers([picture(n, (40 + 3 * n, 50 + n)) for n in range(30)]) == {}
    assert outliers([picture(n, (8, 8)) for n in range(30)]) == {}  # as small as digits
    assert outliers([picture(n, (300, 30)) for n in range(30)]) == {}  # panoramas, all of them
    assert outliers([]) == {}
    assert outliers([b"", b"x"]) == {}


def test_sizes():
    assert outliers([*usual(), picture(99, (61, 40))]) == {
        "odd-size": [("30", "61 x 40 pixels; most: 60 x 40 or the like")]
    }
    various = [picture(n, (40 + n, 50 + n)) for n in range(30)]
    assert list(outliers([*various, picture(99, (400, 300))])) == ["odd-size"]
    assert outliers([*various, picture(99, (100, 80))]) == {}
    assert [name for name, _ in outliers([*various, picture(99, (5, 7))])["tiny-image"]] == ["30"]


def test_shapes():
    found = outliers([*usual(), picture(99, (40, 400))])
    assert found == {
        "extreme-aspect": [
            ("30", "40 x 400 pixels, 1 : 10; a square from the centre shows 10.0% of it")
        ]
    }


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_grey_among_colour(mode):
    grey = picture(99, (60, 40)).convert("L").convert(mode)
    found = outliers([*usual(), grey])
    assert found == {"grey-among-colour": [("30", f"stored as {mode}, no colour in it")]}


def test_colour_among_grey():
    grey = [image.convert("L") for image in usual()]
    found = outliers([*grey, picture(99, (60, 40))])
    assert found == {"colour-among-grey": [("30", "stored as RGB, colour in it")]}
    half = [*grey, *usual()]
    assert outliers(half) == {}


def test_a_blank_image_is_not_grey():
    assert outliers([*usual(), Image.new("RGB", (60, 40), "white")]) == {}


def test_huge():
    buffer = io.BytesIO()
    Image.new("1", (6000, 4100)).save(buffer, "PNG")
    found = outliers([*usual(), buffer.getvalue()])
    assert found == {"huge-image": [("30", "6000 x 4100 pixels, 25 million pixels")]}
