"""FinetuneConfig: which weights to start from and how they become a network of one's own."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from resnetkit.models.heads import HeadKind
from resnetkit.types import UserError

Classes = Literal["fresh", "same", "add"]
Strategy = Literal[
    "auto",
    "linear-probe",
    "full",
    "lp-ft",
    "gradual",
    "layer-decay",
    "surgical",
    "bn-only",
    "adapters",
]


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """What is trained on top of which weights; `None` and "auto" take the strategy's own default.

    `resnetkit finetune` has the rule decide most of what is left open, by the images at hand.
    Raises UserError for values out of range and for settings without effect on the strategy.
    """

    weights: str = "shipped"
    """A package folder, a file of weights, a name such as torchvision:resnet50, or shipped: the
    small backbone that comes with this project."""
    classes: Classes = "fresh"
    """fresh: a new head for the classes of the data; same: the package goes on learning its own
    classes; add: its head gets those of the data that it lacks as well."""
    replay: str | None = None
    """Images the package was trained on, to be learnt again among the new ones (with classes same
    or add), so that old classes are not forgotten."""
    replay_per_class: int | None = None
    """How many of them of each old class; all by default."""
    strategy: Strategy = "auto"
    """Which parts train and when: linear-probe (the head alone), full, lp-ft (the head, then all),
    gradual (stage by stage from the top), layer-decay (lower parts slower), surgical (stem, first
    stage and head), bn-only (norm layers and head), adapters (small convolutions beside the frozen
    ones); auto decides by the number of images."""
    head: HeadKind = "linear"
    """linear, cosine (cosines times a learned scale), or mlp (one hidden layer)."""
    head_hidden: int | None = None
    """mlp only: width of the hidden layer; as wide as the features by default."""
    dropout: float = 0.0
    """Rate before the classifier, and between the layers of an mlp."""
    probe: Literal["auto", "lbfgs", "sgd"] = "auto"
    """How linear-probe, and the first phase of lp-ft and gradual, train the head: to the optimum on
    stored features (lbfgs; linear heads only), or by steps like all else; auto: the first where it
    can."""
    head_share: float | None = None
    """lp-ft and gradual with probe sgd: share of the epochs for the head alone; 0.2 by default."""
    backbone_rate: float | None = None
    """Learning rate of the pretrained parts as a factor of the head's; 0.2 by default, 1 with
    bn-only and adapters."""
    rate_decay: float | None = None
    """layer-decay only: by how much a part learns slower than the one above it; 0.5 by default."""
    batch_norm: Literal["auto", "frozen", "train"] = "auto"
    """Statistics of BatchNorm in the parts that train: kept, or those of the batches; scale and
    shift train either way. auto: train with bn-only, else by the number of images (frozen where no
    rule decides). Parts that do not train are always frozen."""
    adapter_rank: int | None = None
    """adapters only: channels of an adapter; 4 by default."""
    l2_sp: float = 0.0
    """Weight of half the squared distance between trained weights and those they started from, in
    place of weight decay there (L2-SP, Li 2018); 0 is off. Li's 0.01 to 0.1 are for SGD: AdamW
    rescales the gradient it joins, and wants a value tried out."""
    bss: float = 0.0
    """Weight of the squared smallest singular value of a batch's features (BSS, Chen 2019); 0 is
    off, 0.001 is usual."""
    cache: Literal["auto", "yes", "no"] = "auto"
    """Whether what the frozen parts give is computed once and stored; auto: where it saves time."""
    views: int | None = None
    """Augmented views of each image in the stored features; decided by the cache by default."""

    def __post_init__(self) -> None:
        if not self.weights:
            raise UserError("finetuning.weights must name weights, got ''; leave it out: shipped")
        _check_ranges(self)
        _check_head(self)
        _check_continuing(self)
        if self.strategy != "auto":  # what auto becomes is checked then
            for name, strategies in ACTS_ON.items():
                _check_effect(self, name, strategies)


# Which strategies a setting acts on, the nearest substitute first. All others act on every one.
WITH_PROBE = ("linear-probe", "lp-ft", "gradual")
TRAINING_WEIGHTS = ("full", "lp-ft", "gradual", "layer-decay", "surgical", "bn-only")
ACTS_ON: dict[str, tuple[Strategy, ...]] = {
    "probe": ("lp-ft", "linear-probe", "gradual"),
    "head_share": ("lp-ft", "gradual"),
    "backbone_rate": (*TRAINING_WEIGHTS, "adapters"),
    "rate_decay": ("layer-decay",),
    "batch_norm": (*TRAINING_WEIGHTS, "adapters"),
    "adapter_rank": ("adapters",),
    "l2_sp": TRAINING_WEIGHTS,
    "bss": (*TRAINING_WEIGHTS, "adapters"),
    "cache": WITH_PROBE,
    "views": WITH_PROBE,
}


def probe_solver(config: FinetuneConfig) -> Literal["lbfgs", "sgd"]:
    """How the head is trained alone."""
    if config.probe != "auto":
        return config.probe
    return "lbfgs" if config.head == "linear" else "sgd"


def _check_ranges(config: FinetuneConfig) -> None:
    for name in ("head_hidden", "adapter_rank", "views", "replay_per_class"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise UserError(f"finetuning.{name} must be 1 or more, got {value}")
    for name in ("head_share", "rate_decay"):
        value = getattr(config, name)
        if value is not None and not 0 < value < 1:
            raise UserError(f"finetuning.{name} must lie between 0 and 1, got {value:g}")
    if config.backbone_rate is not None and config.backbone_rate <= 0:
        raise UserError(
            f"finetuning.backbone_rate must be above 0, got {config.backbone_rate:g}: what should "
            "not learn is frozen by finetuning.strategy linear-probe"
        )
    if not 0 <= config.dropout < 1:
        raise UserError(f"finetuning.dropout must be in [0, 1), got {config.dropout:g}")
    for name in ("l2_sp", "bss"):
        if getattr(config, name) < 0:
            raise UserError(f"finetuning.{name} must be 0 or more, got {getattr(config, name):g}")


def _check_head(config: FinetuneConfig) -> None:
    if config.head_hidden is not None and config.head != "mlp":
        raise UserError(
            f"finetuning.head_hidden has no effect with finetuning.head {config.head}: leave it "
            "out, or choose head mlp"
        )
    if config.probe == "lbfgs" and config.head != "linear":
        raise UserError(
            f"finetuning.probe lbfgs fits a linear head, got finetuning.head {config.head}: choose "
            "probe sgd, or head linear"
        )
    by_lbfgs = probe_solver(config) == "lbfgs"
    if config.head_share is not None and config.strategy != "auto" and by_lbfgs:
        raise UserError(
            "finetuning.head_share has no effect with finetuning.probe lbfgs, which takes no "
            "epochs: leave it out, or choose probe sgd"
        )
    if config.dropout and config.strategy == "linear-probe" and by_lbfgs:
        raise UserError(
            "finetuning.dropout has no effect with finetuning.probe lbfgs, which chooses its own "
            "regularisation: leave it out, or choose probe sgd"
        )
    if config.views is not None and config.cache == "no":
        raise UserError(
            "finetuning.views has no effect with finetuning.cache no: leave one of them out"
        )


def _check_continuing(config: FinetuneConfig) -> None:
    if config.classes == "fresh" and config.replay is not None:
        raise UserError(
            "finetuning.replay has no effect with finetuning.classes fresh, whose new head knows "
            "no old class: leave it out, or choose classes same or add"
        )
    if config.replay is None and config.replay_per_class is not None:
        raise UserError(
            "finetuning.replay_per_class has no effect without finetuning.replay: give the images "
            "to replay as well, or leave it out"
        )
    if config.classes != "fresh" and (config.head != "linear" or config.head_hidden is not None):
        raise UserError(
            f"finetuning.head {config.head} has no effect with finetuning.classes "
            f"{config.classes}, which keeps the head of the package: leave it out, or choose "
            "classes fresh"
        )


def _check_effect(config: FinetuneConfig, name: str, strategies: tuple[Strategy, ...]) -> None:
    value = getattr(config, name)
    default = next(field.default for field in fields(config) if field.name == name)
    if value != default and config.strategy not in strategies:
        raise UserError(
            f"finetuning.{name} {value} has no effect with strategy {config.strategy}: leave it "
            f"out, or choose finetuning.strategy {' or '.join(strategies)}"
        )
