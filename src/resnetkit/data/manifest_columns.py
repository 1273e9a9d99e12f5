"""Columns of a manifest that resnetkit itself has no use for: camera, site, date, patient."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from resnetkit.data.manifest_cells import list_columns, open_blocks, read_texts
from resnetkit.data.manifest_table import OPTIONAL, REQUIRED, SOFT_LABEL
from resnetkit.types import UserError

KNOWN = (*REQUIRED, *OPTIONAL, SOFT_LABEL)


def own_columns(manifest: Path) -> list[str]:
    """The columns of a manifest that are the user's own, in its order."""
    return [name for name in _columns(manifest) if name not in KNOWN]


def read_own_columns(
    manifest: Path, wanted: Sequence[str], names: Sequence[str]
) -> Mapping[str, list[str | None]]:
    """The cells of the columns `wanted` for the images `names` [N], by column.

    None for an image that the manifest does not have, and for an empty cell. Raises UserError for a
    column that is not there.
    """
    places = {name: place for place, name in enumerate(names)}
    found: dict[str, list[str | None]] = {name: [None] * len(names) for name in wanted}

    def check(columns: list[str]) -> list[str]:
        for name in wanted:
            refuse_missing(name, columns, str(manifest))
        return ["path", *(name for name in wanted if name != "path")]

    _, blocks = open_blocks(manifest, check)
    for block in blocks:
        rows = [places.get(path) for path in read_texts(block, "path")]
        kept = [(place, row) for place, row in enumerate(rows) if row is not None]
        for name, cells in found.items():
            texts = read_texts(block, name, required=False)
            for place, row in kept:
                cells[row] = texts[place] or None
    return found


def refuse_missing(name: str, columns: Sequence[str], where: str) -> None:
    """UserError unless `name` is one of `columns`, which are what there is at `where`."""
    if name in columns:
        return
    near = difflib.get_close_matches(name, columns, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UserError(
        f"{where}: there is no column {name!r}; the columns are {list_columns(list(columns))}."
        f"{hint}"
    )


def _columns(manifest: Path) -> list[str]:
    columns: list[str] = []

    def note(found: list[str]) -> list[str]:
        columns.extend(found)
        return ["path"] if "path" in found else found[:1]

    _, blocks = open_blocks(manifest, note)
    next(blocks, None)
    return columns
