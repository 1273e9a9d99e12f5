"""Boxes beside a source of pictures: matched by name, and carried to the network's input.

The pictures are labelled by their source; boxes say where in them the classes are. They are not
learnt from, but what maps of attention are held against.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from resnetkit.data.contract import InputContract
from resnetkit.data.decode import UnreadableImage, image_header
from resnetkit.data.encoded import Crop
from resnetkit.data.formats.box_files import MarkedPicture, is_box, read_box_files, without_ending
from resnetkit.data.formats.listing import listed
from resnetkit.data.source_types import Split
from resnetkit.data.transforms import crop_corner, resized_sides
from resnetkit.types import UserError

LEAST_VISIBLE = 1.0  # pixels of the network's input, each way


@dataclass(frozen=True, kw_only=True, eq=False)
class Boxes:
    """M boxes in pictures of one split: several in a picture, or none.

    `corners` are left, top, right, bottom in pixels from 0 (right and bottom excluded) of the
    upright picture, or of the network's input after `map_boxes`. `skipped` says, in sentences, what
    was left out and why.
    """

    where: str
    rows: np.ndarray  # [M] int64: the picture's row in the split, ascending
    classes: np.ndarray  # [M] int64: class numbers
    corners: np.ndarray  # [M,4] float64
    sizes: np.ndarray  # [M,2] int64: width and height of the upright picture
    skipped: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, row: int, target: int) -> np.ndarray:
        """The boxes of class `target` in the picture at `row`: float64 [m,4], m perhaps 0."""
        start, stop = np.searchsorted(self.rows, (row, row + 1))
        return self.corners[start:stop][self.classes[start:stop] == target]


def load_boxes(location: Path, split: Split, class_names: Sequence[str]) -> Boxes:
    """The boxes at `location` that lie in pictures of `split`, with classes in `class_names` order.

    `location` is a folder of Pascal VOC XML files or COCO JSON, see `read_box_files`. A picture is
    found by its path or the end of it, without the file's ending: "scratches/7.jpg" by
    "scratches/7.xml", or by "7.xml" where no other picture is called 7. Annotations of pictures in
    other splits are passed over. Boxes are cut off at the picture's edge.

    Raises UserError where no picture of the split has a box of a class the package knows, where a
    name could mean several pictures, where two annotations are of one, and where the pictures are
    not files.
    """
    marked = read_box_files(location)
    if split.encoded is None:
        raise UserError(
            f"{location}: boxes need pictures that come as files, whose sizes they count in; this "
            "source has arrays. Give the pictures as an image folder or a manifest."
        )
    if isinstance(split.encoded[0], Crop):
        raise UserError(
            f"{location}: the source's pictures ({split.names[0]!r}, …) are cut out of others, in "
            "which the boxes lie; give the whole pictures as source."
        )
    rows = match_pictures(marked, split.names)
    there = [(row, picture) for row, picture in zip(rows, marked, strict=True) if row is not None]
    if not there:
        raise UserError(
            f"{location}: none of its {len(marked)} annotations is of one of the "
            f"{len(split)} pictures, by name: needed are names such as {split.names[0]!r}, got "
            f"{listed([picture.names[0] for picture in marked[:6]])}. Give the boxes of these "
            "pictures."
        )
    gathering = _Gathering(location, split, class_names)
    for row, picture in sorted(there, key=lambda pair: pair[0]):
        gathering.add(row, picture)
    return gathering.finish()


def map_boxes(boxes: Boxes, contract: InputContract) -> Boxes:
    """The boxes in pixels of the network's input: resized and cropped as `contract` says.

    Cut off at the input's edge; those of which less than a pixel is left are skipped, which is
    said.
    """
    corners = fit_corners(boxes.corners, boxes.sizes, contract)
    visible = np.all(corners[:, 2:] - corners[:, :2] >= LEAST_VISIBLE, axis=1)
    gone = int((~visible).sum())
    note = f"{gone} boxes lie outside the centre that the network is shown, or are too small there"
    return replace(
        boxes,
        rows=boxes.rows[visible],
        classes=boxes.classes[visible],
        corners=corners[visible],
        sizes=boxes.sizes[visible],
        skipped=(*boxes.skipped, *([note] if gone else [])),
    )


def fit_corners(corners: np.ndarray, sizes: np.ndarray, contract: InputContract) -> np.ndarray:
    """Corners [M,4] in pictures of `sizes` [M,2] (width, height) in the network's input: [M,4]."""
    scales, offsets = np.empty((len(corners), 2)), np.empty((len(corners), 2))
    for place, (width, height) in enumerate(sizes.tolist()):
        resized = resized_sides((width, height), contract.resize)
        scales[place] = resized[0] / width, resized[1] / height
        offsets[place] = crop_corner(resized, contract)
    fitted = corners * np.tile(scales, 2) - np.tile(offsets, 2)
    height, width = contract.crop
    return np.clip(fitted, 0, (width, height, width, height))


