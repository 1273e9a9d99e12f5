import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_digits, load_sample_image

from resnetkit.data.checks import same_pictures
from resnetkit.data.checks.duplicates import DUPLICATE_KINDS, find_duplicates, find_groups
from resnetkit.data.checks.listing import list_source
from resnetkit.data.checks.part_store import PartStore
from resnetkit.data.checks.same_pictures import ALONE
from resnetkit.data.checks.scan import scan_source
from resnetkit.data.source_types import Split


def silent(what, done, total):
    pass


def tile(number):
    photograph = Image.fromarray(load_sample_image(f"{('china', 'flower')[number // 24]}.jpg"))
    x, y = number % 24 % 6 * 104, number % 24 // 6 * 104
    return photograph.crop((x, y, x + 104, y + 104))


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def look(tmp_path):
    """look({name: image or bytes}): what is found in a folder of these, as {(kind, names)}."""

    def look(files, clean=range(24, 40)):
        split = "train/" if any(name.startswith("train/") for name in files) else ""
        clean = {f"{split}clean/{n}.png": tile(n) for n in clean}
        clean[f"{split}other/one.png"] = tile(47)
        for name, content in (files | clean).items():
            path = tmp_path / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else encode(content))
        scan = scan_source(list_source(str(tmp_path / "images")), PartStore(None), silent)
        return find_duplicates(scan)

    return look


def summary(findings):
    return {(finding.kind, frozenset(finding.names)) for finding in findings}


def test_clean_pictures_give_no_finding(look):
    assert look({}, clean=range(46)) == []


def test_the_same_file_twice(look):
    [finding] = look({"a/1.png": tile(0), "a/2.png": tile(0), "b/3.png": tile(1)})
    assert finding.kind == "exact-duplicate"
    assert finding.names == ("a/1.png", "a/2.png")
    assert finding.detail == "the same content"


def test_the_same_pixels_in_another_encoding(look):
    [finding] = look({"a/1.png": tile(0), "a/2.bmp": encode(tile(0), "BMP")})
    assert (finding.kind, finding.names) == ("exact-duplicate", ("a/1.png", "a/2.bmp"))
    assert finding.detail == "the same pixels in other files (PNG, BMP)"


