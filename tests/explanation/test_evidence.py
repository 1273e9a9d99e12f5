"""How evidence spreads, in figures."""

from __future__ import annotations

import torch

from resnetkit.explanation.evidence import (
    describe_spread,
    join_evidence,
    signed_evidence,
    unsigned_evidence,
)


def test_concentration_and_share_for():
    values = torch.zeros(4, 10, 10)
    values[0] = 1.0  # everywhere alike
    values[1, 0, :5] = 2.0  # in fewer than a tenth of the pixels
    values[2, 0, 0], values[2, 5, 5] = 3.0, -1.0
    facts = describe_spread(signed_evidence(values))
    assert facts["concentration"][:3].tolist() == [torch.tensor(0.1).item(), 1.0, 1.0]
    assert facts["share_for"][:3].tolist() == [1.0, 1.0, 0.75]
    assert facts["concentration"][3].isnan()
    assert facts["share_for"][3].isnan()


def test_gradients_count_by_their_size_over_all_channels():
    gradients = torch.tensor([[[[1.0, -2.0]], [[-1.0, 0.5]]]])
    evidence = unsigned_evidence(gradients)
    assert evidence.maps.tolist() == [[[2.0, 2.5]]]
    assert evidence.signed is None
    assert "share_for" not in describe_spread(evidence)


def test_batches_are_joined_in_order():
    parts = [
        signed_evidence(torch.full((n, 2, 3), float(n)), {"fact": torch.full((n,), float(n))})
        for n in (1, 2)
    ]
    whole = join_evidence(parts)
    assert whole.maps[:, 0, 0].tolist() == [1.0, 2.0, 2.0]
    assert whole.facts["fact"].tolist() == [1.0, 2.0, 2.0]
    assert whole.resolution == (2, 3)
