"""The linear probe solved instead of stepped: logistic regression on pooled features.

L-BFGS (Liu & Nocedal 1989, as scikit-learn's LogisticRegression uses it) minimises the very loss
that training would, plus |W|^2 / (2 C N) on scaled features, C by cross-validation. The scales are
then folded into weight and bias, so that the network's own linear head gives the logits. It is our
own objective, not scikit-learn's, because soft labels, several labels an image, class weights,
logit adjustment and classes without an image are then no special cases.

A closed form was measured and left out: linear discriminants with a shrunk covariance took
milliseconds, and were as good up to 5 images of a class but a point behind at 10.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from resnetkit.data.augment import to_targets
from resnetkit.data.balance import POWERS, Sampling, class_counts, deciding_classes
from resnetkit.data.draws import stream, uniform_draws
from resnetkit.evaluation.evaluate import SCORES, task_metrics
from resnetkit.training.config import TrainingConfig
from resnetkit.training.loss import LOSSES, LossTerms, class_weights, logit_shifts, settle_loss
from resnetkit.types import Task

# C, ascending: each fit starts from the one before.
GRID = (1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0, 30.0)
USUAL = 0.3  # C where nothing can be left out to choose it by; it then hardly matters
FOLDS = 5
MOST_JUDGED = 5_000  # images that cross-validation works on: more say little more, and cost much
COARSE, FINE = 1e-4, 1e-6  # the largest slope of a solution that is judged, and of the last one
MOST_STEPS = 1_000
SHARED_FROM = 1 << 22  # numbers that keep two threads busy
MOST_EXACT = 1 << 27  # numbers that are worked on as float64: 1 GiB

Progress = Callable[[str, int, int], None]  # what, done, total


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What the probe minimises besides the penalty: a loss of `training.loss` with its terms."""

    task: Task
    num_classes: int
    loss: str
    terms: LossTerms = field(default_factory=LossTerms)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of logits [N,K] against targets [N,K], in the precision of the logits."""
        terms = replace(
            self.terms,
            weights=None if self.terms.weights is None else self.terms.weights.to(logits),
            shifts=None if self.terms.shifts is None else self.terms.shifts.to(logits),
        )
        return LOSSES[self.task][self.loss](logits, targets, terms)


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A regularisation C, and how left-out images fared under it."""

    regularisation: float
    loss: float
    score: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Probe:
    """A linear head at its optimum: logits = features @ weight.T + bias."""

    weight: Tensor  # [K,D] float32
    bias: Tensor  # [K] float32
    regularisation: float
    score_name: str
    score: float | None  # of left-out images under the C chosen; None where none were left out
    tried: tuple[Tried, ...]
    reason: str  # how C was chosen, in a sentence
    seconds: float

    def install(self, classifier: nn.Module) -> None:
        """Make `classifier` this probe."""
        assert isinstance(classifier, nn.Linear), f"a probe is linear, not {classifier}"
        with torch.no_grad():
            classifier.weight.copy_(self.weight)
            classifier.bias.copy_(self.bias)


def probe_objective(
    config: TrainingConfig, sampling: Sampling, task: Task, labels: np.ndarray, num_classes: int
) -> Objective:
    """What the settings make of the probe's loss: as in training; sampling becomes class weights.

    Weights are scaled to an average of 1 over the images; `balanced` sampling is then what
    scikit-learn calls class_weight="balanced". Several labels an image are left as they are: no
    weight of the classes amounts to drawing whole images.
    """
    config, counts = settle_loss(config, task), class_counts(labels, num_classes)
    weights = class_weights(config, task, counts, len(labels))
    if sampling != "as-is" and task == "single-label":
        rates = np.maximum(counts, 1) ** (POWERS[sampling] - 1)
        weights = rates * counts.sum() / (rates * counts).sum()
    shifts = logit_shifts(config, counts)
    terms = LossTerms(
        label_smoothing=config.label_smoothing,
        gamma=config.focal_gamma,
        weights=None if weights is None else torch.from_numpy(weights),
        shifts=None if shifts is None else torch.from_numpy(shifts),
    )
    return Objective(task=task, num_classes=num_classes, loss=config.loss, terms=terms)


