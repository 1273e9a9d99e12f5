"""The small convolutional network for digits that came before: LeNet (LeCun 1998), with ReLU."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn import functional as F

from resnetkit.models.blocks import Activation
from resnetkit.models.heads import HeadConfig, build_head
from resnetkit.models.layers import ACTIVATIONS, dropout, initialise_convolutions
from resnetkit.models.parts import run_from, run_until
from resnetkit.models.setting_checks import check_choice, check_positive, check_rate
from resnetkit.types import UserError

MAP_SIZE = 4  # height and width of the last feature maps, whatever the images measure


@dataclass(frozen=True, kw_only=True)
class LeNetConfig:
    """A LeNet-like network in full; there is little to choose."""

    in_channels: int = 1
    num_classes: int = 10
    activation: Activation = "relu"
    head: HeadConfig = field(default_factory=HeadConfig)
    dropout: float = 0.0  # before the classifier, and between the layers of an mlp

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
        self.num_features = 50
        self.size_check = LeastSize(2 * MAP_SIZE)
        self.conv1 = nn.Conv2d(config.in_channels, 10, kernel_size=5, padding=2)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5, padding=2)
        self.pool2 = PoolTo(MAP_SIZE)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(20 * MAP_SIZE**2, self.num_features)
        self.activation = ACTIVATIONS[config.activation]()
        self.dropout = dropout(config.dropout)
        self.fc2 = build_head(config, self.num_features)
        initialise_convolutions(self)

    @property
    def classifier(self) -> nn.Module:
        """The module that maps features [N,50] to logits [N,K]."""
        return self.fc2

    def parts(self) -> dict[str, tuple[nn.Module, ...]]:
        """All modules by part, in forward order: stem, stage1, ..., head; see `models.parts`."""
        return {
            "stem": (self.size_check, self.conv1, self.activation, self.pool1),
            "stage1": (self.conv2, self.activation, self.pool2),
            "stage2": (self.flatten, self.fc1, self.activation),
            "head": (self.dropout, self.fc2),
        }

    def forward(self, images: Tensor) -> Tensor:
        """Images [N,C,H,W] float, H and W at least 8 -> logits [N,K]; UserError if smaller."""
        return self.forward_from("stem", images)

    def forward_features(self, images: Tensor) -> Tensor:
        """Images [N,C,H,W] float -> feature maps [N,20,4,4]."""
        return self.forward_until("stage2", images)

    def forward_head(self, features: Tensor) -> Tensor:
        """Feature maps [N,20,4,4] -> logits [N,K]."""
        return self.forward_from("stage2", features)

    def forward_until(self, part: str, images: Tensor) -> Tensor:
        """Images -> what enters `part`: images, feature maps, or [N,50] for the head."""
        return run_until(self.parts(), part, images)

    def forward_from(self, part: str, x: Tensor) -> Tensor:
        """What `forward_until` gave for `part` -> logits [N,K], to the bit those of `forward`."""
        return run_from(self.parts(), part, x)


class LeastSize(nn.Module):
    """Passes images on that measure at least `size` pixels either way, and refuses others."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """[N,C,H,W] -> the same; UserError if H or W is below `size`."""
        height, width = images.shape[-2:]
        if min(height, width) < self.size:
            raise UserError(
                f"LeNet: images of at least {self.size} x {self.size} pixels are needed, "
                f"got {height} x {width}; enlarge them with the resize setting."
            )
        return images


class PoolTo(nn.Module):
    """Max-pooling to maps of `size`, whatever the images measure; see `pool_to`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """[N,C,H,W] -> [N,C,size,size]."""
        return pool_to(x, self.size)


def pool_to(x: Tensor, size: int) -> Tensor:
    """Max-pool [N,C,H,W], H and W at least `size`, to [N,C,size,size].

    Not `adaptive_max_pool2d`: its gradient on CUDA is not the same in every run.
    """
    strides = [length // size for length in x.shape[-2:]]
    kernel = [
        length - (size - 1) * stride for length, stride in zip(x.shape[-2:], strides, strict=True)
    ]
    return F.max_pool2d(x, kernel, strides)
