"""The defaults of fine-tuning: the table of their constants, and a function for each group.

A function takes the facts, the backbone and all settings known so far (the user's first) and gives
settings by dotted name with the reason in words. `rule.choose_settings` puts them together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from resnetkit.finetuning.facts import Backbone, DataFacts
from resnetkit.finetuning.known_settings import (
    Known,
    epochs_for,
    finetune_config,
    learns_from_views,
    refuse_idle,
    steps_per_epoch,
    takes_steps,
)
from resnetkit.finetuning.settings import ACTS_ON, TRAINING_WEIGHTS, Strategy
from resnetkit.finetuning.strategies import BACKBONE_RATE
from resnetkit.types import UserError

# Every constant of the rule, with its reason. "Per class" is images / classes. In each list of
# pairs the first whose bound is above the count holds.

PROBE_BELOW = 8  # images per class: a network bends to fewer, a regularised head on it does not
LP_FT_UP_TO = 100_000  # images: beyond, steps on all layers outweigh where the head began
OTHER_STRATEGIES: tuple[Strategy, ...] = (  # where a user's settings rule out the first choice
    "lp-ft",
    "full",
    "layer-decay",
    "adapters",
    "linear-probe",
    "gradual",
    "bn-only",
    "surgical",
)

ENLARGE_FROM = 1.5  # times the backbone's side: below, larger input shows hardly more
ENLARGE_BY = 1.5  # at most: filters meet structures of another scale than they learnt on
LARGEST_SIDE = {"few cores": 128, "many cores": 192, "accelerator": 256}  # cost grows by its square
MANY_CORES = 8
LIGHT_BACKBONE = 15_000_000  # parameters: a heavier one is enlarged on an accelerator only
SIDE_GRID = 32  # pixels: what the five halvings of a ResNet divide without a rest

# Images below, batch: small sets need many steps more than steady ones, large ones throughput.
BATCH_SIZES = ((64, 8), (256, 16), (10_000, 32), (100_000, 64), (math.inf, 128))
ACCELERATOR_BATCH_FACTOR = 2  # from 32 on: a GPU idles at 32 small images
REFERENCE_BATCH = 32  # what the rates below are for; others go by the root (Krizhevsky 2014)

LEAST_VALIDATION = 100  # images: the score of fewer is known to ±10 points, and picks by chance
VALIDATION_FRACTION = 0.1
MOST_VALIDATION = 10_000  # images: a score is known to ±1 point, more only cost time
VALIDATIONS = 20  # in a run: finer, the best of many noisy scores flatters itself

# Steps = STEPS * images ** STEPS_POWER: 109 for 600 images, 1,030 for 10,000, 3,700 for 50,000. BiT
# takes 500 and 10,000; here the head is at its optimum when the other layers begin.
STEPS, STEPS_POWER = 0.65, 0.8
STEPS_RANGE = (60, 20_000)

OPTIMIZER = "adamw"  # SGD on kept BatchNorm statistics diverged on surface defects: it is clipped
CLIP_NORM = {"sgd": 1.0}
HEAD_RATES = {"sgd": 0.05, "muon": 0.05, "adamw": 1e-3}  # peak, of the new head at batch 32
KERNEL_RATE = 0.005  # muon: a sixth of what training from scratch takes
WEIGHT_DECAYS = {"sgd": 1e-4, "muon": 1e-4, "adamw": 0.01}
WARMUP = 0.1  # of the steps: momentum and new head settle before pretrained weights move much
TRAIN_STATISTICS_FROM = 200  # images: the moving averages of fewer say little of the others
TRAIN_STATISTICS_BATCH = 16  # batches: below, their statistics are noise

# Per class below, smallest share of the area a random crop keeps: more images, harder views.
CROP_SCALES = ((10, 0.6), (100, 0.5), (1000, 0.35), (math.inf, 0.25))
CHARACTERS_SIDE = 64  # pixels: small grey images are mostly letters, digits or signs
VIEWS = ((10, 8), (50, 4), (math.inf, 1))  # per class below, augmented views a head is fitted to
MIXUP_FROM, MIXUP_ALPHA = 20_000, 0.1  # images: as BiT; fewer are not fitted too closely by then
LABEL_SMOOTHING = 0.1  # Szegedy et al. 2016; with several labels an image absent ones are no error
IMBALANCE = 10  # largest : smallest class, above which rare classes are drawn more often
# Old images replayed in a fixed number a class are few beside the new ones: with 2 to 20 digits a
# class, drawing classes equally often gave the old ones up to 5 points back (see `continual`).

Chosen = tuple[dict[str, Any], str]


def _strategy(facts: DataFacts, backbone: Backbone, known: Known) -> Chosen:
    first: Strategy = "lp-ft" if facts.images <= LP_FT_UP_TO else "full"
    why = "the head first, on stored features, then all layers, so that good ones are not bent"
    if facts.per_class < PROBE_BELOW:
        first, why = "linear-probe", "too few to move the layers below the head"
    elif first == "full":
        why = "enough to train all layers at once"
    fitting = [name for name in (first, *OTHER_STRATEGIES) if _fits(name, known)]
    name = fitting[0] if fitting else first
    if name != first:
        why = "the one your settings have an effect on"
    return {"finetuning.strategy": name}, f"{_counted(facts)}: {name}, {why}"


def _fits(strategy: Strategy, known: Known) -> bool:
    whole = strategy in TRAINING_WEIGHTS and strategy != "bn-only"
    if known.get("optimizer.name") == "muon" and not whole:  # which is for whole kernels
        return False
    try:
        settled = {**known, "finetuning.strategy": strategy}
        finetune_config(settled)
        if learns_from_views(settled):
            settled = {"finetuning.views": VIEWS[0][1], **settled}
        refuse_idle(known, settled)
    except UserError:
        return False
    return True


def _counted(facts: DataFacts) -> str:
    several = ", several of them an image" if facts.task == "multi-label" else ""
    return f"{facts.images:,} images of {facts.classes:,} classes{several}"


def _image_size(facts: DataFacts, backbone: Backbone, known: Known) -> Chosen:
    own, side = backbone.image_size, own_side(facts, backbone)
    why = "what the weights were trained at"
    if side > own:
        why = f"more than the {own} of the weights, for detail that they would not see"
    elif facts.side < own:
        why += ": images are enlarged to it"
    text = f"images of about {facts.width}x{facts.height} pixels: seen at {side}, {why}"
    return {"data.image_size": side}, text


def own_side(facts: DataFacts, backbone: Backbone) -> int:
    """The input side for these images where time is no matter."""
    own = backbone.image_size
    machine = "many cores" if facts.cores >= MANY_CORES else "few cores"
    if facts.accelerator:
        machine = "accelerator"
    heavy = backbone.parameters > LIGHT_BACKBONE and not facts.accelerator
    if not backbone.any_size or heavy or facts.side < ENLARGE_FROM * own:
        return own
    side = min(facts.side, round(ENLARGE_BY * own), LARGEST_SIDE[machine])
    return max(own, side - side % SIDE_GRID)


def _batch_size(facts: DataFacts, backbone: Backbone, known: Known) -> Chosen:
    size = next(size for most, size in BATCH_SIZES if facts.images < most)
    if facts.accelerator and size >= REFERENCE_BATCH:
        size *= ACCELERATOR_BATCH_FACTOR
    parts = known.get("training.micro_batches", 1)
    size = math.ceil(size / parts) * parts
    return {"data.batch_size": size}, ""


def _validation(facts: DataFacts, backbone: Backbone, known: Known) -> Chosen:
    patience = known.get("training.early_stopping_patience")
    wanted = known.get("training.keep") == "best" or patience is not None
    count, chosen = facts.validation_images, {}
    if not count:
        fraction = round(min(VALIDATION_FRACTION, MOST_VALIDATION / facts.images), 4)
        if facts.images * fraction < LEAST_VALIDATION and not wanted:
            fraction = 0.0
        chosen["data.validation_fraction"] = fraction
        count = round(facts.images * known.get("data.validation_fraction", fraction))
    keep = "best" if count >= LEAST_VALIDATION or wanted else "last"
    keep = known.get("training.keep", keep)
    chosen |= {"training.keep": keep, "training.early_stopping_patience": None}
    held_out = f"{count:,} images to validate with" if count else "too few images to hold some out"
    if not takes_steps(known):
        return chosen, held_out
    kept = "the best weights of the run" if keep == "best" else "the last weights"
    return chosen, f"{held_out}: {kept} are kept, after a rate that falls to zero"


def _length(facts: DataFacts, backbone: Backbone, known: Known) -> Chosen:
    if not takes_steps(known):
        return {}, ""
    steps, in_epoch = steps_of(facts.images), steps_per_epoch(facts, known)
    if known.get("training.steps") is not None:
        steps = known["training.steps"]
        epochs = steps / in_epoch
        chosen: dict[str, Any] = {"training.epochs": None}
    else:
        epochs = known.get("training.epochs", epochs_for(steps, in_epoch))
        steps = max(1, round(epochs * in_epoch))
        chosen = {"training.epochs": epochs, "training.steps": None}
    chosen["training.validate_every_epochs"] = max(1, round(epochs / VALIDATIONS))
    batch = known["data.batch_size"]
    return chosen, f"length: {steps:,} steps of {batch} images, {epochs:.3g} epochs"


def _rates(facts: DataFacts, backbone: Backbone, known: Known) -> Chosen:
    if not takes_steps(known):
        return {}, ""
    of_sgd = {"optimizer.momentum", "optimizer.nesterov"} & known.keys()
    name = known.get("optimizer.name", "sgd" if of_sgd else OPTIMIZER)
    rate = HEAD_RATES[name] * math.sqrt(known["data.batch_size"] / REFERENCE_BATCH)
    rate = float(f"{rate:.3g}")
    chosen: dict[str, Any] = {
        "optimizer.name": name,
        "optimizer.learning_rate": rate,
        "optimizer.weight_decay": WEIGHT_DECAYS[name],
        "optimizer.decay_norm_and_bias": False,
        "schedule.name": "cosine",
        "schedule.warmup": WARMUP,
    }
    if name == "sgd":
        chosen["optimizer.nesterov"] = known.get("optimizer.momentum") != 0
    if name == "muon":
        chosen["optimizer.kernel_rate"] = KERNEL_RATE
    if name in CLIP_NORM:
        chosen["training.clip_norm"] = CLIP_NORM[name]
    return chosen, f"peak rate {known.get('optimizer.learning_rate', rate):g} for the head, {name}"


def _backbone(facts: DataFacts, backbone: Backbone, known: Known) -> Chosen:
    strategy = known["finetuning.strategy"]
    chosen: dict[str, Any] = {}
    words = []
    if strategy in TRAINING_WEIGHTS and strategy != "bn-only":  # whose default is the head's rate
        chosen["finetuning.backbone_rate"] = BACKBONE_RATE
        rate = known.get("finetuning.backbone_rate") or BACKBONE_RATE
        words.append(f"pretrained layers at {rate:g} of the head's rate")
    if strategy in ACTS_ON["batch_norm"] and strategy != "bn-only" and backbone.batch_norm:
        enough = facts.images >= TRAIN_STATISTICS_FROM
        enough = enough and known["data.batch_size"] >= TRAIN_STATISTICS_BATCH
        # Muon sets the size of kernels anew, which kept statistics would not make up for.
        enough = enough or known["optimizer.name"] == "muon"
        chosen["finetuning.batch_norm"] = "train" if enough else "frozen"
        mode = known.get("finetuning.batch_norm", chosen["finetuning.batch_norm"])
        words.append(f"BatchNorm statistics {'of these images' if mode == 'train' else 'are kept'}")
    views = next(views for most, views in VIEWS if facts.per_class < most)
    # The later phases of gradual are trained on stored views too, and decide for themselves.
    if views > 1 and learns_from_views(known) and strategy != "gradual":
        chosen["finetuning.views"] = views
        words.append(f"the head is fitted to {views} augmented views of each image")
    return chosen, "; ".join(words)


def _augmentation(facts: DataFacts, backbone: Backbone, known: Known) -> Chosen:
    views = known.get("finetuning.views") or 1
    if not takes_steps(known) and views == 1:
        return {}, ""
    characters = facts.grey and facts.side <= CHARACTERS_SIDE
    flip = not characters or bool(known.get("augment.alternate_flips"))
    chosen: dict[str, Any] = {"augment.horizontal_flip": flip}
    smallest = next(scale for most, scale in CROP_SCALES if facts.per_class < most)
    if not known.get("augment.pad_crop"):
        chosen["augment.resized_crop_scale"] = (smallest, 1.0)
    mixes = takes_steps(known) and facts.images >= MIXUP_FROM
    mixes = mixes and not known.get("training.jensen_shannon")  # which compares views of one image
    if mixes and not known.get("augment.cutmix_alpha"):
        chosen["augment.mixup_alpha"] = MIXUP_ALPHA
    mirrored = "mirrored or not" if flip else "never mirrored, as small grey images may be letters"
    return chosen, f"random crops of at least {smallest:.0%} of the area, {mirrored}"


def _loss(facts: DataFacts, backbone: Backbone, known: Known) -> Chosen:
    if not takes_steps(known):
        return {}, ""
    smoothing = LABEL_SMOOTHING if facts.task == "single-label" else 0.0
    chosen: dict[str, Any] = {"training.label_smoothing": smoothing, "training.ema_decay": None}
    return chosen, f"label smoothing {smoothing:g}, no weight average: the rate falls to zero"


def _sampling(facts: DataFacts, backbone: Backbone, known: Known) -> Chosen:
    corrected = known.get("training.class_weights", "none") != "none"
    corrected = corrected or bool(known.get("training.logit_adjustment"))
    if facts.task == "multi-label" or corrected:
        return {}, ""
    replayed = known.get("finetuning.replay_per_class")
    if replayed is not None:  # also of a fitted head, whose classes it weighs
        why = "classes equally often, so that the few old ones are not crowded out"
        return {"data.sampling": "balanced"}, f"{replayed:,} old images a class replayed: {why}"
    uneven = facts.largest_class > IMBALANCE * max(1, facts.smallest_class)
    if not uneven or not takes_steps(known):
        return {}, ""
    sizes = f"classes of {facts.smallest_class:,} to {facts.largest_class:,} images"
    return {"data.sampling": "square-root"}, f"{sizes}: drawn by the square root of their size"


def steps_of(images: int) -> int:
    """Optimizer steps for this many images."""
    return min(max(round(STEPS * images**STEPS_POWER), STEPS_RANGE[0]), STEPS_RANGE[1])


# In this order: each sees what those before it chose.
GROUPS: tuple[Callable[[DataFacts, Backbone, Known], Chosen], ...] = (
    _strategy,
    _image_size,
    _batch_size,
    _validation,
    _length,
    _rates,
    _backbone,
    _augmentation,
    _loss,
    _sampling,
)
