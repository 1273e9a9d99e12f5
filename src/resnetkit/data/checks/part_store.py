"""Finished parts of a scan on the disk: what a killed check had done, or the last one knew."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

from resnetkit.data.checks.scan_parts import part_schema
from resnetkit.runtime import sweep_temporaries, write_file_atomically

SAVED_SCAN = "scan.parquet"  # in the folder a check writes: its parts, one row group each
_KEYS = b"resnetkit_parts"  # of that file's schema metadata: the parts' keys in order


class PartStore:
    """Where parts are kept between calls: beside `out` while a check runs, in it afterwards.

    Without `out` nothing is kept. A damaged or foreign file counts as absent: its part is done
    again.
    """

    def __init__(self, out: Path | None) -> None:
        # Beside, because `out` itself appears whole or not at all.
        self._folder = None if out is None else out.with_name(f".{out.name}.parts")
        self._saved = None if out is None else out / SAVED_SCAN
        self._row_groups: dict[str, int] = {}
        self._in_files: dict[str, Path] = {}
        self._used: list[tuple[str, Any]] = []
        self._find()

    def finished(self) -> frozenset[str]:
        """Keys of the parts that need not be done again."""
        return frozenset(self._in_files) | frozenset(self._row_groups)

    def load(self, key: str) -> Any:
        """The Arrow batch of a finished part, or None where its file turns out to be damaged."""
        import pyarrow
        from pyarrow import parquet

        try:
            if key in self._in_files:
                with parquet.ParquetFile(self._in_files[key]) as file:
                    table = file.read()
            else:
                assert self._saved is not None
                with parquet.ParquetFile(self._saved) as file:
                    table = file.read_row_group(self._row_groups[key])
        except (pyarrow.ArrowException, OSError):
            return None
        if not table.schema.equals(part_schema()):
            return None
        [batch] = table.replace_schema_metadata().combine_chunks().to_batches()
        self._used.append((key, batch))
        return batch

    def save(self, key: str, batch: Any) -> None:
        """Keep a part that was just done, flushed to the disk before this returns."""
        from pyarrow import Table, parquet

        self._used.append((key, batch))
        if self._folder is None:
            return
        buffer = io.BytesIO()
        parquet.write_table(Table.from_batches([batch]), buffer, compression="zstd")
        write_file_atomically(self._folder / f"{key}.parquet", buffer.getvalue())

    def write_saved(self, path: Path) -> None:
        """All parts of the finished scan as one file, so that the next check can use them."""
        from pyarrow import parquet

        keys = json.dumps([key for key, _ in self._used])
        schema = part_schema().with_metadata({_KEYS: keys.encode()})
        with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            for _, batch in self._used:
                writer.write_batch(batch.replace_schema_metadata(schema.metadata), len(batch))

    def discard(self) -> None:
        """Remove the separate part files, once `write_saved`'s file is in its place."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _find(self) -> None:
        import pyarrow
        from pyarrow import parquet

        if self._folder is None or self._saved is None:
            return
        if self._folder.is_dir():
            sweep_temporaries(self._folder)
            self._in_files = {path.stem: path for path in self._folder.glob("[0-9a-f]*.parquet")}
        if not self._saved.is_file():
            return
        try:
            schema = parquet.read_schema(self._saved)
        except (pyarrow.ArrowException, OSError):
            return
        if schema.equals(part_schema()):
            keys = json.loads((schema.metadata or {}).get(_KEYS, b"[]"))
            self._row_groups = {key: number for number, key in enumerate(keys)}
