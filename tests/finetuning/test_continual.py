"""A head extended by new classes keeps what it knew; what a package loses when it learns on."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnetkit.build import build_predict
from resnetkit.data.class_map import reconcile_classes
from resnetkit.data.contract import normalise
from resnetkit.data.dataset import load_training_data
from resnetkit.data.loader import Loader, LoaderConfig
from resnetkit.data.old_images import load_old_images
from resnetkit.data.replay import with_replay, without_replay
from resnetkit.evaluation.class_changes import describe_changes
from resnetkit.evaluation.evaluate import evaluate
from resnetkit.experiment import recorded_past
from resnetkit.export.package import load_package, load_seen
from resnetkit.finetuning.continual import NetworkWithContract, extend_classes, measure_changes
from resnetkit.models.heads import HeadConfig, replace_head
from resnetkit.models.lenet import LeNet, LeNetConfig

pytestmark = pytest.mark.usefixtures("one_thread")

LOADING = LoaderConfig(batch_size=8, workers=0, seed=0, shuffle=True)
CLASSES = reconcile_classes(["a", "b", "c"], ["d", "a", "e"], "new", add=True)


def lenet(head):
    net = LeNet(LeNetConfig(in_channels=1, num_classes=3)).eval()
    replace_head(net, 3, head, 0.0, seed=1)
    return net


@pytest.mark.parametrize("kind", ["linear", "cosine", "mlp"])
def test_old_classes_keep_their_logits(kind):
    net = lenet(HeadConfig(kind=kind))
    images = torch.linspace(-1, 1, 4 * 64).reshape(4, 1, 8, 8)
    with torch.inference_mode():
        before = net(images)
    weights = copy.deepcopy(net.state_dict())
    extend_classes(net, CLASSES, seed=0)
    with torch.inference_mode():
        after = net(images)
    assert after.shape == (4, 5)
    torch.testing.assert_close(after[:, :3], before)
    for name, value in net.state_dict().items():
        kept = value if value.shape == weights[name].shape else value[:3]
        assert torch.equal(kept, weights[name]), name
    again = lenet(HeadConfig(kind=kind))
    again.load_state_dict(weights)
    extend_classes(again, CLASSES, seed=0)
    repeated = again.state_dict()
    assert all(torch.equal(value, repeated[name]) for name, value in net.state_dict().items())


def test_without_new_classes_nothing_happens():
    net = lenet(HeadConfig())
    classifier = net.classifier
    extend_classes(net, reconcile_classes(["a", "b", "c"], ["c", "a", "b"], "x", add=False), 0)
    assert net.classifier is classifier


def test_a_package_of_other_classes_is_our_mistake():
    with pytest.raises(AssertionError):
        extend_classes(lenet(HeadConfig()), reconcile_classes(["a"], ["b"], "x", add=True), 0)


def silent(what, done, total):
    """Progress that nobody watches."""


@pytest.fixture(scope="module")
def package(trained):
    """A package of blue, green and red, and what it keeps about its training."""
    loaded = load_package(trained.package)
    past = recorded_past(loaded.provenance, loaded.contract, load_seen(trained.package), "package")
    return loaded, past.sources[0].config, past


@pytest.fixture(scope="module")
def violet(tmp_path_factory) -> Path:
    """Two classes that the package does not know."""
    folder = tmp_path_factory.mktemp("violet") / "new"
    generator = np.random.default_rng(3)
    for name, color in (("violet", (150, 60, 200)), ("indigo", (90, 20, 140))):
        (folder / name).mkdir(parents=True)
        for number in range(24):
            noise = generator.normal(0, 20, (12, 12, 3))
            pixels = np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")
    return folder


def run(network, split, contract):
    """Logits and labels of all images of a split."""
    batches = Loader(split, contract, replace(LOADING, shuffle=False)).batches(0)
    return evaluate(build_predict(network, contract), batches)[:2]


def learn(network, data, epochs=8):
    """Plain gradient descent."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    batches = Loader(data.train, data.contract, LOADING)
    network.train()
    for epoch in range(epochs):
        for batch in batches.batches(epoch):
            optimizer.zero_grad()
            logits = network(normalise(batch.images, data.contract))
            torch.nn.functional.cross_entropy(logits, batch.labels).backward()
            optimizer.step()
    return network.eval()


def learn_on(package, source, *, replay):
    """The package after learning on, its data, and what it lost and gained."""
    loaded, config, past = package
    config = replace(config, source=str(source), normalization="weights")
    data = load_training_data(config, 12, silent, loaded.contract)
    names = loaded.contract.class_names, data.contract.class_names
    classes = reconcile_classes(*names, str(source), add=True)
    old = load_old_images(past.sources[0].config.source, past, silent)
    judged = old.test
    if replay:
        replayed = with_replay(data, [old], classes, None, past.seen, silent)
        data, judged = replayed.data, replayed.judged
    else:
        with pytest.warns(UserWarning, match="will forget them"):
            data = without_replay(data, classes, past.seen)
    network = copy.deepcopy(loaded.model)
    extend_classes(network, classes, seed=0)
    learn(network, data)
    changes = measure_changes(
        NetworkWithContract(network=loaded.model, contract=loaded.contract),
        NetworkWithContract(network=network, contract=data.contract),
        judged,
        run,
    )
    return network, data, changes


def test_replay_keeps_what_would_be_forgotten(package, violet):
    _, _, forgot = learn_on(package, violet, replay=False)
    network, data, kept = learn_on(package, violet, replay=True)
    assert data.contract.class_names == ("blue", "green", "red", "indigo", "violet")
    assert [row.name for row in kept.per_class] == ["blue", "green", "red"]
    assert forgot.score_before == kept.score_before
    assert forgot.score_after <= 0.5 < kept.score_after
    assert forgot.overall.to_new > kept.overall.to_new
    assert network.config.num_classes == 5
    assert network(torch.zeros(1, 3, 12, 12)).shape == (1, 5)


def test_without_old_images_there_is_nothing_to_say(package):
    loaded, _, _ = package
    judged = NetworkWithContract(network=loaded.model, contract=loaded.contract)
    assert measure_changes(judged, judged, None, lambda *_: pytest.fail("nothing to run")) is None
    assert "cannot be known" in describe_changes(None)
