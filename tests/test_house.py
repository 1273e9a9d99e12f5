"""The house rules that a linter does not know: sizes, names, and that the page on them is true."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "src").rglob("*.py"))
MOST_LINES = 300
MOST_FUNCTION_LINES = 60


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= MOST_FUNCTION_LINES, f"{node.name} has {length} lines"


def test_no_drawer_modules() -> None:
    drawers = {"utils", "util", "common", "core", "helpers", "base", "misc"}
    assert not [path for path in FILES if path.stem in drawers or path.parent.name in drawers]


def test_every_folder_says_what_lives_in_it() -> None:
    for path in FILES:
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_the_page_on_the_house_has_the_layers_that_are_checked() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    checked = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = page.partition("## Who may import whom")[2].split("```")[1]
    drawn = [re.split(r"  +", line)[0].split(" | ") for line in block.strip().splitlines()]
    there = {path.stem for path in FILES} | {path.parent.name for path in FILES}
    existing = [" | ".join(name for name in layer if name in there) for layer in drawn]
    assert existing == checked


def test_the_page_on_the_house_names_every_module_of_the_upper_layers() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    files = page.partition("## Folders are the pipeline")[2].split("```")[1]
    upper = [path.name for path in FILES if path.parent.name == "resnetkit" and path.name[0] != "_"]
    assert not [name for name in upper if name not in files]
