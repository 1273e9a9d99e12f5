"""A folder with every kind of defect we know, and clean pictures of the real world beside them."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

TILE = 104


@cache
def photograph(name: str) -> Image.Image:
    return Image.fromarray(load_sample_image(f"{name}.jpg"))


def tiles(name: str) -> list[Image.Image]:
    """24 pieces of a real photograph that do not overlap."""
    whole = photograph(name)
    corners = [(x, y) for y in range(0, 4 * TILE, TILE) for x in range(0, 6 * TILE, TILE)]
    return [whole.crop((x, y, x + TILE - x // TILE, y + TILE)) for x, y in corners]


def picture(seed: int, size: tuple[int, int] = (TILE, TILE)) -> Image.Image:
    """A coloured texture, another one for each seed."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3)).astype(np.uint8))
    fine = generator.normal(0, 9, (size[1], size[0], 3))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.float64)
    return Image.fromarray(np.clip(smooth + fine, 0, 255).astype(np.uint8))


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(width: int, height: int, depth: int, color: int, raw: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(raw))
        + png_chunk(b"IEND", b"")
    )


def deep_color(seed: int) -> bytes:
    """16 bits a channel in colour, which Pillow can read but not write."""
    pixels = np.asarray(picture(seed), np.uint16) * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png(TILE, TILE, 16, 2, rows)


def overwritten(data: bytes, start: float, length: int = 40) -> bytes:
    place = int(len(data) * start)
    return data[:place] + b"\x55" * length + data[place + length :]


