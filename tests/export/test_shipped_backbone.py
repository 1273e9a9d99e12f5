import torch
from safetensors.torch import load_file

from resnetkit.export.package import golden_deviation, load_package, load_seen
from resnetkit.export.starting import SHIPPED_FOLDER, load_starting_package
from resnetkit.models.resnet import ResNet

LIMIT_BYTES = 8_000_000


def test_it_fits_and_is_whole():
    package = load_package(SHIPPED_FOLDER)
    assert sum(path.stat().st_size for path in SHIPPED_FOLDER.iterdir()) <= LIMIT_BYTES
    assert golden_deviation(SHIPPED_FOLDER, package) < 1e-3
    assert load_seen(SHIPPED_FOLDER) is not None


def test_it_is_a_float32_network_for_photographs_of_64_pixels():
    package = load_starting_package("shipped")
    assert isinstance(package.model, ResNet)
    assert not package.model.training
    assert {value.dtype for value in package.model.parameters()} == {torch.float32}
    assert (package.contract.color_mode, package.contract.crop) == ("RGB", (64, 64))
    stored = load_file(SHIPPED_FOLDER / "model.safetensors")
    assert {value.dtype for value in stored.values() if value.ndim > 1} == {torch.float16}


def test_its_card_says_data_accuracy_and_licence_and_no_path():
    card = (SHIPPED_FOLDER / "README.md").read_text(encoding="utf-8")
    for word in ("Tiny-ImageNet", "## Licence", "95 % interval", "tiny-imagenet-resnet18-slim"):
        assert word in card
    config = (SHIPPED_FOLDER / "config.json").read_text(encoding="utf-8")
    assert "/work" not in card + config
    assert load_package(SHIPPED_FOLDER).metrics["validation"]["top1"] > 0.3
