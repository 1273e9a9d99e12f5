"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

HEAD_BYTES = 512  # enough for every signature below

# Endings that `formats.folder` reads, with the Pillow format they promise.
FORMAT_OF_ENDING = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
}
# Endings of pictures that no part of resnetkit reads.
UNREAD_ENDINGS = frozenset(
    f".{ending}"
    for ending in (
        *("heic", "heif", "avif", "jxl", "jp2", "j2k", "jxr", "svg", "psd", "ico", "tga", "exr"),
        *("hdr", "dds", "dcm", "fits", "fit", "raw", "dng", "cr2", "cr3", "nef", "arw", "orf"),
        *("rw2", "raf", "pgm", "pbm", "pnm", "jfif", "jpe", "mpo", "apng"),
    )
)


@dataclass(frozen=True, kw_only=True)
class FileType:
    """`read`: an image in a format we read; `image`: in another one; `other`: no picture."""

    what: Literal["read", "image", "other"]
    name: str  # Pillow's name of the format where it is read, else words for a person


_ISO_BRANDS = {
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"hevc": "HEIC",
    b"mif1": "HEIF",
    b"msf1": "HEIF",
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"crx ": "a camera's raw format (CR3)",
}

_Test = Callable[[bytes], bool]


def _starts(*signatures: bytes) -> _Test:
    return lambda head: head.startswith(signatures)


def _riff(kind: bytes) -> _Test:
    return lambda head: head[:4] == b"RIFF" and head[8:12] == kind


def _ppm(head: bytes) -> bool:
    return re.match(rb"P[1-6][\s#]", head) is not None


# The first that fits is the type. Sources: the formats' specifications, as collected in file(1).
_SIGNATURES: tuple[tuple[Literal["read", "image", "other"], str, _Test], ...] = (
    ("read", "JPEG", _starts(b"\xff\xd8\xff")),
    ("read", "PNG", _starts(b"\x89PNG\r\n\x1a\n")),
    ("read", "WEBP", _riff(b"WEBP")),
    ("read", "GIF", _starts(b"GIF87a", b"GIF89a")),
    ("read", "TIFF", _starts(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    ("image", "JPEG XL", _starts(b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")),
    ("image", "JPEG 2000", _starts(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),
    ("image", "JPEG XR", _starts(b"II\xbc")),
    ("image", "Photoshop", _starts(b"8BPS")),
    ("image", "an icon (ICO)", _starts(b"\0\0\1\0")),
    ("image", "OpenEXR", _starts(b"v/1\x01")),
    ("image", "DDS", _starts(b"DDS ")),
    ("image", "FITS", _starts(b"SIMPLE  =")),
    ("image", "DICOM", lambda head: head[128:132] == b"DICM"),
    (
        "other",
        "a Git LFS pointer: fetch the file itself with `git lfs pull`",
        _starts(b"version https://git-lfs"),
    ),
    (
        "other",
        "a web page (HTML), perhaps a failed download's error page",
        lambda head: (
            re.match(
                rb"\s*(<!doctype html|<html|<head|<body)",
                head.lstrip(b"\xef\xbb\xbf"),
                re.IGNORECASE,
            )
            is not None
        ),
    ),
    ("image", "SVG", lambda head: b"<svg" in head[:HEAD_BYTES].lower()),
    ("other", "XML", lambda head: head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<?xml")),
    ("other", "JSON", lambda head: re.match(rb'\s*(\{\s*"|\[\s*[\{\["])', head) is not None),
    ("other", "PDF", _starts(b"%PDF")),
    ("other", "PostScript", _starts(b"%!PS")),
    ("other", "a ZIP archive", _starts(b"PK\x03\x04", b"PK\x05\x06")),
    ("other", "a gzip archive", _starts(b"\x1f\x8b")),
    ("other", "a 7-Zip archive", _starts(b"7z\xbc\xaf\x27\x1c")),
    ("other", "a RAR archive", _starts(b"Rar!")),
    ("other", "a video (AVI)", _riff(b"AVI ")),
    ("other", "a video (Matroska or WebM)", _starts(b"\x1aE\xdf\xa3")),
    ("other", "a sound (WAV)", _riff(b"WAVE")),
    ("other", "a sound (MP3)", _starts(b"ID3")),
    ("other", "a NumPy array", _starts(b"\x93NUMPY")),
    ("other", "a Python pickle", _starts(b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")),
    ("other", "a program", _starts(b"\x7fELF", b"MZ\x90")),
    ("other", "macOS's side data of a file (AppleDouble)", _starts(b"\0\5\x16\7")),
    ("read", "BMP", lambda head: head[:2] == b"BM" and head[6:10] == b"\0\0\0\0"),
    ("read", "PPM", _ppm),
)


def file_type(head: bytes) -> FileType | None:
    """The type of a file that begins with `head`, at least HEAD_BYTES long where it has them."""
    if head[4:8] == b"ftyp":
        picture = _ISO_BRANDS.get(head[8:12])
        return (
            FileType(what="image", name=picture)
            if picture
            else FileType(what="other", name="a video (MP4 or MOV)")
        )
    for what, name, test in _SIGNATURES:
        if test(head):
            return FileType(what=what, name=name)
    return FileType(what="other", name="text") if _is_text(head) else None


def _is_text(head: bytes) -> bool:
    if not head or any(byte < 32 and byte not in b"\t\n\r\f" for byte in head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4  # a letter of several bytes that the head cuts
    return True


def ends_early(kind: str, size: int, head: bytes, tail: bytes) -> bool:
    """Whether a JPEG, PNG, GIF, WebP or BMP of `size` bytes lacks its end, by its own account.

    `tail`: the last bytes, some 64. Other formats do not say, so for them it is False.
    """
    if kind == "JPEG":
        return b"\xff\xd9" not in tail
    if kind == "PNG":
        return b"IEND" not in tail
    if kind == "GIF":
        return b";" not in tail
    if kind == "WEBP":
        return int.from_bytes(head[4:8], "little") + 8 > size
    return kind == "BMP" and int.from_bytes(head[2:6], "little") > size
