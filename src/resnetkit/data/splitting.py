"""`data split`: dealing the images of a source to splits or folds, kept as a manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from resnetkit.data.columns import text_keys
from resnetkit.data.content import Progress, hash_contents, is_known
from resnetkit.data.draws import stream, uniform_draws
from resnetkit.data.encoded import picture_groups
from resnetkit.data.manifest_table import (
    NONE,
    ManifestTable,
    read_group_column,
    read_manifest_table,
    tabulate,
)
from resnetkit.data.manifest_writer import write_manifest_table
from resnetkit.data.overlay import TEST, TRAIN, apply_manifest, refuse_changed
from resnetkit.data.source_types import SPLIT_NAMES, Source, Split
from resnetkit.data.sources import is_manifest, load_source, refuse_inside
from resnetkit.data.split_plan import (
    NEAR_DUPLICATES,
    SplitPlan,
    SplitReport,
    report_split,
    split_shares,
)
from resnetkit.data.splits import concatenate
from resnetkit.data.stratify import deal
from resnetkit.types import UserError

LEAK = "shared-between-splits"

FindGroups = Callable[[Split, Progress], np.ndarray]  # group of each image, int64 [N]; NONE alone


def split_source(
    location: str,
    out_file: Path,
    plan: SplitPlan,
    *,
    manifest: Path | None = None,
    find_groups: FindGroups | None = None,
    progress: Progress,
) -> SplitReport:
    """Deal the images of `location` as `plan` says, and write the manifest `out_file`.

    Labels, exclusions and groups are those of `manifest` where it is given (`data check` writes
    one). `find_groups` is asked for near-duplicates that no manifest names. Where an image goes
    follows from the seed, its name and its class: see `stratify.deal`. Raises UserError for a
    manifest that does not fit the source, and for a place that must not be written.
    """
    _refuse_place(location, out_file)
    source = load_source(location, load_source(location, ()).present)
    whole = concatenate([source.splits[name] for name in SPLIT_NAMES if name in source.splits])
    if manifest is None and is_manifest(location):
        manifest = Path(location).expanduser()
    table = _describe(source, manifest, plan, progress)
    groups = _groups(whole, table, plan, find_groups, progress)
    assert table.splits is not None
    if plan.deal_test_anew and not (table.splits == TEST).any():
        raise UserError(
            f"{manifest or location}: there is no test split to deal anew, all images are dealt "
            "anyway; leave --deal-test-anew out"
        )
    fixed = np.zeros(len(table), bool) if plan.deal_test_anew else table.splits == TEST
    leaking = _leaking(groups, fixed) & ~table.exclude
    table = _exclude(table, leaking)
    pool = ~table.exclude & ~fixed
    if not pool.any():
        raise UserError(f"{location}: there is no image left to deal; all are excluded or for test")
    splits, folds = _deal(table, groups, pool, plan)
    table = replace(
        table,
        splits=splits,
        fold=folds,
        group=table.group if groups is None else groups,
        sha256=_hashes(whole, table, progress),
        source=location,
        notes={**table.notes, "split": asdict(plan)},
    )
    written = write_manifest_table(out_file, table)
    return report_split(out_file, written, plan, fixed, int(leaking.sum()))


def _refuse_place(location: str, out_file: Path) -> None:
    refuse_inside(location, out_file)
    if out_file.exists():
        raise UserError(
            f"{out_file}: there is something already; trainings may depend on it. Give another "
            "name, or remove it first"
        )


def _describe(
    source: Source, manifest: Path | None, plan: SplitPlan, progress: Progress
) -> ManifestTable:
    """The table of the source's images, with what the manifest says of them."""
    column = None if plan.group_by == NEAR_DUPLICATES else plan.group_by
    if manifest is None:
        if column is not None:
            raise UserError(
                f"To group by {column!r} a manifest with this column is needed; give it, or group "
                f"by {NEAR_DUPLICATES}"
            )
        return tabulate(source)
    described = read_manifest_table(manifest)
    if column is not None:
        described = replace(described, group=read_group_column(manifest, column))
    overlaid = apply_manifest(source, described, str(manifest))
    for name in overlaid.rows:
        refuse_changed(overlaid, name, progress)
    now = tabulate(source)  # of files whose content was found to be the same
    return replace(overlaid.table, sizes=now.sizes, modified_ns=now.modified_ns)


