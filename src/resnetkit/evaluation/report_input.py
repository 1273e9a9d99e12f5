"""What an evaluation report tells: plain numbers and pictures, most of them optional.

Parts that a run or an evaluation does not have are None or empty, and left out of the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resnetkit.evaluation.attack_report import AttackReport
from resnetkit.evaluation.calibration_error import CalibrationError, ReliabilityBin
from resnetkit.evaluation.confidence import Confidence
from resnetkit.evaluation.conformal import Conformal, CoverageCheck
from resnetkit.evaluation.corruption_errors import NormalisedErrors, Robustness
from resnetkit.evaluation.evaluate import AnyMetrics
from resnetkit.evaluation.out_of_distribution import Detection
from resnetkit.evaluation.samples import Sample
from resnetkit.evaluation.seed_spread import SeedSpread
from resnetkit.evaluation.selective import CoverageCurve, CoveragePoint, Reject
from resnetkit.evaluation.slices import Slice
from resnetkit.jsonl import Record
from resnetkit.page.blocks import Section

Pair = tuple[int, int]  # true class, class it was taken for


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """How far the probabilities for these images are from what happened.

    `before` is of the network's own, `after` of those the package gives, by its `confidence`.
    """

    confidence: Confidence | None = None
    before: CalibrationError
    bins_before: tuple[ReliabilityBin, ...]
    after: CalibrationError | None = None
    bins_after: tuple[ReliabilityBin, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answering:
    """Accuracy by the share of images answered; and, where the package has a threshold, at it."""

    curve: CoverageCurve
    reject: Reject | None = None
    at_threshold: CoveragePoint | None = None  # None: no threshold, or it leaves none answered


@dataclass(frozen=True, kw_only=True)
class Sets:
    """Prediction sets as they were fitted, and what they hold on these images."""

    conformal: Conformal
    check: CoverageCheck


@dataclass(frozen=True, kw_only=True)
class Strangers:
    """How well images of another `source` are told from these."""

    source: str
    detections: Sequence[Detection]


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """Errors worth looking at: `surest` of the wrong class, `furthest` from the right one."""

    surest: Sequence[Sample] = ()
    furthest: Sequence[Sample] = ()
    method: str = ""  # what the maps beside the images are


@dataclass(frozen=True, kw_only=True)
class LabelSuspects:
    """Labels that are likely wrong, the surest first; `found` in all, `judged_by` in words."""

    samples: Sequence[Sample]
    found: int
    judged_by: str


@dataclass(frozen=True, kw_only=True)
class GateKnowledge:
    """What the data gate knows of these images.

    `shared` counts, for each other split, the images here whose picture is there too, and
    `compared` says how that is known; `without_shared` are the metrics without them. `findings`
    counts images by what was found.
    """

    shared: Mapping[str, int] = field(default_factory=dict)
    compared: str = ""
    without_shared: AnyMetrics | None = None
    findings: Mapping[str, int] = field(default_factory=dict)
    samples: Sequence[Sample] = ()


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What it costs to use the network; times are seconds, `latency` of one image alone."""

    device: str
    images_per_second: float
    batch_size: int
    latency: float | None = None
    latency_slowest: float | None = None  # of 100 images, 5 take longer
    multiply_adds: int | None = None
    package_bytes: int | None = None
    evaluation_seconds: float | None = None
    report_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Extra:
    """A section that another part of resnetkit wrote, with its figures for metrics.json."""

    name: str
    section: Section
    figures: Any = None


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """What a report tells of a run or of an evaluation."""

    title: str
    recipe: str
    model: str
    parameters: int
    data: str  # what the network learnt from
    source: str = ""  # of the judged images, where that is another
    class_names: tuple[str, ...]
    images: Mapping[str, int]  # split name -> images
    command: str
    settings: Mapping[str, Any]  # the resolved experiment, nested
    environment: Mapping[str, Any]
    origin: Mapping[str, Any] = field(default_factory=dict)  # package, contract hash, seeds, …
    records: Sequence[Record] = ()  # lines of metrics.jsonl
    evaluations: Mapping[str, AnyMetrics]  # split name -> metrics; details are shown of the last
    notes: Sequence[str] = ()  # what the reader must know, such as skipped images
    samples: Sequence[Sample] = ()
    pair_samples: Mapping[Pair, Sequence[Sample]] = field(default_factory=dict)
    spread: SeedSpread | None = None
    reliability: Reliability | None = None
    answering: Answering | None = None
    mistakes: Mistakes | None = None
    slices: Sequence[Slice] = ()
    suspects: LabelSuspects | None = None
    gate: GateKnowledge | None = None
    sets: Sets | None = None
    strangers: Strangers | None = None
    robustness: Robustness | None = None
    normalised: NormalisedErrors | None = None  # the same by a baseline's
    attacks: AttackReport | None = None
    extras: Sequence[Extra] = ()  # inside the network, the feature map, which map to believe, …
    speed: Speed | None = None

    @property
    def judged(self) -> tuple[str, AnyMetrics] | None:
        """The split that counts and its metrics: the last of `evaluations`."""
        return list(self.evaluations.items())[-1] if self.evaluations else None
