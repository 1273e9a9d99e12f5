"""What enters a part of a network, computed once per image and augmented view.

Whatever lies below the lowest part that trains is frozen, so what it makes of an image is the same
in every epoch. Here it is computed; `feature_cache` keeps it, `feature_batches` trains on it.

View v of an image is augmented as epoch v would augment it: `views` epochs' worth are computed, and
epoch e trains on view e mod `views`. Images go through the network in their own order and in
batches of a fixed size, not in an epoch's, so that the same features come out to the bit wherever
the computation was interrupted, and whatever batch size training has.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.metadata
import json
import math
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from resnetkit.data.augment import AugmentConfig, augment_images
from resnetkit.data.contract import InputContract, normalise
from resnetkit.data.draws import Draws
from resnetkit.data.loader import Loader, LoaderConfig
from resnetkit.data.source_types import Split
from resnetkit.runtime import pick_device
from resnetkit.training.execution import ExecutionConfig, arrange, autocast
from resnetkit.types import Batch

CHUNK = 64  # images that go through the network together
FORMAT = 1  # of the stored rows and of what their key is made of
OF_THE_HEAD = ("num_classes", "head", "dropout")  # fields of an architecture below no part

Progress = Callable[[str, int, int], None]  # what, done, total


class PartedNetwork(Protocol):
    """What features need of a network: all of `models` have it."""

    config: Any  # its architecture, a dataclass

    def parts(self) -> dict[str, tuple[nn.Module, ...]]:
        """Its modules by part, in forward order."""
        ...

    def forward_until(self, part: str, images: Tensor) -> Tensor:
        """What enters `part`."""
        ...

    def forward_from(self, part: str, x: Tensor) -> Tensor:
        """From what enters `part` to logits [N,K]."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureRequest:
    """All that features depend on besides the network: whose, and how each image is shown to it.

    Without `augment` an image has one view, the one it is judged by, and the network computes in
    float32 as judging does; `seed` then plays no part.
    """

    part: str
    split: Split
    contract: InputContract
    augment: AugmentConfig | None = None
    seed: int = 0
    views: int = 1
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    workers: int = 0

    def __post_init__(self) -> None:
        assert len(self.split), "features of no image"
        assert self.views >= 1, self.views
        assert self.augment is not None or self.views == 1, "all plain views are the same"
        refusal = None if self.augment is None else why_not_cacheable(self.part, self.augment)
        assert refusal is None, refusal

    @property
    def precision(self) -> str:
        """The number format of the network's convolutions."""
        bfloat16 = self.augment is not None and self.execution.precision == "bfloat16"
        return "bfloat16" if bfloat16 else "float32"

    @property
    def chunks_per_view(self) -> int:
        """Batches that all images of one view make."""
        return math.ceil(len(self.split) / CHUNK)

    @property
    def chunks(self) -> int:
        """Batches in all."""
        return self.chunks_per_view * self.views

    def rows_before(self, chunk: int) -> int:
        """Rows of the chunks before number `chunk`."""
        view, position = divmod(chunk, self.chunks_per_view)
        return view * len(self.split) + position * CHUNK


def why_not_cacheable(part: str, augment: AugmentConfig) -> str | None:
    """Why what enters `part` cannot be computed once per image; None where it can.

    A sentence without its full stop, for the user.
    """
    if part == "stem":
        return "the stem trains, and nothing lies below it that could be computed once"
    if augment.mixup_alpha or augment.cutmix_alpha:
        mixing = "augment.mixup_alpha" if augment.mixup_alpha else "augment.cutmix_alpha"
        return f"{mixing} mixes the images of a batch, which are others in every epoch"
    if augment.early_size is not None:
        return "augment.early_size shows smaller images in the early epochs"
    return None


def feature_shape(network: nn.Module, request: FeatureRequest) -> tuple[int, ...]:
    """The shape of one image's row: (D,) or (H,W,C)."""
    images = torch.zeros(1, request.contract.channels, *request.contract.crop)
    frozen = _frozen_copy(network, request)
    return _rows_of(_compute(frozen, request, images.to(_device(request)))).shape[1:]


def feature_chunks(
    network: nn.Module, request: FeatureRequest, first: int = 0
) -> Iterator[np.ndarray]:
    """The rows of chunk `first` and all after it: float32 [n,D], or [n,H,W,C] of feature maps.

    Chunks go view by view and in the order of the images. The network is copied, not changed.
    """
    frozen, device = _frozen_copy(network, request), _device(request)
    loader = _loader_in_order(request)
    view, start = divmod(first, request.chunks_per_view)
    for number in range(view, request.views):
        for position, batch in enumerate(loader.batches(number, start)):
            images = _show(request, batch, number, device, crop=not loader.crops_in_worker)
            features = _compute(frozen, request, images)
            if position == 0:
                _assert_independent(frozen, request, images, features)
            yield _rows_of(features)
        start = 0


