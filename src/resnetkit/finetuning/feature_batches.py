"""Training and judging on features: the same batches in the same order as from the images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnetkit.data.augment import to_targets
from resnetkit.data.contract import InputContract
from resnetkit.data.loader import LoaderConfig, build_order
from resnetkit.finetuning.feature_store import FeatureStore
from resnetkit.runtime import pick_device
from resnetkit.training.execution import ExecutionConfig, arrange
from resnetkit.types import Batch, Task


class FeatureBatches:
    """Batches of features where `Loader` has images: same order, boundaries, labels and indices.

    Epoch e has view e mod V of every image; an image that comes again in an epoch (balanced
    sampling) has the next view each time. `labels` are the split's, see `Split`.
    """

    def __init__(
        self, store: FeatureStore, labels: np.ndarray, task: Task, config: LoaderConfig
    ) -> None:
        assert len(labels) == store.images, (len(labels), store.images)
        self._store = store
        self._labels = torch.from_numpy(labels)
        self._order = build_order(labels, task, config)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return self._order.steps_per_epoch

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from number `start` on: features float32 [N,D] or [N,C,H,W]."""
        for chunk in self._order.batches(epoch, start):
            indices = torch.from_numpy(chunk)
            repeats = indices.div(self._store.images, rounding_mode="floor")
            numbers = indices - repeats * self._store.images
            features = self._store.take((epoch + repeats) % self._store.views, numbers)
            yield Batch(images=features, labels=self._labels[numbers], indices=indices)


class FromPart(nn.Module):
    """The upper end of a network, to be called with what enters `part`: features -> logits [N,K].

    It shares the network's modules; what `prepare_network` compiles is then only this end.
    """

    def __init__(self, network: nn.Module, part: str) -> None:
        super().__init__()
        self.network: Any = network
        self.part = part

    def forward(self, features: Tensor) -> Tensor:
        """Features [N,D] or [N,C,H,W] -> logits [N,K]."""
        return self.network.forward_from(self.part, features)


def build_feature_preparation(
    contract: InputContract, execution: ExecutionConfig
) -> Callable[[Batch, int], tuple[Tensor, Tensor]]:
    """The function that turns a batch of features into what the network's upper end learns from."""
    device = pick_device(execution.device)

    def prepare(batch: Batch, epoch: int) -> tuple[Tensor, Tensor]:
        batch = batch.to(device)
        features = batch.images
        if features.ndim == 4:
            features = arrange(features, execution)
        return features, to_targets(batch.labels, contract.num_classes)

    return prepare


def build_feature_predict(model: nn.Module, part: str) -> Callable[[Batch], Tensor]:
    """The function from a batch of features to logits float32 [N,K]; puts `model` in eval mode."""
    device = next(model.parameters()).device
    upper = FromPart(model.eval(), part).eval()
    return lambda batch: upper(batch.to(device).images)
