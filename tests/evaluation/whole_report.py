"""A report with every part filled: simulated answers of a network that knows cats from dogs badly.

All figures come from the measures themselves, so that the page is tested on what it will be given.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from resnetkit.evaluation.attack_report import Outcome, summarise_attacks
from resnetkit.evaluation.calibration import calibrate
from resnetkit.evaluation.confidence import Wanted, fit_confidence
from resnetkit.evaluation.conformal import check_coverage, prediction_sets
from resnetkit.evaluation.corruption_errors import summarise_corruptions
from resnetkit.evaluation.corruptions.settings import CorruptionConfig
from resnetkit.evaluation.metrics import compute_metrics
from resnetkit.evaluation.multilabel import compute_multilabel_metrics
from resnetkit.evaluation.out_of_distribution import detect_by_logits
from resnetkit.evaluation.probabilities import softmax
from resnetkit.evaluation.report_input import (
    EvaluationReport,
    Extra,
    GateKnowledge,
    LabelSuspects,
    Mistakes,
    Sets,
    Speed,
    Strangers,
)
from resnetkit.evaluation.report_parts import (
    choose_mistakes,
    choose_pair_rows,
    measure_answering,
    measure_reliability,
)
from resnetkit.evaluation.samples import Sample, choose_samples
from resnetkit.evaluation.sections.confusion import confused_pairs
from resnetkit.evaluation.seed_spread import measure_seed_spread
from resnetkit.evaluation.slices import slice_metrics
from resnetkit.page.blocks import Column, Drawing, Notes, Section, Table, Text

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ALIKE = {3: 5, 5: 3, 1: 9, 9: 1, 0: 8, 2: 4, 4: 7, 7: 4}
IMAGES = 1500


def answer(images=IMAGES, classes=10, seed=0):
    """Logits [N,K] twice too sure of themselves, and labels [N] drawn from the true chances."""
    generator = np.random.default_rng(seed)
    seen = generator.integers(0, classes, images)
    values = generator.normal(0, 1.0, (images, classes))
    values[np.arange(images), seen] += 7.0 - 1.5 * generator.gamma(2.0, 0.5, images)
    for one, other in ALIKE.items():
        if max(one, other) < classes:
            rows = np.flatnonzero(seen == one)
            more = 2.0 if {one, other} == {3, 5} else 0.0
            values[rows, other] += more + generator.gamma(1.2, 1.1, len(rows))
    chances = np.cumsum(softmax(values), axis=1)
    labels = (chances < generator.random((images, 1))).sum(axis=1).clip(max=classes - 1)
    return (2 * values).astype(np.float32), labels


def draw(label, seed, side=32):
    """A picture uint8 [3,H,W]: a bright shape of the class's colour over a soft background."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : 1j * side, 0 : 1 : 1j * side]
    angle = 2 * np.pi * label / 10
    ground = np.stack([0.45 + 0.2 * np.cos(angle + turn) * y for turn in (0, 2, 4)])
    color = 0.6 + 0.38 * np.cos(angle + np.array([0, 2.1, 4.2]) + generator.normal(0, 0.25, 3))
    center = 0.5 + generator.normal(0, 0.06, 2)
    width, height = 0.16 + 0.03 * (label % 4), 0.14 + 0.04 * (label % 3)
    shape = ((x - center[0]) / width) ** 2 + ((y - center[1]) / height) ** 2 < 1.6
    if label % 2:
        shape = (abs(x - center[0]) < width) & (abs(y - center[1]) < height)
    pixels = np.where(shape, color[:, None, None], ground) + generator.normal(
        0, 0.035, (3, side, side)
    )
    return (255 * np.clip(pixels, 0, 1)).astype(np.uint8)


def cover(image):
    """The picture under a map, [3,H,W]: grey, with heat around the middle."""
    side = image.shape[1]
    y, x = np.mgrid[-1 : 1 : 1j * side, -1 : 1 : 1j * side]
    heat = np.exp(-3 * (x**2 + y**2))
    grey = image.mean(axis=0) / 255
    colors = np.stack([np.clip(2 * heat, 0, 1), np.clip(2 * heat - 0.7, 0, 1), 0.35 * (1 - heat)])
    return (255 * (0.45 * grey + 0.55 * colors)).astype(np.uint8)


def samples(rows, logits, labels, names, *, mapped=False, side=32):
    shares = softmax(logits)
    found = []
    for row in rows:
        said, true = int(logits[row].argmax()), int(labels[row])
        image = draw(true, row, side)
        sample = Sample(
            image=image,
            name=f"test/{names[true]}/{row:05d}.png",
            true=names[true],
            predicted=names[said],
            probability=float(shares[row, said]),
            true_probability=float(shares[row, true]),
            right=said == true,
            map=cover(image) if mapped else None,
        )
        found.append(sample)
    return found


