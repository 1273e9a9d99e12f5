"""The input contract: everything that must be the same wherever an image meets the network."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from resnetkit.types import Task, UserError

CHANNELS = {"RGB": 3, "L": 1}
RESAMPLE_CODES = {"nearest": 0, "bilinear": 2, "bicubic": 3}  # PIL.Image.Resampling, as HF stores
Interpolation = Literal["nearest", "bilinear", "bicubic"]


@dataclass(frozen=True, kw_only=True)
class InputContract:
    """What the network takes and what its outputs mean; made at training, kept in the package.

    An image is turned upright (`exif_transpose`), brought to `color_mode`, resized so that its
    shorter side has `resize` pixels, cropped from the centre to `crop` (height, width), and
    normalised to `(pixel * scale - mean) / std`. `mean` has C entries, or C*H*W of them flattened
    in that order for a mean per pixel (He et al. 2015, section 4.2); `std` has C. By `task` the
    outputs are logits of a softmax (one class an image) or of a sigmoid each (any number of them).
    Raises `UserError` when the fields contradict each other.
    """

    class_names: tuple[str, ...]
    task: Task = "single-label"
    color_mode: Literal["RGB", "L"] = "RGB"
    exif_transpose: bool = True
    resize: int
    interpolation: Interpolation = "bilinear"
    crop: tuple[int, int]
    scale: float = 1 / 255
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        # 0 and 0.0, a list and a tuple would otherwise be equal contracts with different hashes.
        for field in ("class_names", "crop"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        for field in ("mean", "std"):
            object.__setattr__(self, field, tuple(float(v) for v in getattr(self, field)))
        object.__setattr__(self, "scale", float(self.scale))
        _check_choices(self)
        _check_geometry(self)
        _check_numbers(self)

    @property
    def channels(self) -> int:
        """Channels of the network's input: 3 for RGB, 1 for L (grey)."""
        return CHANNELS[self.color_mode]

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return len(self.class_names)

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) of the canonical JSON of every field."""
        fields = asdict(self)
        if self.task == "single-label":  # not in the hash of packages from before there were two
            del fields["task"]
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


def _check_choices(contract: InputContract) -> None:
    if contract.task not in get_args(Task):
        raise UserError(f"task must be one of {list(get_args(Task))}; got {contract.task!r}.")
    if contract.color_mode not in CHANNELS:
        raise UserError(f"color_mode must be one of {list(CHANNELS)}; got {contract.color_mode!r}.")
    if contract.interpolation not in RESAMPLE_CODES:
        raise UserError(
            f"interpolation must be one of {list(RESAMPLE_CODES)}; got {contract.interpolation!r}."
        )
    if not contract.class_names:
        raise UserError("The input contract needs at least one class name; got none.")
    repeated = [name for name, count in Counter(contract.class_names).items() if count > 1]
    if repeated:
        raise UserError(f"Class names must differ from each other; {repeated} occur twice or more.")


def _check_geometry(contract: InputContract) -> None:
    if len(contract.crop) != 2 or min(contract.crop) < 1:
        raise UserError(f"crop must be (height, width) in pixels; got {contract.crop}.")
    if contract.resize < max(contract.crop):
        raise UserError(
            f"resize (the shorter side, {contract.resize} pixels) must be at least the longer side "
            f"of crop {contract.crop}, or the crop would reach outside the image; "
            f"set resize to {max(contract.crop)} or more."
        )


def _check_numbers(contract: InputContract) -> None:
    channels = contract.channels
    pixels = channels * contract.crop[0] * contract.crop[1]
    if len(contract.mean) not in (channels, pixels):
        raise UserError(
            f"mean must have {channels} entries (one per channel) or {pixels} (one per pixel of "
            f"crop {contract.crop}); got {len(contract.mean)}."
        )
    if len(contract.std) != channels:
        raise UserError(f"std must have {channels} entries; got {len(contract.std)}.")
    if not all(map(math.isfinite, (contract.scale, *contract.mean, *contract.std))):
        raise UserError("scale, mean and std must be finite numbers.")
    if contract.scale <= 0 or min(contract.std) <= 0:
        raise UserError(
            f"scale and std must be above 0; got scale {contract.scale} and std {contract.std}."
        )


Statistics = tuple[Tensor, Tensor]


def normalisation_tensors(contract: InputContract, device: torch.device | str) -> Statistics:
    """Mean [1,C,1,1] or [1,C,H,W] and std [1,C,1,1], float32 on `device`, in channels-last order.

    Made once by a hot loop and handed to `normalise`, it saves a copy to the device per batch.
    """
    channels = contract.channels
    per_pixel = len(contract.mean) != channels
    height, width = contract.crop if per_pixel else (1, 1)
    mean = torch.tensor(contract.mean, dtype=torch.float32).reshape(1, channels, height, width)
    std = torch.tensor(contract.std, dtype=torch.float32).reshape(1, channels, 1, 1)
    # Channels last like the batch (`Batch.to`): mixed orders would make a per-pixel mean slow.
    return mean.to(device, memory_format=torch.channels_last), std.to(device)


def normalise(
    images: Tensor, contract: InputContract, statistics: Statistics | None = None
) -> Tensor:
    """Pixels uint8 [N,C,H,W] on any device to the network's input, float32 [N,C,H,W] there.

    `statistics` are `normalisation_tensors` of the same contract and device, where made before.
    """
    mean, std = statistics or normalisation_tensors(contract, images.device)
    assert images.shape[1] == contract.channels, (images.shape, contract.channels)
    return (images.to(torch.float32) * contract.scale - mean) / std


def check_class_names(contract: InputContract, class_names: Sequence[str], location: str) -> None:
    """Raise `UserError` unless data at `location` has the contract's classes, in its order."""
    found = tuple(class_names)
    if found == contract.class_names:
        return
    missing = [name for name in contract.class_names if name not in found]
    unknown = [name for name in found if name not in contract.class_names]
    differences = [
        f"{what}: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}"
        for what, names in (("the data lacks", missing), ("the model does not know", unknown))
        if names
    ]
    raise UserError(
        f"The classes of {location} are not the model's: it was trained for {contract.num_classes} "
        f"classes, the data has {len(found)}; "
        f"{'; '.join(differences) or 'the names are the same but their order is not'}. "
        "Use the data the model was made for, or train a model for this data."
    )


