import csv
import io
import json

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from resnetkit.serving.predictions import (
    as_record,
    check_format,
    show_predictions,
    write_predictions,
)
from resnetkit.serving.predictor import Failure, Prediction
from resnetkit.types import UserError

RESULTS = [
    Prediction(
        name='a,"b".png',
        label="[red]cat[/red]",
        probability=0.1 + 0.2,
        top=(("[red]cat[/red]", 0.1 + 0.2), ("狗", 0.25)),
    ),
    Failure(name="broken.png", reason="cut short\nhere"),
]
COLUMNS = ["image", "error", "label", "probability", "label_2", "probability_2"]


def test_csv_round_trip(tmp_path):
    write_predictions(tmp_path / "new/out.CSV", RESULTS)
    text = (tmp_path / "new/out.CSV").read_text(encoding="utf-8")
    first, second = csv.DictReader(io.StringIO(text))
    assert list(first) == COLUMNS
    assert first["image"] == 'a,"b".png'
    assert float(first["probability"]) == RESULTS[0].probability
    assert first["label_2"] == "狗"
    assert first["error"] == ""
    assert second == dict.fromkeys(COLUMNS, "") | {
        "image": "broken.png",
        "error": "cut short\nhere",
    }


def test_jsonl_round_trip(tmp_path):
    write_predictions(tmp_path / "out.jsonl", RESULTS)
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [as_record(result) for result in RESULTS]
    assert json.loads(lines[0])["top"][1] == {"label": "狗", "probability": 0.25}
    assert json.loads(lines[1]) == {"image": "broken.png", "error": "cut short\nhere"}


def test_parquet_round_trip(tmp_path):
    write_predictions(tmp_path / "out.parquet", RESULTS)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == COLUMNS
    first, second = table.to_pylist()
    assert first["probability"] == RESULTS[0].probability
    assert first["error"] is None
    assert second["label"] is None
    assert second["error"] == "cut short\nhere"


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("results", [[], RESULTS[1:]])
def test_nothing_readable_still_makes_a_file(tmp_path, ending, results):
    path = tmp_path / f"out{ending}"
    write_predictions(path, results)
    if ending == ".parquet":
        assert pq.read_table(path).num_rows == len(results)
        assert str(pq.read_schema(path).field("label").type) == "string"


def test_an_unknown_ending_is_refused_before_anything_is_written(tmp_path):
    for name, came in (("out.xlsx", "'.xlsx'"), ("out", "''")):
        with pytest.raises(UserError, match=rf"ending in \.csv, \.jsonl, \.parquet, got {came}"):
            write_predictions(tmp_path / name, RESULTS)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match="got a folder"):
        check_format(tmp_path / "folder.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]


def test_the_table_shows_names_as_they_are():
    console = Console(file=io.StringIO(), width=120)
    show_predictions(console, RESULTS)
    text = console.file.getvalue()
    assert "[red]cat[/red]" in text
    assert "30.0%" in text
    assert "狗 25.0%" in text
    assert "unreadable" in text
    assert "cut short" in text