CHANGES = {
    "recompressed": lambda image: encode(image, "JPEG", quality=40),
    "smaller": lambda image: image.resize((52, 52)),
    "cropped a little": lambda image: image.crop((3, 2, 101, 102)),
    "cropped at a corner": lambda image: image.crop((0, 10, 92, 102)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "mirrored": ImageOps.mirror,
}


@pytest.mark.parametrize("change", CHANGES)
def test_near_duplicates(look, change):
    [finding] = look({"a/1.png": tile(8), "a/2.img.png": CHANGES[change](tile(8))})
    assert finding.kind == "near-duplicate"
    assert finding.names == ("a/1.png", "a/2.img.png")
    assert finding.detail.startswith(("likeness at least 0.9", "likeness at least 1.00"))


def test_shared_between_splits_whether_equal_or_nearly(look):
    found = look(
        {
            "train/a/1.png": tile(0),
            "val/a/2.png": tile(0),
            "train/a/3.png": tile(7),
            "test/a/4.jpg": encode(tile(7), "JPEG", quality=50),
            "val/clean/x.png": tile(10),
            "val/other/y.png": tile(11),
            "test/clean/x.png": tile(12),
            "test/other/y.png": tile(13),
        }
    )
    assert summary(found) == {
        ("shared-between-splits", frozenset({"train/a/1.png", "val/a/2.png"})),
        ("shared-between-splits", frozenset({"train/a/3.png", "test/a/4.jpg"})),
    }
    assert found[0].detail == "the same content; in train, val"
    assert found[1].detail.endswith("identical pictures have 1; in train, test")


def test_one_picture_under_two_labels(look):
    found = look(
        {
            "a/1.png": tile(0),
            "b/2.png": tile(0),
            "a/3.png": tile(7),
            "b/4.jpg": encode(tile(7), "JPEG", quality=50),
        }
    )
    assert summary(found) == {
        ("two-labels", frozenset({"a/1.png", "b/2.png"})),
        ("two-labels", frozenset({"a/3.png", "b/4.jpg"})),
    }
    assert "labelled a, b" in found[0].detail


def test_copies_within_a_split_are_named_beside_the_leak(look):
    found = look(
        {
            "train/a/1.png": tile(8),
            "train/a/2.png": tile(8),
            "train/a/3.jpg": encode(tile(8), "JPEG", quality=60),
            "test/a/4.png": tile(8),
            "test/clean/x.png": tile(12),
            "test/other/y.png": tile(13),
        }
    )
    copies = {"train/a/1.png", "train/a/2.png"}
    assert summary(found) == {
        ("shared-between-splits", frozenset({*copies, "train/a/3.jpg", "test/a/4.png"})),
        ("exact-duplicate", frozenset(copies)),
    }


def test_a_chain_of_versions_is_one_group(look):
    versions = {f"a/{q}.jpg": encode(tile(20), "JPEG", quality=q) for q in (95, 70, 45, 20)}
    [finding] = look(versions)
    assert (finding.kind, set(finding.names)) == ("near-duplicate", set(versions))


def test_damaged_files_are_duplicates_of_nothing(look):
    assert look({"a/1.png": b"same rubbish", "a/2.png": b"same rubbish", "a/3.png": tile(5)}) == []


def pages(count):
    """Pages with nothing but the noise of a scanner."""
    generator = np.random.default_rng(0)
    return np.clip(generator.normal(244, 2, (count, 80, 60, 3)), 0, 255)


def brushed_metal(count):
    """Surfaces of one material: strong texture along one direction, the same everywhere."""
    generator = np.random.default_rng(1)
    rows = generator.normal(0, 25, (count, 120, 1, 1)) + generator.normal(
        0, 12, (count, 120, 90, 1)
    )
    return np.clip(130 + np.repeat(rows, 3, axis=3), 0, 255)


def digits(count):
    """Handwritten digits, smooth and all at the same place."""
    small = load_digits().images[:count] * 15.9
    grey = [Image.fromarray(each.astype(np.uint8)).resize((32, 32), 3) for each in small]
    return np.repeat(np.stack([np.asarray(each) for each in grey])[..., None], 3, axis=3)


@pytest.mark.parametrize("make", [pages, brushed_metal, digits])
def test_pictures_of_one_kind_are_not_copies(make):
    images = make(120).astype(np.uint8).transpose(0, 3, 1, 2)
    assert (find_groups(as_split(images), silent) == ALONE).all()


def as_split(images):
    names = [f"image {number}" for number in range(len(images))]
    return Split(labels=np.zeros(len(images), np.int64), names=names, images=images)


def test_tiny_pictures_are_only_compared_exactly():
    images = np.repeat((load_digits().images[:300] * 15.9).astype(np.uint8)[:, None], 3, axis=1)
    images[299] = images[0]
    expected = np.full(300, ALONE)
    expected[[0, 299]] = 0
    assert (find_groups(as_split(images), silent) == expected).all()


def test_groups_of_encoded_and_unreadable_images():
    first = encode(tile(8))
    contents = [b"rubbish", first, encode(tile(9)), encode(tile(8), "JPEG"), b"rubbish", first]
    names = [str(number) for number in range(6)]
    reports = []
    groups = find_groups(
        Split(labels=np.zeros(6, np.int64), names=names, encoded=contents),
        lambda *report: reports.append(report),
    )
    assert groups.tolist() == [ALONE, 1, ALONE, 1, ALONE, 1]
    assert groups.dtype == np.int64
    assert ("hashing images", 6, 6) in reports


def test_a_file_that_changed_since_the_scan_is_passed_over(tmp_path):
    for name, picture in (("a/1", tile(8)), ("a/2", tile(8).resize((90, 90))), ("b/3", tile(9))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.png").write_bytes(encode(picture))
    scan = scan_source(list_source(str(tmp_path)), PartStore(None), silent)
    assert [finding.kind for finding in find_duplicates(scan)] == ["near-duplicate"]
    (tmp_path / "a/2.png").write_bytes(b"gone")
    assert find_duplicates(scan) == []


def test_says_when_too_many_pictures_look_alike(look, monkeypatch):
    monkeypatch.setattr(same_pictures, "_MOST_PAIRS", (0, 0))
    versions = {f"a/{q}.jpg": encode(tile(8), "JPEG", quality=q) for q in (90, 30)}
    [finding] = look(versions)
    assert (finding.kind, finding.names) == ("many-alike", ())
    assert "only the most alike" in finding.detail


def test_every_kind_says_what_to_do():
    assert {kind for kind in DUPLICATE_KINDS if DUPLICATE_KINDS[kind].severity == "unsafe"} == {
        "shared-between-splits",
        "two-labels",
    }
    assert all(kind.treatment.endswith(".") for kind in DUPLICATE_KINDS.values())
