"""Labels that are likely wrong, by confident learning on probabilities of unseen images.

Northcutt, Jiang & Chuang 2021, "Confident learning: estimating uncertainty in dataset labels"
(JAIR 70), sections 3.1 and 3.2. Written out here, and tested to give what cleanlab gives: the
package would bring pandas and two more, takes seconds to import, and was under the AGPL up to
version 2.7.1 (2.8.0 and later are under the Apache licence).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resnetkit.data.checks.findings import Finding, Kind
from resnetkit.data.checks.scan_types import Scan

LABEL_KINDS = {
    "likely-wrong-label": Kind(
        severity="warning",
        title="Labels that are likely wrong",
        treatment="Training uses them as they are. Look at them, the surest first; in the manifest "
        "correct the label, or leave the image out where it shows several things or none.",
    ),
    "labels-not-judged": Kind(
        severity="note",
        title="Labels that could not be judged",
        treatment="Whether labels are wrong is not known: nothing that could say so learnt the "
        "classes well enough. Give more time with --minutes, or a package with --package.",
    ),
    "seen-by-package": Kind(
        severity="warning",
        title="Labels judged by a package that was trained on them",
        treatment="A network repeats the labels that it has learnt, so most wrong ones go "
        "unnoticed. Use a package trained on other images, or --labels without --package.",
    ),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelErrors:
    """The images whose labels are likely wrong, the surest first."""

    rows: np.ndarray  # [M] int64: positions among the images judged
    suggested: np.ndarray  # [M] int64: the class that speaks most against the label
    margins: np.ndarray  # [M]: probability of the suggested class less that of the given one


def find_label_errors(scan: Scan, rows: np.ndarray, probabilities: np.ndarray) -> list[Finding]:
    """Findings, the surest first, about the images `rows` int64 [M] of a single-label scan.

    `probabilities` float [M,K] come from networks that did not train on the image they judge: one
    that did repeats the label.
    """
    labels = scan.labels[rows]
    labels = labels if labels.ndim == 1 else labels.argmax(axis=1)
    errors = rank_label_errors(labels, probabilities)
    findings = []
    for row, suggested in zip(errors.rows.tolist(), errors.suggested.tolist(), strict=True):
        given = int(labels[row])
        detail = (
            f"labelled {scan.class_names[given]} (probability {probabilities[row, given]:.2f}), "
            f"more like {scan.class_names[suggested]} ({probabilities[row, suggested]:.2f})"
        )
        name = scan.names[int(rows[row])]
        findings.append(Finding(kind="likely-wrong-label", names=(name,), detail=detail))
    return findings


def rank_label_errors(labels: np.ndarray, probabilities: np.ndarray) -> LabelErrors:
    """Likely errors among `labels` int64 [N], given out-of-fold `probabilities` float [N,K].

    Pruning by noise rate (method 4 of section 3.2): of the images labelled i, as many as the joint
    estimates to be j are taken, those with the largest margin of j over i; those whose most
    probable class is their label stay.
    """
    joint = estimate_joint(labels, probabilities)
    wrong = np.zeros(len(labels), bool)
    for given in range(len(joint)):
        inside = np.flatnonzero(labels == given)
        for true in np.flatnonzero(joint[given]).tolist():
            if true != given:
                margins = probabilities[inside, true] - probabilities[inside, given]
                order = np.argsort(-margins, kind="stable")
                wrong[inside[order[: joint[given, true]]]] = True
    wrong &= probabilities.argmax(axis=1) != labels
    rows = np.flatnonzero(wrong)
    others = probabilities[rows].astype(np.float64)
    own = others[np.arange(len(rows)), labels[rows]]
    others[np.arange(len(rows)), labels[rows]] = -1.0
    margins = others.max(axis=1, initial=-1.0) - own
    order = np.argsort(-margins, kind="stable")
    return LabelErrors(
        rows=rows[order],
        suggested=others[order].argmax(axis=1).astype(np.int64),
        margins=margins[order],
    )


def estimate_joint(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """How many of the images labelled i are of class j: int64 [K,K], rows summing to the labels'.

    Section 3.1: an image counts as j where its probability of j reaches the mean probability of j
    among the images labelled j (of several such classes the most probable); the counts are then
    scaled to the number of images with each label.
    """
    count = probabilities.shape[1]
    numbers = np.bincount(labels, minlength=count)
    sums = np.bincount(labels, probabilities[np.arange(len(labels)), labels], minlength=count)
    with np.errstate(invalid="ignore", divide="ignore"):
        thresholds = np.where(numbers > 0, sums / numbers, np.inf)  # no image: none can be counted
    confident = probabilities >= thresholds - 1e-6
    counted = confident.any(axis=1)
    likeliest = np.where(confident, probabilities, -1.0).argmax(axis=1)
    joint = np.zeros((count, count))
    np.add.at(joint, (labels[counted], likeliest[counted]), 1)
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    return _round_rows(joint / joint.sum(axis=1, keepdims=True) * numbers[:, None])


def _round_rows(values: np.ndarray) -> np.ndarray:
    """Whole numbers near `values` [K,K] whose rows sum to the same: largest remainders go up."""
    floors = np.floor(values + 1e-9).astype(np.int64)
    missing = np.rint(values.sum(axis=1)).astype(np.int64) - floors.sum(axis=1)
    order = np.argsort(floors - values, axis=1, kind="stable")
    for row in range(len(values)):
        floors[row, order[row, : missing[row]]] += 1
    return floors
