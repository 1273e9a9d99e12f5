"""`resnetkit evaluate`, `compare`, `calibrate`: what a package is worth, how sure it may be."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resnetkit.terminal import STDERR, parse, show

if TYPE_CHECKING:
    from resnetkit.evaluation.calibration_error import CalibrationError
    from resnetkit.evaluation.compared import Comparison
    from resnetkit.evaluation.evaluate import AnyMetrics
    from resnetkit.evaluation_options import EvaluationOptions

Result = dict[str, Any]
TestTime = Literal["flip", "five-crop", "ten-crop", "multi-scale", "multi-scale-flip"]
Part = Literal["maps", "label-errors", "slices", "gate", "inside", "feature-map", "speed"]


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments:
    """Judge a package on images it has not seen: figures here, and with --out a whole report.

    DIR gets report.html (one page, opens anywhere), report.md, metrics.json and label_errors.csv.
    All that one look at each image tells is in it; what takes more passes is asked for below.
    """

    package: tyro.conf.Positional[Path]
    """Model-package folder."""
    data: str
    """Images with labels: see `resnetkit --help` for what SOURCE may be."""
    split: Literal["test", "val", "train", "all"] = "test"
    """Which images; a held-out split is cut as training cut it."""
    manifest: str | None = None
    """Manifest that says which images these are; by default the one of the training."""
    some_classes: bool = False
    """Images of some of the package's classes will do; a package that learned on needs not all."""
    out: Path | None = None
    """Folder for the report."""
    tta: TestTime | None = None
    """Also judge the mean of several looks at each image (test-time augmentation)."""
    slices: tuple[str, ...] | None = None
    """Columns to look for weak groups in: of the manifest, or brightness, contrast, sharpness,
    side; by default these and the manifest's own."""
    corruptions: Literal["all"] | int | None = None
    """Also measure the 15 common corruptions at 5 severities, on about so many images (at least one
    of each class) or on all."""
    attacks: int | None = None
    """Also measure FGSM and PGD on about so many images, at least one of each class."""
    strangers: str | None = None
    """SOURCE of another kind of images (10,000 of them at most): how well they are noticed."""
    other_seeds: tuple[Path, ...] = ()
    """Packages of the same recipe with other seeds: how much hangs on the seed."""
    trust: int | None = None
    """Also check the maps of every method on so many images, and say which to believe."""
    boxes: Path | None = None
    """For --trust: boxes of the objects, a folder of Pascal VOC XML files or COCO JSON."""
    near_duplicates: bool = False
    """Also look for images nearly equal to a training image: opens all of those."""
    feature_map: Literal["pca", "tsne", "umap"] = "pca"
    """How the map of features is laid out; umap needs resnetkit[umap]."""
    without: tuple[Part, ...] = ()
    """Parts of the report to leave out."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""


@dataclass(frozen=True, kw_only=True)
class CompareArguments:
    """Say whether package B may take the place of package A, on images that neither has seen.

    Exit code 1 where B is worse than the margins allow.
    """

    package_a: tyro.conf.Positional[Path]
    """Model-package folder of the one in use."""
    package_b: tyro.conf.Positional[Path]
    """Model-package folder of the one that may replace it."""
    data: str
    """Images with labels: see `resnetkit --help` for what SOURCE may be."""
    split: Literal["test", "val", "all"] = "test"
    """Which images; a held-out split is cut as each training cut it."""
    manifest: str | None = None
    """Manifest that says which images these are; by default those of the trainings."""
    some_classes: bool = False
    """Images of some of the packages' classes will do; the verdict is of these alone."""
    margin: float = 0.0
    """Points (hundredths) of the score that B may lose."""
    class_margin: float = 5.0
    """Points that B may lose in any class, where the loss is more than chance."""
    out: Path | None = None
    """Folder for report.html, report.md and comparison.json."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""


@dataclass(frozen=True, kw_only=True)
class CalibrateArguments:
    """Fit how sure a package may be, on images it was not trained on; writes another package.

    With a promise (--precision, --coverage, --sets) a third of the images calibrates, and the
    others decide what can be promised.
    """

    package: tyro.conf.Positional[Path]
    """Model-package folder; it stays as it is."""
    data: str
    """Images with labels: see `resnetkit --help` for what SOURCE may be."""
    out: Path
    """Folder for the package with its new confidence."""
    split: Literal["val", "test", "all"] = "val"
    """Which images: those that validated its training, or others that it has not seen."""
    precision: float | None = None
    """Reject images so that at least this share of the answers is right, as 0.99."""
    coverage: float | None = None
    """Reject images so that at least this share of them is answered, as 0.9."""
    sets: float | None = None
    """Give with each answer a set of classes that holds the true one for this share, as 0.95."""
    set_method: Literal["lac", "aps"] = "lac"
    """lac: the smallest sets on average; aps: larger ones for images that are harder."""
    method: Literal["auto", "temperature", "vector"] = "auto"
    """auto: a temperature, or vector scaling where that wins by cross-validation."""
    manifest: str | None = None
    """Manifest that says which images these are; by default the one of the training."""
    some_classes: bool = False
    """Images of some of the package's classes will do; what is promised is of these alone."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""


