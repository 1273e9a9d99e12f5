import copy

import bright_square
import numpy as np
import pytest
import torch
from torch import nn

from resnetkit.explanation.randomised_weights import (
    RandomisedConfig,
    cascade_steps,
    check_randomised,
    draw_fresh,
    forget,
    likeliest_classes,
)
from resnetkit.models.zoo import ModelConfig, build_model, resolve_model
from resnetkit.types import UserError

pytestmark = pytest.mark.usefixtures("one_thread")


def checked(explain, network=None, **settings):
    examples, _ = bright_square.examples()
    config = RandomisedConfig(**{"draws": 2, **settings})
    return check_randomised(network or bright_square.trained(), examples, explain, config)


def resnet(seed=0, **changes):
    architecture = resolve_model(ModelConfig(name="digits-resnet8", **changes), 3, 1)
    return build_model(architecture, seed=seed).eval()


def warmed(network):
    """With statistics of BatchNorm as training would have left them."""
    network.train()
    with torch.no_grad():
        for step in range(5):
            network(5 + 3 * torch.randn(32, 1, 16, 16, generator=torch.manual_seed(step)))
    return network.eval()


def test_the_steps_go_from_the_head_down_and_through_each_part_alone():
    assert cascade_steps(("stem", "stage1", "head")) == [
        ("head",),
        ("head", "stage1"),
        ("head", "stage1", "stem"),
        ("stage1",),
        ("stem",),
    ]
    found = checked(bright_square.edges, draws=1)
    assert found.halfway.parts == ("head", "stage2")
    assert found.decisive.parts == ("head", "stage2", "stage1", "stem")
    assert [step.parts[-1] for step in found.cascade] == ["head", "stage2", "stage1", "stem"]
    assert [step.parts for step in found.independent] == [
        ("head",),
        ("stage2",),
        ("stage1",),
        ("stem",),
    ]
    assert found.cascade[0] == found.independent[0]


def test_a_map_by_the_networks_answers_depends_on_the_weights():
    found = checked(bright_square.faithful, draws=4)
    assert found.depends
    assert found.decisive.similarity.mean < found.cascade[0].similarity.mean
    assert found.cascade[-1].decisions_kept < 0.9
    assert found.pictures == 32


def test_an_edge_detector_does_not():
    found = checked(bright_square.edges)
    assert not found.depends
    for step in (*found.cascade, *found.independent):
        assert step.similarity.mean == pytest.approx(1)
        assert step.structural_similarity == pytest.approx(1)


def test_noise_depends_on_nothing_and_passes():
    found = checked(bright_square.noise)
    assert found.depends, "what it is good for, the other checks say"
    assert abs(found.decisive.similarity.mean) < 0.1


def test_signs_that_flip_do_not_hide_the_picture():
    def flipped(network):
        sign = 1.0 if network is bright_square.trained() else -1.0
        return lambda images, targets: sign * images[:, 0]

    found = checked(flipped)
    assert found.cascade[-1].rank_correlation == pytest.approx(-1)
    assert found.cascade[-1].absolute_rank_correlation == pytest.approx(1)
    assert not found.depends


def test_the_same_seed_gives_the_same_figures_and_leaves_all_as_it_was():
    network = bright_square.trained()
    before = copy.deepcopy(network.state_dict())
    state = torch.random.get_rng_state()
    found = checked(bright_square.faithful, pictures=6)
    assert found == checked(bright_square.faithful, pictures=6)
    assert found != checked(bright_square.faithful, pictures=6, seed=1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not network.training


def test_what_forgets_is_as_the_networks_own_initialisation():
    network = warmed(resnet())
    fresh = draw_fresh(network, 0, 0)
    images = torch.randn(8, 1, 16, 16)
    forgetful = forget(network, fresh, ("stage2", "head"), images, 4)
    parts, before, initial = forgetful.parts(), network.parts(), fresh.parts()
    for part in parts:
        expected = initial if part in ("stage2", "head") else before
        for module, other in zip(parts[part], expected[part], strict=True):
            for (name, value), theirs in zip(
                module.named_parameters(), other.parameters(), strict=True
            ):
                assert torch.equal(value, theirs), (part, name)
    assert not any(module.training for module in forgetful.modules())
    assert not torch.equal(draw_fresh(network, 0, 1).conv1.weight, fresh.conv1.weight)
    assert not torch.equal(draw_fresh(network, 1, 0).conv1.weight, fresh.conv1.weight)


def test_blocks_that_start_as_the_identity_do_so_again():
    network = warmed(resnet(zero_init_residual=True))
    network.layer1[0].bn2.weight.data.fill_(1.0)
    fresh, images = draw_fresh(network, 0, 0), torch.randn(4, 1, 16, 16)
    forgetful = forget(network, fresh, ("stage1",), images, 4)
    assert forgetful.layer1[0].bn2.weight.abs().max() == 0


def test_statistics_of_batchnorm_belong_to_the_new_weights():
    network = warmed(resnet())
    images = 5 + 3 * torch.randn(16, 1, 16, 16, generator=torch.manual_seed(9))
    parts = tuple(reversed(network.parts()))
    forgetful = forget(network, draw_fresh(network, 0, 0), parts, images, 64)
    seen = {}

    def keep(name):
        # Cloned: the ReLU behind works in place.
        return lambda _module, _inputs, output: seen.__setitem__(name, output.clone())

    for name, module in forgetful.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.momentum == 0.1
            module.register_forward_hook(keep(name))
    with torch.no_grad():
        forgetful(images)
    for name, output in seen.items():
        deviations = output.std((0, 2, 3), unbiased=False)
        assert output.mean((0, 2, 3)).abs().max() < 1e-2, name
        assert (deviations - 1).abs().max() < 2e-2, name


def test_statistics_of_what_was_not_drawn_anew_stay():
    network = warmed(resnet())
    forgetful = forget(network, draw_fresh(network, 0, 0), ("head",), torch.randn(4, 1, 16, 16), 4)
    for name, value in network.named_buffers():
        assert torch.equal(value, dict(forgetful.named_buffers())[name]), name


def test_no_batch_is_of_one_picture():
    network = resnet()
    # 1 x 1 maps of a single picture have no variance: PyTorch refuses them.
    forget(network, draw_fresh(network, 0, 0), ("stage3",), torch.randn(3, 1, 4, 4), 2)


def test_decisions_are_those_of_the_network():
    images, classes, _ = bright_square.draw(40, seed=5)
    said = likeliest_classes(bright_square.trained(), images, 16)
    assert (said == classes.numpy()).mean() >= 0.95


def test_few_pictures_are_spread_and_one_is_refused():
    assert checked(bright_square.edges, pictures=5).pictures == 5
    examples, _ = bright_square.examples()
    one = examples.take(np.array([0]))
    with pytest.raises(UserError, match="two pictures or more are needed, got 1"):
        check_randomised(bright_square.trained(), one, bright_square.edges, RandomisedConfig())


@pytest.mark.parametrize("name", ["draws", "batch_size"])
def test_settings_without_sense_are_refused(name):
    with pytest.raises(UserError, match=f"{name} must be 1 or more, got 0"):
        RandomisedConfig(**{name: 0})
    with pytest.raises(UserError, match="pictures must be 2 or more, got 1"):
        RandomisedConfig(pictures=1)
