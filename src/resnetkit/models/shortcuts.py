"""The other path of a block: the identity, and what replaces it where the shape changes."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from resnetkit.models.layers import NormLayer, convolution


class ZeroPadShortcut(nn.Module):
    """Option A: every stride-th pixel, and zeros for the new channels; no parameters."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, _: NormLayer) -> None:
        super().__init__()
        self.new_channels = out_channels - in_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """[N,C,H,W] -> [N,C+new,H/stride,W/stride]."""
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.new_channels))

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"new_channels={self.new_channels}, stride={self.stride}"


def projection(in_channels: int, out_channels: int, stride: int, norm: NormLayer) -> nn.Module:
    """Option B: a strided 1x1 convolution."""
    return nn.Sequential(convolution(in_channels, out_channels, 1, stride), norm(out_channels))


def pooled_projection(
    in_channels: int, out_channels: int, stride: int, norm: NormLayer
) -> nn.Module:
    """Option D: average, then project; a strided 1x1 skips three pixels of four (He 2019).

    The pooling stands first even where it does nothing, so that keys equal timm's.
    """
    # Ceiling, as the 3x3 convolutions beside it round; padding never enters an average.
    pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(
        pool if stride > 1 else nn.Identity(),
        convolution(in_channels, out_channels, 1),
        norm(out_channels),
    )


SHORTCUTS: dict[str, Callable[[int, int, int, NormLayer], nn.Module]] = {
    "A": ZeroPadShortcut,
    "B": projection,
    "D": pooled_projection,
}


def build_shortcut(
    option: str, in_channels: int, out_channels: int, stride: int, norm: NormLayer
) -> nn.Module | None:
    """The shortcut of one block; None for "none", the blocks of plain networks."""
    if option == "none":
        return None
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return SHORTCUTS[option](in_channels, out_channels, stride, norm)