def match_pictures(marked: Sequence[MarkedPicture], names: Sequence[str]) -> list[int | None]:
    """The row in `names` of the picture of each annotation; None where it has none there.

    Raises UserError as `load_boxes` does.
    """
    index: dict[str, list[tuple[int, list[str]]]] = {}
    for row, name in enumerate(names):
        parts = without_ending(name).split("/")
        index.setdefault(parts[-1], []).append((row, parts))
    found: dict[int, MarkedPicture] = {}
    rows: list[int | None] = []
    for picture in marked:
        row = next(filter(lambda row: row is not None, _candidates(picture, index, names)), None)
        if row is not None and row in found:
            raise UserError(
                f"{picture.where} and {found[row].where} are both of the picture {names[row]!r}; "
                "keep one of them."
            )
        if row is not None:
            found[row] = picture
        rows.append(row)
    return rows


def _candidates(
    picture: MarkedPicture,
    index: dict[str, list[tuple[int, list[str]]]],
    names: Sequence[str],
) -> Iterator[int | None]:
    """The row that each of an annotation's names stands for."""
    for name in picture.names:
        parts = name.split("/")
        same = index.get(parts[-1], [])
        exact = [row for row, other in same if _same_end(parts, other)]
        rows = exact or [row for row, _ in same]
        if len(rows) > 1:
            raise UserError(
                f"{picture.where}: {len(rows)} pictures could be meant: "
                f"{listed([names[row] for row in rows])}. Put the annotations into the same "
                "folders as the pictures, or give pictures different names."
            )
        yield rows[0] if rows else None


def _same_end(one: list[str], other: list[str]) -> bool:
    shared = min(len(one), len(other))
    return one[-shared:] == other[-shared:]


class _Gathering:
    """Boxes as they are found, and what is left out of them."""

    def __init__(self, location: Path, split: Split, class_names: Sequence[str]) -> None:
        assert split.encoded is not None
        self._location, self._split = location, split
        self._encoded = split.encoded
        self._numbers = {name: number for number, name in enumerate(class_names)}
        self._found: list[tuple[int, int, tuple[float, ...], tuple[int, int]]] = []
        self._unknown: Counter[str] = Counter()
        self._other_size: list[str] = []
        self._unreadable: list[str] = []
        self._no_box = self._outside = 0

    def add(self, row: int, picture: MarkedPicture) -> None:
        """Take the objects of one picture."""
        size = self._upright_size(row, picture)
        if size is None:
            return
        width, height = size
        for name, corners in picture.objects:
            left, top, right, bottom = corners
            clipped = max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height)
            if name not in self._numbers:
                self._unknown[name] += 1
            elif not is_box(corners):
                self._no_box += 1
            elif not is_box(clipped):
                self._outside += 1
            else:
                self._found.append((row, self._numbers[name], clipped, size))

    def _upright_size(self, row: int, picture: MarkedPicture) -> tuple[int, int] | None:
        """Width and height as a viewer shows the picture; None where its boxes are of no use."""
        encoded, name = self._encoded[row], self._split.names[row]
        try:
            height, width, _ = image_header(encoded, name)
        except UnreadableImage:
            self._unreadable.append(name)
            return None
        said = picture.size
        if all(said) and said != (width, height):
            shown = f"{name} (annotated with {said[0]:g} x {said[1]:g}, it has {width} x {height})"
            self._other_size.append(shown)
            return None
        return width, height

    def finish(self) -> Boxes:
        """All that was found; UserError where that is nothing."""
        skipped = tuple(self._tell_skipped())
        if not self._found:
            told = "; ".join(skipped) or "no object is marked in them"
            raise UserError(
                f"{self._location}: no picture has a box that can be used: {told}. Needed are "
                f"boxes of the classes {listed(list(self._numbers))}."
            )
        return Boxes(
            where=str(self._location),
            rows=np.array([row for row, *_ in self._found], np.int64),
            classes=np.array([number for _, number, *_ in self._found], np.int64),
            corners=np.array([corners for _, _, corners, _ in self._found], np.float64),
            sizes=np.array([size for *_, size in self._found], np.int64),
            skipped=skipped,
        )

    def _tell_skipped(self) -> Iterable[str]:
        boxed = len({row for row, *_ in self._found})
        if boxed < len(self._split):
            yield f"{len(self._split) - boxed} of {len(self._split)} pictures have no box"
        if self._unknown:
            names = listed(list(self._unknown))
            count = self._unknown.total()
            yield f"{count} objects are of classes the package does not know: {names}"
        if self._no_box:
            yield f"{self._no_box} objects have no box, or one without width or height"
        if self._outside:
            yield f"{self._outside} boxes lie outside their picture"
        if self._other_size:
            count, shown = len(self._other_size), "; ".join(self._other_size[:3])
            yield f"the boxes of {count} pictures count in another size than the picture's: {shown}"
        if self._unreadable:
            yield f"{len(self._unreadable)} pictures cannot be read: {listed(self._unreadable)}"