def robustness(logits, labels, names):
    """Answers that get worse with severity, each corruption at its own rate."""
    config = CorruptionConfig()
    generator = np.random.default_rng(1)
    columns = [logits.argmax(1)]
    for number, _ in enumerate(config.names):
        strength = 0.25 + 0.22 * (number * 7 % 15) / 3
        for severity in range(1, 6):
            noise = generator.normal(0, strength * severity, logits.shape)
            columns.append((logits + noise).argmax(1))
    return summarise_corruptions(np.stack(columns, 1), labels, names, config, (32, 32))


def attacks(logits, labels):
    generator = np.random.default_rng(2)
    epsilons = (0.5, 1.0, 2.0, 4.0, 8.0)
    clean = logits.argmax(1) == labels
    ease = generator.gamma(2.0, 1.0, len(labels))

    def held(factor, count):
        limits = [*epsilons, 128.0][:count]
        return np.stack([clean & (ease > factor * limit) for limit in limits])

    outcome = Outcome(
        labels=labels,
        clean=clean,
        noise=held(0.04, 5),
        fgsm=held(0.9, 5),
        pgd=held(1.6, 6),
        without_gradient=np.zeros(len(labels), bool),
    )
    return summarise_attacks([outcome], epsilons, steps=20, restarts=2)


def extras():
    """Stand-ins for the sections that `explanation` writes."""
    generator = np.random.default_rng(3)
    places = generator.normal(0, 40, (300, 2)) + 120 * generator.integers(-1, 2, (300, 2)) + 280
    marks = "".join(
        f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4" fill="#0072b2" fill-opacity=".7"/>'
        for x, y in places
    )
    svg = f'<svg viewBox="0 0 560 560" role="img"><title>Map of 300 images</title>{marks}</svg>'
    parts = ("stem", "stage 1", "stage 2", "stage 3", "head")
    inside = Table(
        columns=[
            Column(title="Part"),
            *(Column(title=t, kind="number") for t in ("Activations", "Gradient")),
        ],
        rows=[[part, 1 / (k + 1), 1e-3 * 3**k] for k, part in enumerate(parts)],
        name="parts",
    )
    drawing = Drawing(
        title="300 images by pca", markup=svg, says="Alike images lie close together."
    )
    maps = Table(
        columns=[
            Column(title="Map"),
            Column(title="Verdict"),
            Column(title="Insertion ↑", kind="number"),
        ],
        rows=[["gradcam", "believe", 0.713], ["guided-backprop", "do not believe", 0.402]],
        name="maps",
    )
    return (
        Extra(
            name="inside",
            section=Section(
                title="Inside the network",
                blocks=[Notes(items=["stage 3: 7 of 64 channels are 0 everywhere."]), inside],
            ),
            figures={"loss": float("nan")},
        ),
        Extra(name="feature_map", section=Section(title="Feature map", blocks=[drawing])),
        Extra(
            name="trust",
            section=Section(title="Which map to believe", blocks=[Text(text="Two maps."), maps]),
        ),
    )


def run_records(epochs=30):
    records = []
    for epoch in range(epochs):
        share = epoch / epochs
        record = {
            "kind": "validation",
            "epoch": epoch,
            "step": 100 * epoch + 100,
            "loss": 1.7 * np.exp(-3 * share) + 0.32 + 0.1 * np.sin(epoch) * (1 - share),
            "train_loss": 1.8 * np.exp(-3.4 * share) + 0.1,
            "top1": 0.93 - 0.5 * np.exp(-4 * share) + 0.01 * np.sin(epoch),
            "learning_rate": 0.1 * (1 + np.cos(np.pi * share)) / 2,
            "seconds": 30.0,
        }
        records.append(record)
    return records


