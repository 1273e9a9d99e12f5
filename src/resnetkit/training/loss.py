"""What is minimised: a loss by name and task, with the class weights or logit shifts it applies.

A loss takes logits [N,K] and targets float [N,K] in 0…1 and returns its mean over the N images, so
that a batch can be split into parts. With a softmax (one class an image) the classes compete; with
a sigmoid each (several classes an image) it is the sum over K separate questions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from resnetkit.data.balance import class_counts
from resnetkit.training.config import TrainingConfig
from resnetkit.types import Task, UserError


@dataclass(frozen=True, kw_only=True)
class LossTerms:
    """What the settings make of a loss: weights and shifts by class where there are any."""

    label_smoothing: float = 0.0
    gamma: float = 0.0
    weights: Tensor | None = None  # [K] float32
    shifts: Tensor | None = None  # [K] float32, added to the logits


Loss = Callable[[Tensor, Tensor, LossTerms], Tensor]


def cross_entropy(logits: Tensor, targets: Tensor, terms: LossTerms) -> Tensor:
    """Cross-entropy of the softmax against target distributions."""
    return F.cross_entropy(
        _shifted(logits, terms),
        targets,
        weight=terms.weights,
        label_smoothing=terms.label_smoothing,
    )


def softmax_focal(logits: Tensor, targets: Tensor, terms: LossTerms) -> Tensor:
    """Cross-entropy in which -log p counts (1 - p)^gamma (Lin et al. 2017, equation 4)."""
    targets = targets * (1 - terms.label_smoothing) + terms.label_smoothing / targets.shape[1]
    log_p = F.log_softmax(_shifted(logits, terms), dim=1)
    # expm1, because 1 - p loses its digits where the network is sure.
    parts = -targets * log_p * _power(-torch.expm1(log_p), terms.gamma)
    return _weighted(parts, terms).sum(dim=1).mean()


def binary_cross_entropy(logits: Tensor, targets: Tensor, terms: LossTerms) -> Tensor:
    """Sum over the classes of the cross-entropy of a sigmoid each; weights are of presence.

    The sum, not torch's mean, so that a class learns as fast however many others there are: of 20
    generated tags, at the rate that suits a softmax, the mean learnt 65 % mAP and the sum 97 %.
    """
    targets = targets * (1 - terms.label_smoothing) + terms.label_smoothing / 2
    loss = F.binary_cross_entropy_with_logits(
        logits, targets, pos_weight=terms.weights, reduction="sum"
    )
    return loss / len(logits)


def sigmoid_focal(logits: Tensor, targets: Tensor, terms: LossTerms) -> Tensor:
    """Binary cross-entropy in which -log p counts (1 - p)^gamma (Lin et al. 2017, equation 4)."""
    targets = targets * (1 - terms.label_smoothing) + terms.label_smoothing / 2
    present = -F.logsigmoid(logits) * _power(torch.sigmoid(-logits), terms.gamma)
    absent = -F.logsigmoid(-logits) * _power(torch.sigmoid(logits), terms.gamma)
    return (_weighted(targets * present, terms) + (1 - targets) * absent).sum(dim=1).mean()


# By task; the first is the one that "auto" means.
LOSSES: dict[Task, dict[str, Loss]] = {
    "single-label": {
        "cross-entropy": cross_entropy,
        "binary-cross-entropy": binary_cross_entropy,  # Wightman et al. 2021, section 3
        "focal": softmax_focal,
    },
    "multi-label": {"binary-cross-entropy": binary_cross_entropy, "focal": sigmoid_focal},
}
VIEWS = 3  # of an image, that the consistency compares
SHOWN = 5  # names in a message
COMPARING = (cross_entropy, softmax_focal)  # the classes of an image with each other


def settle_loss(config: TrainingConfig, task: Task) -> TrainingConfig:
    """`config` with its loss decided; raises UserError when the task has no such loss."""
    known = LOSSES[task]
    name = next(iter(known)) if config.loss == "auto" else config.loss
    if name not in known:
        raise UserError(
            f"training.loss {name} compares the classes of an image with each other, but these "
            f"images may show several ({task}): leave it at auto, or choose {' or '.join(known)}"
        )
    if config.logit_adjustment and known[name] not in COMPARING:
        raise UserError(
            f"training.logit_adjustment shifts the classes of an image against each other, which "
            f"the {name} loss of a {task} task never compares: leave it out, or weigh rare "
            "classes with training.class_weights inverse"
        )
    if config.jensen_shannon and known[name] not in COMPARING:
        raise UserError(
            "training.jensen_shannon compares distributions over the classes of an image, which "
            f"the {name} loss of a {task} task knows none of: leave it out; augment.policy augmix "
            "works without"
        )
    return replace(config, loss=name)  # type: ignore[arg-type]


def refuse_absent_classes(
    config: TrainingConfig, task: Task, labels: np.ndarray, class_names: Sequence[str]
) -> None:
    """UserError when classes compete, are corrected by their size, and one has no image at all.

    Its weight would be one by zero, its shift the logarithm of zero. `config` has its loss decided.
    """
    setting = "class_weights" if config.class_weights != "none" else "logit_adjustment"
    corrected = config.class_weights != "none" or config.logit_adjustment
    if not corrected or LOSSES[task][config.loss] not in COMPARING:
        return
    counts = class_counts(labels, len(class_names))
    absent = [name for name, count in zip(class_names, counts, strict=True) if not count]
    if absent:
        shown = ", ".join(map(repr, absent[:SHOWN])) + (", …" if absent[SHOWN:] else "")
        raise UserError(
            f"training.{setting} {getattr(config, setting)} makes up for how few training images a "
            f"class has, but {len(absent)} of {len(class_names)} have none: {shown}. Add images of "
            "them (fine-tuning: old ones with finetuning.replay), or leave it out"
        )


def build_loss(
    config: TrainingConfig, task: Task, labels: np.ndarray, num_classes: int, device: torch.device
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of `config` for training images with `labels`: logits, targets [N,K] -> scalar.

    With the consistency, logits [3N,K] are of three views of each image, one after the other, and
    the targets are the first one's. It is computed in float32 on `device`, whatever the logits
    come in.
    """
    loss = LOSSES[task][config.loss]
    counts = class_counts(labels, num_classes)

    def on_device(values: np.ndarray | None) -> Tensor | None:
        return None if values is None else torch.tensor(values, dtype=torch.float32, device=device)

    terms = LossTerms(
        label_smoothing=config.label_smoothing,
        gamma=config.focal_gamma,
        weights=on_device(class_weights(config, task, counts, len(labels))),
        shifts=on_device(logit_shifts(config, counts)),
    )
    if not config.jensen_shannon:
        return lambda logits, targets: loss(logits.float(), targets, terms)

    def consistent(logits: Tensor, targets: Tensor) -> Tensor:
        views = logits.float().unflatten(0, (len(targets), VIEWS))
        learnt = loss(views[:, 0], targets, terms)
        return learnt + config.jensen_shannon * jensen_shannon(views)

    return consistent


