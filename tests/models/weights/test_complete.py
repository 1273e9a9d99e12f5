from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from resnetkit.models.blocks import BlockConfig
from resnetkit.models.resnet import ResNetConfig
from resnetkit.models.weights.complete import Translated, complete
from resnetkit.models.zoo import build_model
from resnetkit.types import UserError

SMALL = ResNetConfig(
    stage_depths=(1, 1),
    stage_widths=(4, 8),
    stem="cifar",
    stem_width=4,
    num_classes=3,
    block=BlockConfig(shortcut="B"),
)


def state(**changes: Tensor) -> dict[str, Tensor]:
    return dict(build_model(SMALL, seed=1).state_dict()) | {
        name.replace("__", "."): tensor for name, tensor in changes.items()
    }


def finish(entries: dict[str, Tensor], **settings: Any):
    sources = {name: f"theirs.{name}" if "bn" in name else name for name in entries}
    translated = Translated(state=entries, layout="timm", source_names=sources, **settings)
    return complete(translated, SMALL, origin="a.pth")


def test_a_full_state_is_copied_and_counted():
    entries = state()
    foreign = finish(entries, notes=("So it was.",), left_over=("queue", "projector.0.weight"))
    assert list(foreign.state) == list(entries)  # in the network's order
    for name, tensor in entries.items():
        assert torch.equal(foreign.state[name], tensor)
        assert foreign.state[name].data_ptr() != tensor.data_ptr()
    report = foreign.report
    assert (report.used, report.renamed) == (len(entries), sum("bn" in name for name in entries))
    assert report.left_over == ("projector.0.weight", "queue")
    assert report.notes == ("So it was.",)
    assert report.missing == ()


def test_missing_counters_start_at_zero_and_are_named():
    entries = {name: tensor for name, tensor in state().items() if "num_batches" not in name}
    foreign = finish(entries)
    assert foreign.state["bn1.num_batches_tracked"] == 0
    assert foreign.state["bn1.num_batches_tracked"].dtype == torch.int64
    assert "bn1.num_batches_tracked" in foreign.report.missing
    build_model(SMALL).load_state_dict(foreign.state, strict=True)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_cast_and_said(precision):
    entries = {
        name: tensor.to(precision) if tensor.is_floating_point() else tensor
        for name, tensor in state().items()
    }
    foreign = finish(entries)
    assert foreign.state["fc.weight"].dtype == torch.float32
    name = str(precision).removeprefix("torch.")
    assert foreign.report.notes == (f"Weights in {name} were cast to float32.",)


def test_missing_and_misshapen_entries_are_named():
    entries = state(fc__weight=torch.zeros(3, 9))
    del entries["layer2.0.bn2.running_var"]
    message = (
        r"a\.pth: all entries of the network are needed, got 1 missing: layer2.0.bn2.running_var; "
        r"1 of another shape: fc.weight \[3, 9\] for \[3, 8\]\. Give the file of a complete"
    )
    with pytest.raises(UserError, match=message):
        finish(entries)


def test_half_a_head_is_missing_the_other_half():
    entries = state()
    del entries["fc.bias"]
    with pytest.raises(UserError, match=r"1 missing: fc\.bias\. Give the file"):
        finish(entries)


@pytest.mark.parametrize("name", ["maxpool.0.weight", "layer1.0.se.conv.weight", "fc.scale"])
def test_entries_that_bear_on_the_result_are_refused(name):
    with pytest.raises(UserError, match=f"got 1 others: {name}. The source computes something"):
        finish(state(), left_over=(name, "n_averaged"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value):
    entries = state()
    entries["bn1.running_var"] = torch.tensor([1.0, value, value, 1.0])
    with pytest.raises(UserError, match=r"2 of 4 values of bn1.running_var that are NaN or inf"):
        finish(entries)


def test_weights_that_overflow_when_cast_are_refused():
    entries = state()
    entries["fc.bias"] = torch.tensor([1e300, 0, 0], dtype=torch.float64)
    with pytest.raises(UserError, match=r"1 of 3 values of fc.bias"):
        finish(entries)


def test_integers_are_no_weights():
    with pytest.raises(UserError, match=r"floating-point .* got torch.int8 in conv1.weight"):
        finish(state() | {"conv1.weight": torch.zeros(4, 3, 3, 3, dtype=torch.int8)})
