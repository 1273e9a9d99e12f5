"""Weights by name: torchvision's, timm's and the Hugging Face hub's, from their own caches.

A name becomes a file and what its library says of it; the file is then read like any other, so
that no library unpickles anything here. Without a network the caches serve what they have.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from resnetkit.models.setting_checks import nearest_name
from resnetkit.models.weights.foreign import Preprocessing
from resnetkit.models.weights.preprocessing import (
    from_huggingface,
    from_timm,
    from_torchvision,
    torchvision_weights,
)
from resnetkit.types import UserError

HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # in the order they are looked for
HASH_IN_NAME = re.compile(r"-([a-f0-9]{8,})\.")  # torch.hub's convention: resnet50-0676ba61.pth


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A file of weights and what is known of it beside its content; None: nothing says."""

    path: Path
    origin: str
    layout: str | None = None  # a key of `layouts.LAYOUTS`
    config: Mapping[str, Any] | None = None  # as config.json of transformers or timm
    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] | None = None
    build_library_network: Callable[[], nn.Module] | None = None  # the library's own, to compare


def find_torchvision(name: str) -> WeightsFile:
    """Torchvision's weights "resnet50" or "resnet50.IMAGENET1K_V1", in torch.hub's cache.

    Raises UserError for a name it does not have, for a network that is no ResNet, and where the
    file can neither be found nor downloaded, or is not the published one.
    """
    from torchvision import models

    model = name.partition(".")[0]
    weights = torchvision_weights(name)
    known = [
        listed
        for listed in models.list_models(module=models)
        if models.get_model_builder(listed).__module__ == models.resnet.__name__
    ]
    if model not in known:
        raise UserError(
            f"torchvision:{name}: a residual network is needed, one of {', '.join(known)}; got "
            f"{model!r}. Choose one of these."
        )
    origin = f"torchvision:{model}.{weights.name}"
    return WeightsFile(
        path=_from_torch_hub(weights.url, origin),
        origin=origin,
        layout="torchvision",
        preprocessing=from_torchvision(weights),
        class_names=distinct_names(weights.meta["categories"]),
        build_library_network=partial(models.get_model, model, weights=None),
    )


def find_timm(name: str) -> WeightsFile:
    """Timm's weights "resnet50" or "resnet50.a1_in1k", in the hub's cache or torch.hub's.

    Raises UserError where timm is not installed, has no such weights or no file of them, and where
    that can neither be found nor downloaded.
    """
    try:
        import timm
    except ModuleNotFoundError:
        raise UserError(
            f"timm:{name}: this needs the library timm: pip install 'resnetkit[timm]'; or take the "
            f"same weights from the hub without it: hf:timm/{name}."
        ) from None
    origin = f"timm:{name}"
    try:
        found = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # a tag it does not have
        raise UserError(f"{origin}: {error} {_timm_names(timm, name)}") from None
    if found is None or not found.has_weights:
        raise UserError(f"{origin}: timm has no weights of this name. {_timm_names(timm, name)}")
    if found.hf_hub_id:
        path = _from_hub(found.hf_hub_id, _hub_files(found.hf_hub_filename), None, origin)
    else:
        path = _from_torch_hub(str(found.url), origin)
    facts = found.to_dict()
    config = {"architecture": found.architecture or name.partition(".")[0], "pretrained_cfg": facts}
    build = partial(timm.create_model, config["architecture"], num_classes=found.num_classes)
    return replace(_describe_timm(path, origin, config), build_library_network=build)


def find_huggingface(name: str) -> WeightsFile:
    """A folder, or a repository of the hub ("microsoft/resnet-50", with "@REVISION" or not).

    It has config.json, model.safetensors or pytorch_model.bin, and preprocessor_config.json unless
    config.json is timm's. Raises UserError where one is missing and cannot be downloaded.
    """
    folder = Path(name).expanduser()
    origin = str(folder) if folder.is_dir() else f"hf:{name}"
    if folder.is_dir():
        fetch = _in_folder(folder)
    else:
        repository, _, revision = name.partition("@")
        fetch = _in_repository(repository, revision or None, origin)
    config = _read_json(fetch(("config.json",), True), origin)
    if config.get("model_type") == "resnetkit":
        raise UserError(
            f"{origin}: this is a model package already; give its folder to predict, evaluate or "
            "finetune as it is."
        )
    if "architecture" not in config and config.get("model_type") != "resnet":
        raise UserError(
            f"{origin}: the weights of a residual network are needed (model_type 'resnet' in "
            f"config.json, or timm's), got {config.get('model_type')!r}; choose others."
        )
    path = fetch(HUB_FILES, True)
    assert path is not None
    if "architecture" in config:
        return _describe_timm(path, origin, config)
    processor = fetch(("preprocessor_config.json",), False)
    return WeightsFile(
        path=path,
        origin=origin,
        layout="huggingface",
        config=config,
        preprocessing=None
        if processor is None
        else from_huggingface(_read_json(processor, origin), origin),
    )


