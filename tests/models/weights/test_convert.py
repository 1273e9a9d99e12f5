from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import load, save
from seeded_weights import seeded_images, seeded_state
from torch import Tensor

from resnetkit.models.weights.convert import convert_state
from resnetkit.models.weights.foreign import ForeignWeights
from resnetkit.models.weights.proof import build_network
from resnetkit.models.zoo import MODELS, build_model
from resnetkit.types import UserError

pytestmark = pytest.mark.usefixtures("one_thread")
GOLDENS = sorted((Path(__file__).parents[2] / "golden" / "weights").glob("*.json"))
# The zoo's name of each golden's network; None: it has none, and needs none.
NAMES = {
    "cifar-akamaster-resnet20": "cifar-resnet20",
    "cifar-kuangliu-bottlenecks": None,
    "cifar-kuangliu-resnet18": "resnet18-cifar",
    "huggingface-narrow-v1": None,
    "huggingface-resnet-18": "resnet18",
    "huggingface-resnet-50": "resnet50",
    "timm-resnet18": "resnet18",
    "timm-resnet18d": "resnet18-d",
    "timm-resnet26d": None,
    "timm-resnet50": "resnet50",
    "timm-seresnet50": "se-resnet50",
    "timm-seresnext26d_32x4d": None,
}


def as_saved(state: dict[str, Tensor], kind: str) -> Any:
    """What a reader gets from a file as the library writes it."""
    if kind != "cifar":
        return load(save(state))
    file = io.BytesIO()
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"state_dict": wrapped, "best_prec1": 91.7}, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def logits_of(foreign: ForeignWeights, size: int) -> Tensor:
    with torch.inference_mode():
        return build_network(foreign)(seeded_images(2, size))


def test_every_golden_is_tested():
    assert {path.stem for path in GOLDENS} == NAMES.keys()


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_logits_equal_the_source_librarys(path):
    golden = json.loads(path.read_text(encoding="utf-8"))
    raw = as_saved(seeded_state(golden["shapes"]), path.stem.split("-")[0])
    foreign = convert_state(raw, model=None, origin=path.name, config=golden["config"])
    logits = logits_of(foreign, golden["image_size"])[:, : len(golden["logits"][0])]
    torch.testing.assert_close(logits, torch.tensor(golden["logits"]), rtol=1e-4, atol=1e-5)
    report = foreign.report
    assert report.used == len(golden["shapes"])
    assert (report.missing, report.left_over) == ((), ())
    renames = not path.stem.startswith("timm")
    assert bool(report.renamed) == renames
    assert report.layout in (path.stem.split("-")[0], "torchvision")
    network = next(note for note in report.notes if "network" in note)
    name = NAMES[path.stem]
    assert network == (f"The network is {name}." if name else "The zoo has no such network.")


@pytest.mark.parametrize(
    "name",
    ["resnet18", "resnext50_32x4d", pytest.param("wide_resnet50_2", marks=pytest.mark.slow)],
)
def test_logits_equal_torchvisions(name):
    theirs = torchvision.models.get_model(name, num_classes=5).eval()
    state = seeded_state({key: entry.shape for key, entry in theirs.state_dict().items()})
    theirs.load_state_dict(state)
    zoo_name = name.replace("wide_", "wide-").replace("_", "-")
    foreign = convert_state(state, model=zoo_name, origin=f"torchvision:{name}")
    with torch.inference_mode():
        expected = theirs(seeded_images(2, 64))
    torch.testing.assert_close(logits_of(foreign, 64), expected, rtol=1e-4, atol=1e-5)
    assert foreign.report.layout == "torchvision"
    assert foreign.report.renamed == 0
    assert foreign.architecture.num_classes == 5
    assert convert_state(state, model=None, origin="x").architecture == foreign.architecture


def slim(name: str = "cifar-resnet20", **changes: Any) -> dict[str, Tensor]:
    """A state under our keys: random, of a named network."""
    return dict(build_model(MODELS[name].architecture, seed=1).state_dict()) | changes


def test_what_a_huggingface_config_says_is_used():
    golden = json.loads(
        next(path for path in GOLDENS if path.stem == "huggingface-narrow-v1").read_text()
    )
    state = seeded_state(golden["shapes"])
    foreign = convert_state(state, model=None, origin="x", config=golden["config"])
    assert foreign.class_names == ("no", "yes")
    assert foreign.architecture.block.stride_in_first_convolution
    without = convert_state(state, model=None, origin="x")
    assert not without.architecture.block.stride_in_first_convolution
    assert "Bottlenecks are taken to stride in their 3x3" in " ".join(without.report.notes)
    assert not torch.allclose(logits_of(foreign, 64), logits_of(without, 64), atol=1e-3)


