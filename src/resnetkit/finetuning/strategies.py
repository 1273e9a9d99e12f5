"""The strategies: from settings and the names of a network's parts to a plan.

Papers: Howard & Ruder 2018 arXiv:1801.06146 (gradual unfreezing, discriminative rates), Kumar 2022
arXiv:2202.10054 (lp-ft), Lee 2023 arXiv:2210.11466 (surgical), Frankle 2020 arXiv:2003.00152
(bn-only), Hu 2021 arXiv:2106.09685 (adapters).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from resnetkit.finetuning.plan import BatchNormMode, Part, Phase, Plan, Trains
from resnetkit.finetuning.settings import FinetuneConfig, probe_solver
from resnetkit.types import UserError

HEAD = "head"
HEAD_SHARE = 0.2  # of the epochs, where the head is first trained alone by steps
BACKBONE_RATE = 0.2  # of the head's: 0.01 with sgd, a tenth of what training from scratch takes
FEW_PARAMETERS = ("bn-only", "adapters")  # too few to forget much: they learn at the head's rate
RATE_DECAY = 0.5


def build_plan(part_names: Sequence[str], config: FinetuneConfig, epochs: float) -> Plan:
    """The plan of `config` for a network of these parts; by steps it takes `epochs` in all.

    Raises UserError for a strategy that such a network has too few parts for. What depends on the
    layers inside the parts is left to `settling.settle_plan`.
    """
    assert config.strategy != "auto", "auto is settled before a plan is built"
    assert part_names[-1] == HEAD
    assert epochs > 0
    phases = STRATEGIES[config.strategy](part_names, config, epochs)
    return Plan(strategy=config.strategy, phases=phases)


def linear_probe(
    part_names: Sequence[str], config: FinetuneConfig, epochs: float
) -> tuple[Phase, ...]:
    """The head alone, on features that stay as they are."""
    return (_probe("linear-probe", part_names, config, epochs),)


def full(part_names: Sequence[str], config: FinetuneConfig, epochs: float) -> tuple[Phase, ...]:
    """Everything from the first step on, pretrained parts at a lower rate than the new head."""
    return (_phase("full", epochs, _train_from(part_names[0], part_names, config)),)


def lp_ft(part_names: Sequence[str], config: FinetuneConfig, epochs: float) -> tuple[Phase, ...]:
    """The head alone, then everything: good features are not bent to fit a random head."""
    head_epochs, full_epochs = _lengths(config, epochs, unfreezings=1)
    return (
        _probe("probe", part_names, config, head_epochs),
        _phase("full", full_epochs, _train_from(part_names[0], part_names, config)),
    )


def gradual(part_names: Sequence[str], config: FinetuneConfig, epochs: float) -> tuple[Phase, ...]:
    """The head alone, then one more stage from the top in each phase; the stem joins the first."""
    stem, *stages, _ = part_names
    if not stages:
        raise _too_few_parts("gradual unfreezes stage by stage", part_names, "lp-ft")
    lowest = [*reversed(stages[1:]), stem]
    head_epochs, *lengths = _lengths(config, epochs, unfreezings=len(lowest))
    return (
        _probe("probe", part_names, config, head_epochs),
        *(
            _phase(f"from-{name}", length, _train_from(name, part_names, config))
            for name, length in zip(lowest, lengths, strict=True)
        ),
    )


def layer_decay(
    part_names: Sequence[str], config: FinetuneConfig, epochs: float
) -> tuple[Phase, ...]:
    """Everything, each part more slowly than the one above it: lower features are more general."""
    decay = RATE_DECAY if config.rate_decay is None else config.rate_decay
    pretrained = part_names[:-1]
    parts = [
        _part(name, config, "everything", slowed=decay**below_top)
        for below_top, name in enumerate(reversed(pretrained))
    ]
    return (_phase("layer-decay", epochs, [*reversed(parts), _head()]),)


def surgical(part_names: Sequence[str], config: FinetuneConfig, epochs: float) -> tuple[Phase, ...]:
    """Stem, first stage and head: where the images look different but show the same things."""
    if len(part_names) < 4:
        raise _too_few_parts("surgical leaves the later stages frozen", part_names, "full")
    chosen = part_names[:2]
    parts = [
        _part(name, config, "everything" if name in chosen else "nothing") for name in part_names
    ]
    return (_phase("surgical", epochs, parts),)


def bn_only(part_names: Sequence[str], config: FinetuneConfig, epochs: float) -> tuple[Phase, ...]:
    """Scales, shifts and statistics of the norm layers, and the head."""
    parts = [_part(name, config, "norms") for name in part_names]
    return (_phase("bn-only", epochs, parts),)


def adapters(part_names: Sequence[str], config: FinetuneConfig, epochs: float) -> tuple[Phase, ...]:
    """Adapters beside frozen convolutions, and the head."""
    parts = [_part(name, config, "adapters") for name in part_names]
    return (_phase("adapters", epochs, parts),)


STRATEGIES: dict[str, Callable[[Sequence[str], FinetuneConfig, float], tuple[Phase, ...]]] = {
    "linear-probe": linear_probe,
    "full": full,
    "lp-ft": lp_ft,
    "gradual": gradual,
    "layer-decay": layer_decay,
    "surgical": surgical,
    "bn-only": bn_only,
    "adapters": adapters,
}


def _probe(name: str, part_names: Sequence[str], config: FinetuneConfig, epochs: float) -> Phase:
    parts = _train_from(HEAD, part_names, config)
    if probe_solver(config) == "lbfgs":
        return Phase(name=name, epochs=0.0, solver="lbfgs", parts=tuple(parts))
    return _phase(name, epochs, parts)


def _phase(name: str, epochs: float, parts: Sequence[Part]) -> Phase:
    return Phase(name=name, epochs=epochs, solver="gradient", parts=tuple(parts))


def _train_from(lowest: str, part_names: Sequence[str], config: FinetuneConfig) -> list[Part]:
    """All parts: those from `lowest` on train, those below it do not."""
    first = part_names.index(lowest)
    return [
        _part(name, config, "everything" if number >= first else "nothing")
        for number, name in enumerate(part_names)
    ]


def _part(name: str, config: FinetuneConfig, trains: Trains, slowed: float = 1.0) -> Part:
    """A pretrained part as `config` treats it; the head always trains in full."""
    if name == HEAD:
        return _head()
    rate = config.backbone_rate
    if rate is None:
        rate = 1.0 if config.strategy in FEW_PARAMETERS else BACKBONE_RATE
    if trains == "nothing":
        return Part(name=name, trains=trains, batch_norm="frozen", rate_factor=rate)
    batch_norm: BatchNormMode = "train" if config.strategy == "bn-only" else "frozen"
    if config.batch_norm != "auto":
        batch_norm = config.batch_norm
    return Part(name=name, trains=trains, batch_norm=batch_norm, rate_factor=rate * slowed)


def _head() -> Part:
    return Part(name=HEAD, trains="everything", batch_norm="train", rate_factor=1.0)


def _lengths(config: FinetuneConfig, epochs: float, unfreezings: int) -> list[float]:
    """Epochs of the head alone (0 with L-BFGS) and of each phase after it, which are equally long.

    Phases begin at whole epochs wherever that leaves none without one.
    """
    by_steps = probe_solver(config) == "sgd"
    share = (HEAD_SHARE if config.head_share is None else config.head_share) if by_steps else 0.0
    starts = [epochs * (share + (1 - share) * n / unfreezings) for n in range(unfreezings)]
    whole = _differences([round(start) for start in starts], epochs)
    if min(whole if by_steps else whole[1:]) >= 1:
        return whole
    return _differences(starts, epochs)


def _differences(starts: Sequence[float], end: float) -> list[float]:
    return [after - before for before, after in pairwise([0.0, *starts, end])]


def _too_few_parts(what: str, part_names: Sequence[str], nearest: str) -> UserError:
    return UserError(
        f"finetuning.strategy {what}, got a network of {', '.join(part_names)}: choose "
        f"strategy {nearest}"
    )
