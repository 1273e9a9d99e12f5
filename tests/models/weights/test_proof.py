from __future__ import annotations

from dataclasses import replace

import pytest
import torchvision
from seeded_weights import seeded_state

from resnetkit.models.weights.convert import convert_state
from resnetkit.models.weights.proof import prove_equal
from resnetkit.types import UserError

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_same_function_is_proved_and_another_refused():
    theirs = torchvision.models.resnet18(num_classes=5).eval()
    state = seeded_state({name: entry.shape for name, entry in theirs.state_dict().items()})
    theirs.load_state_dict(state)
    foreign = convert_state(state, model=None, origin="torchvision:resnet18")
    assert prove_equal(foreign, theirs, image_size=64) < 1e-5

    block = replace(foreign.architecture.block, activation="silu")
    other = replace(foreign, architecture=replace(foreign.architecture, block=block))
    message = r"torchvision:resnet18: the source's logits .* got a difference of"
    with pytest.raises(UserError, match=message):
        prove_equal(other, theirs, image_size=64)
