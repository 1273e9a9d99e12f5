from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.models.weights.unwrap import PREFIXES, WRAPPERS, unwrap
from resnetkit.types import UserError

ENTRIES = {f"layer1.{number}.conv1.weight": torch.tensor(float(number)) for number in range(4)}


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.sampled_from(WRAPPERS), max_size=3), st.lists(st.sampled_from(PREFIXES), max_size=3)
)
def test_any_wrapping_comes_off_and_is_said(wrappers, prefixes):
    start = "".join(prefixes)
    raw: dict = {start + name: tensor for name, tensor in ENTRIES.items()}
    for wrapper in reversed(wrappers):
        raw = {wrapper: raw, "epoch": 3}
    unwrapped = unwrap(raw, "a.pth")
    assert unwrapped.tensors == ENTRIES
    assert unwrapped.source_names == {name: start + name for name in ENTRIES}
    said = " ".join(unwrapped.notes)
    assert all(repr(name) in said for name in (*wrappers, *prefixes))
    assert ("beside it: epoch" in said) == bool(wrappers)


def test_averaged_weights_come_first():
    other = {name: tensor + 1 for name, tensor in ENTRIES.items()}
    unwrapped = unwrap({"state_dict": other, "state_dict_ema": ENTRIES, "epoch": 3}, "a.pth")
    assert unwrapped.tensors == ENTRIES
    assert unwrapped.notes == (
        "The weights are those under 'state_dict_ema' (beside it: epoch, state_dict).",
    )


def test_settings_of_a_model_are_no_weights():
    unwrapped = unwrap({"model": {"depth": 18}, "net": {**ENTRIES, "arch": "a"}}, "a.pth")
    assert unwrapped.tensors == ENTRIES
    assert unwrapped.notes == (
        "The weights are those under 'net' (beside it: model).",
        "Left out, as they are no tensors: arch.",
    )


def test_entries_without_the_prefix_stay():
    raw = {f"module.{name}": tensor for name, tensor in ENTRIES.items()}
    unwrapped = unwrap({**raw, "n_averaged": torch.tensor(3)}, "a.pth")
    assert unwrapped.tensors.keys() == {*ENTRIES, "n_averaged"}


def test_a_name_with_and_without_the_prefix_is_refused():
    raw = {f"module.{name}": tensor for name, tensor in ENTRIES.items()}
    with pytest.raises(UserError, match=r"with and without 'module.' before it"):
        unwrap({**raw, "layer1.0.conv1.weight": torch.tensor(1.0)}, "a.pth")


@pytest.mark.parametrize("raw", [{}, {"epoch": 3, "model": None}, {"state_dict": {}}])
def test_no_tensors_are_refused(raw):
    with pytest.raises(UserError, match=r"a\.pth: a state dict is needed .* save `network"):
        unwrap(raw, "a.pth")
