"""Comparing on one page: whether a package may take another's place.

`compare` judges both on the images that neither has seen, each by its own input contract, and tests
the difference on the same images. What B may lose is said in margins: the gate of a promotion.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from resnetkit.data.dataset import Progress
from resnetkit.data.opening import DescribedSource
from resnetkit.data.sources import refuse_inside
from resnetkit.evaluation.compared import Comparison
from resnetkit.evaluation.comparison import compare as compare_logits
from resnetkit.evaluation.gate import Gate
from resnetkit.evaluation.report_figures import plain
from resnetkit.experiment import refuse_unwritable
from resnetkit.export.package import load_package
from resnetkit.judging import Subject, answer, open_subject
from resnetkit.narration_comparison import describe_comparison
from resnetkit.package_split import refuse_inside_package
from resnetkit.page.html import render_html
from resnetkit.page.markdown import render_markdown
from resnetkit.pairing import BothAnswers, pair_images, refuse_other_classes
from resnetkit.runtime import (
    commit_folder,
    environment,
    pick_device,
    refuse_foreign_files,
    sweep_temporaries,
    write_file_atomically,
)
from resnetkit.training.observers import ReadingBar
from resnetkit.types import UserError


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions:
    """On which images, and how much B may lose: margins are shares, 0.01 is a point.

    `margin` is of the score, `class_margin` of any class. Raises UserError unless both are 0…1.
    """

    split: str = "test"
    margin: float = 0.0
    class_margin: float = 0.05
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("margin", "class_margin"):
            value = getattr(self, name)
            if not 0 <= value <= 1:  # NaN too
                raise UserError(
                    f"{name.replace('_', '-')}: needed 0 to 100 points, got {100 * value:g}; give "
                    "how much may be lost"
                )


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparedPackages:
    """B against A on the images that neither has seen, and whether B may take A's place.

    `comparison` counts these images, the `compared` ones: row in A's split, and name. `left_out`
    are in the split of one of them only; `report` is None without a folder.
    """

    split: str
    comparison: Comparison
    gate: Gate
    compared: Sequence[tuple[int, str]]
    left_out: int
    notes: tuple[str, ...]
    report: Path | None

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-safe values; images are rows of the split of A, and their names."""
        found = plain(self.comparison)
        for kind in ("lost", "gained", "changed"):
            images = [self.compared[place] for place in found[f"{kind}_images"]]
            found[f"{kind}_images"] = [row for row, _ in images]
            found[f"{kind}_names"] = [name for _, name in images]
        return {
            "split": self.split,
            "left_out": self.left_out,
            "notes": list(self.notes),
            "gate": self.gate.as_dict(),
            **found,
        }


def compare(
    package_a: Path,
    package_b: Path,
    source: str | DescribedSource,
    *,
    options: ComparisonOptions | None = None,
    out: Path | None = None,
    console: Console | None = None,
) -> ComparedPackages:
    """B against A on one split of a source; `out` gets comparison.json, report.md and report.html.

    `ComparedPackages.gate` says whether B passes: whoever calls decides what follows. Raises
    UserError for packages of different classes, and as `pipeline_evaluation.evaluate` does.
    """
    options, console = options or ComparisonOptions(), console or Console(stderr=True, quiet=True)
    asked = DescribedSource(location=source) if isinstance(source, str) else source
    folders = (package_a, package_b)
    if out is not None:
        refuse_place(folders, asked, out)
    one, other = (load_package(folder) for folder in folders)
    refuse_other_classes(one, other, (str(package_a), str(package_b)))
    device = pick_device(options.device)
    with ReadingBar(console) as progress:
        a, b = (
            open_subject(folder, package, asked, options.split, progress, strictly=True)
            for folder, package in zip(folders, (one, other), strict=True)
        )
        one.model.to(device)
        other.model.to(device)
        both = judge_both(a, b, progress)
    names, task = one.contract.class_names, one.contract.task
    comparison = compare_logits(*both.deciding, both.labels, names, task)
    rows = both.pairs.rows.tolist()
    result = ComparedPackages(
        split=options.split,
        comparison=comparison,
        gate=comparison.worse_than(options.margin, options.class_margin),
        compared=[(row, str(a.images.names[row])) for row in rows],
        left_out=both.left_out,
        notes=both.notes,
        report=None if out is None else out / "report.html",
    )
    if out is not None:
        keep(out, result, both)
    return result


def refuse_place(folders: tuple[Path, Path], asked: DescribedSource, out: Path) -> None:
    """UserError where the page cannot be written to `out`."""
    refuse_unwritable(out)
    refuse_inside(asked.location, out)
    for folder in folders:
        refuse_inside_package(folder, out)
    refuse_foreign_files(out)
    sweep_temporaries(out.absolute().parent, glob.escape(out.name))


def judge_both(a: Subject, b: Subject, progress: Progress) -> BothAnswers:
    """What each says of the images of its split; UserError where they have none in common."""
    pairs = pair_images(a, b)
    if not len(pairs.rows):
        raise UserError(
            f"{a.asked.location}: no image is in the {a.split} split of both packages, since each "
            "was trained on what the other would be judged on. Give a source that neither has seen"
        )
    return BothAnswers(a=answer(a, progress), b=answer(b, progress), pairs=pairs)


def keep(out: Path, result: ComparedPackages, both: BothAnswers) -> None:
    """Write the page and its figures, all of them or none."""
    document = describe_comparison(result.comparison, result.gate, both)
    figures = {**result.as_dict(), "environment": environment()}
    figures |= {"a": str(both.a.subject.folder), "b": str(both.b.subject.folder)}
    text = json.dumps(figures, indent=1, allow_nan=False, ensure_ascii=False)

    def write(folder: Path) -> None:
        write_file_atomically(folder / "comparison.json", f"{text}\n")
        write_file_atomically(folder / "report.md", render_markdown(document))
        write_file_atomically(folder / "report.html", render_html(document))

    commit_folder(out, write)
