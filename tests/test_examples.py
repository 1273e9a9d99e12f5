"""Every example runs as its own first lines say, and is short enough to be read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
MOST_LINES = 40
EXPECTED = {  # example -> what it prints or leaves in the folder it is given
    "finetune_few.py": "unseen digits after 100 seen ones: ",
    "save_digits.py": "digit-0-is-",
    "train_and_predict.py": "unseen digits: 9",
}


def test_every_example_is_run_here():
    assert {path.name for path in EXAMPLES} == set(EXPECTED)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_and_says_how_it_is_run(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert f"python examples/{path.name}" in text.split('"""')[1]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(path, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    left = " ".join(file.name for file in (tmp_path / "out").iterdir())
    assert EXPECTED[path.name] in done.stdout + left