def run_calibrate(arguments: list[str], as_json: bool) -> Result:
    """Calibrate a package, say what its probabilities were worth and what they are now."""
    from resnetkit.data.opening import DescribedSource
    from resnetkit.evaluation.confidence import Wanted, describe_confidence
    from resnetkit.pipeline_calibration import CalibrationRequest, calibrate

    asked = parse(CalibrateArguments, "calibrate", arguments)
    wanted = Wanted(
        methods=("temperature", "vector") if asked.method == "auto" else (asked.method,),
        precision=asked.precision,
        coverage=asked.coverage,
        sets=asked.sets,
        set_method=asked.set_method,
    )
    result = calibrate(
        asked.package,
        DescribedSource(
            location=asked.data, manifest=asked.manifest, some_classes=asked.some_classes
        ),
        asked.out,
        request=CalibrationRequest(split=asked.split, wanted=wanted, device=asked.device),
        console=STDERR,
    )
    fitted = result.confidence.fitted_on
    lines = [
        describe_confidence(result.confidence),
        f"Brier score {fitted.before.brier:.4f} before, {fitted.after.brier:.4f} after; "
        f"log loss {fitted.before.nll:.4f} before, {fitted.after.nll:.4f} after",
        *(f"Note     {note}" for note in result.notes),
        f"Package  {result.package}",
    ]
    show(lines, as_json)
    return result.as_dict()


def run_evaluate(arguments: list[str], as_json: bool) -> Result:
    """Judge a package; print its accuracy with interval, calibration and per-class figures."""
    from resnetkit.data.opening import DescribedSource
    from resnetkit.pipeline_evaluation import evaluate

    asked = parse(EvaluateArguments, "evaluate", arguments)
    result = evaluate(
        asked.package,
        DescribedSource(
            location=asked.data, manifest=asked.manifest, some_classes=asked.some_classes
        ),
        split=asked.split,
        out=asked.out,
        options=build_options(asked),
        console=STDERR,
    )
    metrics = result.metrics
    if not as_json:
        print_class_table(metrics)
    lines = [f"{asked.split}: {metrics.images:,} images, {metrics.describe()}"]
    if result.test_time is not None:
        lines.append(f"{asked.split} with {asked.tta}: {result.test_time.describe()}")
    lines.append(describe_calibration(result.calibration))
    show(lines + ([] if result.report is None else [f"Report   {result.report}"]), as_json)
    return {
        "split": asked.split,
        **metrics.as_dict(),
        "calibration": asdict(result.calibration),
        "test_time": None if result.test_time is None else result.test_time.as_dict(),
        "report": None if result.report is None else str(result.report),
    }


def build_options(asked: EvaluateArguments) -> EvaluationOptions:
    """The options of an evaluation from what was typed."""
    from resnetkit.evaluation.attacks import AttackConfig
    from resnetkit.evaluation.corruptions.settings import CorruptionConfig
    from resnetkit.evaluation_options import EvaluationOptions

    corrupted = None if asked.corruptions == "all" else asked.corruptions
    return EvaluationOptions(
        test_time=asked.tta,
        other_seeds=asked.other_seeds,
        slices=asked.slices,
        near_duplicates=asked.near_duplicates,
        strangers=asked.strangers,
        corruptions=None if asked.corruptions is None else CorruptionConfig(images=corrupted),
        attacks=None if asked.attacks is None else AttackConfig(images=asked.attacks),
        trust=asked.trust,
        boxes=asked.boxes,
        feature_map=asked.feature_map,
        without=asked.without,
        device=asked.device,
    )


def describe_calibration(error: CalibrationError) -> str:
    """What the probabilities that `predict` gives are worth, in a line."""
    return (
        f"Calibration: probabilities are off by {100 * error.ece:.2f} % on average (expected "
        f"calibration error; by chance {100 * error.ece_by_chance:.2f} %), Brier score "
        f"{error.brier:.4f}, log loss {error.nll:.4f}"
    )


def print_class_table(metrics: AnyMetrics) -> None:
    """Per-class figures on stdout; with average precision where a task has it."""
    heads = {"precision": "precision", "recall": "recall", "f1": "F1"}
    if metrics.score_name == "mean_average_precision":
        heads = {"average_precision": "AP", **heads}
    table = Table("class", "images", *heads.values(), box=None)
    for row in metrics.per_class:
        values = [getattr(row, name) for name in heads]
        shown = ["-" if value is None else f"{100 * value:.1f} %" for value in values]
        table.add_row(escape(row.name), f"{row.support:,}", *shown)
    Console().print(table)


def run_compare(arguments: list[str], as_json: bool) -> Result:
    """Compare two packages; exit code 1 where B is worse than the margins allow."""
    from resnetkit.data.opening import DescribedSource
    from resnetkit.narration_comparison import describe_left_out
    from resnetkit.pipeline_comparison import ComparisonOptions, compare

    asked = parse(CompareArguments, "compare", arguments)
    result = compare(
        asked.package_a,
        asked.package_b,
        DescribedSource(
            location=asked.data, manifest=asked.manifest, some_classes=asked.some_classes
        ),
        options=ComparisonOptions(
            split=asked.split,
            margin=asked.margin / 100,
            class_margin=asked.class_margin / 100,
            device=asked.device,
        ),
        out=asked.out,
        console=STDERR,
    )
    if not as_json:
        print_comparison(result.comparison)
    lines = [*result.comparison.describe().splitlines(), *result.gate.describe().splitlines()]
    if result.left_out:
        lines.append(describe_left_out(result.left_out, asked.split))
    show(lines + ([] if result.report is None else [f"Report   {result.report}"]), as_json)
    report = None if result.report is None else str(result.report)
    worse = [] if result.gate.passed else list(result.gate.reasons)
    return {**result.as_dict(), "report": report, "worse": worse}


def print_comparison(comparison: Comparison) -> None:
    """The classes on stdout, the largest loss first."""
    from resnetkit.evaluation.compared import table_rows

    heads, *rows = table_rows(comparison)
    table = Table(*heads, box=None)
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)
