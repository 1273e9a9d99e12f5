"""Evaluation mode, gradients and full precision inside; nothing of it outside."""

from __future__ import annotations

import pytest
import torch
from explanation_nets import build_network, make_untidy, same_state, state_of

from resnetkit.explanation.undisturbed import undisturbed


def test_it_holds_in_any_surroundings_and_leaves_no_trace():
    network = build_network("basic")
    make_untidy(network)
    before = state_of(network)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        with undisturbed(network):
            assert not any(module.training for module in network.modules())
            assert torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()
            assert not torch.is_autocast_enabled("cpu")
            assert not torch.backends.cudnn.allow_tf32
        assert torch.is_inference_mode_enabled()
        assert torch.is_autocast_enabled("cpu")
    assert same_state(before, state_of(network))


def test_it_tidies_up_after_an_exception():
    network = build_network("basic")
    make_untidy(network)
    before = state_of(network)
    tf32 = torch.backends.cudnn.allow_tf32
    with pytest.raises(ZeroDivisionError), undisturbed(network):
        raise ZeroDivisionError
    assert same_state(before, state_of(network))
    assert torch.backends.cudnn.allow_tf32 == tf32
