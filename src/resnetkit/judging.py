"""What a package says of a split: logits, features and what the images are like, from one pass."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from resnetkit.data.contract import InputContract, normalise
from resnetkit.data.dataset import Progress
from resnetkit.data.loader import Loader
from resnetkit.data.opening import DescribedSource
from resnetkit.data.past import Past
from resnetkit.data.sources import Split, is_manifest, place_of
from resnetkit.evaluation.calibration import deciding_logits, scale_logits
from resnetkit.evaluation.column_parts import image_statistics
from resnetkit.evaluation.evaluate import AnyMetrics, Predict, evaluate, task_metrics
from resnetkit.evaluation.report_input import Reliability
from resnetkit.evaluation.report_parts import measure_reliability
from resnetkit.evaluation.subset import draw_subset
from resnetkit.experiment import recorded_past
from resnetkit.export.package import ModelPackage
from resnetkit.models.zoo import Network
from resnetkit.package_split import load_in_order, load_unseen
from resnetkit.types import Batch, Task


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A package on its device, and the images that it is judged on.

    `notes` are the warnings that came with these images, such as that some were seen.
    """

    folder: Path
    package: ModelPackage
    asked: DescribedSource
    split: str
    images: Split
    notes: tuple[str, ...]

    @property
    def contract(self) -> InputContract:
        """How the package sees images."""
        return self.package.contract

    @property
    def task(self) -> Task:
        """Whether an image has one class or several."""
        return self.package.contract.task

    @property
    def network(self) -> Network:
        """The package's network."""
        return cast("Network", self.package.model)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.package.model.parameters()).device

    @property
    def past(self) -> Past:
        """What the package keeps of its training data, but for the keys of the images."""
        provenance, where = self.package.provenance, str(self.folder)
        return recorded_past(provenance, self.contract, None, where)

    @property
    def manifest(self) -> Path | None:
        """The manifest that speaks for these images: given, the source itself, or training's."""
        location = self.asked.location
        known = self.past.at(location)
        by_training = None if known is None else known.config.manifest
        own = place_of(location) if is_manifest(location) else None
        found = self.asked.manifest or own or by_training
        return None if found is None else Path(found).expanduser()

    def batches(self, rows: np.ndarray | None = None) -> Loader:
        """The images in order, or those at `rows`."""
        images = self.images if rows is None else self.images.subset(rows)
        return load_in_order(self.folder, self.package, images, self.contract)

    def draw(self, images: int) -> np.ndarray:
        """Rows of about so many images, every class with its share: the same every time."""
        return draw_subset(self.images.labels, images, seed=0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What the network said of the N images of `subject`, in `seconds` of forward passes.

    `logits` float32 [N,K] are its own; `metrics` are of the answers that `predict` gives. Features
    float32 [n,D], what enters the head, are of the images at the rows `featured`.
    """

    subject: Subject
    logits: np.ndarray
    metrics: AnyMetrics
    featured: np.ndarray
    features: np.ndarray
    statistics: Mapping[str, np.ndarray]  # float64 [N] each, see `image_statistics`
    seconds: float

    @property
    def labels(self) -> np.ndarray:
        """As `Split` has them."""
        return self.subject.images.labels

    @cached_property
    def deciding(self) -> np.ndarray:
        """The logits [N,K] whose order is the answer."""
        confidence = self.subject.package.confidence
        return deciding_logits(self.logits, confidence and confidence.calibration)

    @cached_property
    def calibrated(self) -> np.ndarray:
        """The logits float64 [N,K] whose probabilities `predict` gives."""
        confidence = self.subject.package.confidence
        return scale_logits(self.logits, confidence and confidence.calibration)

    @cached_property
    def reliability(self) -> Reliability:
        """How far the probabilities are off, before calibration and after."""
        task, confidence = self.subject.task, self.subject.package.confidence
        return measure_reliability(self.logits, self.labels, task, confidence)


def open_subject(
    folder: Path,
    package: ModelPackage,
    asked: DescribedSource,
    split: str,
    progress: Progress,
    *,
    strictly: bool = False,
) -> Subject:
    """The package where it is, and the split, which it must not have seen: see `load_unseen`."""
    with warnings.catch_warnings(record=True) as caught:
        images = load_unseen(folder, package, asked, split, progress, strictly=strictly)
    for one in caught:
        warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    told = [str(one.message) for one in caught if issubclass(one.category, UserWarning)]
    return Subject(
        folder=folder,
        package=package,
        asked=asked,
        split=split,
        images=images,
        notes=tuple(dict.fromkeys(told)),
    )


def answer(
    subject: Subject,
    progress: Progress,
    featured: np.ndarray | None = None,
    *,
    statistics: bool = False,
) -> Answers:
    """Show all images to the network once; keep features of the rows `featured` (default: none).

    With `statistics` also what the images are like. Raises UserError for logits that are not
    finite, and where there is no image.
    """
    rows = np.zeros(0, np.int64) if featured is None else featured
    watch = _Watch(subject, rows, progress, statistics=statistics)
    logits, _, indices = evaluate(watch, subject.batches().batches(0))
    assert np.array_equal(indices, np.arange(len(subject.images))), "images come in order"
    contract, confidence = subject.contract, subject.package.confidence
    decide = deciding_logits(logits, confidence and confidence.calibration)
    names = contract.class_names
    return Answers(
        subject=subject,
        logits=logits,
        metrics=task_metrics(decide, subject.images.labels, names, contract.task),
        featured=rows,
        features=np.concatenate(watch.features) if watch.features else np.zeros((0, 0), "f4"),
        statistics={
            name: np.concatenate([one[name] for one in watch.statistics])
            for name in (watch.statistics[0] if watch.statistics else ())
        },
        seconds=watch.seconds,
    )


def answer_others(
    network: Network, contract: InputContract, batches: Loader
) -> tuple[np.ndarray, np.ndarray]:
    """Logits [N,K] and features [N,D] of images that are not judged."""
    features: list[np.ndarray] = []
    device = next(network.parameters()).device

    def predict(batch: Batch) -> Tensor:
        pooled = network.forward_until("head", normalise(batch.to(device).images, contract))
        features.append(pooled.float().cpu().numpy())
        return network.forward_from("head", pooled)

    logits, _, _ = evaluate(predict, batches.batches(0))
    return logits, np.concatenate(features)


def logits_of(subject: Subject) -> Callable[[Tensor], Tensor]:
    """From pixels [N,C,H,W] on the device to the logits [N,K] whose order is the answer.

    As `Answers.deciding`, and with a gradient at the pixels.
    """
    network, contract, confidence = subject.network, subject.contract, subject.package.confidence
    calibration = confidence and confidence.calibration
    if calibration is None or calibration.scale is None or calibration.bias is None:
        return lambda pixels: network(normalise(pixels, contract))
    scale = torch.tensor(calibration.scale, device=subject.device) / calibration.temperature
    bias = torch.tensor(calibration.bias, device=subject.device)
    return lambda pixels: network(normalise(pixels, contract)) * scale + bias


def predict_of(subject: Subject, seen: Callable[[int], None] = lambda images: None) -> Predict:
    """`logits_of` for a batch; `seen` hears of every batch how many images it has."""
    decide, device = logits_of(subject), subject.device

    def predict(batch: Batch) -> Tensor:
        logits = decide(batch.to(device).images)
        seen(len(batch.labels))
        return logits

    return predict


class _Watch:
    """The `Predict` of a subject that keeps what passes by."""

    def __init__(
        self, subject: Subject, featured: np.ndarray, progress: Progress, *, statistics: bool
    ) -> None:
        self.features: list[np.ndarray] = []
        self.statistics: list[dict[str, np.ndarray]] = []
        self.seconds = 0.0
        self._subject, self._featured, self._progress = subject, featured, progress
        self._with_statistics = statistics
        self._done = 0

    def __call__(self, batch: Batch) -> Tensor:
        network, contract = self._subject.network, self._subject.contract
        start = time.perf_counter()
        images = normalise(batch.to(self._subject.device).images, contract)
        pooled = network.forward_until("head", images)
        logits = network.forward_from("head", pooled).cpu()  # waits for the device
        self.seconds += time.perf_counter() - start
        wanted = np.isin(batch.indices.numpy(), self._featured)
        if wanted.any():
            self.features.append(pooled.float().cpu().numpy()[wanted])
        if self._with_statistics:
            self.statistics.append(image_statistics(batch.images.numpy()))
        self._done += len(batch.labels)
        self._progress("judging", self._done, len(self._subject.images))
        return logits
