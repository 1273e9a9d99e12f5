"""Scanning in parts: some hundred images each, known by a key that changes when a file does.

A part is a pure function of its images, so any process may do it, in any order, and a finished one
never needs to be done again while its key stays the same.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import PIL
from PIL import Image

from resnetkit.data.checks.hashes import CROPS
from resnetkit.data.checks.image_facts import ImageFacts, inspect_image
from resnetkit.data.checks.scan_types import PIXEL_HASH_BYTES, Content
from resnetkit.data.content import file_facts
from resnetkit.data.encoded import identify
from resnetkit.data.source_types import Split

SCAN_VERSION = 2  # of what `inspect_image` finds; raise it when that changes
IMAGES_A_PART = (16, 512)  # on average: few at first, so that every core has work


@dataclass(frozen=True, kw_only=True)
class Part:
    """Consecutive images of one split, to be scanned together."""

    names: tuple[str, ...]
    contents: tuple[Content, ...]


def cut_parts(names: Sequence[str], contents: Sequence[Content]) -> Iterator[Part]:
    """The images in consecutive parts that begin where a name's checksum says so.

    Not at every hundredth image: one more file at the front would shift all parts, and with that
    all would have to be done again.
    """
    mean = _mean_size(len(names))
    start = 0
    for number, name in enumerate(names):
        opens = zlib.crc32(name.encode("utf-8", "surrogateescape")) % mean == 0
        if number > start and (opens or number - start >= 4 * mean):
            yield pick_images(names, contents, range(start, number))
            start = number
    if start < len(names):
        yield pick_images(names, contents, range(start, len(names)))


def _mean_size(count: int) -> int:
    smallest, largest = IMAGES_A_PART
    return min(max(1 << max(count // 64, 1).bit_length(), smallest), largest)


def pick_images(names: Sequence[str], contents: Sequence[Content], places: Iterable[int]) -> Part:
    """The images at `places` as a part."""
    places = tuple(places)
    return Part(
        names=tuple(names[place] for place in places),
        contents=tuple(contents[place] for place in places),
    )


def scan_part(part: Part, finished: frozenset[str]) -> tuple[str, Any]:
    """The part's key and, unless it is among `finished`, its images' facts as an Arrow batch.

    The key is made before the images are read: of a file that changes meanwhile the next scan
    finds another key.
    """
    key = _part_key(part)
    if key in finished:
        return key, None
    sizes, times = sizes_and_times(part)
    facts = [inspect_image(*pair) for pair in zip(part.contents, part.names, strict=True)]
    return key, _to_batch(facts, sizes, times)


def _part_key(part: Part) -> str:
    """SHA-256 (hex) of names and contents; files count by size and time of change."""
    version = (SCAN_VERSION, PIL.__version__, Image.MAX_IMAGE_PIXELS)
    state = hashlib.sha256(repr(version).encode())
    for name, content in zip(part.names, part.contents, strict=True):
        for piece in (name.encode("utf-8", "surrogateescape"), _identity(content)):
            state.update(len(piece).to_bytes(8, "little"))
            state.update(piece)
    return state.hexdigest()


def _identity(content: Content) -> bytes:
    if isinstance(content, np.ndarray):
        return repr(content.shape).encode() + content.tobytes()
    try:
        return identify(content)
    except OSError as error:  # a file that is not there is a finding of the scan, not its end
        return f"error {error.errno}".encode()


def sizes_and_times(part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Bytes and time of change of each image of a part, see `file_facts`: int64 [N] each."""
    labels = np.zeros(len(part.names), np.int64)
    if isinstance(part.contents[0], np.ndarray):
        images = np.stack([content for content in part.contents if isinstance(content, np.ndarray)])
        return file_facts(Split(labels=labels, names=part.names, images=images))
    encoded: Any = part.contents
    return file_facts(Split(labels=labels, names=part.names, encoded=encoded))


def _to_batch(facts: list[ImageFacts], sizes: np.ndarray, times: np.ndarray) -> Any:
    import pyarrow

    schema = part_schema()
    values: dict[str, Any] = {
        name: [getattr(fact, name) for fact in facts] for name in schema.names if name in _FIELDS
    }
    values["bytes"], values["modified_ns"] = sizes, times
    values["kinds"] = [[kind for kind, _ in fact.findings] for fact in facts]
    values["details"] = [[_unicode(detail) for _, detail in fact.findings] for fact in facts]
    arrays = [pyarrow.array(values[field.name], field.type) for field in schema]
    return pyarrow.RecordBatch.from_arrays(arrays, schema=schema)


_FIELDS = frozenset(field.name for field in fields(ImageFacts))


def _unicode(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def part_schema() -> Any:
    """The columns of a part: those of `ImageFacts`, size and time of change, its findings."""
    import pyarrow

    text, number = pyarrow.string(), pyarrow.int64()
    return pyarrow.schema(
        {
            "sha256": pyarrow.binary(32),
            "pixel_hash": pyarrow.binary(PIXEL_HASH_BYTES),
            "perceptual": pyarrow.uint64(),
            "crop_hashes": pyarrow.binary(8 * CROPS),
            "readable": pyarrow.bool_(),
            "width": pyarrow.int32(),
            "height": pyarrow.int32(),
            "mode": text,
            "format": text,
            "grey": pyarrow.bool_(),
            "bytes": number,
            "modified_ns": number,
            "kinds": pyarrow.list_(text),
            "details": pyarrow.list_(text),
        }
    )