def _groups(
    whole: Split,
    table: ManifestTable,
    plan: SplitPlan,
    find_groups: FindGroups | None,
    progress: Progress,
) -> np.ndarray | None:
    """The group of each image, int64 [N], or None: those of the manifest where it has any.

    Crops of one picture are a group always, whatever was asked for.
    """
    pictures = None if whole.encoded is None else picture_groups(whole.encoded)
    if plan.group_by is None:
        return pictures
    groups = table.group
    if groups is None:
        assert find_groups is not None, "near-duplicates without anyone to find them"
        groups = find_groups(whole, progress)
    return groups if pictures is None else _join(groups, pictures)


def _join(groups: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """The smallest groups, int64 [N], that part neither `groups` (NONE: alone) nor `pictures`."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes = int(pictures.max()) + 1  # the pictures first, then the groups
    linked = groups != NONE
    edges = pictures[linked], groups[linked] + nodes
    size = nodes + int(groups.max(initial=0)) + 1
    graph = coo_array((np.ones(len(edges[0]), np.int8), edges), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    return component[pictures].astype(np.int64)


def _leaking(groups: np.ndarray | None, fixed: np.ndarray) -> np.ndarray:
    """Images that would be trained on although one of their group is for test: bool [N]."""
    if groups is None or not fixed.any():
        return np.zeros(len(fixed), bool)
    touched = np.unique(groups[fixed & (groups != NONE)])
    return ~fixed & np.isin(groups, touched) & (groups != NONE)


def _exclude(table: ManifestTable, leaking: np.ndarray) -> ManifestTable:
    if not leaking.any():
        return table
    before = table.findings if table.findings is not None else [()] * len(table)
    findings = [
        (*kinds, LEAK) if leaks and LEAK not in kinds else tuple(kinds)
        for kinds, leaks in zip(before, leaking, strict=True)
    ]
    return replace(table, findings=findings, exclude=table.exclude | leaking)


def _deal(
    table: ManifestTable, groups: np.ndarray | None, pool: np.ndarray, plan: SplitPlan
) -> tuple[np.ndarray, np.ndarray | None]:
    """The split int8 [N] and fold int64 [N] of each image; outside the pool as they were."""
    assert table.splits is not None
    keys = uniform_draws((plan.seed, stream("data split")), text_keys(table.paths), 1)[:, 0]

    def deal_out(places: np.ndarray, shares: np.ndarray) -> np.ndarray:
        inside = None if groups is None else groups[places]
        return deal(table.labels[places], shares, keys[places], inside)

    splits, places = table.splits.copy(), np.flatnonzero(pool)
    shares = split_shares(plan, bool((table.splits[~pool & ~table.exclude] == TEST).any()))
    splits[places] = deal_out(places, shares)
    if plan.folds is None:
        return splits, None
    folds = np.full(len(table), NONE, np.int64)
    rest = places[splits[places] == TRAIN]
    _refuse_many_folds(table, rest, plan.folds)
    folds[rest] = deal_out(rest, np.full(plan.folds, 1 / plan.folds))
    empty = np.flatnonzero(np.bincount(folds[rest], minlength=plan.folds) == 0)
    if len(empty):
        raise UserError(
            f"--folds {plan.folds}: the images that belong together fill only "
            f"{plan.folds - len(empty)} of the folds; ask for fewer folds"
        )
    return splits, folds


def _refuse_many_folds(table: ManifestTable, rest: np.ndarray, folds: int) -> None:
    """UserError where no class has an image for each of `folds`."""
    labels = table.labels[rest]
    counts = (labels > 0).sum(axis=0) if labels.ndim == 2 else np.bincount(labels)
    largest = int(counts.max(initial=0))
    if folds > largest:
        name = table.class_names[int(counts.argmax())]
        raise UserError(
            f"--folds {folds}: the largest class, {name!r}, has {largest} image(s) to deal, so "
            f"that no class would be in every fold; ask for {largest} folds or fewer"
            if largest > 1
            else f"--folds {folds}: no class has two images to deal; folds need more images"
        )


def _hashes(whole: Split, table: ManifestTable, progress: Progress) -> np.ndarray:
    """Content hashes, uint8 [N,32]: those that are known, the others computed."""
    hashes = np.zeros((len(table), 32), np.uint8) if table.sha256 is None else table.sha256.copy()
    unknown = np.flatnonzero(~is_known(hashes))
    hashes[unknown] = hash_contents(whole, unknown, progress)
    return hashes
