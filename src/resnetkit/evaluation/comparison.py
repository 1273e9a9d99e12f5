"""Network B against network A on the same images: what it gains, what it loses, and if that counts.

Both are judged on the same images, so only those count on which they differ: the exact test is
McNemar's (1947), the interval of accuracy Agresti & Min's (2005), and every bootstrap resamples the
images for both at once. With many classes some would differ by chance; adjusted p-values and
verdicts hold for all of them together (Holm 1979). What a network lost when it learnt new classes,
`class_changes` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from resnetkit.evaluation.compared import (
    ClassComparison,
    ClassVerdict,
    Comparison,
    ScoreChange,
)
from resnetkit.evaluation.intervals import (
    RESAMPLES,
    Interval,
    basic_interval,
    paired_difference_interval,
    percentile_interval,
    resample_answers,
)
from resnetkit.evaluation.metrics import refuse_unusable, shares
from resnetkit.evaluation.multilabel import RESAMPLES as MULTILABEL_RESAMPLES
from resnetkit.evaluation.multilabel import (
    binary_losses,
    count_answers,
    macro_shares,
    resample_counts,
)
from resnetkit.evaluation.probabilities import log_losses
from resnetkit.evaluation.ranking import (
    FEWEST_SHOWING,
    mean_of_known,
    rank_classes,
    resampled_precisions,
)
from resnetkit.evaluation.significance import (
    SIGNIFICANCE,
    exact_mcnemar,
    holm,
    resampled_p_value,
)
from resnetkit.types import Task

F1 = 2  # among precision, recall and F1


def compare(
    logits_a: np.ndarray,
    logits_b: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    task: Task,
    resamples: int | None = None,
) -> Comparison:
    """B against A from the logits [N,K] of each for the same N images, classes in the same order.

    `labels` are int64 [N] or float32 [N,K], see `task_metrics`; `resamples` None takes as many as
    the task's metrics do.

    Raises:
        UserError: there are no images, or a network gave a logit that is not a finite number.
    """
    assert logits_a.shape == logits_b.shape, (logits_a.shape, logits_b.shape)
    assert len(labels) == len(logits_a), (labels.shape, logits_a.shape)
    assert len(class_names) == logits_a.shape[1], (len(class_names), logits_a.shape)
    pair = (logits_a, logits_b)
    for logits in pair:
        refuse_unusable(logits)
    names = [str(name) for name in class_names]
    if task == "multi-label":
        draws = MULTILABEL_RESAMPLES if resamples is None else resamples
        return _compare_several(pair, labels, names, draws)
    draws = RESAMPLES if resamples is None else resamples
    numbers = labels if labels.ndim == 1 else labels.argmax(axis=1)
    return _compare_one(pair, numbers, names, draws)


def _compare_one(
    pair: tuple[np.ndarray, np.ndarray], labels: np.ndarray, names: Sequence[str], resamples: int
) -> Comparison:
    """The comparison where an image shows one class."""
    said = np.stack([logits.argmax(axis=1) for logits in pair])  # [2,N]
    right = said == labels
    score, macro_f1 = _scores_one(said, labels, len(names), resamples)
    losses = [log_losses(logits, labels, "single-label") for logits in pair]
    rows = [_class_one(name, right[:, labels == k]) for k, name in enumerate(names)]
    return _comparison(
        "single-label",
        (score, macro_f1),
        (right, said[0] != said[1]),
        losses[0] - losses[1],
        _with_verdicts(rows),
    )


def _scores_one(
    said: np.ndarray, labels: np.ndarray, classes: int, resamples: int
) -> tuple[ScoreChange, ScoreChange]:
    """Top-1 and macro F1 of answers [2,N]."""
    images = len(labels)
    supports = np.bincount(labels, minlength=classes)
    answers = np.stack([np.bincount(one, minlength=classes) for one in said])
    hits = np.stack([np.bincount(labels[one == labels], minlength=classes) for one in said])
    drawn_hits, drawn_answers = resample_answers(labels, said, classes, resamples)
    present = supports > 0
    macro = shares(hits, answers, supports)[:, present, F1].mean(axis=-1)
    drawn_f1 = shares(drawn_hits, drawn_answers, supports)[:, :, present, F1].mean(axis=-1)
    correct = hits.sum(axis=-1).tolist()
    lost, gained = _lost_and_gained(said == labels)
    return (
        ScoreChange(
            name="top1",
            a=correct[0] / images,
            b=correct[1] / images,
            # From counts, so that a loss of exactly the margin is not above it by rounding.
            difference=(gained - lost) / images,
            interval=paired_difference_interval(lost, gained, images),
        ),
        _f1_change(macro, drawn_f1[1] - drawn_f1[0]),
    )


def _class_one(name: str, right: np.ndarray) -> ClassComparison:
    """One class of answers `right` bool [2,n] to its images; its verdict is still open."""
    lost, gained, support = *_lost_and_gained(right), right.shape[1]
    hits = right.sum(axis=1).tolist()
    return ClassComparison(
        name=name,
        support=support,
        a=hits[0] / support if support else None,
        b=hits[1] / support if support else None,
        difference=(gained - lost) / support if support else None,
        difference_interval=paired_difference_interval(lost, gained, support) if support else None,
        lost=lost,
        gained=gained,
        p_value=exact_mcnemar(lost, gained) if support else None,
        adjusted_p_value=None,
        verdict="unknown",
    )


def _compare_several(
    pair: tuple[np.ndarray, np.ndarray], labels: np.ndarray, names: Sequence[str], resamples: int
) -> Comparison:
    """The comparison where images may show several classes."""
    shown = labels > 0.5
    said = np.stack([logits > 0 for logits in pair])  # [2,N,K]
    right = said == shown
    estimates, drawn = zip(*(_precisions(logits, shown, resamples) for logits in pair), strict=True)
    rows = [
        _class_several(
            name,
            right[:, :, k],
            int(shown[:, k].sum()),
            (estimates[0][k], estimates[1][k]),
            drawn[1][:, k] - drawn[0][:, k],
        )
        for k, name in enumerate(names)
    ]
    means = [_known(float(mean_of_known(one))) for one in estimates]
    enough = int(shown.any(axis=1).sum()) >= FEWEST_SHOWING
    drawn_means = mean_of_known(drawn[1]) - mean_of_known(drawn[0])
    difference = None if means[0] is None or means[1] is None else means[1] - means[0]
    score = ScoreChange(
        name="mean_average_precision",
        a=means[0],
        b=means[1],
        difference=difference,
        interval=_precision_change(drawn_means, difference) if enough else None,
    )
    macro = np.array([macro_shares(count_answers(shown, one))[F1] for one in said])
    drawn_f1 = [macro_shares(resample_counts(shown, one, resamples))[:, F1] for one in said]
    losses = [binary_losses(logits, labels) for logits in pair]
    return _comparison(
        "multi-label",
        (score, _f1_change(macro, drawn_f1[1] - drawn_f1[0])),
        (right, (said[0] != said[1]).any(axis=1)),
        losses[0] - losses[1],
        _with_verdicts(rows),
    )


def _class_several(
    name: str,
    right: np.ndarray,
    support: int,
    precisions: tuple[float, float],
    drawn: np.ndarray,
) -> ClassComparison:
    """One class of answers `right` bool [2,N] and average precisions; `drawn` [R] are changes."""
    lost, gained = _lost_and_gained(right)
    a, b = (_known(value) for value in precisions)
    difference = None if a is None or b is None else b - a
    tested = difference is not None and support >= FEWEST_SHOWING
    return ClassComparison(
        name=name,
        support=support,
        a=a,
        b=b,
        difference=difference,
        difference_interval=_precision_change(drawn, difference) if tested else None,
        lost=lost,
        gained=gained,
        p_value=resampled_p_value(drawn, difference or 0.0) if tested else None,
        adjusted_p_value=None,
        verdict="unknown",
        answers_p_value=exact_mcnemar(lost, gained),
    )


def _comparison(
    task: Task,
    scores: tuple[ScoreChange, ScoreChange],
    answers: tuple[np.ndarray, np.ndarray],
    likelihood: np.ndarray,
    per_class: tuple[ClassComparison, ...],
) -> Comparison:
    """Answers are (right bool [2,N] or [2,N,K], whether the image's differ bool [N]).

    `likelihood` [N] is what the truth's logarithmic likelihood gains with B.
    """
    right, differ = answers
    lost, gained = _lost_and_gained(right)
    # [N]: how many more answers to the image are right with B.
    net = right[1].reshape(len(differ), -1).sum(axis=1) - right[0].reshape(len(differ), -1).sum(1)
    sets = (net < 0, net > 0, (net == 0) & differ)
    lost_images, gained_images, changed_images = (_largest_first(one, likelihood) for one in sets)
    return Comparison(
        task=task,
        images=len(differ),
        score=scores[0],
        macro_f1=scores[1],
        both_right=int((right[0] & right[1]).sum()),
        lost=lost,
        gained=gained,
        both_wrong=int((~right[0] & ~right[1]).sum()),
        p_value=exact_mcnemar(len(lost_images), len(gained_images)),
        per_class=per_class,
        lost_images=lost_images,
        gained_images=gained_images,
        changed_images=changed_images,
    )


def _lost_and_gained(right: np.ndarray) -> tuple[int, int]:
    return int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())


def _largest_first(kept: np.ndarray, changes: np.ndarray) -> tuple[int, ...]:
    rows = np.flatnonzero(kept)
    return tuple(rows[np.argsort(-np.abs(changes[rows]), kind="stable")].tolist())


def _precisions(
    logits: np.ndarray, shown: np.ndarray, resamples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Average precisions [K] and resampled [R,K], by the same draws for both; NaN where none."""
    rankings = rank_classes(logits, shown)
    values = [ranking.average_precision() for ranking in rankings]
    estimates = np.array([np.nan if value is None else value for value in values])
    return estimates, resampled_precisions(rankings, resamples)


def _f1_change(values: np.ndarray, drawn: np.ndarray) -> ScoreChange:
    a, b = values.tolist()
    return ScoreChange(
        name="macro_f1", a=a, b=b, difference=b - a, interval=percentile_interval(drawn, b - a)
    )


def _precision_change(drawn: np.ndarray, difference: float | None) -> Interval | None:
    return None if difference is None else basic_interval(drawn, difference, (-1.0, 1.0))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _with_verdicts(rows: Sequence[ClassComparison]) -> tuple[ClassComparison, ...]:
    adjusted = holm([row.p_value for row in rows])
    judged: list[ClassComparison] = []
    for row, p_value in zip(rows, adjusted, strict=True):
        verdict: ClassVerdict = "unknown" if p_value is None else "same"
        if p_value is not None and p_value <= SIGNIFICANCE:
            verdict = "lost" if (row.difference or 0.0) < 0 else "gained"
        judged.append(replace(row, adjusted_p_value=p_value, verdict=verdict))
    return tuple(judged)
