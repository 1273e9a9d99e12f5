"""Lines and CSV rows of the text files that come with images, with their line numbers."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from resnetkit.types import UserError


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Number and text of each line, without spaces around it and without empty lines at the end.

    Raises `UserError` for a file that is empty or not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").rstrip()
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from None
    if not text:
        raise UserError(f"{path}: this file is empty; copy or download it again.")
    return list(enumerate(map(str.strip, text.split("\n")), 1))


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number of the last line and values of each CSV row that is not empty, one at a time.

    Raises `UserError`, with the line, for broken CSV.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            yield from ((reader.line_num, row) for row in reader if row)
        except csv.Error as error:
            raise UserError(
                f"{path}, line {reader.line_num}: broken CSV ({error}); copy or download it again."
            ) from None
        except UnicodeDecodeError as error:
            raise _not_text(path, error) from None


def _not_text(path: Path, error: UnicodeDecodeError) -> UserError:
    return UserError(f"{path}: not text in UTF-8 (byte {error.start}); save it in UTF-8.")
