import pytest
import torch
from safetensors.torch import load_file, save_file

from resnetkit.data.contract import InputContract
from resnetkit.export.model_card import render_card
from resnetkit.export.package import (
    ModelPackage,
    golden_deviation,
    golden_outputs,
    load_package,
    save_package,
)
from resnetkit.export.stored_weights import halve_kernels, round_kernels
from resnetkit.models.zoo import ModelConfig, build_model, resolve_model
from resnetkit.runtime import commit_folder
from resnetkit.types import UserError

CONTRACT = InputContract(
    class_names=("a", "b"), color_mode="L", resize=8, crop=(8, 8), mean=(0.4,), std=(0.3,)
)


def make_package():
    architecture = resolve_model(ModelConfig(name="digits-resnet8"), 2, 1)
    model = build_model(architecture, seed=2).eval()
    return ModelPackage(model=model, architecture=architecture, contract=CONTRACT)


def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8, generator=generator)


def save_half(folder):
    package = make_package()
    round_kernels(package.model)
    save_package(folder, package, golden_outputs(package, images()), half=True)
    return package


def test_half_a_package_loads_as_float32_with_the_rounded_values(tmp_path):
    package = save_half(tmp_path / "half")
    loaded = load_package(tmp_path / "half")
    for name, value in package.model.state_dict().items():
        found = loaded.model.state_dict()[name]
        assert found.dtype == value.dtype
        assert torch.equal(found, value)
    assert golden_deviation(tmp_path / "half", loaded) == 0
    assert torch.equal(loaded.logits(images()), package.logits(images()))


def test_kernels_are_stored_in_half_the_bytes_and_vectors_whole(tmp_path):
    save_half(tmp_path / "half")
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert stored["conv1.weight"].dtype == stored["fc.weight"].dtype == torch.float16
    assert stored["bn1.running_var"].dtype == stored["fc.bias"].dtype == torch.float32
    whole = make_package()
    save_package(tmp_path / "whole", whole, golden_outputs(whole, images()))
    sizes = {
        kind: (tmp_path / kind / "model.safetensors").stat().st_size for kind in ("half", "whole")
    }
    assert sizes["half"] < 0.6 * sizes["whole"]


def test_rounding_changes_kernels_by_less_than_their_eleventh_bit():
    package, before = make_package(), make_package().model.state_dict()
    round_kernels(package.model)
    for name, value in package.model.state_dict().items():
        if value.ndim < 2:
            assert torch.equal(value, before[name])
        else:
            assert not torch.equal(value, before[name])
            torch.testing.assert_close(value, before[name], rtol=2**-11, atol=2**-24)


def test_weights_that_were_not_rounded_are_not_stored_in_half(tmp_path):
    package = make_package()
    with pytest.raises(AssertionError, match="was not rounded"):
        halve_kernels(package.model.state_dict())
    with pytest.raises(AssertionError, match="was not rounded"):
        save_package(tmp_path / "x", package, golden_outputs(package, images()), half=True)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("value", [1e6, float("nan"), float("-inf")])
def test_a_value_beyond_float16_is_refused_before_anything_changes(value):
    model = make_package().model
    with torch.no_grad():
        model.get_parameter("fc.weight")[0, 0] = value
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match=r"^fc\.weight has a value of .* store these .* float32$"):
        round_kernels(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) or name == "fc.weight"


def test_infinite_halves_in_a_file_are_refused(tmp_path):
    save_half(tmp_path / "half")
    stored = load_file(tmp_path / "half" / "model.safetensors")
    stored["fc.weight"][0, 0] = float("inf")

    def rewrite(temporary):
        for path in (tmp_path / "half").iterdir():
            if path.name != "manifest.json":
                (temporary / path.name).write_bytes(path.read_bytes())
        save_file(stored, temporary / "model.safetensors")

    commit_folder(tmp_path / "other", rewrite)
    with pytest.raises(UserError, match=r"other: model\.safetensors needs finite weights, fc\.w"):
        load_package(tmp_path / "other")


def test_the_card_shows_notes_as_plain_text():
    notes = {"Licence": "for *research* only\n# not a heading"}
    card = render_card(CONTRACT, {"notes": notes}, {})
    assert card.endswith("\n## Licence\n\nfor \\*research\\* only \\# not a heading\n")
    assert "## Licence" not in render_card(CONTRACT, {}, {})