def feature_key(network: nn.Module, request: FeatureRequest) -> str:
    """SHA-256 (hex) of everything the features depend on; with equal keys they are equal bits."""
    device, packed = _device(request), request.split.packed
    facts = {
        "format": [FORMAT, CHUNK, importlib.metadata.version("resnetkit")],
        "network": [type(network).__name__, _architecture(network), request.part],
        "weights": _digest_below(network, request.part),
        "contract": request.contract.hash,
        "data": [request.split.digest(), None if packed is None else packed.pack.identity],
        "views": [request.views, None if request.augment is None else asdict(request.augment)],
        "seed": None if request.augment is None else request.seed,
        "execution": [request.precision, request.execution.memory_order],
        "machine": [str(torch.__version__), torch.get_num_threads(), *_processor(device)],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _processor(device: torch.device) -> list[str]:
    if device.type == "cuda":
        return [device.type, torch.cuda.get_device_name(device)]
    return [device.type, platform.machine(), torch.backends.cpu.get_cpu_capability()]


def _architecture(network: nn.Module) -> str:
    config = asdict(network.config)  # type: ignore[arg-type]
    return repr({name: value for name, value in config.items() if name not in OF_THE_HEAD})


def _digest_below(network: nn.Module, part: str) -> str:
    """SHA-256 (hex) of all parameters and buffers of the parts before `part`."""
    below = _modules_below(network, part)
    return digest_tensors(
        item for name, module in below for item in module.state_dict(prefix=f"{name}.").items()
    )


def digest_tensors(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 (hex) of named tensors, in their order."""
    state = hashlib.sha256()
    for name, value in tensors:
        state.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        state.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def _modules_below(network: Any, part: str) -> Iterator[tuple[str, nn.Module]]:
    """The modules of the parts before `part`, each with a name of its own."""
    parts: dict[str, tuple[nn.Module, ...]] = network.parts()
    assert part in parts, f"{part!r} is none of the network's parts: {', '.join(parts)}"
    for name, modules in parts.items():
        if name == part:
            return
        yield from ((f"{name}.{number}", module) for number, module in enumerate(modules))


def _device(request: FeatureRequest) -> torch.device:
    return pick_device(request.execution.device)


def _frozen_copy(network: nn.Module, request: FeatureRequest) -> nn.Module:
    """The network in evaluation mode, where it neither drops anything nor learns statistics."""
    frozen = copy.deepcopy(network).eval().to(_device(request))
    if request.execution.memory_order == "channels_last":
        frozen.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return frozen


def _loader_in_order(request: FeatureRequest) -> Loader:
    augment = request.augment
    config = LoaderConfig(
        batch_size=CHUNK,
        workers=request.workers,
        seed=request.seed,
        shuffle=False,
        resized_crop_scale=None if augment is None else augment.resized_crop_scale,
    )
    return Loader(request.split, request.contract, config)


def _show(
    request: FeatureRequest, batch: Batch, view: int, device: torch.device, *, crop: bool
) -> Tensor:
    """The images of a batch as the network is shown them in `view`: float32 [N,C,H,W]."""
    images = batch.to(device).images
    if request.augment is None:
        return normalise(images, request.contract)
    draws = Draws(request.seed, view, batch.indices, device)
    return augment_images(images, draws, request.augment, request.contract, crop=crop)


@torch.inference_mode()
def _compute(frozen: Any, request: FeatureRequest, images: Tensor) -> Tensor:
    execution = request.execution
    if request.precision == "float32":
        return frozen.forward_until(request.part, arrange(images, execution)).float()
    with autocast(images.device, execution):
        return frozen.forward_until(request.part, arrange(images, execution)).float()


def _rows_of(features: Tensor) -> np.ndarray:
    """Features [N,D] or [N,C,H,W] as they are stored: [N,D] or [N,H,W,C], float32.

    Maps lie channels last, as `Batch.to` makes all images.
    """
    rows = features.permute(0, 2, 3, 1) if features.ndim == 4 else features
    return rows.contiguous().cpu().numpy()


def _assert_independent(
    frozen: nn.Module, request: FeatureRequest, images: Tensor, features: Tensor
) -> None:
    """That the first image has the same features without its batch mates, up to rounding."""
    alone = _compute(frozen, request, images[:1])
    allowed = (0.05 if request.precision == "bfloat16" else 1e-3) * float(features.abs().max())
    apart = float((alone - features[:1]).abs().max())
    assert apart <= allowed or not math.isfinite(allowed), (
        f"what enters {request.part} depends on the batch: {apart:.2g} apart, allowed {allowed:.2g}"
    )
