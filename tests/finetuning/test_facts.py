"""Facts are of the images that would be learnt from, read from their headers."""

import numpy as np
import pytest
from PIL import Image
from torch import nn

from resnetkit.data.settings import DataConfig
from resnetkit.finetuning.facts import Backbone, describe_backbone, read_facts
from resnetkit.models.zoo import ModelConfig, build_model, resolve_model
from resnetkit.types import UserError


def silent(what, done, total):
    """Progress that nobody watches."""


def draw(root, split, counts, mode="L"):
    for label, count in counts.items():
        for number in range(count):
            path = root / split / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            size = (30 + 2 * number, 20)
            Image.fromarray(np.zeros(size[::-1], np.uint8)).convert(mode).save(path)
    return str(root)


def test_facts_of_a_folder(tmp_path):
    source = draw(tmp_path, ".", {"cat": 12, "dog": 8})
    facts = read_facts(DataConfig(source=source, test_fraction=0.25), "cpu", silent)
    assert (facts.images, facts.classes) == (15, 2)  # test images are not learnt from
    assert (facts.smallest_class, facts.largest_class) == (6, 9)
    assert (facts.validation_images, facts.grey, facts.task) == (0, True, "single-label")
    assert facts.height == facts.side == 20
    assert 30 < facts.width < 54
    assert not facts.accelerator
    assert facts.cores >= 1
    assert facts.per_class == 7.5


def test_validation_images_of_the_source_are_counted_apart(tmp_path):
    draw(tmp_path, "train", {"cat": 6, "dog": 6}, mode="RGB")
    source = draw(tmp_path, "val", {"cat": 3, "dog": 2})
    facts = read_facts(DataConfig(source=source), "cpu", silent)
    assert (facts.images, facts.validation_images, facts.grey) == (12, 5, False)
    config = DataConfig(source=source, shots=2, shots_seed=0)
    facts = read_facts(config, "cpu", silent)
    assert (facts.images, facts.validation_images) == (4, 0)
    config = DataConfig(source=source, shots=2, shots_seed=0, shots_validation="as-is")
    facts = read_facts(config, "cpu", silent)
    assert (facts.images, facts.validation_images) == (4, 5)


def test_what_would_validate_as_without_shots_is_counted_too(tmp_path):
    source = draw(tmp_path, ".", {"cat": 10, "dog": 10})
    config = DataConfig(
        source=source,
        shots=3,
        shots_seed=0,
        shots_validation="as-is",
        validation_fraction=0.5,
        test_fraction=0.2,
    )
    facts = read_facts(config, "cpu", silent)
    assert (facts.images, facts.validation_images) == (6, 8)


def test_decoded_arrays_have_facts_too():
    facts = read_facts(DataConfig(source="digits"), "cpu", silent)
    assert (facts.height, facts.width, facts.grey, facts.classes) == (8, 8, True, 10)


def test_images_without_a_readable_header_are_told(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"{number}.png").write_bytes(b"nothing")
    message = r"not one of the 4 images to train on has a readable header; see .*data check"
    with pytest.raises(UserError, match=message):
        read_facts(DataConfig(source=str(tmp_path)), "cpu", silent)


def test_facts_of_backbones():
    networks = {
        name: build_model(resolve_model(ModelConfig(name=name), 10, 1), 0)
        for name in ("lenet", "digits-resnet8")
    }
    assert not describe_backbone(networks["lenet"], 32).any_size
    found = describe_backbone(networks["digits-resnet8"], 8)
    assert found.any_size
    assert found.batch_norm
    assert found.parameters == sum(p.numel() for p in networks["digits-resnet8"].parameters())
    plain = nn.Sequential(nn.Conv2d(1, 2, 3))
    assert describe_backbone(plain, 8) == Backbone(image_size=8, parameters=20, batch_norm=False)
