"""Whether EXIF data is whole, found without Pillow's warnings, which threads cannot collect."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from resnetkit.data.decode import ORIENTATION_TAG

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SHORT = 3


def exif_problem(data: bytes) -> str | None:
    """What is wrong with EXIF bytes (a TIFF header and one directory), or None.

    Checked are the header, the main directory and that its values lie inside the data; not the
    directories of cameras' makers, which nobody but them can read. TIFF 6.0, section 2.
    """
    data = data.removeprefix(b"Exif\x00\x00")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return "it does not begin as EXIF does"
    try:
        for tag, kind, count, value in _entries(data, order):
            length = _TYPE_BYTES.get(kind, 0) * count
            if length > 4 and struct.unpack(order + "I", value)[0] + length > len(data):
                return f"the value of tag 0x{tag:04x} lies outside the data"
            if tag == ORIENTATION_TAG and (problem := _orientation_problem(kind, value, order)):
                return problem
    except struct.error:
        return "its directory is cut off"
    return None


def _entries(data: bytes, order: str) -> Iterator[tuple[int, int, int, bytes]]:
    """(tag, type, count, the four bytes of value or offset) of each entry of the directory."""
    (place,) = struct.unpack_from(order + "I", data, 4)
    (entries,) = struct.unpack_from(order + "H", data, place)
    for number in range(entries):
        yield struct.unpack_from(order + "HHI4s", data, place + 2 + 12 * number)


def _orientation_problem(kind: int, value: bytes, order: str) -> str | None:
    number = struct.unpack_from(order + "H", value)[0] if kind == _SHORT else None
    if number in range(1, 9):
        return None
    return (
        f"its orientation is {number if number is not None else 'not a number'}, needed is 1 to 8"
    )