def imagenet_class_names() -> tuple[str, ...]:
    """The thousand classes of ImageNet-1k in the usual order, made distinct."""
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    return distinct_names(_IMAGENET_CATEGORIES)


def distinct_names(names: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Names that occur again get a number: ImageNet has two cranes, a bird and a machine."""
    times: dict[str, int] = {}
    distinct = []
    for name in names:
        times[name] = times.get(name, 0) + 1
        distinct.append(name if times[name] == 1 else f"{name} ({times[name]})")
    return tuple(distinct)


FINDERS: dict[str, Callable[[str], WeightsFile]] = {
    "torchvision": find_torchvision,
    "timm": find_timm,
    "hf": find_huggingface,
}


def _describe_timm(path: Path, origin: str, config: Mapping[str, Any]) -> WeightsFile:
    facts = config.get("pretrained_cfg", {})
    tag = str(facts.get("tag") or origin.rpartition(".")[2])
    of_imagenet = facts.get("num_classes") == 1000 and tag.endswith("in1k")
    return WeightsFile(
        path=path,
        origin=origin,
        layout="timm",
        config=config,
        preprocessing=from_timm(facts, origin),
        class_names=imagenet_class_names() if of_imagenet else None,
    )


def _timm_names(timm: Any, name: str) -> str:
    known = timm.list_pretrained("*resne[tx]*")
    return f"Did you mean {nearest_name(name, known)!r}? timm.list_pretrained() has all names."


def _from_torch_hub(url: str, origin: str) -> Path:
    """The file of `url` in torch.hub's cache, downloaded where it is missing; its hash is checked.

    The name carries the beginning of the content's SHA-256: a cached file is held to it too.
    """
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    match = HASH_IN_NAME.search(path.name)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), match and match[1], progress=False)
        except (OSError, RuntimeError) as error:  # no network; another hash
            raise UserError(
                f"{origin}: not in the cache ({path}), and the download failed: {error}. Connect "
                f"to the network, or fetch {url} elsewhere and put the file there."
            ) from error
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if match and not found.startswith(match[1]):
        raise UserError(
            f"{origin}: {path} needs a SHA-256 that begins with {match[1]}, as its name says, has "
            f"{found[:12]}…: the download was cut off or changed. Delete the file and repeat."
        )
    return path


Fetch = Callable[[tuple[str, ...], bool], Path | None]  # (names in order, whether it is needed)


def _in_folder(folder: Path) -> Fetch:
    def fetch(names: tuple[str, ...], needed: bool) -> Path | None:
        found = next((folder / name for name in names if (folder / name).is_file()), None)
        if found is None and needed:
            raise UserError(
                f"{folder}: {' or '.join(names)} is needed in a folder of Hugging Face weights, "
                f"got {', '.join(sorted(p.name for p in folder.iterdir())[:8]) or 'nothing'}. "
                "Fetch the missing file, or give the weights file itself."
            )
        return found

    return fetch


def _in_repository(repository: str, revision: str | None, origin: str) -> Fetch:
    def fetch(names: tuple[str, ...], needed: bool) -> Path | None:
        try:
            return _from_hub(repository, names, revision, origin)
        except UserError:
            if needed:
                raise
            return None

    return fetch


def _hub_files(name: str | None) -> tuple[str, ...]:
    return HUB_FILES if name is None else (name,)


def _from_hub(repository: str, names: tuple[str, ...], revision: str | None, origin: str) -> Path:
    """The first of `names` that the repository has, in the hub's cache, or downloaded to it."""
    try:
        from huggingface_hub import hf_hub_download
    except ModuleNotFoundError:
        raise UserError(
            f"{origin}: this needs the library huggingface_hub: pip install 'resnetkit[hf]'."
        ) from None
    reasons: dict[str, str] = {}  # what was said -> of which files
    for name in names:
        try:
            return Path(hf_hub_download(repository, name, revision=revision))
        except Exception as error:  # network, hub, cache and names raise their own kinds
            said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            reasons[said] = f"{reasons[said]}, {name}" if said in reasons else name
    listed = "; ".join(f"{files}: {said}" for said, files in reasons.items())
    raise UserError(
        f"{origin}: not in the Hugging Face cache, and the download failed ({listed}). "
        f"Check the name, and connect to the network; or download {names[0]} of "
        f"huggingface.co/{repository} elsewhere and give its folder."
    )


def _read_json(path: Path | None, origin: str) -> dict[str, Any]:
    assert path is not None
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{origin}: {path.name} is not JSON ({error}); fetch it again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{origin}: {path.name} needs an object, has {type(content).__name__}.")
    return content