def cut(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


class Planter:
    """Writes files and remembers what should be found of each: kind -> names."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.expected: dict[str, set[str]] = defaultdict(set)

    def put(self, name: str | bytes, data: bytes, *kinds: str) -> None:
        path = self.root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        shown = name if isinstance(name, str) else name.decode("utf-8", "backslashreplace")
        self.expect(shown, *kinds)

    def expect(self, name: str, *kinds: str) -> None:
        for kind in kinds:
            self.expected[kind].add(name)

    def link(self, name: str, target: str, *kinds: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).symlink_to(target)
        self.expect(name, *kinds)


def plant_clean(planter: Planter, prefix: str = "", count: int = 24) -> None:
    """Two classes of real pictures, with names that look odd but are fine."""
    for label in ("china", "flower"):
        for number, tile in enumerate(tiles(label)[:count]):
            name = ('it\'s "fine" {} .jpg' if number == 3 else "{}.jpg").format(number)
            name = "写真 é.JPEG" if number == 5 else name
            planter.put(f"{prefix}{label}/{name}", encode(tile, "JPEG", quality=92))


def plant_images(planter: Planter, folder: str, *, huge: bool = True) -> None:
    """Everything that can be wrong or special about one image; a huge one takes a second."""
    _plant_unreadable(planter, folder)
    _plant_treated(planter, folder)
    _plant_outliers(planter, folder, huge)


def _plant_unreadable(planter: Planter, folder: str) -> None:
    def put(name: str, data: bytes, *kinds: str) -> None:
        planter.put(f"{folder}/{name}", data, *kinds)

    jpeg, lossless = encode(picture(1), "JPEG"), encode(picture(2), "PNG")
    put("zero.jpg", b"", "zero-byte")
    put("cut.jpg", cut(jpeg, 0.6), "truncated")
    put("cut.png", cut(lossless, 0.6), "truncated")
    put("cut.gif", cut(encode(picture(3), "GIF"), 0.6), "truncated", "palette")
    put("cut.webp", cut(encode(picture(4), "WEBP"), 0.6), "truncated")
    put("cut.bmp", cut(encode(picture(5), "BMP"), 0.6), "truncated")
    put("cut.tif", cut(encode(picture(6), "TIFF"), 0.6), "truncated")
    put("header.jpg", jpeg[:90], "truncated")
    put("damaged.png", overwritten(lossless, 0.5), "damaged")
    put("page.jpg", b"<!DOCTYPE html>\n<html><body>404 not found</body></html>", "not-an-image")
    put("text.png", b"this is no picture at all\n", "not-an-image")
    put("answer.jpg", b'{"error": "rate limit"}', "not-an-image")
    put("paper.png", b"%PDF-1.7\n%\xe2\xe3", "not-an-image")
    put("archive.jpg", b"PK\x03\x04\x14\0\0\0", "not-an-image")
    put("film.jpg", b"\0\0\0\x20ftypisom\0\0\2\0isomiso2mp41", "not-an-image")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    put("pointer.jpg", pointer, "not-an-image")
    put("phone.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(90), "unsupported-format")
    put("drawing.png", b'<?xml version="1.0"?><svg xmlns="x"/>', "unsupported-format")
    put("layers.jpg", b"8BPS\0\1" + bytes(60), "unsupported-format")
    put("noise.jpg", np.random.default_rng(7).bytes(400), "unreadable")
    put("bomb.png", png(60_000, 60_000, 8, 2, b"\0" * 99), "decompression-bomb")
    floats = Image.fromarray(np.random.default_rng(8).random((TILE, TILE), np.float32))
    put("float.tif", encode(floats, "TIFF"), "no-brightness-range")
    wide = Image.fromarray(np.arange(TILE * TILE, dtype=np.int32).reshape(TILE, TILE) * 99)
    put("wide.tif", encode(wide, "TIFF"), "no-brightness-range", "sixteen-bit")
    planter.link(f"{folder}/lost.jpg", "nowhere.jpg", "broken-link")
    planter.link(f"{folder}/self.jpg", "self.jpg", "broken-link")


def _plant_treated(planter: Planter, folder: str) -> None:
    def put(name: str, data: bytes, *kinds: str) -> None:
        planter.put(f"{folder}/{name}", data, *kinds)

    put("really_png.jpg", encode(picture(20), "PNG"), "mislabelled-type")
    put("really_jpeg.png", encode(picture(21), "JPEG"), "mislabelled-type")
    frames = [picture(seed) for seed in (22, 23)]
    put(
        "loop.gif",
        encode(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "animated",
        "palette",
    )
    frames = [picture(seed) for seed in (24, 25)]
    put("loop.webp", encode(frames[0], "WEBP", save_all=True, append_images=frames[1:]), "animated")
    frames = [picture(seed) for seed in (26, 27)]
    put("loop.png", encode(frames[0], "PNG", save_all=True, append_images=frames[1:]), "animated")
    frames = [picture(seed) for seed in (28, 29)]
    put("pages.tif", encode(frames[0], "TIFF", save_all=True, append_images=frames[1:]), "animated")
    put("print.jpg", encode(picture(30).convert("CMYK"), "JPEG"), "cmyk")
    put("print.tif", encode(picture(31).convert("CMYK"), "TIFF"), "cmyk")
    deep = Image.fromarray(np.asarray(picture(32).convert("L"), np.uint16) * 257)
    put("deep.png", encode(deep, "PNG"), "sixteen-bit", "grey-among-colour")
    put("deep_color.png", deep_color(33), "sixteen-bit")
    glass = picture(34)
    glass.putalpha(Image.linear_gradient("L").resize(glass.size))
    put("glass.png", encode(glass, "PNG"), "alpha")
    put("colors.png", encode(picture(35).quantize(64), "PNG"), "palette")
    spotted = picture(36).quantize(64)
    put("spotted.png", encode(spotted, "PNG", transparency=3), "palette", "alpha")
    profile = bytes(16) + b"RGB XYZ " + bytes(12) + b"acsp" + bytes(88) + b"desc Adobe RGB (1998)"
    put("profile.jpg", encode(picture(37), "JPEG", icc_profile=profile), "color-profile")
    exif = Image.Exif()
    exif[0x0112] = 6
    put("turned.jpg", encode(picture(38), "JPEG", exif=exif.tobytes()), "exif-rotated")
    put("exif.jpg", encode(picture(39), "JPEG", exif=b"Exif\0\0no directory"), "corrupt-exif")
    exif[0x0112] = 77
    put("exif77.jpg", encode(picture(40), "JPEG", exif=exif.tobytes()), "corrupt-exif")
    put("blank.jpg", encode(Image.new("RGB", (TILE, TILE), (200, 30, 60)), "JPEG"), "blank")
    put(
        "unseen.png", encode(Image.new("RGBA", (TILE, TILE), (9, 9, 9, 0)), "PNG"), "blank", "alpha"
    )


def _plant_outliers(planter: Planter, folder: str, huge: bool) -> None:
    def put(name: str, image: Image.Image, kind: str, **options) -> None:
        planter.put(f"{folder}/{name}", encode(image, "JPEG", **options), kind)

    put("grey.jpg", picture(50).convert("L"), "grey-among-colour")
    put("grey_rgb.jpg", picture(51).convert("L").convert("RGB"), "grey-among-colour")
    put("tiny.jpg", picture(52, (8, 9)), "tiny-image")
    put("dot.jpg", Image.new("RGB", (1, 1), (10, 200, 30)), "tiny-image")
    planter.expect(f"{folder}/dot.jpg", "blank")
    if huge:
        put("huge.jpg", picture(53).resize((6000, 4100), Image.Resampling.BILINEAR), "huge-image")
    put("long.jpg", picture(54, (800, 100)), "extreme-aspect")
    put("tall.jpg", picture(55, (60, 700)), "extreme-aspect")
    put("large.jpg", picture(56, (900, 900)), "odd-size")


def plant_layout(planter: Planter) -> None:
    """Everything that can be wrong with train/, val/ and test/ and the class folders in them."""
    put = planter.put
    put("train/.ipynb_checkpoints/0-checkpoint.jpg", encode(picture(70), "JPEG"))
    planter.expect("train/.ipynb_checkpoints/", "hidden-folder")
    put("train/empty/readme.md", b"# nothing", "other-file")
    planter.expect("train/empty/", "empty-class")
    put("val/stray.jpg", encode(picture(71), "JPEG"), "loose-images")
    put("train/China/1.jpg", encode(picture(72), "JPEG"))
    planter.expect("China/", "class-names-alike")
    planter.expect("china/", "class-names-alike")
    planter.expect("train/China/", "tiny-class")
    for name in ("China", "caf\\xe9", "flower", "inside", "special"):
        planter.expect(f"val/{name}/", "class-missing-in-split")
    planter.expect("train/special/", "class-imbalance")
    planter.expect("train/caf\\xe9/", "class-imbalance")
    put(b"train/caf\xe9/1.jpg", encode(picture(73), "JPEG"))
    planter.expect("train/caf\\xe9/", "non-unicode-class", "tiny-class")
    put("train/inside/train/1.jpg", encode(picture(74), "JPEG"))
    put("train/inside/test/2.jpg", encode(picture(75), "JPEG"))
    planter.expect("train/inside/", "splits-inside-classes", "tiny-class")
    planter.expect("train/inside/train", "nested-folders")
    planter.expect("train/inside/test", "nested-folders")
    planter.link(
        "train/inside/train/circle",
        "..",
    )
    planter.expect("train/inside/train/circle/", "link-loop")
    put("extra/notes.txt", b"of no class")
    planter.expect("extra/", "ignored-folder")
    put("beside.png", encode(picture(76), "PNG"), "unread-images")
    put("valid/china/1.jpg", encode(picture(77), "JPEG"))
    planter.expect("valid/", "split-twice")
    put("val/china/a.jpg", encode(picture(78), "JPEG"))
    put("val/Flower_/b.jpg", encode(picture(79), "JPEG"))
    planter.expect("val/Flower_/", "unknown-class")
    planter.expect("flower/", "class-names-alike")
    planter.expect("Flower_/", "class-names-alike")


def plant_files(planter: Planter, folder: str) -> None:
    """Files in a class folder that training passes over, and names that make trouble."""
    planter.put(f"{folder}/Thumbs.db", bytes(40), "other-file")
    planter.put(f"{folder}/photo.heic", b"\0\0\0\x18ftypheic", "unread-format")
    planter.put(f"{folder}/no_ending", encode(picture(80), "JPEG"), "image-without-ending")
    planter.put(f"{folder}/._cover.jpg", b"\0\5\x16\7", "hidden-image")
    planter.put(f"{folder}/two\nlines.jpg", encode(picture(81), "JPEG"), "unusual-name")
    planter.put(
        f"{folder}/\udcff.jpg".encode("utf-8", "surrogateescape"),
        encode(picture(82), "JPEG"),
        "non-unicode-name",
    )
    planter.put(f"{folder}/Same.jpg", encode(picture(83), "JPEG"), "names-alike")
    planter.put(f"{folder}/same.jpg", encode(picture(84), "JPEG"), "names-alike")


def plant_copies(planter: Planter, folder: str, other: str, held_out: str) -> None:
    """Pictures that are there twice: the same bytes, the same pixels, recompressed, relabelled."""
    first = encode(picture(90), "JPEG")
    planter.put(f"{folder}/copy1.jpg", first, "exact-duplicate")
    planter.put(f"{folder}/copy2.jpg", first, "exact-duplicate")
    planter.put(f"{folder}/pixels1.png", encode(picture(91), "PNG"), "exact-duplicate")
    planter.put(f"{folder}/pixels2.bmp", encode(picture(91), "BMP"), "exact-duplicate")
    planter.put(f"{folder}/near1.jpg", encode(picture(92), "JPEG", quality=95), "near-duplicate")
    planter.put(f"{folder}/near2.jpg", encode(picture(92), "JPEG", quality=60), "near-duplicate")
    planter.put(f"{folder}/both.jpg", encode(picture(93), "JPEG"), "two-labels")
    planter.put(f"{other}/both.jpg", encode(picture(93), "JPEG"), "two-labels")
    planter.put(f"{other}/leak.jpg", encode(picture(94), "JPEG"), "shared-between-splits")
    planter.put(f"{held_out}/leak.jpg", encode(picture(94), "JPEG"), "shared-between-splits")


def tree_digest(root: Path) -> str:
    """Every name, byte, link, right and time of change below `root` in one hash."""
    state = hashlib.sha256()
    for path in sorted(root.rglob("*"), key=os.fsencode):
        status = path.lstat()
        state.update(os.fsencode(path) + f" {status.st_mode} {status.st_mtime_ns}\0".encode())
        if path.is_symlink():
            state.update(os.fsencode(path.readlink()))
        elif path.is_file():
            state.update(path.read_bytes())
    return state.hexdigest()
