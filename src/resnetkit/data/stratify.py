"""Dealing images to parts so that every part gets the wanted share of every class.

Pure functions of labels, groups and keys. `keys` float [N] say in which order images are dealt:
drawn from their names, they make a split that one more image hardly changes.
"""

from __future__ import annotations

import numpy as np

ALONE = -1  # the group of an image that is in none


def deal(
    labels: np.ndarray, shares: np.ndarray, keys: np.ndarray, groups: np.ndarray | None = None
) -> np.ndarray:
    """The part of each image, int64 [N] in [0, S), for `shares` [S] of every class; 0 gets none.

    `labels` are int64 [N], or indicators [N,K] of which an image may have several or none. Images
    of one of the `groups` int64 [N] (`ALONE` and groups of one aside) come into the same part:

    1. The groups, largest first and equal ones by key, each to the part where it raises the
       chi-square distance between the images a part has of each class and its share of them
       least: the part that lacks its classes most, in proportion. As scikit-learn's
       `StratifiedGroupKFold` does for equal folds, with the spread of shares as its distance.
    2. The single images fill up what is missing. With one label each, by class and in the order of
       their keys: the shares are met to one image where the groups allow it, and no part is left
       without a class of which there are images enough. With several labels by iterative
       stratification (Sechidis et al. 2011, "On the stratification of multi-label data", figure 1).
    """
    if not len(labels):
        return np.zeros(0, np.int64)
    used = np.flatnonzero(np.asarray(shares) > 0)
    shares = np.asarray(shares, np.float64)[used] / np.sum(shares)
    rows, columns = _entries(labels)
    targets = np.outer(shares, np.bincount(columns))  # images of each class each part should have
    parts = np.full(len(labels), ALONE, np.int64)
    have = np.zeros_like(targets)
    together = _in_groups(groups) if groups is not None else np.zeros(len(labels), bool)
    if groups is not None and together.any():
        inside = together[rows]
        members = np.unique(groups, return_inverse=True)[1]
        counts = (members[rows[inside]], columns[inside])
        chosen = _deal_groups(counts, _group_order(members, together, keys), targets, have)
        parts[together] = chosen[members[together]]
    if labels.ndim == 1:
        _fill_by_class(labels, parts, targets - have, keys)
    else:
        _fill_by_labels(labels, parts, targets - have, keys)
    return used[parts]


