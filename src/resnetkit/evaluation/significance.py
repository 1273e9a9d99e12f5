"""Whether a difference is more than chance: paired and unpaired tests, and many of them at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

SIGNIFICANCE = 0.05  # of being told of a difference, in any class or slice, where there is none


def exact_mcnemar(lost: int, gained: int) -> float:
    """Two-sided p-value that a fair coin is as uneven as `lost` against `gained` (McNemar 1947).

    Binomial, summed in integers, so that it is exact for any number of images; `exact=True` of
    statsmodels' `mcnemar`.
    """
    tosses = lost + gained
    ways = tail = 1  # of `tosses` coins to show 0, 1, 2 … heads
    for heads in range(min(lost, gained)):
        ways = ways * (tosses - heads) // (heads + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**tosses)


def fisher_exact(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Two-sided p-value that two separate sets, each (correct, total), share one proportion."""
    from scipy.stats import fisher_exact as scipys

    table = [[correct, total - correct] for correct, total in (first, second)]
    result: Any = scipys(table)  # its type is not declared
    return float(result.pvalue)


def resampled_p_value(values: np.ndarray, estimate: float) -> float | None:
    """Two-sided p-value that the true difference is 0, from resampled differences `values` [R].

    Normal, with the spread of the resamples and the estimate less their bias: the resamples alone
    could not show a p-value below one in their number, and of many classes the smallest must be.
    NaN are resamples without the figure; None where fewer than two have it.
    """
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return None
    spread = float(known.std(ddof=1))
    if spread < 1e-12:  # the same difference in every resample
        return float(abs(estimate) < 1e-12)
    return math.erfc(abs(2 * estimate - float(known.mean())) / spread / math.sqrt(2))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values made to hold for all of them together (Holm 1979, section 3); None is no test.

    Each adjusted one is at most `SIGNIFICANCE` where Holm's procedure at that level rejects.
    """
    tested = [index for index, p_value in enumerate(p_values) if p_value is not None]
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(tested, key=lambda index: p_values[index] or 0.0)):
        largest = max(largest, min(1.0, (len(tested) - rank) * (p_values[index] or 0.0)))
        adjusted[index] = largest
    return adjusted
