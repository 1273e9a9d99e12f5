"""The columns that images are cut into slices by: those of a manifest, and what images are like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from resnetkit.config import suggest
from resnetkit.data.decode import image_header
from resnetkit.data.manifest_columns import own_columns, read_own_columns
from resnetkit.data.sources import Split
from resnetkit.data.threads import map_in_order
from resnetkit.judging import Subject
from resnetkit.types import UserError

MEASURED = ("brightness", "contrast", "sharpness")  # of what the network sees
SIDE = "side"  # the shorter one of the image as it lies there, in pixels
BUILT_IN = (*MEASURED, SIDE)
Columns = Mapping[str, Sequence[object] | None]  # None: measured in the network's pass

MOST_OWN = 12  # columns of a manifest that are looked at unasked: each one more test


def read_columns(subject: Subject, wanted: Sequence[str] | None) -> Columns:
    """Each column with a value for every image; None for those that the network's pass gives.

    `wanted` None takes the built-in ones and the manifest's own. Raises UserError for a column that
    neither has, and for a named one in which all images are the same.
    """
    manifest, named = subject.manifest, wanted is not None
    if wanted is None:
        own = [] if manifest is None or not manifest.is_file() else own_columns(manifest)
        wanted = [*BUILT_IN, *(name for name in own[:MOST_OWN] if name not in BUILT_IN)]
        if subject.images.encoded is None:
            wanted.remove(SIDE)
    wanted = list(dict.fromkeys(wanted))
    listed = [name for name in wanted if name not in BUILT_IN]
    if listed and manifest is None:
        raise UserError(
            f"slices: there is no column {listed[0]!r}{suggest(listed[0], BUILT_IN) or '.'} "
            f"Needed is one of {', '.join(BUILT_IN)}, or a manifest that has it: give one with "
            "--manifest"
        )
    found: dict[str, Sequence[object] | None] = dict.fromkeys(wanted)
    if listed and manifest is not None:
        found |= read_own_columns(manifest, listed, subject.images.names)
    if SIDE in wanted:
        found[SIDE] = shorter_sides(subject.images)
    for name, values in found.items() if named else ():
        if values is not None and _is_alike(values):
            raise UserError(
                f"slices: {name} is {values[0]!r} of all {len(values):,} images, so there is "
                "nothing to compare; needed are two values or more. Leave it out"
            )
    return found


def fill_columns(
    columns: Columns, statistics: Mapping[str, np.ndarray]
) -> tuple[dict[str, Sequence[object]], str]:
    """The columns that tell any two images apart, with their values; and a note on the others."""
    filled: dict[str, Sequence[object]] = {
        name: statistics[name].round(1).tolist() if values is None else values
        for name, values in columns.items()
    }
    alike = [name for name, values in filled.items() if _is_alike(values)]
    note = f"No slices by {', '.join(alike)}: the same of all images." if alike else ""
    return {name: values for name, values in filled.items() if name not in alike}, note


def _is_alike(values: Sequence[object]) -> bool:
    return len(set(values)) < 2


def shorter_sides(images: Split) -> list[int]:
    """The shorter side of every image, upright, in pixels: from the header of the files."""
    if images.encoded is None:
        assert images.images is not None
        return [min(images.images.shape[-2:])] * len(images)
    encoded, names = images.encoded, images.names

    def side(place: int) -> int:
        height, width, _ = image_header(encoded[place], names[place])
        return min(height, width)

    return list(map_in_order(side, range(len(images))))
