"""How other libraries name the entries of a residual network: rules, and how to tell them apart.

A rule is a regular expression that fits a whole name, and what the name is with us. A name that no
rule of its layout fits is left over, which `complete.py` refuses unless it is harmless.

Sources: torchvision.models.resnet, timm.models.resnet (which began as torchvision's and kept its
names), transformers' modeling_resnet.py, akamaster/pytorch_resnet_cifar10 and
kuangliu/pytorch-cifar ("cifar"; chenyaofo/pytorch-cifar-models has torchvision's names).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from torch import Tensor

from resnetkit.models.setting_checks import check_choice
from resnetkit.models.weights.complete import Translated
from resnetkit.models.weights.strict_loading import shorten
from resnetkit.models.weights.unwrap import Unwrapped
from resnetkit.types import UserError

Rule = tuple[str, Callable[[re.Match[str]], str]]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way to name entries; weights have it if a name fits `mark` and none fits `never`."""

    mark: str
    never: str = "(?!)"  # fits nothing
    rules: tuple[Rule, ...]


# Deep stems and squeeze-excitation are timm's, not torchvision's.
TIMM_MARK = r"conv1\.0\.weight|layer1\.0\.se\.fc1\.weight"
# Ours are torchvision's and timm's names, and `final_norm` after pre-activation blocks.
OWN_NAMES: tuple[Rule, ...] = (
    (r"(conv1|conv1\.\d|bn1|final_norm)\.[a-z_]+", lambda found: found[0]),
    (r"layer\d+\.\d+\.(conv\d|bn\d|se\.fc\d|downsample\.\d)\.[a-z_]+", lambda found: found[0]),
    (r"fc\.(weight|bias)", lambda found: found[0]),
)

LAYOUTS: dict[str, Layout] = {
    "torchvision": Layout(
        mark=r"fc\.weight|layer\d+\.0\.downsample\.[01]\.weight", never=TIMM_MARK, rules=OWN_NAMES
    ),
    "timm": Layout(mark=TIMM_MARK, rules=OWN_NAMES),
    "huggingface": Layout(
        mark=r"(resnet\.)?embedder\.embedder\.convolution\.weight",
        rules=(
            (r"(?:resnet\.)?embedder\.embedder\.convolution\.(\w+)", lambda f: f"conv1.{f[1]}"),
            (r"(?:resnet\.)?embedder\.embedder\.normalization\.(\w+)", lambda f: f"bn1.{f[1]}"),
            (
                r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)"
                r"\.convolution\.(\w+)",
                lambda f: f"layer{int(f[1]) + 1}.{f[2]}.conv{int(f[3]) + 1}.{f[4]}",
            ),
            (
                r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)"
                r"\.normalization\.(\w+)",
                lambda f: f"layer{int(f[1]) + 1}.{f[2]}.bn{int(f[3]) + 1}.{f[4]}",
            ),
            (
                r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.convolution\.(\w+)",
                lambda f: f"layer{int(f[1]) + 1}.{f[2]}.downsample.0.{f[3]}",
            ),
            (
                r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut"
                r"\.normalization\.(\w+)",
                lambda f: f"layer{int(f[1]) + 1}.{f[2]}.downsample.1.{f[3]}",
            ),
            (r"classifier\.1\.(weight|bias)", lambda f: f"fc.{f[1]}"),
        ),
    ),
    "cifar": Layout(
        mark=r"linear\.weight|layer\d+\.0\.shortcut\.0\.weight",
        rules=(
            (r"(conv1|bn1)\.[a-z_]+", lambda found: found[0]),
            (r"layer\d+\.\d+\.(conv|bn)\d\.[a-z_]+", lambda found: found[0]),
            (r"(layer\d+\.\d+)\.shortcut\.(\d\.[a-z_]+)", lambda f: f"{f[1]}.downsample.{f[2]}"),
            (r"linear\.(weight|bias)", lambda f: f"fc.{f[1]}"),
        ),
    ),
}


def detect_layout(names: Collection[str], origin: str) -> str:
    """The one layout that the names have; UserError if they have none, or marks of several."""
    found = [name for name, layout in LAYOUTS.items() if _has_layout(layout, names)]
    if len(found) == 1:
        return found[0]
    if found:
        marks = [next(filter(re.compile(LAYOUTS[name].mark).fullmatch, names)) for name in found]
        raise UserError(
            f"{origin}: the names of one library are needed, got those of several: "
            f"{', '.join(f'{mark} ({name})' for mark, name in zip(marks, found, strict=True))}. "
            "Save one network alone, or say which layout it is."
        )
    raise UserError(
        f"{origin}: a residual network named as in {', '.join(LAYOUTS)} is needed, got other "
        f"names: {shorten(names)}. Rename them as torchvision's resnet has them (conv1.weight, "
        "layer1.0.conv1.weight, …, fc.bias)."
    )


def _has_layout(layout: Layout, names: Collection[str]) -> bool:
    marked = any(map(re.compile(layout.mark).fullmatch, names))
    return marked and not any(map(re.compile(layout.never).fullmatch, names))


def translate(unwrapped: Unwrapped, layout: str, origin: str) -> Translated:
    """The entries under our keys by the layout's rules; UserError if two get the same key."""
    check_choice(f"{origin}: layout", layout, LAYOUTS)
    rules = [(re.compile(pattern), rename) for pattern, rename in LAYOUTS[layout].rules]
    state: dict[str, Tensor] = {}
    sources: dict[str, str] = {}
    left_over: list[str] = []
    for name, tensor in unwrapped.tensors.items():
        ours = _rename(name, rules)
        if ours is None:
            left_over.append(name)
            continue
        if ours in state:
            raise UserError(
                f"{origin}: one entry per name is needed, got {sources[ours]} and {name}, which "
                f"are both {ours}; save one network alone."
            )
        state[ours], sources[ours] = tensor, unwrapped.source_names[name]
    return Translated(
        state=state,
        layout=layout,
        source_names=sources,
        left_over=tuple(left_over),
        notes=unwrapped.notes,
    )


def _rename(
    name: str, rules: list[tuple[re.Pattern[str], Callable[[re.Match[str]], str]]]
) -> str | None:
    for pattern, rename in rules:
        if found := pattern.fullmatch(name):
            return rename(found)
    return None