def jensen_shannon(logits: Tensor) -> Tensor:
    """Mean over N of the Jensen-Shannon divergence between views, from logits [N,V,K]; in nats.

    The mean of the divergences of each view's softmax from the mean of all (Hendrycks et al. 2020,
    equation 1). Of the network's own logits: class weights and logit adjustment have no part in it.
    """
    log_p = F.log_softmax(logits, dim=2)
    mean = torch.logsumexp(log_p, dim=1, keepdim=True) - math.log(logits.shape[1])
    return (log_p.exp() * (log_p - mean)).sum(dim=2).mean()


def class_weights(
    config: TrainingConfig, task: Task, counts: np.ndarray, images: int
) -> np.ndarray | None:
    """What each class counts in the loss, float64 [K], by its `counts` [K] among `images`; or None.

    With a softmax 1 / size, scaled so that the images weigh 1 on average and the learning rate
    keeps its meaning: `inverse` is then scikit-learn's "balanced" (King & Zeng 2001); Cui et al.
    scale to an average of 1 over the classes. With a sigmoid each, presence of a class weighs
    size(absent) / size(present), so that both answers count the same.
    """
    if config.class_weights == "none":
        return None
    if LOSSES[task][config.loss] in COMPARING:
        weights = 1 / _size(config, counts)
        return weights * counts.sum() / (weights * counts).sum()
    absent = images - counts
    known = (counts > 0) & (absent > 0)  # of a class always or never there, nothing is learnt
    sizes = _size(config, np.where(known, absent, 1)), _size(config, np.where(known, counts, 1))
    return sizes[0] / sizes[1]


def _size(config: TrainingConfig, counts: np.ndarray) -> np.ndarray:
    """The number of images, or their effective number (Cui et al. 2019, equation 2)."""
    beta = config.effective_number_beta
    if beta is None:
        return counts
    return -np.expm1(counts * math.log(beta)) / (1 - beta)  # 1 - beta^n, exact for beta near 1


def logit_shifts(config: TrainingConfig, counts: np.ndarray) -> np.ndarray | None:
    """What is added to the logits while training, float64 [K]; or None.

    tau * log(share of the class): the logit-adjusted softmax cross-entropy of Menon et al. 2021,
    section 5. What the network then says for itself is as if the classes were equally frequent.
    """
    if not config.logit_adjustment:
        return None
    return config.logit_adjustment * np.log(counts / counts.sum())


def _shifted(logits: Tensor, terms: LossTerms) -> Tensor:
    return logits if terms.shifts is None else logits + terms.shifts


def _weighted(parts: Tensor, terms: LossTerms) -> Tensor:
    return parts if terms.weights is None else parts * terms.weights


def _power(base: Tensor, gamma: float) -> Tensor:
    # Away from 0, where the slope of a power below 1 is infinite.
    return base.clamp(min=torch.finfo(base.dtype).tiny) ** gamma