def _entries(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which image shows which class: int64 [E] each; with several labels a last class has all."""
    if labels.ndim == 1:
        return np.arange(len(labels)), labels
    rows, columns = np.nonzero(labels)
    every = np.arange(len(labels))
    return np.append(rows, every), np.append(columns, np.full(len(labels), labels.shape[1]))


def _in_groups(groups: np.ndarray) -> np.ndarray:
    """Which images share their group with another: bool [N]."""
    _, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return (groups != ALONE) & (sizes[members] > 1)


def _group_order(members: np.ndarray, together: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The numbers of the groups of several images, the largest first, equal ones by lowest key."""
    sizes = np.bincount(members[together], minlength=members.max() + 1)
    lowest = np.full(len(sizes), np.inf)
    np.minimum.at(lowest, members[together], keys[together])
    order = np.lexsort((lowest, -sizes))
    return order[: int((sizes > 0).sum())]


def _deal_groups(
    entries: tuple[np.ndarray, np.ndarray], order: np.ndarray, targets: np.ndarray, have: np.ndarray
) -> np.ndarray:
    """The part of each group, int64 [G]; `have` is brought up to date.

    `entries` are (group, class) once for each image of a group that shows the class.
    """
    number_of_classes = targets.shape[1]
    codes, counts = np.unique(entries[0] * number_of_classes + entries[1], return_counts=True)
    owners, classes = np.divmod(codes, number_of_classes)
    starts, stops = (np.searchsorted(owners, order, side) for side in ("left", "right"))
    chosen = np.full(order.max() + 1, ALONE, np.int64)
    for group, start, stop in zip(order, starts, stops, strict=True):
        shown, count = classes[start:stop], counts[start:stop]
        wanted = targets[:, shown]
        rise = ((2 * (have[:, shown] - wanted) + count) * count / wanted).sum(axis=1)
        part = int(rise.argmin())
        have[part, shown] += count
        chosen[group] = part
    return chosen


def _fill_by_class(
    labels: np.ndarray, parts: np.ndarray, missing: np.ndarray, keys: np.ndarray
) -> None:
    """Give each image without a part one, by class; `missing` [S,K] may be below 0."""
    shown = np.zeros(missing.shape, np.int64)
    dealt = parts != ALONE
    np.add.at(shown, (parts[dealt], labels[dealt]), 1)
    left = np.flatnonzero(~dealt)
    order = left[np.lexsort((keys[left], labels[left]))]
    classes, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    debt = np.zeros(len(missing))  # what rounding has cost each part so far
    for number, start, count in zip(classes, starts, counts, strict=True):
        wanted = np.clip(missing[:, number], 0, None)
        wanted *= count / wanted.sum()
        each = _round(wanted, int(count), debt)
        debt += wanted - each
        _spare_one(each, shown[:, number])
        # The last part first, so that where the border moves it moves between neighbours.
        parts[order[start : start + count]] = np.repeat(np.arange(len(each))[::-1], each[::-1])


def _round(wanted: np.ndarray, count: int, debt: np.ndarray) -> np.ndarray:
    """`wanted` [S] up or down to whole numbers that sum to `count`: int64 [S].

    Up where the fraction with the `debt` of earlier classes is largest: else every class of twelve
    would give its odd images to the same of five folds.
    """
    each = np.floor(wanted + 1e-9).astype(np.int64)
    fraction = wanted - each
    order = np.lexsort((-(fraction + debt), fraction < 1e-9))
    each[order[: count - int(each.sum())]] += 1
    return each


def _spare_one(each: np.ndarray, shown: np.ndarray) -> None:
    """Give a part that would be left with none of a class an image that another can spare."""
    for part in range(len(each)):
        donor = int(np.where(each > 0, each + shown, 0).argmax())
        if each[part] + shown[part] == 0 and each[donor] + shown[donor] > 1:
            each[donor] -= 1
            each[part] += 1


def _fill_by_labels(
    labels: np.ndarray, parts: np.ndarray, missing: np.ndarray, keys: np.ndarray
) -> None:
    """Iterative stratification of the images without a part; `missing` [S,K+1] may be below 0.

    The label of which the fewest images are left comes first; each of its images goes to the part
    that lacks this label most, of equal ones to the one that lacks images most.
    """
    left = np.flatnonzero(parts == ALONE)
    order = left[np.argsort(keys[left], kind="stable")]
    rows, columns = np.nonzero(labels[order])
    own = np.split(columns, np.searchsorted(rows, np.arange(1, len(order))))  # labels by image
    by_label = np.argsort(columns, kind="stable")
    bounds = np.searchsorted(columns[by_label], np.arange(labels.shape[1] + 1))
    count = np.diff(bounds)
    lacking: list[list[float]] = missing.T.tolist()  # [K+1][S]
    every = lacking[-1]
    while count.any():
        label = int(np.where(count > 0, count, np.iinfo(np.int64).max).argmin())
        for row in rows[by_label[bounds[label] : bounds[label + 1]]].tolist():
            if parts[order[row]] == ALONE:
                part = _neediest(lacking[label], every)
                parts[order[row]] = part
                _take_from(lacking, every, own[row], part)
                count[own[row]] -= 1
    for index in order[parts[order] == ALONE].tolist():  # images without any label
        part = _neediest(every, every)
        parts[index] = part
        every[part] -= 1


def _neediest(lacking: list[float], every: list[float]) -> int:
    return max(range(len(every)), key=lambda part: (lacking[part], every[part]))


def _take_from(
    lacking: list[list[float]], every: list[float], labels: np.ndarray, part: int
) -> None:
    for label in labels.tolist():
        lacking[label][part] -= 1
    every[part] -= 1
