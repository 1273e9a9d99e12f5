"""Weights from elsewhere become a package: contract, class names, golden images, provenance."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnetkit.data.contract import InputContract
from resnetkit.export.package import ModelPackage
from resnetkit.models.resnet import ResNetConfig
from resnetkit.models.weights.foreign import ForeignWeights, Preprocessing
from resnetkit.models.weights.infer import fitting_names
from resnetkit.models.weights.names import distinct_names, imagenet_class_names
from resnetkit.models.weights.proof import build_network
from resnetkit.models.zoo import find_entry
from resnetkit.runtime import environment
from resnetkit.types import UserError

RECIPE = "imported"
LIBRARIES = ("safetensors", "timm", "huggingface_hub", "h5py")  # as far as they are installed
MOST_NAMES_BYTES = 16 << 20
GOLDEN_SEED = 20151210  # the day of He et al. on arXiv
FALL_OFF = 1.5
COLOR_CORRELATION = 0.8  # of the channels of photographs, roughly


def package_foreign(
    foreign: ForeignWeights,
    class_names: Sequence[str] | None = None,
    *,
    file: Path | None = None,
    sha256: str | None = None,
) -> ModelPackage:
    """A package of `foreign`; `class_names` instead of the source's, `file` with its hash (hex).

    Where the source names no classes they are class_0, class_1, … Raises UserError for a number of
    names that is not the head's, and for images that are neither grey nor in colour.
    """
    contract = build_contract(foreign, class_names)
    network = _network_name(foreign.architecture)
    imported: dict[str, Any] = {
        "origin": foreign.origin,
        "network": network,
        "file": None if file is None else file.name,
        "sha256": sha256,
        "has_head": foreign.has_head,
        "preprocessing": "of the source" if foreign.preprocessing else "assumed",
        "class_names": _names_from(foreign, class_names),
        "report": asdict(foreign.report),
        "libraries": _library_versions(),
    }
    return ModelPackage(
        model=build_network(foreign),
        architecture=foreign.architecture,
        contract=contract,
        provenance={"recipe": RECIPE, "imported": imported, "environment": environment()},
    )


def build_contract(
    foreign: ForeignWeights, class_names: Sequence[str] | None = None
) -> InputContract:
    """How images must enter the network, in the contract's terms; see `package_foreign`."""
    architecture = foreign.architecture
    count = architecture.num_classes
    names = class_names or foreign.class_names or [f"class_{n}" for n in range(count)]
    if len(names) != count:
        raise UserError(
            f"{foreign.origin}: the head has {count} classes, so as many names are needed, got "
            f"{len(names)}. Give a file with one name a line, in the order of the head."
        )
    facts = foreign.preprocessing or assumed_preprocessing(architecture)
    grey = architecture.in_channels == 1
    if architecture.in_channels not in (1, 3):
        raise UserError(
            f"{foreign.origin}: a network for images of 3 channels (colour) or 1 (grey) is needed, "
            f"got one for {architecture.in_channels}; use other weights."
        )
    return InputContract(
        class_names=_distinct_or_refused(names, foreign),
        color_mode="L" if grey else "RGB",
        resize=facts.resize,
        interpolation=facts.interpolation,
        crop=(facts.image_size, facts.image_size),
        scale=facts.scale,
        mean=(sum(facts.mean) / 3,) if grey and len(facts.mean) == 3 else facts.mean,
        std=(sum(facts.std) / 3,) if grey and len(facts.std) == 3 else facts.std,
    )


def assumed_preprocessing(architecture: ResNetConfig) -> Preprocessing:
    """What networks like this are usually fed, where a file says nothing: ImageNet's statistics.

    Images of the size the zoo's network was made for; those of 224 are cut out of 256.
    """
    names = fitting_names(architecture)
    pools = architecture.stem in ("imagenet", "deep")
    size = find_entry(names[0]).image_size if names else (224 if pools else 32)
    return Preprocessing(
        image_size=size,
        resize=round(size * 8 / 7) if size == 224 else size,
        interpolation="bilinear",
        scale=1 / 255,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )


def read_class_names(given: str) -> tuple[str, ...]:
    """The names in a text file (UTF-8), one a line in the head's order; or "imagenet" for its 1000.

    Raises UserError for a missing file, one that is no text, an empty line or a name given twice.
    """
    if given == "imagenet":
        return imagenet_class_names()
    path = Path(given).expanduser()
    if not path.is_file():
        raise UserError(
            f"--classes {given}: needed is a text file with one class name a line, or the word "
            "imagenet; there is no such file."
        )
    if path.stat().st_size > MOST_NAMES_BYTES:
        raise UserError(f"--classes {given}: needed is a text file of names, got a larger file.")
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise UserError(
            f"--classes {given}: needed is a text file in UTF-8, byte {error.start} is not; save "
            "it as UTF-8."
        ) from error
    while names and not names[-1]:
        names.pop()
    problems = [f"line {number} is empty" for number, name in enumerate(names, 1) if not name]
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    problems += [f"{name!r} is there twice" for name in twice]
    if problems or not names:
        raise UserError(
            f"--classes {given}: needed is one distinct class name a line; "
            f"{'; '.join(problems[:3]) or 'the file is empty'}. Correct the file."
        )
    return tuple(names)


def generated_images(contract: InputContract, count: int = 4) -> Tensor:
    """Pictures like photographs in their statistics, uint8 [count,C,H,W]; the same every time.

    Their amplitude falls about as one over the frequency (Field 1987), a little faster where a lens
    blurs. Weights of other libraries bring no pictures along.
    """
    height, width = contract.crop
    random = np.random.default_rng(GOLDEN_SEED)
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    frequency = np.maximum(np.hypot(rows, columns), 1 / max(height, width))
    spectrum = np.fft.rfft2(random.normal(size=(count, 1 + contract.channels, height, width)))
    fields = np.fft.irfft2(spectrum / frequency**FALL_OFF, s=(height, width))
    fields /= fields.std(axis=(2, 3), keepdims=True) + 1e-12
    shared, own = fields[:, :1], fields[:, 1:]
    mixed = np.sqrt(COLOR_CORRELATION) * shared + np.sqrt(1 - COLOR_CORRELATION) * own
    return torch.from_numpy(np.clip(118 + 60 * mixed, 0, 255).astype(np.uint8))


def _distinct_or_refused(names: Sequence[str], foreign: ForeignWeights) -> tuple[str, ...]:
    """A source's own names that occur again get a number; a user's were checked before."""
    distinct = distinct_names(tuple(names))
    if len(set(distinct)) != len(distinct):
        raise UserError(
            f"{foreign.origin}: its class names are not distinct; give them with --classes FILE."
        )
    return distinct


def _names_from(foreign: ForeignWeights, given: Sequence[str] | None) -> str:
    if given:
        return "given"
    return "of the source" if foreign.class_names else "numbered"


def _network_name(architecture: ResNetConfig) -> str:
    names = fitting_names(architecture)
    return names[0] if names else "residual network"


def _library_versions() -> dict[str, str]:
    installed = {}
    for name in LIBRARIES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed
