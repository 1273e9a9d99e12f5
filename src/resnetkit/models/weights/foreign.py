"""What weights from elsewhere are once they are ours: complete, described and accounted for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from resnetkit.models.resnet import ResNetConfig

Interpolation = Literal["nearest", "bilinear", "bicubic"]
HEAD_KEYS = ("fc.weight", "fc.bias")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What pixels went through before the network saw them: input = (pixel * scale - mean) / std.

    Pixels are 0 to 255, resized so that the shorter side has `resize` of them, then cropped to the
    `image_size` x `image_size` in the middle. Channels are red, green, blue, whatever the source's
    order was: its converter turns the first convolution around.
    """

    image_size: int
    resize: int
    interpolation: Interpolation
    scale: float
    mean: tuple[float, ...]  # 3 entries, or 3*H*W for a mean image [3,H,W]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class MappingReport:
    """What became of every entry of a source: for people to read, and for tests to count."""

    layout: str  # a key of `layouts.LAYOUTS`, or "caffe", "keras"
    used: int  # entries of the source that are in our state, batch counters included
    renamed: int  # those of them that are called otherwise with us
    missing: tuple[str, ...] = ()  # our keys; only batch counters and a whole head may be
    left_over: tuple[str, ...] = ()  # source keys that no part of a network's path needs
    notes: tuple[str, ...] = ()  # what was unwrapped, stripped, cast, assumed: whole sentences


@dataclass(frozen=True, kw_only=True, eq=False)
class ForeignWeights:
    """A source's weights under our keys, complete for `architecture`, float32 and finite."""

    state: dict[str, Tensor]
    architecture: ResNetConfig
    preprocessing: Preprocessing | None  # None: the source does not say
    class_names: tuple[str, ...] | None  # None: the source does not say
    origin: str  # "torchvision:resnet50.IMAGENET1K_V2", or a path
    report: MappingReport

    @property
    def has_head(self) -> bool:
        """Whether the source brought a classifier; without one, the head is zeros for one class."""
        return not set(HEAD_KEYS) <= set(self.report.missing)
