"""The small convolutional network for digits that came before: LeNet (LeCun 1998), with ReLU."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn
from torch.nn import functional as F

from resnetkit.models.blocks import Activation
from resnetkit.models.layers import ACTIVATIONS, dropout, initialise_convolutions, new_classifier
from resnetkit.models.setting_checks import check_choice, check_positive, check_rate
from resnetkit.types import UserError

MAP_SIZE = 4  # height and width of the last feature maps, whatever the images measure


@dataclass(frozen=True, kw_only=True)
class LeNetConfig:
    """A LeNet-like network in full; there is little to choose."""

    in_channels: int = 1
    num_classes: int = 10
    activation: Activation = "relu"
    dropout: float = 0.0  # before the classifier

    def __post_init__(self) -> None:
        check_choice("activation", self.activation, ACTIVATIONS)
        check_positive("in_channels", self.in_channels)
        check_positive("num_classes", self.num_classes)
        check_rate("dropout", self.dropout)


class LeNet(nn.Module):
    """Two 5x5 convolutions (10 and 20 channels) and two linear layers, for 8 pixels and up.

    The convolutions are padded and the second pooling adapts to the image, so that 8-pixel digits
    leave 4x4 maps as 28-pixel ones do, and the linear layers are the same for every image size.
    """

    def __init__(self, config: LeNetConfig) -> None:
        super().__init__()
        self.config = config
        self.num_features = 20
        self.conv1 = nn.Conv2d(config.in_channels, 10, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(10, self.num_features, kernel_size=5, padding=2)
        self.activation = ACTIVATIONS[config.activation]()
        self.fc1 = nn.Linear(self.num_features * MAP_SIZE**2, 50)
        self.dropout = dropout(config.dropout)
        self.fc2 = nn.Linear(50, config.num_classes)
        initialise_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Images [N,C,H,W] float, H and W at least 8 -> logits [N,K]; UserError if smaller."""
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """Images [N,C,H,W] float -> feature maps [N,20,4,4]."""
        height, width = images.shape[-2:]
        if min(height, width) < 2 * MAP_SIZE:
            raise UserError(
                f"LeNet: images of at least {2 * MAP_SIZE} x {2 * MAP_SIZE} pixels are needed, "
                f"got {height} x {width}; enlarge them with the resize setting."
            )
        x = F.max_pool2d(self.activation(self.conv1(images)), 2)
        return pool_to(self.activation(self.conv2(x)), MAP_SIZE)

    def forward_head(self, features: Tensor) -> Tensor:
        """Feature maps [N,20,4,4] -> logits [N,K]."""
        hidden = self.activation(self.fc1(features.flatten(1)))
        return self.fc2(self.dropout(hidden))

    def reset_head(self, num_classes: int, seed: int = 0) -> None:
        """Replace the last linear layer by a new one for `num_classes` classes, from `seed`."""
        self.config = replace(self.config, num_classes=num_classes)
        self.fc2 = new_classifier(self.fc2, num_classes, seed)


def pool_to(x: Tensor, size: int) -> Tensor:
    """Max-pool [N,C,H,W], H and W at least `size`, to [N,C,size,size].

    Not `adaptive_max_pool2d`: its gradient on CUDA is not the same in every run.
    """
    strides = [length // size for length in x.shape[-2:]]
    kernel = [
        length - (size - 1) * stride for length, stride in zip(x.shape[-2:], strides, strict=True)
    ]
    return F.max_pool2d(x, kernel, strides)