def whole_report(classes=10, names=None, **changes):
    """Every part of an `EvaluationReport`; `changes` are fields to give another value."""
    names = tuple(names or (NAMES if classes == 10 else (f"class {k:04}" for k in range(classes))))
    logits, labels = answer(classes=classes)
    fitting, fitted = answer(classes=classes, seed=1)
    wanted = Wanted(methods=("temperature",), precision=0.9, sets=0.95)
    confidence = fit_confidence(
        fitting, fitted, "single-label", source="cifar10", split="val", wanted=wanted
    )
    calibrated = calibrate(logits, confidence.calibration)
    metrics = compute_metrics(logits, labels, names, resamples=100)
    validation = compute_metrics(fitting, fitted, names, resamples=0)
    pairs = confused_pairs(np.array(metrics.confusion))
    pair_rows = choose_pair_rows(calibrated, labels, pairs)
    surest, furthest = choose_mistakes(calibrated, labels, 8)
    shown = choose_samples(calibrated, labels, 0, 12)
    generator = np.random.default_rng(4)
    columns = {
        "camera": generator.choice(["north", "south"], IMAGES).tolist(),
        "brightness": (generator.random(IMAGES) * 255).round(1).tolist(),
    }
    without = generator.random(IMAGES) > 0.02
    moves = (generator.normal(0, 1.2, logits.shape) for _ in range(2))
    runs = [logits, *((logits + move).astype(np.float32) for move in moves)]
    fields = {
        "title": "resnet20 on cifar10",
        "recipe": "cifar10-resnet20",
        "model": "resnet20",
        "parameters": 269_722,
        "data": "cifar10",
        "class_names": names,
        "images": {"train": 45_000, "validation": 5_000, "test": 10_000},
        "command": "resnetkit evaluate runs/cifar10/package --data cifar10 --out judged",
        "settings": {
            "recipe": "cifar10-resnet20",
            "model": {"name": "resnet20", "stem": None},
            "training": {"epochs": 30, "seed": 0, "loss": "cross-entropy"},
        },
        "environment": {
            "resnetkit": "0.1.0",
            "torch": "2.11.0",
            "cpu": "2 cores",
            "python": "3.11",
        },
        "origin": {"package": "runs/cifar10/package", "contract": "9f2c1a77d0b4", "seed": 0},
        "records": run_records(),
        "evaluations": {"validation": validation, "test": metrics},
        "notes": [
            "31 of these images show a picture that the training images show too; `data check` "
            "found them. Without them the accuracy is below.",
        ],
        "samples": samples(shown, calibrated, labels, names),
        "pair_samples": {
            pair: samples(rows, calibrated, labels, names) for pair, rows in pair_rows.items()
        },
        "spread": measure_seed_spread(
            runs, labels, "single-label", ("seed 0", "seed 1", "seed 2"), 50
        ),
        "reliability": measure_reliability(logits, labels, "single-label", confidence),
        "answering": measure_answering(calibrated, labels, confidence.reject),
        "mistakes": Mistakes(
            surest=samples(surest, calibrated, labels, names, mapped=True),
            furthest=samples(furthest, calibrated, labels, names, mapped=True, side=96),
            method="gradcam",
        ),
        "slices": slice_metrics(logits, labels, names, "single-label", columns),
        "suspects": LabelSuspects(
            samples=samples(surest[:6], calibrated, labels, names),
            found=41,
            judged_by="this network on images it was not trained on",
        ),
        "gate": GateKnowledge(
            shared={"train": 31, "validation": 0},
            without_shared=compute_metrics(logits[without], labels[without], names, resamples=0),
            findings={"Images that are nearly black": 3, "Equal pictures within the split": 12},
        ),
        "sets": Sets(
            conformal=confidence.conformal,
            check=check_coverage(
                prediction_sets(calibrated, confidence.conformal),
                labels,
                confidence.conformal,
                names,
            ),
        ),
        "strangers": Strangers(
            source="svhn",
            detections=detect_by_logits(
                calibrated, generator.normal(0, 2.4, (400, classes)).astype(np.float32)
            ),
        ),
        "robustness": robustness(logits, labels, names),
        "attacks": attacks(logits, labels),
        "extras": extras(),
        "speed": Speed(
            device="2 cores of a Xeon, float32",
            images_per_second=1893.0,
            batch_size=128,
            latency=0.0041,
            latency_slowest=0.0062,
            multiply_adds=40_812_000,
            package_bytes=1_130_000,
            evaluation_seconds=5.3,
            report_seconds=11.9,
        ),
    }
    return EvaluationReport(**(fields | changes))


def multilabel_report(**changes):
    """The parts that images of several classes have."""
    generator = np.random.default_rng(5)
    shown = (generator.random((400, 6)) < 0.3).astype(np.float32)
    logits = (4 * shown - 2 + generator.normal(0, 1.8, shown.shape)).astype(np.float32)
    names = ("person", "car", "dog", "chair", "bottle", "sofa")
    metrics = compute_multilabel_metrics(logits, shown, names, resamples=50)
    nothing = dict.fromkeys(
        (
            "spread",
            "answering",
            "mistakes",
            "suspects",
            "gate",
            "sets",
            "strangers",
            "robustness",
            "attacks",
        )
    )
    return replace(
        whole_report(),
        **nothing
        | {
            "title": "resnet18 on voc",
            "class_names": names,
            "evaluations": {"test": metrics},
            "reliability": measure_reliability(logits, shown, "multi-label", None),
            "samples": (),
            "pair_samples": {},
            "slices": (),
            "records": (),
        }
        | changes,
    )
