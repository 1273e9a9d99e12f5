"""The built-in `digits`: 1,797 handwritten digits of 8x8 pixels that come with scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from resnetkit.data.source_types import Source, Split
from resnetkit.data.splits import stratified_split

TEST_FRACTION = 0.2
SPLIT_SEED = 0  # with TEST_FRACTION, part of what `digits` means: never changed, a test pins it


def load_digits(splits: Sequence[str]) -> Source:
    """Digits as uint8 [N,1,8,8]; the grey values 0..16 become round(value * 255 / 16).

    The data has no split of its own (UCI Optical Recognition of Handwritten Digits, test part):
    ours is 80 % train and 20 % test, stratified, fixed for good.
    """
    from sklearn import datasets

    bunch: Any = datasets.load_digits()
    labels = bunch.target.astype(np.int64)
    whole = Split(
        labels=labels,
        names=[f"digits[{i}]" for i in range(len(labels))],
        images=np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None],
    )
    train, test = stratified_split(labels, TEST_FRACTION, SPLIT_SEED)
    indices = {"train": train, "test": test}
    return Source(
        location="digits",
        class_names=tuple(str(digit) for digit in range(10)),
        splits={name: whole.subset(chosen) for name, chosen in indices.items() if name in splits},
        present=tuple(indices),
    )
