"""A look inside a network: signal, gradient and rank by part, dead ReLUs, BatchNorm drift.

Everything in evaluation mode and in float32: what the finished network does, not what training
would do to it. The network is left to the bit as it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnetkit.data.contract import InputContract, normalise
from resnetkit.explanation.inside_report import InsideReport, PartFacts
from resnetkit.explanation.layer_records import LayerRecords, watched_layers
from resnetkit.explanation.undisturbed import undisturbed
from resnetkit.models.zoo import Network
from resnetkit.types import Batch, Task, UserError

CHUNK = 16  # images whose maps are kept for the gradient at a time: 2 GB of a ResNet-50 at 224
NO_SPREAD = 1e-6  # of the features' size: the rounding of float32, in which nothing differs


@dataclass(kw_only=True)
class PartRecord:
    """Sums over the images so far of what leaves one part."""

    weights: dict[str, Tensor]  # kernels and matrices of the part, by name
    squares: float = 0.0
    values: int = 0
    gradient: float = 0.0
    weight_gradients: dict[str, Tensor] = field(default_factory=dict)
    pooled: list[np.ndarray] = field(default_factory=list)  # [n,C] each


def look_inside(model: Network, batches: Iterable[Batch], contract: InputContract) -> InsideReport:
    """What `model` does inside on the images of `batches`, as its package's `contract` shows them.

    A few hundred images of all classes are enough (`evaluation.subset.draw_subset`); forward and
    backward pass of each are run once. Modes, buffers, weights, their gradients and what requires
    them are as before, also after an exception.

    Raises:
        UserError: there is not one image.
    """
    with undisturbed(model), _all_differentiable(model), watched_layers(model) as layers:
        parts = {name: PartRecord(weights=_weights_of(model, name)) for name in model.parts()}
        images, loss = 0, 0.0
        for batch in batches:
            chunks = zip(batch.images.split(CHUNK), batch.labels.split(CHUNK), strict=True)
            for pixels, labels in chunks:
                loss += _observe(model, (pixels, labels), contract, parts, layers)
                images += len(labels)
    if not images:
        raise UserError("Inside the network: needed at least one image, got none.")
    return InsideReport(
        images=images,
        classes=contract.num_classes,
        loss=loss / images,
        parts=tuple(_part_facts(name, record, images) for name, record in parts.items()),
        units=layers.unit_facts(),
        norms=layers.norm_facts(),
    )


@contextmanager
def _all_differentiable(model: nn.Module) -> Iterator[None]:
    """All weights of `model` require gradients for a while, also those frozen for fine-tuning."""
    before = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        for weight, _ in before:
            weight.requires_grad_(True)
        yield
    finally:
        for weight, required in before:
            weight.requires_grad_(required)


def _weights_of(model: Network, part: str) -> dict[str, Tensor]:
    return {
        f"{number}.{name}": weight
        for number, module in enumerate(model.parts()[part])
        for name, weight in module.named_parameters()
        if weight.ndim > 1
    }


def _observe(
    model: Network,
    examples: tuple[Tensor, Tensor],
    contract: InputContract,
    parts: dict[str, PartRecord],
    layers: LayerRecords,
) -> float:
    """Run some images forwards and backwards, add what was seen to the records; their summed loss.

    Part by part, which is the network's `forward` (see `models.parts`), so that what leaves each is
    at hand without a hook.
    """
    device = next(model.parameters()).device
    # Not channels last: there, the weight gradients of narrow layers (4 channels, 4 images at 224
    # pixels) end the process in torch 2.11's oneDNN.
    x = normalise(examples[0].to(device), contract).contiguous()
    layers.begin()
    outputs: dict[str, Tensor] = {}
    for name, modules in model.parts().items():
        for module in modules:
            x = module(x)
        outputs[name] = x
        parts[name].squares += float(x.detach().square().sum())
        parts[name].values += x.numel()
        pooled = x.detach().flatten(2).mean(dim=2) if x.ndim > 2 else x.detach()
        parts[name].pooled.append(pooled.cpu().double().numpy())
    # A copy, since labels made in inference mode cannot be kept for the gradient.
    loss = _summed_loss(x, examples[1].to(device, copy=True), contract.task)
    _add_gradients(loss, outputs, parts)
    return float(loss.detach())


def _summed_loss(logits: Tensor, labels: Tensor, task: Task) -> Tensor:
    """The loss of `evaluation.metrics`, summed over the images: gradients are then of one each."""
    if task == "multi-label":
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
    return F.cross_entropy(logits, labels, reduction="sum")


def _add_gradients(loss: Tensor, outputs: dict[str, Tensor], parts: dict[str, PartRecord]) -> None:
    weights = [weight for record in parts.values() for weight in record.weights.values()]
    # Not `backward`, which would leave its traces in every `.grad`.
    found = torch.autograd.grad(loss, [*outputs.values(), *weights], allow_unused=True)
    of_weights = iter(found[len(outputs) :])
    for record, gradient in zip(parts.values(), found, strict=False):
        assert gradient is not None, "the loss depends on what leaves every part"
        record.gradient += float(gradient.flatten(1).norm(dim=1).sum())
        for name in record.weights:
            of_weight = next(of_weights)
            if of_weight is not None:
                known = record.weight_gradients.get(name)
                record.weight_gradients[name] = of_weight if known is None else known + of_weight


def _part_facts(name: str, record: PartRecord, images: int) -> PartFacts:
    pooled = np.concatenate(record.pooled)
    return PartFacts(
        name=name,
        activation=math.sqrt(record.squares / record.values),
        gradient=record.gradient / images,
        weights=_norm(record.weights.values()),
        weight_gradient=_norm(record.weight_gradients.values()) / images,
        effective_rank=effective_rank(pooled),
        rank_limit=min(len(pooled) - 1, pooled.shape[1]),
    )


def _norm(tensors: Iterable[Tensor]) -> float:
    return math.sqrt(sum(float(one.detach().square().sum()) for one in tensors))


def effective_rank(features: np.ndarray) -> float:
    """How many directions features [N,D] use: exp of the entropy of their singular values' shares.

    Of the features less their mean, which tells no image from another. Between 1 and min(N - 1, D);
    0 where all are the same, NaN where they are not finite (Roy & Vetterli 2007, section 2).
    """
    if not np.isfinite(features).all():
        return math.nan
    centered = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    if np.abs(centered).max() <= NO_SPREAD * np.abs(features).max():
        return 0.0
    values = np.linalg.svd(centered, compute_uv=False)
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
