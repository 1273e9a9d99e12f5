"""Append-only JSON lines: one record a line, readable while it is being written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def append_record(path: Path, record: Record) -> None:
    """Write one record as one line, in a single write so that a reader never sees half of it."""
    line = json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(line)


def load_records(path: Path) -> list[Record]:
    """All complete records; a last line cut short by a kill is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def keep_records(path: Path, keep: Callable[[Record], bool]) -> None:
    """Rewrite the file with only the records `keep` accepts; atomic, so a kill loses nothing."""
    if not path.exists():
        return
    kept = [record for record in load_records(path) if keep(record)]
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("", encoding="utf-8")
    for record in kept:
        append_record(temporary, record)
    Path(temporary).replace(path)
