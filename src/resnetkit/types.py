"""The few types every layer speaks: a batch of images and a mistake the user can fix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # importing torch takes seconds, which `resnetkit --help` need not wait for
    import torch
    from torch import Tensor

Task = Literal["single-label", "multi-label"]  # one class an image, or any number of them


class UserError(ValueError):
    """A mistake the user can fix: says where, what was needed, what came and what to do.

    The command line prints its message without a traceback and exits with 2.
    """


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One batch as the loader hands it over, or a feature cache.

    Of a feature cache `images` are features: what enters a part of the network, float32 [N,C,H,W]
    or, pooled, [N,D].

    `indices` number the images within their split of N; an image that comes again in the same epoch
    (balanced sampling) is numbered N, 2 N, … higher, so that it is augmented differently.
    """

    images: Tensor  # [N,C,H,W] uint8, unless they are features
    labels: Tensor  # [N] int64; or [N,K] float32: indicators or soft labels, see `Split`
    indices: Tensor  # [N] int64

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`, images in channels-last memory order."""
        from torch import channels_last, preserve_format

        order = channels_last if self.images.ndim == 4 else preserve_format
        images = self.images.to(device, non_blocking=True, memory_format=order)
        return Batch(
            images=images,
            labels=self.labels.to(device, non_blocking=True),
            indices=self.indices.to(device, non_blocking=True),
        )


class CheckFailed(Exception):  # noqa: N818  (it is a verdict, not a malfunction)
    """A gate or check said no; the command line prints why and exits with 1."""


class Interrupted(Exception):  # noqa: N818
    """The user asked to stop; the command line prints how to continue and exits with 130."""
