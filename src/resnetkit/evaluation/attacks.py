"""Accuracy against an adversary who knows the network and may change each pixel a little.

FGSM goes one step along the sign of the loss's gradient (Goodfellow et al. 2015, section 4); PGD
many, back into the allowed box after each, from random starts (Madry et al. 2018, section 2.1).
Both are Captum's: it is maintained, permissive, and there for the maps anyway. Of the others, as of
November 2026, foolbox was last released in March 2024 and wants GitPython and requests,
torchattacks in October 2023 and pins requests 2.25, advertorch in 2020; ART is kept up, but goes
through NumPy at every step.

An attack that fails proves nothing. Saturated losses, thresholds and rounding hide the gradient,
not the mistakes, so every curve comes with checks on the attack (`AttackReport.warnings`) after
Athalye et al. 2018, "Obfuscated gradients give a false sense of security", section 3.1.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resnetkit.data.draws import stream, uniform_draws
from resnetkit.evaluation.attack_report import (
    UNBOUNDED,
    AttackReport,
    Outcome,
    summarise_attacks,
)
from resnetkit.evaluation.metrics import refuse_unusable
from resnetkit.types import Batch, Task, UserError

LogitsOf = Callable[[Tensor], Tensor]  # images float32 [N,C,H,W] in 0…255 -> logits [N,K]
WHITE = 255.0
STEP_RULE = 2.5  # steps reach 2.5 times across the box, as Madry et al. 2018 took them for many ε


@dataclass(frozen=True, kw_only=True)
class AttackConfig:
    """How far the adversary may go and how hard it tries."""

    epsilons: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
    """Largest change of a pixel value, of 0 to 255, in the network's own input."""
    images: int = 500
    """Images to attack, drawn with the shares of the classes."""
    steps: int = 20
    """Steps of PGD."""
    restarts: int = 2
    """Random starts of PGD; every other one raises the margin instead of the cross-entropy."""
    seed: int = 0
    """Of the images drawn and of the random starts."""

    def __post_init__(self) -> None:
        if not self.epsilons or not all(0 < epsilon <= WHITE for epsilon in self.epsilons):
            raise UserError(
                "attacks.epsilons: needed one or more changes above 0 and up to 255, got "
                f"{list(self.epsilons)}; pixel values go from 0 to 255, so 8 is the usual 8/255."
            )
        object.__setattr__(self, "epsilons", tuple(sorted({float(e) for e in self.epsilons})))
        for name in ("images", "steps", "restarts"):
            if getattr(self, name) < 1:
                raise UserError(f"attacks.{name} must be 1 or more, got {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Originals:
    """Images to be attacked: float32 [N,C,H,W] in 0…255, labels int64 [N], and their numbers."""

    images: Tensor
    labels: Tensor
    numbers: np.ndarray  # int64 [N], by which random starts are drawn

    def only(self, chosen: Tensor) -> Originals:
        """Those where `chosen` bool [N] is true."""
        return Originals(
            images=self.images[chosen],
            labels=self.labels[chosen],
            numbers=self.numbers[chosen.cpu().numpy()],
        )


def measure_attacks(
    logits_of: LogitsOf,
    batches: Iterable[Batch],
    task: Task,
    config: AttackConfig,
    numbers: np.ndarray | None = None,
) -> AttackReport:
    """Accuracy under random noise, FGSM and PGD of every ε, and whether the attacks can be trusted.

    `logits_of` is differentiable and deterministic: the network in evaluation mode behind its
    normalisation. It is only asked for the gradient at its input: modes, weights and their
    gradients stay as they are. `batches` lie on its device. `numbers` int64 are those of the images
    that `Batch.indices` count, where they are of a subset: its random starts are then those of the
    whole. Attacked images are not rounded to whole pixel values, as is the custom.

    Raises:
        UserError: images have several labels, there is none, or logits are not finite.
    """
    if task == "multi-label":
        raise UserError(
            "Attacks: needed images of one class each, where a wrong answer is another class; got "
            "a multi-label task, in which FGSM and PGD have no agreed goal. Leave the attacks out."
        )
    outcomes = []
    # Whoever evaluates is often in inference mode, whose tensors know no gradient.
    with torch.inference_mode(False), torch.enable_grad():
        for batch in batches:
            of_batch = batch.indices.cpu().numpy()
            labels = batch.labels if batch.labels.ndim == 1 else batch.labels.argmax(dim=1)
            originals = Originals(
                images=batch.images.to(torch.float32, copy=True),
                labels=labels.clone(),
                numbers=of_batch if numbers is None else numbers[of_batch],
            )
            outcomes.append(_attack_batch(logits_of, originals, config))
    return summarise_attacks(outcomes, config.epsilons, config.steps, config.restarts)


def _attack_batch(logits_of: LogitsOf, originals: Originals, config: AttackConfig) -> Outcome:
    """Which images of a batch are still recognised under each attack."""
    with torch.no_grad():
        logits = logits_of(originals.images).cpu()
    refuse_unusable(logits.float().numpy())
    if logits.shape[1] < 2:
        raise UserError("Attacks: needed two classes or more to confuse, got one.")
    right = logits.argmax(dim=1) == originals.labels.cpu()
    victims = originals.only(right.to(originals.labels.device))
    noise, fgsm_held = [], []
    without_gradient = torch.zeros(len(victims.labels), dtype=torch.bool)
    for epsilon in config.epsilons if len(victims.labels) else ():
        noise.append(_holds(logits_of, victims, random_noise(victims, epsilon, config.seed)))
        attacked = fgsm(logits_of, victims, epsilon)
        without_gradient = (attacked == victims.images).flatten(1).all(dim=1).cpu()
        fgsm_held.append(_holds(logits_of, victims, attacked))
    return Outcome(
        labels=originals.labels.cpu().numpy(),
        clean=right.numpy(),
        noise=_spread(noise, right, len(config.epsilons)),
        fgsm=_spread(fgsm_held, right, len(config.epsilons)),
        pgd=_spread(_search(logits_of, victims, config), right, len(config.epsilons) + 1),
        without_gradient=_spread([without_gradient], right, 1)[0],
    )


def _search(logits_of: LogitsOf, victims: Originals, config: AttackConfig) -> list[Tensor]:
    """Who withstands PGD of each ε and of `UNBOUNDED`: bool [n] each, never again once fooled.

    What fools the network within a box lies within every larger one.
    """
    alive = torch.ones(len(victims.labels), dtype=torch.bool)
    rows = []
    for epsilon in (*config.epsilons, UNBOUNDED):
        for restart in range(config.restarts):
            if alive.any():
                left = victims.only(alive.to(victims.labels.device))
                attacked = pgd(logits_of, left, epsilon, config, restart)
                alive[alive.clone()] = _holds(logits_of, left, attacked)
        rows.append(alive.clone())
    return rows


def _holds(logits_of: LogitsOf, originals: Originals, attacked: Tensor) -> Tensor:
    """Which attacked images are still recognised: bool [N] on the CPU."""
    with torch.no_grad():
        return (logits_of(attacked).argmax(dim=1) == originals.labels).cpu()


def _spread(rows: Sequence[Tensor], right: Tensor, count: int) -> np.ndarray:
    """Verdicts on the images that were `right` as bool [count,N] on all; the others are False."""
    spread = np.zeros((count, len(right)), bool)
    for number, row in enumerate(rows):
        spread[number, right.numpy()] = row.numpy()
    return spread


def random_noise(originals: Originals, epsilon: float, seed: int) -> Tensor:
    """Every pixel value ε up or down by chance: what a change of this size does without intent."""
    return (originals.images + epsilon * _uniform(originals, seed, "noise").sign()).clamp(0, WHITE)


def fgsm(logits_of: LogitsOf, originals: Originals, epsilon: float) -> Tensor:
    """The images one step of ε further up the cross-entropy: float32 [N,C,H,W] in 0…255."""
    from captum.robust import FGSM

    attack = FGSM(logits_of, log_odds, 0.0, WHITE)
    attack.zero_thresh = 0.0  # Captum's 1e-6 would spare most pixels where they go up to 255
    images = originals.images.clone().requires_grad_()
    return attack.perturb(images, epsilon, originals.labels).detach()


def pgd(
    logits_of: LogitsOf, originals: Originals, epsilon: float, config: AttackConfig, restart: int
) -> Tensor:
    """The images after `config.steps` steps within ε: float32 [N,C,H,W] in 0…255.

    The start is random, a function of seed, `restart` and image number; a step is `STEP_RULE` ε /
    steps long (Madry et al. 2018, section 5).
    """
    from captum.robust import PGD

    images = originals.images
    lowest, highest = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=WHITE)
    attack = PGD(logits_of, LOSSES[restart % len(LOSSES)])
    attack.fgsm.zero_thresh = 0.0
    # Captum would draw the start from the process's random state. From one of ours, this bound
    # projects onto the box around the image, and the radius, the box's width, never does.
    attack.bound = lambda x: x.clamp(lowest, highest)
    start = attack.bound(images + epsilon * _uniform(originals, config.seed, f"start {restart}"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*did not already require gradients")
        attacked = attack.perturb(
            start.requires_grad_(),
            radius=2 * epsilon,
            step_size=STEP_RULE * epsilon / config.steps,
            step_num=config.steps,
            target=originals.labels,
        )
    return attacked.detach()


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """Logarithm of the odds against the true class, [N]; cross-entropy is its softplus.

    So both have a gradient of the same sign, which is all that FGSM and PGD use. But the
    cross-entropy of a sure network is flat once rounded, which would pass for robustness.
    """
    wrong = logits.scatter(1, labels[:, None], -torch.inf)
    return wrong.logsumexp(dim=1) - logits.gather(1, labels[:, None])[:, 0]


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """How far the best wrong class is ahead of the true one, [N]: Carlini & Wagner 2017, V-A."""
    wrong = logits.scatter(1, labels[:, None], -torch.inf)
    return wrong.amax(dim=1) - logits.gather(1, labels[:, None])[:, 0]


LOSSES = (log_odds, margin)  # of the first start, the second, the first again, …


def _uniform(originals: Originals, seed: int, name: str) -> Tensor:
    """Numbers in [-1, 1) for every pixel value, by image number: float32 [N,C,H,W]."""
    images = originals.images
    count = images[0].numel() if len(images) else 0
    draws = uniform_draws((seed, stream(f"attack {name}")), originals.numbers, count)
    return torch.from_numpy(2 * draws - 1).reshape(images.shape).to(images.device)
