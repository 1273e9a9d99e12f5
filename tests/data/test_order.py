from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.data.order import BatchOrder


@settings(deadline=None, max_examples=50)
@given(
    count=st.integers(1, 40),
    size=st.integers(1, 12),
    epoch=st.integers(0, 5),
    start=st.integers(0, 5),
    shuffle=st.booleans(),
    weighted=st.booleans(),
)
def test_batches_begin_anywhere_and_cover_what_they_should(
    count, size, epoch, start, shuffle, weighted
):
    weights = np.arange(1, count + 1) / np.arange(1, count + 1).sum() if weighted else None
    order = BatchOrder(count=count, batch_size=size, seed=1, shuffle=shuffle, weights=weights)
    batches = order.batches(epoch)
    assert len(batches) == order.steps_per_epoch
    assert [batch.tolist() for batch in batches[start:]] == [
        batch.tolist() for batch in order.batches(epoch, start)
    ]
    seen = np.concatenate(batches)
    assert len(np.unique(seen)) == len(seen)
    if shuffle and count >= size:
        assert {len(batch) for batch in batches} == {size}
    elif not weighted:
        assert sorted(seen.tolist()) == list(range(count))
