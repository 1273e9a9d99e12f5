from __future__ import annotations

import torch
from seeded_weights import seeded_images, seeded_state
from torch import Tensor, nn
from torch.nn import functional as F

from resnetkit.models.shortcuts import ZeroPadShortcut
from resnetkit.models.weights.channel_order import reorder_channels, stage_orders
from resnetkit.models.zoo import MODELS, build_model

RESNET20 = MODELS["cifar-resnet20"].architecture


class PaddedAround(nn.Module):
    """Option A with half of the new channels before the old ones."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.half, self.stride = new_channels // 2, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.half, self.half))


def test_orders_keep_the_old_channels_first():
    orders = stage_orders(RESNET20)
    assert [len(order) for order in orders] == [16, 16, 32, 64]
    assert orders[2].tolist() == [*range(8, 24), *range(8), *range(24, 32)]
    assert (orders[3][:32] - 16).tolist() == orders[2].tolist()
    assert all(sorted(order.tolist()) == list(range(len(order))) for order in orders)


@torch.inference_mode()
def test_the_reordered_network_is_the_same_function():
    theirs = build_model(RESNET20).eval()
    shapes = {name: entry.shape for name, entry in theirs.state_dict().items()}
    theirs.load_state_dict(state := seeded_state(shapes))
    ours = build_model(RESNET20).eval()
    ours.load_state_dict(reorder_channels(state, RESNET20))
    for name, module in list(theirs.named_modules()):
        if isinstance(module, ZeroPadShortcut):
            around = PaddedAround(module.new_channels, module.stride)
            theirs.set_submodule(name, around)
    images = seeded_images(2, 32)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-5)
    ours.load_state_dict(state)
    assert not torch.allclose(ours(images), theirs(images), atol=1e-2)