@torch.inference_mode(mode=False)  # gradients are needed, wherever this is called
def fit_probe(
    features: Tensor,
    labels: np.ndarray,
    objective: Objective,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Probe:
    """The best linear head on `features` float32 [N,D], or [V,N,D] of several views an image.

    `labels` are int64 [N] or float32 [N,K], see `Split`. C is the one of `GRID` under which images
    left out fare best by the loss, see `deal_folds`; where none can be, it is `USUAL`. Views of an
    image are left out together. Equal inputs on equally many threads give equal bits.
    """
    start = time.perf_counter()
    views = features if features.ndim == 3 else features[None]
    assert views.shape[1] == len(labels), (features.shape, labels.shape)
    targets = to_targets(torch.from_numpy(labels), objective.num_classes)
    with _few_threads(views.numel()):
        tried = _cross_validate(views, targets, labels, objective, seed, progress)
    if tried:
        best = min(tried, key=lambda row: row.loss)
        chosen, score = best.regularisation, best.score
        reason = f"the best of {len(tried)} by {FOLDS}-fold cross-validation"
    else:
        chosen, score = USUAL, None
        reason = "the usual one: no class has a second image to choose it by"
    exact = views.numel() <= MOST_EXACT
    with _few_threads(views.numel()):
        fit = _Fit(views, targets, objective, torch.float64 if exact else torch.float32)
        fit.solve(chosen, FINE if exact else COARSE)
    weight, bias = fit.linear()
    return Probe(
        weight=weight.float(),
        bias=bias.float(),
        regularisation=chosen,
        score_name=SCORES[objective.task],
        score=score,
        tried=tried,
        reason=reason,
        seconds=time.perf_counter() - start,
    )


def deal_folds(labels: np.ndarray, task: Task, seed: int) -> np.ndarray:
    """The fold in which each image is left out, int64 [N]; -1 where it never is.

    Images are dealt by turns, class after class and each class in an order drawn from `seed`: so
    those of a class of 2 to 4 images lie in different folds, and every fit has seen every class. A
    class of one image keeps it. Of more than `MOST_JUDGED` images an even selection is dealt.
    """
    classes = deciding_classes(labels, task)
    keys = uniform_draws((seed, stream("probe folds")), np.arange(len(labels)), 1)[:, 0]
    order = np.lexsort((keys, classes))
    order = order[np.bincount(classes)[classes[order]] > 1]
    if len(order) > MOST_JUDGED:
        order = order[np.linspace(0, len(order) - 1, MOST_JUDGED).astype(int)]
    folds = np.full(len(labels), -1)
    folds[order] = np.arange(len(order)) % FOLDS
    return folds


def _cross_validate(
    views: Tensor,
    targets: Tensor,
    labels: np.ndarray,
    objective: Objective,
    seed: int,
    progress: Progress | None,
) -> tuple[Tried, ...]:
    """How left-out images fare under C from the lowest on, until it has got worse twice."""
    folds = deal_folds(labels, objective.task, seed)
    # Beyond the selection that is dealt, images only cost time here.
    used = folds >= 0 if (folds >= 0).sum() >= MOST_JUDGED else np.ones(len(folds), bool)
    numbers = [np.flatnonzero(folds == fold) for fold in np.unique(folds[folds >= 0])]
    kept = [np.setdiff1d(np.flatnonzero(used), left) for left in numbers]
    # float32 is exact enough to tell one C from another, and twice as fast.
    fits = [_Fit(views[:, i], targets[i], objective, torch.float32) for i in kept]
    tried: list[Tried] = []
    for c in GRID if fits else ():
        for fit in fits:
            fit.solve(c, COARSE)
        logits = torch.cat(
            [fit.logits(views[:, left]) for fit, left in zip(fits, numbers, strict=True)]
        )
        judged = np.concatenate([np.tile(left, len(views)) for left in numbers])
        loss = float(objective(logits, targets[judged].double()))
        score = _score(logits, labels[judged], objective)
        tried.append(Tried(regularisation=c, loss=loss, score=score))
        if progress is not None:
            progress("cross-validating the probe", len(tried), len(GRID))
        if len(tried) > 2 and tried[-3].loss < tried[-2].loss < tried[-1].loss:
            break
    return tuple(tried)


@contextmanager
def _few_threads(values: int) -> Iterator[None]:
    """One thread for SciPy, and for PyTorch where features have too few `values` to share out.

    SciPy's vectors are short: its threads wait for each other six times as long as they work. So do
    PyTorch's beside other work: a probe of 600 features took 2.8 s with two, 0.8 s with one.
    """
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(threads if values >= SHARED_FROM else 1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)


def _score(logits: Tensor, labels: np.ndarray, objective: Objective) -> float:
    names = [str(number) for number in range(objective.num_classes)]
    return task_metrics(logits.float().numpy(), labels, names, objective.task, resamples=0).score


def _scale(rows: Tensor) -> Tensor:
    """What features [n,D] are divided by, [D]: deviations, drawn half-way to their common one.

    A feature's own deviation makes as much of one that is almost always 0 as of any other, and
    knows it badly from few images. With features of a CIFAR-10 ResNet-20 on surface defects, 2, 5,
    10 and 30 images of a class, own deviations reached 73.5, 86.8, 91.0 and 95.3 %, these 77.2,
    88.3, 92.0 and 95.9 %.
    """
    variance = rows.var(0, correction=0)
    shrunk = (variance + variance.mean()) / 2
    return torch.where(shrunk > 0, shrunk.sqrt(), 1)


class _Fit:
    """Logistic regression on some images, to be solved for one C after the other, ascending."""

    def __init__(
        self, views: Tensor, targets: Tensor, objective: Objective, dtype: torch.dtype
    ) -> None:
        rows = views.flatten(0, 1)
        self._images = views.shape[1]
        self._objective = objective
        self._rows = rows.to(dtype)
        self._targets = targets.to(self._rows.dtype).repeat(len(views), 1)
        self._mean = self._rows.mean(0)
        self._scale = _scale(self._rows)
        self._rows = (self._rows - self._mean) / self._scale
        classes, features = objective.num_classes, rows.shape[1]
        self._solution = np.zeros((classes, features + 1))  # the bias last

    def solve(self, c: float, tolerance: float) -> None:
        """Go on from the solution so far to the one for C: no slope is above `tolerance`."""
        from scipy.optimize import minimize

        strength = 1 / (c * self._images)

        def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
            parameters = torch.from_numpy(flat).view(self._solution.shape).to(self._rows.dtype)
            with torch.enable_grad():
                parameters.requires_grad_()
                weight, bias = parameters[:, :-1], parameters[:, -1]
                loss = self._objective(self._rows @ weight.T + bias, self._targets)
                loss = loss + strength / 2 * weight.square().sum()
                [gradient] = torch.autograd.grad(loss, parameters)
            return float(loss.detach()), gradient.double().numpy().ravel()

        options = {"maxiter": MOST_STEPS, "gtol": tolerance, "ftol": 1e-12, "maxls": 50}
        found = minimize(
            evaluate, self._solution.ravel(), jac=True, method="L-BFGS-B", options=options
        )
        assert np.isfinite(found.x).all(), "features or labels are not finite"
        self._solution = found.x.reshape(self._solution.shape)

    def linear(self) -> tuple[Tensor, Tensor]:
        """Weight [K,D] and bias [K] float64 for features as they come, not scaled."""
        solution = torch.from_numpy(self._solution)
        weight = solution[:, :-1] / self._scale.double()
        return weight, solution[:, -1] - weight @ self._mean.double()

    def logits(self, views: Tensor) -> Tensor:
        """Logits float64 [V*n,K] of other images [V,n,D]."""
        weight, bias = self.linear()
        return views.flatten(0, 1).double() @ weight.T + bias
