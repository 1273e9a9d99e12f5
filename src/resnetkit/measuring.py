"""What takes more forward passes than one for each image: on request, but for speed and inside."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from resnetkit.data.contract import InputContract, normalise
from resnetkit.data.dataset import Progress
from resnetkit.data.opening import DescribedSource
from resnetkit.data.sources import Split
from resnetkit.data.transforms import decode_split
from resnetkit.evaluation.attack_report import AttackReport
from resnetkit.evaluation.attacks import AttackConfig, measure_attacks
from resnetkit.evaluation.comparison import compare
from resnetkit.evaluation.corruption_errors import (
    ALEXNET,
    NormalisedErrors,
    Robustness,
    normalise_errors,
)
from resnetkit.evaluation.corruptions.settings import CorruptionConfig
from resnetkit.evaluation.evaluate import task_metrics
from resnetkit.evaluation.out_of_distribution import detect_by_features, detect_by_logits
from resnetkit.evaluation.report_input import Extra, Speed, Strangers
from resnetkit.evaluation.robustness import measure_corruptions
from resnetkit.evaluation.sections.test_time import SeveralLooks
from resnetkit.evaluation.seed_spread import SeedSpread, measure_seed_spread
from resnetkit.evaluation.subset import draw_subset
from resnetkit.evaluation.test_time import (
    TestTime,
    evaluate_views,
    mirror_caution,
    plan_views,
)
from resnetkit.experiment import recorded_experiment
from resnetkit.explanation.inside import look_inside
from resnetkit.explanation.inside_section import write_inside
from resnetkit.judging import Answers, Subject, answer, answer_others, logits_of, predict_of
from resnetkit.models.counting import count_multiply_adds
from resnetkit.package_split import load_as, load_package_split
from resnetkit.pairing import Pairs
from resnetkit.pipeline_neighbours import load_fresh_index
from resnetkit.runtime import environment
from resnetkit.types import Batch, UserError

INSIDE_IMAGES = 256  # as many as show whether a unit is dead, and are run through in seconds
TRAINING_FEATURES = 5000  # Sun et al. 2022, section 4.3: one in a hundred of them does as well
LATENCIES, LATENCY_SECONDS = 100, 3.0  # single images timed: so many, or as many as take so long


def look_again(answers: Answers, kind: TestTime | None, progress: Progress) -> SeveralLooks | None:
    """What the mean of several looks at each image gives, where a `kind` of them is asked for."""
    if kind is None:
        return None
    subject = answers.subject
    names, task = subject.contract.class_names, subject.task
    logits = look_several_times(subject, kind, progress)
    return SeveralLooks(
        kind=kind,
        passes=sum(view.passes for view in plan_views(subject.contract, kind)),
        caution=mirror_caution(kind, names),
        one=answers.metrics,
        metrics=task_metrics(logits, answers.labels, names, task),
        change=compare(answers.deciding, logits, answers.labels, names, task),
    )


def look_several_times(subject: Subject, kind: TestTime, progress: Progress) -> np.ndarray:
    """Logits float32 [N,K] of the mean of several looks at each image, see `plan_views`."""
    views = plan_views(subject.contract, kind)
    total = len(subject.images) * len(views) * views[0].passes
    done = 0

    def note(images: int) -> None:
        nonlocal done
        done += images
        progress(f"looking again: {kind}", done, total)

    def batches_of(geometry: InputContract) -> Iterator[Batch]:
        if geometry == subject.contract:
            return subject.batches().batches(0)
        place = (subject.asked, subject.split)
        return load_as(subject.folder, subject.package, place, geometry, progress).batches(0)

    predict = predict_of(subject, note)
    logits, _, indices = evaluate_views(predict, views, batches_of, subject.task)
    assert len(indices) == len(subject.images), "every look is at the same images"
    return logits


def judge_other_seeds(
    answers: Answers, others: Sequence[tuple[Subject, Pairs]], progress: Progress
) -> SeedSpread:
    """The spread between the package and `others` of the same recipe, on the same images."""
    logits, names = [answers.deciding], [str(answers.subject.folder)]
    for other, pairs in others:
        logits.append(answer(other, progress).deciding[pairs.others][:, pairs.classes])
        names.append(str(other.folder))
    return measure_seed_spread(logits, answers.labels, answers.subject.task, names)


def measure_robustness(
    subject: Subject, config: CorruptionConfig, progress: Progress
) -> tuple[Robustness, NormalisedErrors | None]:
    """Errors under corruptions; of ImageNet's classes at its size also as shares of AlexNet's."""
    labels = subject.images.labels
    rows = None if config.images is None else draw_subset(labels, config.images, config.seed)
    count = len(labels) if rows is None else len(rows)
    total = config.pictures_for(count)
    found = measure_corruptions(
        predict_of(subject),
        subject.batches(rows).batches(0),
        subject.contract.class_names,
        subject.task,
        config,
        lambda done: progress("corrupting", done, total),
    )
    found = found if count == len(labels) else replace(found, drawn_from=len(labels))
    as_published = subject.contract.num_classes == 1000 and subject.contract.crop == (224, 224)
    return found, normalise_errors(found, ALEXNET) if as_published else None


def attack(subject: Subject, config: AttackConfig) -> AttackReport:
    """Accuracy of some of the images under FGSM and PGD."""
    rows = draw_subset(subject.images.labels, config.images, config.seed)
    batches = (batch.to(subject.device) for batch in subject.batches(rows).batches(0))
    return measure_attacks(logits_of(subject), batches, subject.task, config, rows)


def measure_strangers(
    answers: Answers, strangers: Split, location: str, progress: Progress
) -> Strangers:
    """How well `strangers` from `location` are told from those judged, whose features are known.

    Feature distance needs the training images: from the index beside the package (`explain
    --index`), or where training had them.
    """
    subject, network, contract = answers.subject, answers.subject.network, answers.subject.contract
    images = _decode_strangers(subject, strangers, location, progress)
    batches = replace(subject, images=images).batches()
    logits, features = answer_others(network, contract, batches)
    detections = [*detect_by_logits(answers.logits, logits, subject.task)]
    training = _training_features(subject, progress)
    if training is not None:
        detections.append(detect_by_features(answers.features, features, training))
    return Strangers(source=location, detections=detections)


def _decode_strangers(
    subject: Subject, strangers: Split, location: str, progress: Progress
) -> Split:
    """The images as the network sees images, without those that cannot be read."""
    count = len(strangers)
    images, unreadable = decode_split(
        strangers, subject.contract, progress=lambda done: progress("decoding", done, count)
    )
    good = np.setdiff1d(np.arange(count), [row for row, _ in unreadable])
    if not len(good):
        raise UserError(f"{location}: none of its images can be read; give others")
    kept = strangers.subset(good)
    # Their labels are of classes that this network does not have, and are never looked at.
    return Split(labels=np.zeros(len(good), np.int64), names=kept.names, images=images[good])


def _training_features(subject: Subject, progress: Progress) -> np.ndarray | None:
    """Features [T,D] of training images; None where they are not at hand any more."""
    try:
        return load_fresh_index(subject.folder, subject.package).features
    except UserError:  # none beside the package, or one of other weights
        pass
    trained = subject.package.provenance.get("data", {}).get("source")
    if not trained:
        return None
    source = DescribedSource(location=trained)
    try:
        images = load_package_split(subject.folder, subject.package, source, "train", progress)
    except UserError:  # moved since, or of another machine
        return None
    part = images.subset(draw_subset(images.labels, TRAINING_FEATURES, seed=0))
    batches = replace(subject, images=part).batches()
    return answer_others(subject.network, subject.contract, batches)[1]


def measure_inside(subject: Subject) -> Extra:
    """Norms, ranks, dead units and drift on a few hundred of the images."""
    batches = subject.batches(subject.draw(INSIDE_IMAGES)).batches(0)
    return write_inside(look_inside(subject.network, batches, subject.contract))


def measure_speed(answers: Answers) -> Speed:
    """Throughput of the passes that were made, and the time for one image alone."""
    subject = answers.subject
    height, width = subject.contract.crop
    batch = next(subject.batches(np.zeros(1, np.int64)).batches(0)).to(subject.device)
    seconds: list[float] = []
    with torch.inference_mode():
        while len(seconds) < LATENCIES and sum(seconds) < LATENCY_SECONDS:
            start = time.perf_counter()
            subject.network(normalise(batch.images, subject.contract)).cpu()
            seconds.append(time.perf_counter() - start)
    machine = environment()
    where = machine["gpu"] if subject.device.type == "cuda" else machine["cpu"]
    threads = "" if subject.device.type == "cuda" else f", threads: {machine['threads']}"
    experiment = recorded_experiment(subject.package.provenance, str(subject.folder))
    sizes = (path.stat().st_size for path in subject.folder.iterdir() if path.is_file())
    return Speed(
        device=f"{where}{threads}, float32",
        images_per_second=len(subject.images) / max(answers.seconds, 1e-9),
        batch_size=min(experiment.data.batch_size, len(subject.images)),
        latency=float(np.median(seconds)),
        latency_slowest=float(np.quantile(seconds, 0.95)),
        multiply_adds=count_multiply_adds(subject.network, height) if height == width else None,
        package_bytes=sum(sizes),
        evaluation_seconds=answers.seconds,
    )
