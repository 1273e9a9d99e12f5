"""The last step of every converter: entries under our keys become `ForeignWeights`, or are refused.

Nothing is loaded that was not checked: every entry the network needs is there, has its shape and is
finite, and the source had none that would change its result and that our network lacks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from resnetkit.models.resnet import ResNetConfig
from resnetkit.models.weights.foreign import (
    HEAD_KEYS,
    ForeignWeights,
    MappingReport,
    Preprocessing,
)
from resnetkit.models.weights.infer import fitting_names, infer_architecture
from resnetkit.models.weights.strict_loading import COUNTER, describe_problems, shorten
from resnetkit.models.zoo import build_model
from resnetkit.types import UserError

# What lies beside a classifier's path from image to logits, by the first or the last part of its
# name: queues and projections of self-supervised training, counters of averaging and profiling.
HARMLESS = re.compile(
    r"(queue|queue_ptr|encoder_k|momentum_encoder|teacher|proj|projector|projection_head|predictor"
    r"|prototypes|aux|aux_head|auxiliary_head|criterion|loss|optimizer)\..*"
    r"|queue|queue_ptr|n_averaged|(.*\.)?(total_ops|total_params|num_batches_tracked)"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Translated:
    """What a converter read: a source's entries under our keys, not yet checked."""

    state: Mapping[str, Tensor]
    layout: str
    source_names: Mapping[str, str]  # our key -> the source's, for each entry of `state`
    left_over: tuple[str, ...] = ()  # the source's entries that have no key with us
    notes: tuple[str, ...] = ()


def complete(
    translated: Translated,
    architecture: ResNetConfig,
    *,
    origin: str,
    preprocessing: Preprocessing | None = None,
    class_names: tuple[str, ...] | None = None,
    allow_headless: bool = False,
) -> ForeignWeights:
    """Check every entry against `architecture`; float32 copies on the CPU, and the report.

    Batch counters that the source lacks start at 0. `allow_headless` accepts a source without a
    classifier: the architecture then has one class, whose weights are zero.
    Raises UserError naming entries that are missing, unexpected, of another shape, of another kind
    than floating point or not finite.
    """
    state = dict(translated.state)
    with torch.device("meta"):
        own = build_model(architecture).state_dict()
    missing = sorted(own.keys() - state.keys())
    if allow_headless and set(HEAD_KEYS) <= set(missing):
        state |= {name: torch.zeros(own[name].shape) for name in HEAD_KEYS}
    _check_entries(own, state, origin)
    _check_left_over(translated.left_over, origin)
    used = set(translated.source_names.values())
    renamed = {theirs for ours, theirs in translated.source_names.items() if ours != theirs}
    state |= {name: torch.tensor(0) for name in own if name not in state}  # the counters
    report = MappingReport(
        layout=translated.layout,
        used=len(used),
        renamed=len(renamed),
        missing=tuple(missing),
        left_over=tuple(sorted(translated.left_over)),
        notes=(*translated.notes, *_precision_notes(state.values())),
    )
    return ForeignWeights(
        state={name: _convert(name, state[name], origin) for name in own},
        architecture=architecture,
        preprocessing=preprocessing,
        class_names=class_names,
        origin=origin,
        report=report,
    )


def _check_entries(own: Mapping[str, Tensor], state: Mapping[str, Tensor], origin: str) -> None:
    problems = describe_problems(own, state)
    if not problems:
        return
    if not set(HEAD_KEYS) & state.keys():
        remedy = (
            "It has no classifier, so it cannot tell classes apart: fine-tune it (`resnetkit "
            "finetune --weights …` gives it a head)"
        )
    else:
        remedy = f"Give the file of a complete network{_which_fits(state)}"
    raise UserError(f"{origin}: all entries of the network are needed, got {problems}. {remedy}.")


def _which_fits(state: Mapping[str, Tensor]) -> str:
    try:
        names = fitting_names(infer_architecture(state))
    except UserError:  # the entries that tell the architecture are among the missing ones
        names = []
    return f"; its other entries are those of {' or '.join(names)}" if names else ""


def _check_left_over(left_over: Iterable[str], origin: str) -> None:
    harmful = sorted(name for name in left_over if not HARMLESS.fullmatch(name))
    if harmful:
        raise UserError(
            f"{origin}: only entries that a residual network of ours has are understood, got "
            f"{len(harmful)} others: {shorten(harmful)}. The source computes something that the "
            "network here does not, so its results would differ; use weights of a network that "
            "`resnetkit models` lists, or remove these entries if they do not bear on the result."
        )


def _precision_notes(tensors: Iterable[Tensor]) -> list[str]:
    kinds = {tensor.dtype for tensor in tensors if tensor.is_floating_point()} - {torch.float32}
    names = sorted(str(kind).removeprefix("torch.") for kind in kinds)
    return [f"Weights in {name} were cast to float32." for name in names]


def _convert(name: str, tensor: Tensor, origin: str) -> Tensor:
    if name.endswith(COUNTER):
        return tensor.detach().to("cpu", torch.int64, copy=True)
    if not tensor.is_floating_point():
        raise UserError(
            f"{origin}: floating-point weights are needed, got {tensor.dtype} in {name}; convert "
            "them back from what they were quantised to, or use the original weights."
        )
    converted = tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
    if not bool(torch.isfinite(converted).all()):
        count = int((~torch.isfinite(converted)).sum())
        raise UserError(
            f"{origin}: finite weights are needed, got {count} of {converted.numel()} values of "
            f"{name} that are NaN or infinite; the training they come from diverged or the file "
            "is damaged. Use another checkpoint."
        )
    return converted
