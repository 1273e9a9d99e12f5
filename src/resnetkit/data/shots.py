"""Studies with few labels: training on N images of each class, drawn the same way every time.

The N images are all that a study may learn from, so validation comes out of them too: picking the
best epoch by thousands of other labelled images would be no study of N (Oliver et al. 2018,
"Realistic Evaluation of Deep Semi-Supervised Learning Algorithms", section 4.6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from resnetkit.data.columns import text_keys
from resnetkit.data.draws import stream, uniform_draws
from resnetkit.data.settings import DataConfig
from resnetkit.data.source_types import Source, Split
from resnetkit.data.splits import cut_source
from resnetkit.types import UserError

SHOWN = 5  # classes in a message


def with_shots_seed(config: DataConfig, training_seed: int) -> DataConfig:
    """`config` with its shots seed decided where there are shots."""
    if config.shots is None or config.shots_seed is not None:
        return config
    return replace(config, shots_seed=training_seed)


def without_shots(config: DataConfig) -> DataConfig:
    """`config` of all images."""
    return replace(config, shots=None, shots_seed=None, shots_validation="shots")


def take_shots(source: Source, whole: Mapping[str, Split], config: DataConfig) -> dict[str, Split]:
    """The splits `whole`, as `cut_source` cut them, with `config.shots` images a class to train on.

    They are drawn from all images that are neither for testing nor of a validation split of the
    source's own, whatever is held out of them then: equal shots and seed, equal images. Test images
    stay as they are. Raises UserError when a class has too few.
    """
    assert config.shots_seed is not None, "a shots seed that nobody decided"
    pool = whole["train"]
    if config.shots_validation == "shots":  # what would be held out can be drawn too
        pool = cut_source(source, 0.0, config.test_fraction, config.split_seed)["train"]
    drawn = pool.subset(choose_shots(pool, source, config))
    if config.shots_validation == "as-is":
        return {**whole, "train": drawn}
    alone = replace(source, splits={"train": drawn})
    return {**whole, **cut_source(alone, config.validation_fraction, 0.0, config.split_seed)}


def choose_shots(pool: Split, source: Source, config: DataConfig) -> np.ndarray:
    """Indices of `config.shots` images of each class among `pool`: int64, ascending.

    The images of a class come in the order of a hash of seed and name, so that fewer shots are
    among more, and one more image in the source moves at most one other out. With several classes
    an image see `fill_classes`.
    """
    assert config.shots is not None
    assert config.shots_seed is not None
    ids = text_keys(pool.names)
    keys = uniform_draws((config.shots_seed, stream("shots")), ids, 1)[:, 0]
    order = np.lexsort((ids, keys))  # equal keys are common among a million
    if source.task == "multi-label":
        shown = pool.labels > 0.5
        _refuse_more_than_there_are(shown.sum(axis=0), source, config)
        return np.sort(order[fill_classes(shown[order], config.shots)])
    labels = pool.class_numbers
    counts = np.bincount(labels, minlength=len(source.class_names))
    _refuse_more_than_there_are(counts, source, config)
    by_class = order[np.argsort(labels[order], kind="stable")]
    position = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(by_class[position < config.shots])


def fill_classes(shown: np.ndarray, shots: int) -> np.ndarray:
    """Positions of images so that each class has `shots`, as far as there are: int64 [M].

    `shown` bool [N,K] says which classes each image shows, the first to be drawn first. In `shots`
    rounds every class, the rarest first, is given the next image that shows it unless it has as
    many as there were rounds: common classes come along with rare ones and may have more. As a
    round knows nothing of later ones, fewer shots are among more. Images that show nothing are a
    class of their own.
    """
    shown = np.concatenate([shown, ~shown.any(axis=1, keepdims=True)], axis=1)
    totals = shown.sum(axis=0)
    rarest_first = np.argsort(totals, kind="stable")
    waiting = [iter(np.flatnonzero(column)) for column in shown.T]
    chosen = np.zeros(len(shown), bool)
    have = np.zeros(shown.shape[1], np.int64)
    for number in range(1, shots + 1):
        for label in rarest_first:
            if have[label] >= min(number, totals[label]):
                continue
            place = next(place for place in waiting[label] if not chosen[place])
            chosen[place] = True
            have += shown[place]
    return np.flatnonzero(chosen)


def _refuse_more_than_there_are(counts: np.ndarray, source: Source, config: DataConfig) -> None:
    """UserError when a class has fewer images than shots; of several labels one with some."""
    assert config.shots is not None
    least = 1 if source.task == "multi-label" else 0  # classes that no image shows are told later
    short = np.flatnonzero((counts < config.shots) & (counts >= least))
    if not len(short):
        return
    short = short[np.argsort(counts[short], kind="stable")]
    listed = ", ".join(f"{source.class_names[k]!r} has {counts[k]}" for k in short[:SHOWN])
    smallest = int(counts[short[0]])
    remedy = f"Set data.shots to {smallest} or fewer" if smallest else "Remove the class"
    raise UserError(
        f"{source.location}: data.shots {config.shots} needs that many images of each class to "
        f"learn from, but {listed}{', …' if len(short) > SHOWN else ''} (those kept for testing "
        f"or validation do not count). {remedy}, or add images"
    )
