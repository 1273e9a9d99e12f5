"""What an evaluation reads besides the judged images; no network is run for it.

All of it comes before the first pass, so that nothing is refused after an hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnetkit.data.boxes import load_boxes
from resnetkit.data.dataset import Progress
from resnetkit.data.sources import Split, load_source
from resnetkit.evaluation.subset import draw_subset
from resnetkit.evaluation_options import EvaluationOptions
from resnetkit.export.package import load_package
from resnetkit.gate_knowledge import LearntImages, load_learnt
from resnetkit.judging import Subject, open_subject
from resnetkit.pairing import Pairs, pair_images, refuse_other_classes
from resnetkit.pipeline_trust import MapPlan, MapRequest, plan_maps
from resnetkit.runtime import pick_device
from resnetkit.slice_columns import Columns, read_columns
from resnetkit.types import UserError

MOST_STRANGERS = 10_000  # decoded into one array: of 224 pixels 1.5 GB


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationInputs:
    """What the options of an evaluation name, read as far as it can be refused."""

    columns: Columns  # to cut slices by
    learnt: LearntImages | None  # to look for near-duplicates among
    other_seeds: Sequence[tuple[Subject, Pairs]]
    strangers: Split | None
    maps: MapPlan | None  # to say which to believe


def read_inputs(
    subject: Subject, options: EvaluationOptions, progress: Progress
) -> EvaluationInputs:
    """All that is asked for; UserError where it is not there, or does not fit the package."""
    boxes, maps = None, None
    if options.boxes is not None:
        boxes = load_boxes(options.boxes, subject.images, subject.contract.class_names)
    if options.trust is not None:
        request = MapRequest(split=subject.split, images=options.trust, device=options.device)
        maps = plan_maps(subject.package, subject.images, boxes, request)
    place, seeds = options.strangers, options.other_seeds
    return EvaluationInputs(
        columns=read_columns(subject, options.slices) if options.includes("slices") else {},
        learnt=load_learnt(subject, progress) if options.near_duplicates else None,
        other_seeds=[open_other_seed(subject, one, options.device, progress) for one in seeds],
        strangers=None if place is None else draw_strangers(subject, place),
        maps=maps,
    )


def open_other_seed(
    subject: Subject, folder: Path, device: str, progress: Progress
) -> tuple[Subject, Pairs]:
    """A package that was trained with another seed, and its images as those of `subject`.

    Raises UserError for a package of other classes, and for images that it has seen.
    """
    package = load_package(folder)
    refuse_other_classes(subject.package, package, (str(subject.folder), str(folder)))
    package.model.to(pick_device(device))
    other = open_subject(folder, package, subject.asked, subject.split, progress)
    pairs = pair_images(subject, other)
    if len(pairs.rows) < len(subject.images):
        raise UserError(
            f"other-seeds: needed packages that have seen none of the {len(subject.images):,} "
            f"images, but {folder} was trained on another cut of {subject.asked.location} and "
            f"leaves {len(pairs.rows):,} of them. Judge on a split that the source has itself"
        )
    return other, pairs


def draw_strangers(subject: Subject, location: str) -> Split:
    """Images of another source: about as many as are judged, and at most `MOST_STRANGERS`."""
    present = load_source(location, (), least_classes=1).present
    name = next(name for name in ("test", "val", "train") if name in present)
    whole = load_source(location, (name,), least_classes=1).splits[name]
    most = min(len(subject.images), MOST_STRANGERS)
    return whole.subset(draw_subset(whole.labels, most, seed=0))
