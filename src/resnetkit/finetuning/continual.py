"""Learning on: a package's network with new classes added to its head, judged against itself.

The rows of old classes are kept as they are, and old images are replayed (`data.replay`). Weight
aligning (Zhao et al. 2020, arXiv:1911.07053), which scales the new classes' rows to the mean length
of the old ones after training, is left out: a short fine-tuning leaves new rows shorter than old
ones, whichever side the network favours. With 2 to 20 digits a class replayed it took another 2 to
68 points from the old classes; `data.sampling balanced` gave them up to 5 points back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from resnetkit.data.class_map import ClassMap
from resnetkit.data.contract import InputContract
from resnetkit.data.joining import fit_split
from resnetkit.data.source_types import Split
from resnetkit.evaluation.class_changes import ClassChanges, compare_classes
from resnetkit.models.heads import extend_head

# A network's logits [N,K] and the labels of a split, under the network's own contract.
RunNetwork = Callable[[nn.Module, Split, InputContract], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class NetworkWithContract:
    """A network and what it must be shown."""

    network: nn.Module
    contract: InputContract


def extend_classes(network: Any, classes: ClassMap, seed: int) -> None:
    """Give `network`, whose head has the package's classes, the new ones of `classes` as well.

    In place; without new classes nothing changes. All that the old classes had learnt stays bit for
    bit, so that the network says of old classes among themselves what the package said.
    """
    assert network.config.num_classes == classes.old, (network.config.num_classes, classes.old)
    if classes.new_names:
        extend_head(network, len(classes.names), seed)


def measure_changes(
    before: NetworkWithContract, after: NetworkWithContract, images: Split | None, run: RunNetwork
) -> ClassChanges | None:
    """What each class of `before` lost or gained in `after`, on the same old `images`.

    These are labelled in the order of `before`, whose classes come first in `after`; each network
    sees them under its own contract. None where there are no images: then it cannot be known.
    """
    if images is None or not len(images):
        return None
    names = before.contract.class_names
    assert after.contract.class_names[: len(names)] == names, "old classes must keep their places"
    first, labels = run(before.network, fit_split(images, before.contract), before.contract)
    second, _ = run(after.network, fit_split(images, after.contract), after.contract)
    return compare_classes(first, second, labels, names, before.contract.task)
