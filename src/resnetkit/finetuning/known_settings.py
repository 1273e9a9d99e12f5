"""What follows from settings that are known so far, by dotted name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resnetkit.finetuning.facts import DataFacts
from resnetkit.finetuning.settings import ACTS_ON, FinetuneConfig, probe_solver
from resnetkit.types import UserError

Known = Mapping[str, Any]

# What a head that is solved for takes no notice of: it takes no step, and sees one image at a time.
OF_STEPS = (
    "optimizer.",
    "schedule.",
    "training.epochs",
    "training.steps",
    "training.jensen_shannon",
    "training.clip_norm",
    "training.micro_batches",
    "training.ema_decay",
    "training.early_stopping_patience",
    "training.keep",
    "training.validate_every_epochs",
    "training.checkpoint_seconds",
    "training.log_every_steps",
    "execution.compile",
    "augment.mixup_alpha",
    "augment.cutmix_alpha",
    "augment.early_",
)
# And of these, unless it is fitted to augmented views.
OF_VIEWS = ("augment.", "execution.precision")
# They ask for what happens anyway.
NEUTRAL = (None, False, 0, "auto", "no", "float32")


def finetune_config(known: Known) -> FinetuneConfig:
    """The fine-tuning part of settings by dotted name; UserError when it refuses them."""
    prefix = "finetuning."
    own = {name.removeprefix(prefix): known[name] for name in known if name.startswith(prefix)}
    return FinetuneConfig(**own)


def takes_steps(known: Known) -> bool:
    """Whether anything is trained by steps, rather than fitted on stored features alone."""
    config = finetune_config(known)
    return config.strategy != "linear-probe" or probe_solver(config) == "sgd"


def refuse_idle(given: Known, known: Known) -> None:
    """UserError where one of the `given` settings acts on steps and all that are `known` take none.

    `known` are the given and the chosen ones.
    """
    if takes_steps(known):
        return
    solved = "strategy linear-probe solves for the head by L-BFGS"
    idle = {name: value for name, value in given.items() if value not in NEUTRAL}
    for name in idle:
        if name.startswith(OF_STEPS):
            raise UserError(
                f"{name} {given[name]} has no effect, because {solved}, without steps: leave it "
                "out, or set finetuning.probe sgd"
            )
        if name.startswith(OF_VIEWS) and (known.get("finetuning.views") or 1) == 1:
            raise UserError(
                f"{name} {given[name]} has no effect, because {solved} on images as they are: "
                "leave it out, or have it learn from several augmented views, for instance with "
                "finetuning.views 4"
            )


def learns_from_views(known: Known) -> bool:
    """Whether a head is fitted on stored features, of which there may be several an image."""
    config = finetune_config(known)
    stored = config.strategy in ACTS_ON["views"] and config.cache != "no"
    return stored and probe_solver(config) == "lbfgs"


def steps_per_epoch(facts: DataFacts, known: Known) -> int:
    """Whole batches in an epoch, as the loader counts them."""
    held_out = 0 if facts.validation_images else known["data.validation_fraction"]
    train = facts.images - round(facts.images * held_out)
    return max(1, train // known["data.batch_size"])


def epochs_for(steps: int, steps_in_epoch: int) -> float:
    """The shortest decimal number of epochs that makes exactly `steps`."""
    for digits in range(17):
        epochs = round(steps / steps_in_epoch, digits)
        if round(epochs * steps_in_epoch) == steps:
            return epochs
    raise AssertionError((steps, steps_in_epoch))
