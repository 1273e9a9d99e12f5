"""Named, complete experiments: each recipe is a function that returns an Experiment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from resnetkit.config import suggest
from resnetkit.experiment import Experiment
from resnetkit.recipes.cifar10 import (
    cifar10_resnet18,
    cifar10_resnet20,
    cifar10_resnet20_fast,
    cifar10_resnet20_fast_augmix,
    cifar10_resnet32,
    cifar10_resnet44,
    cifar10_resnet56,
    cifar10_resnet110,
)
from resnetkit.recipes.digits import digits
from resnetkit.recipes.folder import folder
from resnetkit.recipes.imagenet import imagenet_resnet50
from resnetkit.recipes.tiny_imagenet import tiny_imagenet_resnet18_slim
from resnetkit.types import UserError

RECIPES: dict[str, Callable[[], Experiment]] = {
    "digits": digits,
    "folder": folder,
    "cifar10-resnet20": cifar10_resnet20,
    "cifar10-resnet32": cifar10_resnet32,
    "cifar10-resnet44": cifar10_resnet44,
    "cifar10-resnet56": cifar10_resnet56,
    "cifar10-resnet110": cifar10_resnet110,
    "cifar10-resnet20-fast": cifar10_resnet20_fast,
    "cifar10-resnet20-fast-augmix": cifar10_resnet20_fast_augmix,
    "cifar10-resnet18": cifar10_resnet18,
    "imagenet-resnet50": imagenet_resnet50,
    "tiny-imagenet-resnet18-slim": tiny_imagenet_resnet18_slim,
}


def load_recipe(name: str) -> Experiment:
    """The experiment of a recipe by name; UserError with the nearest name when unknown."""
    if name not in RECIPES:
        hint = suggest(name, RECIPES) or "."
        raise UserError(f"unknown recipe {name!r}{hint} Known: {', '.join(RECIPES)}")
    return replace(RECIPES[name](), recipe=name)
