"""What an evaluation is to find out besides the metrics; what has no effect is refused."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from resnetkit.evaluation.attacks import AttackConfig
from resnetkit.evaluation.corruptions.settings import CorruptionConfig
from resnetkit.evaluation.test_time import TestTime, plan_views
from resnetkit.explanation.feature_map import METHODS as MAPS
from resnetkit.export.package import ModelPackage
from resnetkit.types import UserError

Part = Literal["maps", "label-errors", "slices", "gate", "inside", "feature-map", "speed"]
ANYWHERE = ("test_time", "device")  # the others are about the report


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """What an evaluation looks into; parts that are cheap are made by default, see `without`.

    Raises UserError for options that have no effect, or contradict each other.
    """

    test_time: TestTime | None = None
    """Also judge the mean of several looks at each image: flip, five-crop, ten-crop, multi-scale or
    multi-scale-flip, as the tables of the paper do."""
    other_seeds: tuple[Path, ...] = ()
    """Packages of the same recipe with other seeds: how much hangs on the seed."""
    slices: tuple[str, ...] | None = None
    """Which columns to look for weak groups in: those of the manifest, and brightness, contrast,
    sharpness, side. By default these four and the manifest's own."""
    near_duplicates: bool = False
    """Look for images that are nearly one of the training images, not only equal to it: opens all
    of them, a minute for 60,000 small ones."""
    strangers: str | None = None
    """A source with images of another kind, 10,000 at most: how well they are noticed."""
    corruptions: CorruptionConfig | None = None
    """The 15 common corruptions at 5 severities: 75 times the images."""
    attacks: AttackConfig | None = None
    """FGSM and PGD on some of the images."""
    trust: int | None = None
    """Check the maps of every method on so many images, and say which to believe."""
    boxes: Path | None = None
    """Boxes of the objects (Pascal VOC XML or COCO JSON), which the maps should point at."""
    feature_map: str = "pca"
    """How features are laid out: pca, tsne or umap."""
    without: tuple[Part, ...] = ()
    """Parts to leave out: maps, label-errors, slices, gate, inside, feature-map, speed."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""

    def __post_init__(self) -> None:
        for name in self.without:
            if name not in get_args(Part):
                known = ", ".join(get_args(Part))
                raise UserError(f"without: needed parts of {known}, got {name!r}")
        if self.feature_map not in MAPS:
            known = ", ".join(MAPS)
            raise UserError(f"feature-map: needed one of {known}, got {self.feature_map!r}")
        if self.slices is not None and not self.slices:
            raise UserError("slices: needed one column or more, got none; leave them out instead")
        if self.trust is not None and self.trust < 2:
            raise UserError(f"trust: needed two images or more to check maps on, got {self.trust}")
        self._refuse_idle()

    def _refuse_idle(self) -> None:
        left_out = set(self.without)
        idle = {
            "boxes are for the check of maps: ask for it with trust": (
                self.boxes is not None and self.trust is None
            ),
            "slices are left out by without, and named: do one or the other": (
                self.slices is not None and "slices" in left_out
            ),
            "feature-map is left out by without, and chosen: do one or the other": (
                self.feature_map != "pca" and "feature-map" in left_out
            ),
            "near-duplicates are the gate's, which is left out by without: do one or the other": (
                self.near_duplicates and "gate" in left_out
            ),
        }
        for reason, has_no_effect in idle.items():
            if has_no_effect:
                raise UserError(reason)

    def includes(self, part: Part) -> bool:
        """Whether the report has this part."""
        return part not in self.without

    def refuse_without_report(self) -> None:
        """UserError where anything is asked for that only a report tells."""
        defaults = EvaluationOptions()
        for field in fields(self):
            name = field.name
            if name not in ANYWHERE and getattr(self, name) != getattr(defaults, name):
                raise UserError(
                    f"{name.replace('_', '-')} is about the report, and none is written: give a "
                    "folder for it with --out DIR, or leave this out"
                )

    def refuse_unfit(self, package: ModelPackage) -> None:
        """UserError where the package cannot be judged so, before anything is read."""
        task = package.contract.task
        for name in ("corruptions", "attacks"):
            if task == "multi-label" and getattr(self, name) is not None:
                raise UserError(
                    f"{name}: needed a network of one class an image, where an answer is right or "
                    "wrong; this package names several classes an image. Leave them out"
                )
        if self.test_time is not None:
            plan_views(package.contract, self.test_time)
        if self.feature_map == "umap" and find_spec("umap") is None:
            raise UserError(
                "feature-map: umap needs the package umap-learn, which is not installed; run pip "
                "install 'resnetkit[umap]', or choose tsne"
            )
