from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.data.checks.label_errors import (
    LABEL_KINDS,
    estimate_joint,
    find_label_errors,
    rank_label_errors,
)
from resnetkit.data.checks.scan_types import Scan


def noisy_labels(seed, count=2000, classes=5, wrong=0.04):
    """Labels int64 [N], the true ones, and probabilities [N,K] of a fair classifier."""
    generator = np.random.default_rng(seed)
    true = generator.integers(0, classes, count)
    logits = generator.normal(0, 1, (count, classes))
    logits[np.arange(count), true] += 4
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    given_labels = true.copy()
    changed = generator.random(count) < wrong
    given_labels[changed] = (true[changed] + 1) % classes
    return given_labels, true, probabilities


def test_wrong_labels_are_found_and_the_right_ones_suggested():
    labels, true, probabilities = noisy_labels(0)
    errors = rank_label_errors(labels, probabilities)
    wrong = labels != true
    assert wrong[errors.rows].mean() > 0.9
    assert wrong[errors.rows].sum() > 0.85 * wrong.sum()
    found = errors.rows[wrong[errors.rows]]
    assert (errors.suggested[wrong[errors.rows]] == true[found]).mean() > 0.97


def test_the_surest_come_first():
    labels, _, probabilities = noisy_labels(1)
    errors = rank_label_errors(labels, probabilities)
    expected = (
        probabilities[errors.rows, errors.suggested]
        - probabilities[errors.rows, labels[errors.rows]]
    )
    assert (np.diff(errors.margins) <= 0).all()
    assert errors.margins == pytest.approx(expected)
    assert (errors.margins > 0).all()


def test_an_unsure_class_is_measured_by_its_own_standard():
    """Class 1 never gets above 0.6: an image with 0.55 for it counts as confident all the same."""
    probabilities = np.array([[0.95, 0.05]] * 10 + [[0.45, 0.55]] * 10)
    labels = np.array([0] * 10 + [1] * 9 + [0])
    errors = rank_label_errors(labels, probabilities)
    assert errors.rows.tolist() == [19]
    assert errors.suggested.tolist() == [1]
    assert errors.margins == pytest.approx([0.1])


def test_clean_labels_give_nothing():
    labels = np.arange(60) % 3
    errors = rank_label_errors(labels, np.full((60, 3), 0.1) + 0.7 * np.eye(3)[labels])
    assert errors.rows.tolist() == []


def test_classes_without_images_are_no_trouble():
    labels = np.array([0, 0, 0, 2, 2, 2, 0])
    probabilities = np.eye(4)[[0, 0, 0, 2, 2, 2, 2]] * 0.9 + 0.025
    errors = rank_label_errors(labels, probabilities.astype(np.float32))
    assert errors.rows.tolist() == [6]
    assert errors.suggested.tolist() == [2]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(2, 7))
def test_the_joint_counts_every_image_under_its_label(seed, count, classes):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    probabilities = generator.dirichlet(np.full(classes, 0.3), count)
    joint = estimate_joint(labels, probabilities)
    assert (joint >= 0).all()
    assert joint.sum(axis=1).tolist() == np.bincount(labels, minlength=classes).tolist()
    errors = rank_label_errors(labels, probabilities)
    assert (probabilities[errors.rows].argmax(axis=1) != labels[errors.rows]).all()
    assert (errors.suggested != labels[errors.rows]).all()


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_cleanlab(seed):
    filters = pytest.importorskip("cleanlab.filter")
    labels, _, probabilities = noisy_labels(seed, classes=4 + seed)
    theirs = filters.find_label_issues(
        labels,
        probabilities,
        confident_joint=estimate_joint(labels, probabilities),
        filter_by="prune_by_noise_rate",
        return_indices_ranked_by="normalized_margin",
        n_jobs=1,
    )
    assert rank_label_errors(labels, probabilities).rows.tolist() == theirs.tolist()


def test_findings_name_the_image_and_both_classes():
    labels = np.array([0] * 10 + [1] * 10 + [0, 1])
    probabilities = np.eye(2)[[0] * 10 + [1] * 10 + [1, 0]] * 0.8 + 0.1
    probabilities[21] = (0.99, 0.01)
    rows = np.arange(22) * 2
    every = np.zeros(44, np.int64)
    every[rows] = labels
    names = [f"image {number}" for number in range(44)]
    scan = cast(
        Scan, SimpleNamespace(names=names, class_names=("cat", "dog"), labels=every, splits=None)
    )
    findings = find_label_errors(scan, rows, probabilities)
    assert [finding.names for finding in findings] == [("image 42",), ("image 40",)]
    assert {finding.kind for finding in findings} == {"likely-wrong-label"} < set(LABEL_KINDS)
    assert findings[0].detail == "labelled dog (probability 0.01), more like cat (0.99)"


def test_soft_labels_count_as_their_largest():
    scan = cast(
        Scan,
        SimpleNamespace(
            names=[str(number) for number in range(21)],
            class_names=("cat", "dog"),
            labels=np.eye(2, dtype=np.float32)[[0] * 10 + [1] * 11] * 0.8 + 0.1,
        ),
    )
    probabilities = np.eye(2)[[0] * 10 + [1] * 10 + [0]] * 0.9 + 0.05
    [finding] = find_label_errors(scan, np.arange(21), probabilities)
    assert finding.names == ("20",)
