"""What a scan of every image knows, by columns: a million images take some hundred MB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from PIL import Image

from resnetkit.data.checks.findings import Finding
from resnetkit.data.color_mode import to_color_mode
from resnetkit.data.decode import decode_image
from resnetkit.data.encoded import Encoded
from resnetkit.data.source_types import SPLIT_NAMES
from resnetkit.types import Task

Content = Encoded | np.ndarray  # where it lies encoded, or decoded: uint8 [C,H,W]

PIXEL_HASH_BYTES = 16
GREY_MODES = ("L", "1", "LA", "I;16")  # as `dataset` has it for the colour mode "auto"


class ImageNames(Sequence[str]):
    """What findings call each image of a source with splits: "val/" and such before its own name.

    Two splits may use the same name; those of image folders begin with the split's folder anyway.
    """

    def __init__(
        self, paths: Sequence[str], splits: np.ndarray, prefixes: Mapping[str, str]
    ) -> None:
        self._paths, self._splits = paths, splits
        self._prefixes = [prefixes.get(name, "") for name in SPLIT_NAMES]

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return self._prefixes[self._splits[index]] + self._paths[index]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """Every image of a source as it was found; row i of each column is image i.

    `names` are unique and are what `Finding.names` holds; `paths` are the sources' own
    (`Split.names`), unique within a split. Where an image is not `readable`, its pixel hash,
    perceptual hash, width and height are zero.
    """

    location: str
    class_names: tuple[str, ...]
    task: Task
    names: Sequence[str]
    paths: Sequence[str]
    contents: Sequence[Content]
    splits: np.ndarray  # [N] int8: position in SPLIT_NAMES
    labels: np.ndarray  # [N] int64: position in class_names; [N,K] float32 where `Split` has it so
    bytes: np.ndarray  # [N] int64
    modified_ns: np.ndarray  # [N] int64; 0 where the image is not a file of its own
    sha256: np.ndarray  # [N,32] uint8, of the encoded bytes, or of the pixels of decoded arrays
    pixel_hashes: np.ndarray  # [N,16] uint8, see `hashes.pixel_hash`
    perceptual: np.ndarray  # [N] uint64, see `hashes.perceptual_hash`
    crop_hashes: np.ndarray  # [N,9] uint64, of parts of the image, see `hashes.perceptual_hashes`
    readable: np.ndarray  # [N] bool: training can use it
    width: np.ndarray  # [N] int32, upright
    height: np.ndarray  # [N] int32, upright
    modes: Any  # [N] Arrow strings (dictionary): Pillow's mode as stored
    formats: Any  # [N] Arrow strings (dictionary): Pillow's format; "" of decoded arrays
    grey: np.ndarray  # [N] bool: no pixel has a colour, whatever the mode
    found: dict[str, ImageFindings]  # kind -> its findings, one image each

    def __len__(self) -> int:
        return len(self.splits)

    def label_name(self, index: int) -> str:
        """The class of an image, or its classes joined by "|" where it may have several."""
        label = self.labels[index]
        if self.labels.ndim == 1:
            return self.class_names[int(label)]
        return "|".join(self.class_names[place] for place in np.flatnonzero(label > 0))

    def load_rgb(self, index: int) -> Image.Image:
        """The image as training sees it before any resizing: upright, 8-bit RGB.

        Raises `UnreadableImage` where it cannot be read, or not any more.
        """
        return load_rgb(self.contents[index], self.names[index])


def load_rgb(content: Content, name: str) -> Image.Image:
    """Any content as an upright 8-bit RGB picture; raises `UnreadableImage` where it is none."""
    if isinstance(content, np.ndarray):
        channels_last = content.transpose(1, 2, 0)
        picture = Image.fromarray(channels_last[..., 0] if len(content) == 1 else channels_last)
        return picture.convert("RGB")
    return to_color_mode(decode_image(content, name), "RGB", True, name)


class ImageFindings(Sequence[Finding]):
    """Findings of one kind about one image each; a `Finding` is made when it is asked for."""

    def __init__(
        self, kind: str, names: Sequence[str], indices: np.ndarray, details: Sequence[Any]
    ) -> None:
        assert len(indices) == len(details)
        self.kind, self.indices = kind, indices
        self._names, self._details = names, details

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> list[Finding]: ...
    def __getitem__(self, index: int | slice) -> Finding | list[Finding]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        name = self._names[int(self.indices[index])]
        return Finding(kind=self.kind, names=(name,), detail=str(self._details[index]))
