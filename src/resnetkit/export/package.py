"""The model package: a folder with the network, its input contract and where it came from.

Weights are safetensors and facts are JSON: nothing in a package can run a program, and nothing
that could (a pickle) is ever opened.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import numpy as safetensors_numpy
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from resnetkit.config import from_dict, to_dict
from resnetkit.data.contract import (
    InputContract,
    from_preprocessor_config,
    normalise,
    to_preprocessor_config,
)
from resnetkit.data.seen import Seen, SeenWarning
from resnetkit.evaluation.confidence import Confidence, read_confidence
from resnetkit.export.model_card import CARD, render_card
from resnetkit.export.stored_weights import halve_kernels, plain_tensors, refuse_non_finite
from resnetkit.models.lenet import LeNetConfig
from resnetkit.models.resnet import ResNetConfig
from resnetkit.models.zoo import Architecture, build_model
from resnetkit.runtime import MANIFEST, commit_folder, recover_folder, verify_folder
from resnetkit.types import UserError

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
CONTRACT = "preprocessor_config.json"
GOLDEN = "golden.safetensors"
REFERENCE = "reference.safetensors"
SEEN = "seen.safetensors"

ARCHITECTURES: dict[str, type[Architecture]] = {"resnet": ResNetConfig, "lenet": LeNetConfig}
PICKLES = {".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar"}


@dataclass(frozen=True, kw_only=True)
class ModelPackage:
    """A network in evaluation mode with all that is needed to use it and to know where it is from.

    `provenance` and `metrics` (split name -> figures) are JSON-safe. `provenance` may say what it
    likes; the model card reads `recipe`, `experiment.model.name` and `data.source`, `data.images`.
    Metrics and `logits` are the network's own: `confidence`, where it has one, comes after.
    """

    model: nn.Module
    architecture: Architecture
    contract: InputContract
    provenance: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    confidence: Confidence | None = None

    def logits(self, images: Tensor) -> Tensor:
        """Logits [N,K] float32 of images uint8 [N,C,H,W] that are as the contract says.

        TensorFloat-32 is off: with it the figures would depend on the batch size (to 1e-3).
        """
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return self.model(normalise(images, self.contract))


def save_package(
    folder: Path,
    package: ModelPackage,
    golden: Mapping[str, Tensor],
    reference: Mapping[str, Tensor] | None = None,
    seen: Seen | None = None,
    half: bool = False,
) -> None:
    """Write the package folder, whole or not at all; an older package there is replaced.

    `golden` is what `golden_outputs` gives; `reference` holds statistics of the training data that
    monitoring compares with, by name; `seen`, by which evaluation knows what was trained on. With
    `half`, kernels that `round_kernels` has rounded are stored as float16.

    Raises:
        UserError: the weights are not finite, or `folder` holds something that is not a package.
    """
    _check_consistency(package)
    state = plain_tensors(package.model.state_dict())
    refuse_non_finite(state, f"{folder}: {WEIGHTS}")
    state = halve_kernels(state) if half else state

    def write(temporary: Path) -> None:
        save_file(state, temporary / WEIGHTS, metadata={"format": "pt"})
        _write_json(temporary / CONTRACT, to_preprocessor_config(package.contract))
        save_file(plain_tensors(golden), temporary / GOLDEN)
        if reference:
            save_file(plain_tensors(reference), temporary / REFERENCE)
        if seen is not None:
            keys = dict(seen.keys)
            safetensors_numpy.save_file(keys, temporary / SEEN, metadata={"by": seen.by})
        write_facts(temporary, package)

    commit_folder(folder, write)


def write_facts(folder: Path, package: ModelPackage) -> None:
    """The files of a package that only tell: its config and its model card."""
    _write_json(folder / CONFIG, _config(package))
    card = render_card(package.contract, package.provenance, package.metrics, package.confidence)
    (folder / CARD).write_text(card, encoding="utf-8")


def golden_outputs(package: ModelPackage, images: Tensor) -> dict[str, Tensor]:
    """A few inputs uint8 [N,C,H,W] with their logits [N,K], for parity checks elsewhere."""
    device = next(package.model.parameters()).device
    assert not package.model.training
    return {"images": images.cpu(), "logits": package.logits(images.to(device)).cpu()}


def golden_deviation(folder: Path, package: ModelPackage) -> float:
    """Largest difference between the logits here and those stored in the package at `folder`."""
    golden = load_file(folder / GOLDEN)
    here = golden_outputs(package, golden["images"])["logits"]
    return float((here - golden["logits"]).abs().max())


def load_package(folder: Path) -> ModelPackage:
    """Read a package folder back, on the CPU and in evaluation mode; every byte is verified.

    Raises:
        UserError: `folder` is missing, a file or another kind of folder; a part of it is missing
            or damaged (`DamagedFolder`); its parts contradict each other; weights are not finite.
    """
    recover_folder(folder)
    _refuse_other_things(folder)
    verify_folder(folder, unchecked=(CARD,))
    config = _read_json(folder, CONFIG)
    contract = _read_contract(folder)
    architecture = _read_architecture(folder, config)
    names = {str(index): name for index, name in enumerate(contract.class_names)}
    if config.get("contract_hash") != contract.hash or config.get("id2label") != names:
        raise UserError(
            f"{folder}: {CONFIG} and {CONTRACT} are of different models: needed contract "
            f"{str(config.get('contract_hash'))[:12]}… with the same classes, got "
            f"{contract.hash[:12]}…. Restore both from the original package."
        )
    model = build_model(architecture)
    _load_weights(folder, model)
    package = ModelPackage(
        model=model.eval(),
        architecture=architecture,
        contract=contract,
        provenance=config.get("provenance", {}),
        metrics=config.get("metrics", {}),
        confidence=read_confidence(
            config.get("confidence"),
            f"{folder}: {CONFIG}: confidence",
            contract.num_classes,
            contract.task,
        ),
    )
    _check_consistency(package)
    return package


def load_seen(folder: Path) -> Seen | None:
    """The keys of the images a package was trained on; None, and a warning, where it has none.

    `load_package` has verified the file.
    """
    if not (folder / SEEN).is_file():
        warnings.warn(
            f"{folder}: this package does not say which images it was trained on ({SEEN}; it was "
            "imported, or is of an older resnetkit): images it was trained on may count as unseen",
            SeenWarning,
            stacklevel=2,
        )
        return None
    with safe_open(folder / SEEN, framework="numpy") as file:
        by = (file.metadata() or {}).get("by")
        keys = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    if by not in ("content", "size"):
        raise UserError(f"{folder}: {SEEN} has keys by {by!r}; it is of a newer resnetkit.")
    return Seen(by=by, keys=keys)


def _config(package: ModelPackage) -> dict[str, Any]:
    names = package.contract.class_names
    kinds = {config: kind for kind, config in ARCHITECTURES.items()}
    return {
        "model_type": "resnetkit",
        "problem_type": package.contract.task.replace("-", "_") + "_classification",
        "architecture": {
            "kind": kinds[type(package.architecture)],
            **to_dict(package.architecture),
        },
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
        "contract_hash": package.contract.hash,
        "metrics": package.metrics,
        "provenance": package.provenance,
    } | ({} if package.confidence is None else {"confidence": package.confidence.as_dict()})


def _check_consistency(package: ModelPackage) -> None:
    built = (package.architecture.in_channels, package.architecture.num_classes)
    needed = (package.contract.channels, package.contract.num_classes)
    if built != needed:
        raise UserError(
            f"Model package: the input contract has {needed[0]} channels and {needed[1]} classes, "
            f"the network {built[0]} and {built[1]}; they are not of the same model."
        )


def _refuse_other_things(folder: Path) -> None:
    needed = "needed is a model-package folder as training writes it"
    if folder.is_file():
        pickle = folder.suffix.lower() in PICKLES
        reason = "is a pickle, which can run any program when read and is never opened"
        raise UserError(
            f"{folder} {reason if pickle else 'is a file'}; {needed} "
            f"(RUN/package, with {WEIGHTS} and {CONFIG})."
        )
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; {needed} (RUN/package).")
    if (folder / CONFIG).exists() or (folder / MANIFEST).exists():
        return
    if (folder / "package").is_dir():
        raise UserError(f"{folder} is a run folder; {needed}: give {folder / 'package'}.")
    raise UserError(f"{folder}: {CONFIG} and {MANIFEST} are missing; {needed} (RUN/package).")


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    if not (folder / name).is_file():
        raise UserError(f"{folder}: {name} is missing; needed is a model package.")
    try:
        content = json.loads((folder / name).read_bytes())
    except ValueError as error:
        raise UserError(f"{folder}: {name} is not JSON ({error}); fetch it again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{folder}: {name} needs an object, has {type(content).__name__}.")
    return content


def _read_contract(folder: Path) -> InputContract:
    try:
        return from_preprocessor_config(_read_json(folder, CONTRACT))
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error


def _read_architecture(folder: Path, config: dict[str, Any]) -> Architecture:
    settings = config.get("architecture")
    kind = settings.pop("kind", None) if isinstance(settings, dict) else None
    if not isinstance(settings, dict) or kind not in ARCHITECTURES:
        raise UserError(
            f"{folder}: {CONFIG} needs an architecture of kind {' or '.join(ARCHITECTURES)}, "
            f"has {kind!r}; it is of another program or a newer resnetkit."
        )
    return from_dict(ARCHITECTURES[kind], settings, f"{folder}/{CONFIG}: architecture")


def _load_weights(folder: Path, model: nn.Module) -> None:
    """Fill `model`; names and shapes must be exactly its own, and all values finite."""
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder}: {WEIGHTS} is missing; needed is a model package.")
    try:
        state = load_file(folder / WEIGHTS)
    except Exception as error:  # safetensors has its own exceptions, in Rust
        raise UserError(f"{folder}: {WEIGHTS} cannot be read ({error}); fetch it again.") from error
    needed = {name: list(value.shape) for name, value in model.state_dict().items()}
    came = {name: list(value.shape) for name, value in state.items()}
    wrong = sorted(name for name in needed | came if needed.get(name) != came.get(name))
    if wrong:
        name = wrong[0]
        raise UserError(
            f"{folder}: {WEIGHTS} does not fit the architecture in {CONFIG}: {name} needs shape "
            f"{needed.get(name, 'none')}, has {came.get(name, 'none')} ({len(wrong)} such entries);"
            " restore both from the original package."
        )
    refuse_non_finite(state, f"{folder}: {WEIGHTS}")
    model.load_state_dict(state)  # float32, whatever they are stored as


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
