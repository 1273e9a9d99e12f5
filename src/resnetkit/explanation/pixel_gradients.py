"""Maps from the gradient of a class's logit at the pixels, as Captum computes them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from resnetkit.explanation.attribution_settings import AttributionSettings
from resnetkit.explanation.evidence import Evidence, signed_evidence, unsigned_evidence
from resnetkit.models.layers import SqueezeExcitation, drawing_from
from resnetkit.models.zoo import Network
from resnetkit.types import UserError

OTHER_ACTIVATIONS = (nn.LeakyReLU, nn.SiLU, nn.GELU)


def integrated_gradients(
    network: Network,
    images: Tensor,
    targets: Tensor,
    settings: AttributionSettings,
    _stage: None,
) -> Evidence:
    """Sundararajan 2017 (arXiv:1703.01365), from the mean colour (0 once normalised) to the image.

    Completeness (proposition 1): the map adds up to `logit_difference`, by how much the logit of
    the image is above that of the mean colour. `completeness_error` is what is missing or too
    much as a share of it; above 0.05 the paper advises more steps (section 5).
    """
    from captum.attr import IntegratedGradients

    attributions, excess = IntegratedGradients(network).attribute(
        images.clone().requires_grad_(),
        baselines=0.0,
        target=targets,
        n_steps=settings.integration_steps,
        internal_batch_size=max(settings.batch_size, len(images)),
        return_convergence_delta=True,
    )
    values = attributions.detach().sum(1)
    difference = values.sum((1, 2)) - excess.detach()
    facts = {
        "logit_difference": difference,
        "completeness_error": (excess.detach() / difference).abs(),
    }
    return signed_evidence(values, facts)


def guided_backpropagation(
    network: Network,
    images: Tensor,
    targets: Tensor,
    _settings: AttributionSettings,
    _stage: None,
) -> Evidence:
    """Springenberg 2015 (arXiv:1412.6806), section 3.4: ReLUs pass positive gradients only.

    Raises UserError as `refuse_other_activations` does.
    """
    from captum.attr import GuidedBackprop

    refuse_other_activations(network)
    with warnings.catch_warnings(), _guided_gates(network):
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU activations")
        gradients = GuidedBackprop(network).attribute(
            images.clone().requires_grad_(), target=targets
        )
    return unsigned_evidence(gradients)


def refuse_other_activations(network: Network) -> None:
    """UserError for a network for which guided backpropagation is not defined."""
    others = {
        type(layer).__name__ for layer in network.modules() if isinstance(layer, OTHER_ACTIVATIONS)
    }
    if others:
        raise UserError(
            "guided-backprop: needs a network whose activations are all ReLUs, got one with "
            f"{', '.join(sorted(others))}; use smoothgrad or integrated-gradients."
        )


@contextmanager
def _guided_gates(network: Network) -> Iterator[None]:
    """The same for the ReLU of squeeze-and-excitation: a function, which Captum does not see."""

    def guide(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        output.register_hook(lambda gradient: gradient.clamp(min=0))

    gates = [layer for layer in network.modules() if isinstance(layer, SqueezeExcitation)]
    handles = [gate.fc1.register_forward_hook(guide) for gate in gates]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def smooth_gradients(
    network: Network,
    images: Tensor,
    targets: Tensor,
    settings: AttributionSettings,
    _stage: None,
) -> Evidence:
    """Smilkov 2017 (arXiv:1706.03825): the mean gradient of noisy copies of the image.

    Every image meets the same noise, drawn from the seed on the CPU: a map depends neither on the
    device nor on the images that are explained along with it.
    """
    from captum.attr import NoiseTunnel, Saliency

    device = images.device
    tunnel = NoiseTunnel(Saliency(lambda noisy: network(noisy.to(device))))
    gradients = []
    for image, target in zip(images.cpu(), targets.tolist(), strict=True):
        deviation = settings.noise_level * float(image.max() - image.min())
        with drawing_from(settings.seed):
            gradient = tunnel.attribute(
                image[None],
                nt_samples=settings.noise_samples,
                nt_samples_batch_size=settings.batch_size,
                stdevs=deviation,
                target=target,
                abs=False,  # the mean is taken of gradients, not of their sizes: equation 2
            )
        assert isinstance(gradient, Tensor)
        gradients.append(gradient.detach()[0])
    return unsigned_evidence(torch.stack(gradients).to(device))