def check_task(contract: InputContract, task: Task, location: str) -> None:
    """Raise `UserError` unless data at `location` is labelled as the contract's task needs it."""
    needed = {"single-label": "one class an image", "multi-label": "several classes an image"}
    if task != contract.task:
        raise UserError(
            f"The labels of {location} are for another task than the model's: it was trained for "
            f"{needed[contract.task]} ({contract.task}), the data has {needed[task]} ({task}). "
            "Use data labelled as the model's was, or train a model for this data."
        )


def to_preprocessor_config(contract: InputContract) -> dict[str, Any]:
    """The contract in the field names of a Hugging Face image processor, ready for JSON.

    What Hugging Face has no name for is under "resnetkit". A mean per pixel is written whole:
    Hugging Face refuses its length, which is better than normalising with something else.
    """
    height, width = contract.crop
    return {
        "image_processor_type": "BitImageProcessor",  # the one with exactly these fields
        "do_convert_rgb": contract.color_mode == "RGB",
        "do_resize": True,
        "size": {"shortest_edge": contract.resize},
        "resample": RESAMPLE_CODES[contract.interpolation],
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": contract.scale,
        "do_normalize": True,
        "image_mean": list(contract.mean),
        "image_std": list(contract.std),
        "resnetkit": {
            "color_mode": contract.color_mode,
            "exif_transpose": contract.exif_transpose,
            "class_names": list(contract.class_names),
            "hash": contract.hash,
        }
        | ({} if contract.task == "single-label" else {"task": contract.task}),
    }


def from_preprocessor_config(config: Mapping[str, Any]) -> InputContract:
    """The exact inverse of `to_preprocessor_config`.

    Raises `UserError` when fields are missing or damaged, or were changed after training (their
    hash is not the stored one), because the network would then see other inputs than it learnt on.
    """
    contract = _read_fields(config)
    stored = config["resnetkit"].get("hash")
    if stored != contract.hash:
        raise UserError(
            f"The input contract was changed after it was written: its fields have the hash "
            f"{contract.hash[:12]}…, but {str(stored)[:12]}… is stored. The model was trained "
            "for the stored one; restore preprocessor_config.json from the original package."
        )
    expected = to_preprocessor_config(contract)
    changed = [key for key, value in expected.items() if config.get(key) != value]
    if changed:
        raise UserError(
            f"The input contract says {changed[0]} = {config.get(changed[0])!r}, where resnetkit "
            f"only knows {expected[changed[0]]!r}; restore preprocessor_config.json."
        )
    return contract


def _read_fields(config: Mapping[str, Any]) -> InputContract:
    interpolations = {code: name for name, code in RESAMPLE_CODES.items()}
    try:
        own = config["resnetkit"]
        return InputContract(
            class_names=own["class_names"],
            task=own.get("task", "single-label"),
            color_mode=own["color_mode"],
            exif_transpose=own["exif_transpose"],
            resize=config["size"]["shortest_edge"],
            interpolation=interpolations[config["resample"]],  # type: ignore[arg-type]
            crop=(config["crop_size"]["height"], config["crop_size"]["width"]),
            scale=config["rescale_factor"],
            mean=config["image_mean"],
            std=config["image_std"],
        )
    except KeyError as error:
        problem = f"{error} is missing or not a known value"
    except (TypeError, ValueError) as error:
        problem = str(error)
    raise UserError(
        f"This is not an input contract written by resnetkit: {problem}. "
        "Needed: the preprocessor_config.json of a model package."
    )
