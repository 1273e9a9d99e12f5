"""What other frameworks compute and our network does not have, put into the norms that follow.

Caffe and Keras know biases before norms and other epsilons. A constant added before a norm is the
same as one taken off its mean, so no option is needed and logits stay equal.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from resnetkit.models.resnet import ResNetConfig
from resnetkit.models.weights.complete import Translated, complete
from resnetkit.models.weights.foreign import ForeignWeights, Preprocessing
from resnetkit.models.weights.infer import fitting_names
from resnetkit.types import UserError

EPSILON = 1e-5  # of our norms, nn.BatchNorm2d's default


def fold_into_norms(
    state: Mapping[str, Tensor],
    offsets: Mapping[str, Tensor],
    epsilons: Mapping[str, float],
    origin: str,
) -> dict[str, Tensor]:
    """The state whose norms give what theirs give: for inputs larger by an offset, another epsilon.

    `offsets` [C] and `epsilons` are by the norm's key, such as "layer1.0.bn2"; computed in double
    precision. Norms that are missing are left to `complete`, which names them.
    Raises UserError for an offset of another length than its norm.
    """
    folded = dict(state)
    for norm, offset in offsets.items():
        name = f"{norm}.running_mean"
        if name not in folded:
            continue
        if offset.shape != folded[name].shape:
            raise UserError(
                f"{origin}: as many biases as channels are needed before {norm}, got "
                f"{offset.numel()} for {folded[name].numel()}; the file mixes two networks."
            )
        folded[name] = (folded[name].double() - offset.double()).float()
    for norm, epsilon in epsilons.items():
        name = f"{norm}.running_var"
        if name in folded:
            folded[name] = (folded[name].double() + (epsilon - EPSILON)).float()
    return folded


def reverse_input_channels(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state for inputs in red, green, blue, where they were in blue, green, red."""
    first = state.get("conv1.weight")
    if first is None:
        return dict(state)
    return {**state, "conv1.weight": first.flip(1)}


def complete_layers(
    translated: Translated,
    architecture: ResNetConfig,
    *,
    origin: str,
    model: str | None,
    preprocessing: Preprocessing | None,
    allow_headless: bool,
) -> ForeignWeights:
    """`complete` for a source of layers: `source_names` are of all its entries, folded ones too.

    Raises UserError as `complete` does, and for a `model` of the zoo that is of another size.
    """
    fitting = fitting_names(architecture)
    if model is not None and model not in fitting:
        remedy = f"give {' or '.join(fitting)}, or none" if fitting else "give no name"
        raise UserError(
            f"{origin}: weights of {model!r} are needed, as the given name says, got a network of "
            f"{'-'.join(map(str, architecture.stage_depths))} {architecture.block.kind} blocks, "
            f"{'-'.join(map(str, architecture.stage_widths))} wide; {remedy}."
        )
    return complete(
        translated,
        architecture,
        origin=origin,
        preprocessing=preprocessing,
        allow_headless=allow_headless,
    )