def test_a_named_network_that_does_not_fit_says_what_differs_and_which_fits():
    message = (
        r"a\.pth: weights of 'resnet18' are needed.*stage_depths \(3, 3, 3\) for \(2, 2, 2, 2\); "
        r"stage_widths .*shortcut without parameters for B; stem one 3x3 for imagenet; stem_width "
        r"16 for 64\. The weights fit cifar-resnet20 or cifar-plain20; give that name, or none"
    )
    with pytest.raises(UserError, match=message):
        convert_state(slim(), model="resnet18", origin="a.pth")
    with pytest.raises(UserError, match=r"got another kind of network. The weights fit cifar-res"):
        convert_state(slim(), model="lenet", origin="a.pth")
    with pytest.raises(UserError, match="did you mean 'resnet18'"):
        convert_state(slim(), model="resnet18x", origin="a.pth")


def test_a_named_network_nothing_fits_advises_to_leave_the_name_out():
    state = slim("resnet18-slim")
    state = {name: tensor for name, tensor in state.items() if not name.startswith("layer4")}
    state["fc.weight"] = torch.zeros(4, 128)
    with pytest.raises(UserError, match="No network of the zoo fits; leave the name out"):
        convert_state(state, model="resnet18", origin="a.pth")


def test_option_a_and_plain_networks_look_alike_so_a_name_is_needed():
    with pytest.raises(UserError, match="--model, such as cifar-resnet20 or cifar-plain20"):
        convert_state(slim(), model=None, origin="a.pth")
    for name in ("cifar-resnet20", "cifar-plain20"):
        foreign = convert_state(slim(), model=name, origin="a.pth")
        assert foreign.architecture == MODELS[name].architecture


def test_the_only_network_of_the_zoo_that_looks_alike_is_taken():
    foreign = convert_state(slim("resnet18-slim"), model=None, origin="a.pth")
    assert foreign.architecture == MODELS["resnet18-slim"].architecture
    assert "taken to have a stride of 2" in " ".join(foreign.report.notes)
    named = convert_state(slim("resnet18-slim"), model="resnet18-slim", origin="a.pth")
    assert "taken to" not in " ".join(named.report.notes)


def test_classes_and_channels_are_the_weights():
    changes = {"fc.weight": torch.zeros(3, 64), "fc.bias": torch.zeros(3)}
    changes["conv1.weight"] = torch.zeros(16, 1, 3, 3)
    foreign = convert_state(slim(**changes), model="cifar-resnet20", origin="a.pth")
    assert (foreign.architecture.num_classes, foreign.architecture.in_channels) == (3, 1)
    assert logits_shape(foreign) == (2, 3)


def logits_shape(foreign: ForeignWeights) -> tuple[int, ...]:
    images = torch.zeros(2, foreign.architecture.in_channels, 8, 8)
    return tuple(build_network(foreign)(images).shape)


def test_weights_without_a_head_are_for_those_who_bring_one():
    state = slim("resnet18-slim")
    del state["fc.weight"], state["fc.bias"]
    with pytest.raises(UserError, match=r"2 missing: fc\.bias, fc\.weight\. It has no classifier"):
        convert_state(state, model=None, origin="a.pth")
    foreign = convert_state(state, model=None, origin="a.pth", allow_headless=True)
    assert not foreign.has_head
    assert foreign.report.missing == ("fc.bias", "fc.weight")
    assert logits_shape(foreign) == (2, 1)
    assert convert_state(slim("resnet18-slim"), model=None, origin="a").has_head


def test_the_cifar_repositories_bring_their_preprocessing():
    akamaster = {name.replace("fc.", "linear."): tensor for name, tensor in slim().items()}
    foreign = convert_state(akamaster, model=None, origin="a.th")
    assert foreign.architecture == MODELS["cifar-resnet20"].architecture
    assert foreign.preprocessing is not None
    assert (foreign.preprocessing.image_size, foreign.preprocessing.mean[0]) == (32, 0.485)
    assert "akamaster" in " ".join(foreign.report.notes)
