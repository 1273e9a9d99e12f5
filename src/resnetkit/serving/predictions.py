"""Predictions as a table to read and as CSV, JSON lines or Parquet to work with."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from resnetkit.runtime import write_file_atomically
from resnetkit.serving.predictor import Failure, Prediction
from resnetkit.types import UserError

if TYPE_CHECKING:
    import pyarrow as pa

Results = Sequence[Prediction | Failure]
RUNNERS_UP = 2  # shown in the table beside the label
CONFIDENCE_COLUMNS = ("raw_probability", "rejected", "prediction_set")


def as_record(result: Prediction | Failure) -> dict[str, Any]:
    """One result as JSON-safe values: image with label, probability and top, or with error.

    In a multi-label task: image with labels (above one half) and the probabilities of all classes.
    Of a package that is calibrated also raw_probability (raw_probabilities), the network's own; and
    rejected and prediction_set, as far as the package has them.
    """
    if isinstance(result, Failure):
        return {"image": result.name, "error": result.reason}
    if result.labels is not None:
        labels, names = list(result.labels), [name for name, _ in result.top]
        record = {"image": result.name, "labels": labels, "probabilities": dict(result.top)}
        if result.raw is not None:
            record["raw_probabilities"] = dict(zip(names, result.raw, strict=True))
        return record
    top = [{"label": label, "probability": probability} for label, probability in result.top]
    return {
        "image": result.name,
        "label": result.label,
        "probability": result.probability,
        **_confidence(result),
        "top": top,
    }


def _confidence(result: Prediction) -> dict[str, Any]:
    """What the package's confidence says of the answer, as far as the package has any."""
    said = {
        "raw_probability": None if result.raw is None else result.raw[0],
        "rejected": result.rejected,
        "prediction_set": None if result.prediction_set is None else list(result.prediction_set),
    }
    return {name: value for name, value in said.items() if value is not None}


def show_predictions(console: Console, results: Results) -> None:
    """Print a table: image, label, probability, the runners-up; failures with their reason.

    In a multi-label task all labels with their probabilities stand in the second column. An answer
    that is rejected is called so; prediction sets have a column of their own where there are any.
    """
    predictions = [result for result in results if isinstance(result, Prediction)]
    with_sets = any(prediction.prediction_set is not None for prediction in predictions)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("image", "label", "probability", "then", *(["one of"] if with_sets else [])):
        table.add_column(heading, justify="right" if heading == "probability" else "left")
    for result in results:
        if isinstance(result, Failure):
            table.add_row(Text(result.name), Text("unreadable", "red"), "", Text(result.reason))
            continue
        found = 1 if result.labels is None else len(result.labels)
        then = _list_shares(result.top[found : found + RUNNERS_UP])
        label, probability = result.label, f"{result.probability:.1%}"
        if result.labels is not None:
            label, probability = _list_shares(result.top[:found]) or "none", ""
        cell = Text(f"rejected: {label}", "yellow") if result.rejected else Text(label, "bold")
        held = result.prediction_set
        sets = [] if held is None else [Text(", ".join(held) or "none of them", "dim")]
        table.add_row(Text(result.name), cell, probability, Text(then), *sets)
    console.print(table)


def _list_shares(pairs: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in pairs)


def write_predictions(path: Path, results: Results) -> None:
    """Write all results to a .csv, .jsonl or .parquet file, whole or not at all.

    CSV and Parquet have one row per image: image, error, label, probability, then label_2,
    probability_2 and so on for the runners-up. What an unreadable image lacks is empty. In a
    multi-label task: image, error, labels (a JSON list), then probability_<class> for each class.
    At the end, as far as the package has them: raw_probability (raw_probability_<class>), rejected
    (true or false) and prediction_set (a JSON list).

    Raises:
        UserError: the file name ends in something else.
    """
    write_file_atomically(path, FORMATS[check_format(path)](results))


def check_format(path: Path) -> str:
    """The ending that decides the format; call it before the work whose results go there.

    Raises:
        UserError: there is no such format, or `path` is a folder.
    """
    ending = path.suffix.lower()
    if ending not in FORMATS or path.is_dir():
        came = "a folder" if path.is_dir() else repr(path.suffix)
        raise UserError(
            f"{path}: needed a file name ending in {', '.join(FORMATS)}, got {came}; change it."
        )
    return ending


def _columns(results: Results) -> dict[str, list[Any]]:
    """Flat columns, None where a row has no value."""
    predictions = [result for result in results if isinstance(result, Prediction)]
    if any(prediction.labels is not None for prediction in predictions):
        return _multilabel_columns(results, sorted(name for name, _ in predictions[0].top))
    longest = max((len(prediction.top) for prediction in predictions), default=1)
    names = ["image", "error", "label", "probability"]
    for place in range(2, longest + 1):
        names += [f"label_{place}", f"probability_{place}"]
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for result in results:
        row = (
            [value for pair in result.top for value in pair]
            if isinstance(result, Prediction)
            else []
        )
        reason = result.reason if isinstance(result, Failure) else None
        cells = [result.name, reason, *row]
        for name, value in zip(names, cells + [None] * (len(names) - len(cells)), strict=True):
            columns[name].append(value)
    return columns | _confidence_columns(results)


def _confidence_columns(results: Results) -> dict[str, list[Any]]:
    """Those of single-label predictions that any of them has a value for."""
    said = [_confidence(one) if isinstance(one, Prediction) else {} for one in results]
    names = [name for name in CONFIDENCE_COLUMNS if any(name in one for one in said)]
    return {name: [_to_cell(one.get(name)) for one in said] for name in names}


def _to_cell(value: Any) -> Any:
    """A value as a flat file can hold it: a list as JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _multilabel_columns(results: Results, class_names: Sequence[str]) -> dict[str, list[Any]]:
    heads = ["image", "error", "labels"]
    columns: dict[str, list[Any]] = {
        name: [] for name in heads + [f"probability_{name}" for name in class_names]
    }
    if any(isinstance(result, Prediction) and result.raw is not None for result in results):
        columns |= {f"raw_probability_{name}": [] for name in class_names}
    for result in results:
        row: dict[str, Any] = {"image": result.name}
        if isinstance(result, Failure):
            row["error"] = result.reason
        else:
            row["labels"] = json.dumps(result.labels, ensure_ascii=False)
            row |= {f"probability_{name}": share for name, share in result.top}
            own = zip(result.top, result.raw or (), strict=False)
            row |= {f"raw_probability_{name}": share for (name, _), share in own}
        for name, values in columns.items():
            values.append(row.get(name))
    return columns


def _to_csv(results: Results) -> bytes:
    columns = _columns(results)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    # As JSON writes them: Python's True would be a text to most readers.
    words = {True: "true", False: "false"}
    rows = zip(*columns.values(), strict=True)
    writer.writerows([words[c] if isinstance(c, bool) else c for c in row] for row in rows)
    return buffer.getvalue().encode()


def _to_jsonl(results: Results) -> bytes:
    lines = (json.dumps(as_record(result), ensure_ascii=False) for result in results)
    return "".join(line + "\n" for line in lines).encode()


def _arrow_type(name: str) -> pa.DataType:
    import pyarrow as pa

    if name.startswith(("probability", "raw_probability")):
        return pa.float64()
    return pa.bool_() if name == "rejected" else pa.string()


def _to_parquet(results: Results) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        name: pa.array(values, _arrow_type(name)) for name, values in _columns(results).items()
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


FORMATS: dict[str, Callable[[Results], bytes]] = {
    ".csv": _to_csv,
    ".jsonl": _to_jsonl,
    ".parquet": _to_parquet,
}
