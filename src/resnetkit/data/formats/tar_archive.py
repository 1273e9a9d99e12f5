"""Where the members of a tar archive lie, without unpacking anything.

Format: POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from resnetkit.types import UserError

BLOCK = 512
LONGEST_EXTENSION = 1 << 20  # bytes of a long name, or of a pax header's records
MARGIN = 1 << 20  # behind the end of an archive there are only zeros, usually up to 10 KiB of them
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_FILE, _FOLDER = (b"0", b"\0", b"7"), b"5"
_LONG_NAME, _PAX, _PASSED_OVER = b"L", b"x", (b"g", b"K")
_LINKS_AND_SPARSE = {b"1": "a hard link", b"2": "a symbolic link", b"S": "a sparse file"}
_PAX_RECORD = re.compile(rb"(\d{1,7}) ([^=\n]+)=")


class TarMember(NamedTuple):
    """A file in an archive: `size` bytes of the archive from byte `offset` on."""

    name: str
    offset: int
    size: int


class _Header(NamedTuple):
    name: bytes
    size: int
    kind: bytes


def read_members(path: Path) -> Iterator[TarMember]:
    """The files in an archive, in its order; nothing but headers is read.

    Raises `UserError` for an archive that is compressed, cut or damaged, and for members that are
    no plain files or whose names lead out of a folder: sets of images need none of them.
    """
    with path.open("rb", buffering=0) as archive:
        extension: dict[str, bytes] = {}  # what goes before a member and says more of it
        for header, offset in _headers(path, archive):
            if header.kind in _PASSED_OVER:
                continue
            if header.kind in (_LONG_NAME, _PAX):
                extension |= _parse_extension(path, header, _read(archive, offset, header.size))
                continue
            member = TarMember(_text(extension.get("path", header.name)), offset, header.size)
            if header.kind != _FOLDER:
                _refuse_harmful(path, member.name, header.kind, extension)
                yield member
            extension = {}


def _headers(path: Path, archive: io.FileIO) -> Iterator[tuple[_Header, int]]:
    """Each header, and where the bytes that it describes begin."""
    total = archive.seek(0, io.SEEK_END)
    _refuse_compressed(path, _read(archive, 0, 8))
    offset = 0
    while (block := _read(archive, offset, BLOCK)) != bytes(BLOCK):
        header = _parse_header(path, block, offset)
        offset += BLOCK
        if offset + header.size > total:
            raise _cut(path, total)
        yield header, offset
        offset += -(-header.size // BLOCK) * BLOCK
    if _read(archive, offset, MARGIN).strip(b"\0"):
        raise UserError(
            f"{path}: there is more behind the archive's end at byte {offset}; archives are "
            "joined with 'tar --concatenate', not with 'cat'."
        )


def _read(archive: io.FileIO, offset: int, size: int) -> bytes:
    archive.seek(offset)
    return archive.read(min(size, LONGEST_EXTENSION))


def _refuse_compressed(path: Path, start: bytes) -> None:
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            raise UserError(
                f"{path}: this archive is compressed ({name}), so that no image in it can be read "
                "by itself; decompress it to a .tar. JPEG and PNG do not get smaller anyway."
            )


def _parse_header(path: Path, block: bytes, offset: int) -> _Header:
    if len(block) < BLOCK:
        raise _cut(path, offset + len(block)) if offset else _damaged(path, 0)
    checksum = sum(block) - sum(block[148:156]) + 8 * ord(" ")  # its own place counts as spaces
    try:
        size, promised = _number(block[124:136]), _number(block[148:156])
    except ValueError:
        raise _damaged(path, offset) from None
    if promised != checksum or size < 0:
        raise _damaged(path, offset)
    name = _until_zero(block[:100])
    prefix = _until_zero(block[345:500]) if block[257:263] == b"ustar\0" else b""
    return _Header(prefix + b"/" + name if prefix else name, size, block[156:157])


def _number(field: bytes) -> int:
    """An octal number, or one in base 256, as GNU tar writes sizes of 8 GiB and more."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    return int(field.strip(b" \0") or b"0", 8)


def _parse_extension(path: Path, header: _Header, content: bytes) -> dict[str, bytes]:
    """The name of the next member, or what its pax header says: "path" and others."""
    if len(content) < header.size:
        raise UserError(f"{path}: a header of {header.size} bytes; images have no such names.")
    if header.kind == _LONG_NAME:
        return {"path": _until_zero(content)}
    records: dict[str, bytes] = {}
    position = 0
    while position < len(content):
        record = _PAX_RECORD.match(content, position)
        if record is None or (stop := position + int(record[1])) <= record.end():
            raise UserError(f"{path}: a damaged pax header; copy or download it again.")
        records[_text(record[2])] = content[record.end() : stop - 1]
        position = stop
    return records


def _refuse_harmful(path: Path, name: str, kind: bytes, extension: dict[str, bytes]) -> None:
    what = None if kind in _FILE else _LINKS_AND_SPARSE.get(kind, "a device or an unknown kind")
    if any(key == "size" or key.startswith("GNU.sparse") for key in extension):
        what = "a sparse file, or one of 8 GiB and more"
    if what is not None:
        raise UserError(
            f"{path}: the member {name!r} is {what}; needed are plain files, so pack the files "
            "themselves (tar --dereference --hard-dereference)."
        )
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts:
        raise UserError(
            f"{path}: the member {name!r} would lie outside any folder it is unpacked to; nothing "
            "is unpacked here, but such an archive is not to be trusted."
        )


def _until_zero(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace").removeprefix("./")


def _damaged(path: Path, offset: int) -> UserError:
    what = f"damaged at byte {offset}" if offset else "not a tar archive"
    return UserError(f"{path}: {what}; copy or download it again.")


def _cut(path: Path, total: int) -> UserError:
    return UserError(
        f"{path}: the archive is cut off: it ends at byte {total}, within a member or without "
        "the mark of its end; copy or download it again."
    )
