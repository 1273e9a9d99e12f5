"""What single layers do while images pass: which ReLUs answer, what BatchNorm really receives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from resnetkit.explanation.inside_report import NormFacts, UnitFacts
from resnetkit.models.layers import SqueezeExcitation

Key = tuple[str, int]  # a module's name, and which of its calls in a forward pass


@dataclass(kw_only=True)
class UnitRecord:
    """What one ReLU gave so far: by channel its highest value, and how many values were above 0."""

    highest: Tensor  # [C]
    active: int
    values: int


@dataclass(kw_only=True)
class NormRecord:
    """Mean and variance by channel of what one BatchNorm received, beside those it keeps."""

    count: int
    mean: Tensor  # [C] float64
    spread: Tensor  # [C] float64, the sum of squared deviations
    running_mean: Tensor  # [C] float64
    running_variance: Tensor  # [C] float64
    eps: float  # what the layer adds to a variance before it divides by it


@dataclass(kw_only=True)
class LayerRecords:
    """Records by layer, in the order in which the layers were called."""

    units: dict[Key, UnitRecord] = field(default_factory=dict)
    norms: dict[Key, NormRecord] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)

    def begin(self) -> None:
        """Count the calls of a new forward pass: blocks use one activation several times."""
        self.calls.clear()

    def count(self, name: str) -> Key:
        """The key of this call of the module."""
        self.calls[name] += 1
        return name, self.calls[name]

    def unit_facts(self) -> tuple[UnitFacts, ...]:
        """How many channels of each ReLU never answered."""
        return tuple(
            UnitFacts(
                name=self._shown(key),
                units=len(record.highest),
                dead=int((record.highest <= 0).sum()),
                active_share=record.active / record.values,
            )
            for key, record in self.units.items()
        )

    def norm_facts(self) -> tuple[NormFacts, ...]:
        """How far what each BatchNorm received is from what it expects."""
        return tuple(_norm_facts(self._shown(key), one) for key, one in self.norms.items())

    def _shown(self, key: Key) -> str:
        name, number = key
        repeated = (name, 2) in self.units or (name, 2) in self.norms
        return f"{name} #{number}" if repeated else name


@contextmanager
def watched_layers(model: nn.Module) -> Iterator[LayerRecords]:
    """Records that fill while `model` runs in evaluation mode; its hooks are gone afterwards."""
    records = LayerRecords()
    handles = []
    try:
        for name, module in model.named_modules():
            if isinstance(module, nn.ReLU):
                handles.append(module.register_forward_hook(_unit_hook(records, name)))
            elif isinstance(module, SqueezeExcitation):  # whose ReLU is a function
                hook = _unit_hook(records, name)
                handles.append(module.fc1.register_forward_hook(hook))
            elif isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
                handles.append(module.register_forward_pre_hook(_norm_hook(records, name)))
        yield records
    finally:
        for handle in handles:
            handle.remove()


# Hooks reckon at once: blocks go on in place on the tensors that they see.


def _unit_hook(records: LayerRecords, name: str) -> Callable[..., None]:
    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        values = _by_channel(output.detach())
        highest = values.amax(dim=0).cpu()
        active = int((values > 0).sum())
        key = records.count(name)
        record = records.units.get(key)
        if record is None:
            records.units[key] = UnitRecord(highest=highest, active=active, values=values.numel())
            return
        record.highest = torch.maximum(record.highest, highest)
        record.active += active
        record.values += values.numel()

    return note


def _norm_hook(records: LayerRecords, name: str) -> Callable[..., None]:
    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.BatchNorm2d)
        assert module.running_mean is not None
        assert module.running_var is not None
        values = _by_channel(inputs[0].detach())
        variance, mean = (v.cpu().double() for v in torch.var_mean(values, dim=0, correction=0))
        key, count = records.count(name), len(values)
        record = records.norms.get(key)
        if record is None:
            records.norms[key] = NormRecord(
                count=count,
                mean=mean,
                spread=variance * count,
                running_mean=module.running_mean.detach().cpu().double(),
                running_variance=module.running_var.detach().cpu().double(),
                eps=module.eps,
            )
            return
        # Chan, Golub & LeVeque 1983: sums of deviations from two means, joined.
        total, step = record.count + count, mean - record.mean
        record.spread += variance * count + step.square() * (record.count * count / total)
        record.mean += step * (count / total)
        record.count = total

    return note


def _by_channel(x: Tensor) -> Tensor:
    """Values [M,C] of maps [N,C,H,W] or features [N,C]."""
    return x.flatten(2).transpose(1, 2).flatten(0, 1) if x.ndim > 2 else x


def _norm_facts(name: str, record: NormRecord) -> NormFacts:
    distances = symmetric_divergence(
        (record.mean, record.spread / record.count + record.eps),
        (record.running_mean, record.running_variance + record.eps),
    )
    worst = int(distances.argmax())
    return NormFacts(
        name=name,
        channels=len(distances),
        drift=float(distances.mean()),
        worst_drift=float(distances[worst]),
        worst_channel=worst,
    )


def symmetric_divergence(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Tensor:
    """Mean of both Kullback-Leibler divergences of Gaussians (mean, variance), [C] each, in nats.

    0 for equal ones; half the squared difference of the means in deviations, where variances agree.
    """
    (mean, variance), (other_mean, other_variance) = one, other
    shift = (mean - other_mean).square()
    ratios = (variance + shift) / other_variance + (other_variance + shift) / variance
    return (ratios - 2) / 4
