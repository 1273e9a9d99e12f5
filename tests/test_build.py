"""From an Experiment to what training works with."""

import os

import pytest
import torch

from resnetkit.build import build_loader, build_preparation, build_state, identify, with_workers
from resnetkit.data.dataset import load_training_data
from resnetkit.data.settings import DataConfig
from resnetkit.pipeline import build_network

pytestmark = pytest.mark.usefixtures("one_thread")


def build(experiment):
    data = load_training_data(experiment.data, 8, lambda what, done, total: None)
    batches = build_loader(experiment, data.train, data.contract, shuffle=True)
    return data, batches


def test_images_are_small_in_the_early_epochs_only(pictures, tiny):
    settings = {"augment.early_size": 8, "augment.early_share": 0.5, "training.epochs": 4}
    experiment = tiny(pictures, settings)
    data, batches = build(experiment)
    prepare = build_preparation(experiment, data.contract, batches)
    batch = next(batches.batches(0))
    sides = [prepare(batch, epoch)[0].shape[-1] for epoch in range(4)]
    assert sides == [8, 8, 12, 12]


@pytest.mark.parametrize("setting", ["mixup_alpha", "cutmix_alpha"])
def test_mixing_gives_targets_that_are_distributions(pictures, tiny, setting):
    experiment = tiny(pictures, {f"augment.{setting}": 1.0})
    data, batches = build(experiment)
    _, targets = build_preparation(experiment, data.contract, batches)(next(batches.batches(0)), 0)
    assert targets.shape == (8, 3)
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
    assert ((targets > 0.01).sum(1) > 1).any()


def test_consistency_gives_three_small_images_for_each_target_in_early_epochs(pictures, tiny):
    settings = {"augment.policy": "augmix", "training.jensen_shannon": 12.0}
    settings |= {"augment.early_size": 8, "augment.early_share": 0.5}
    experiment = tiny(pictures, settings)
    data, batches = build(experiment)
    prepare = build_preparation(experiment, data.contract, batches)
    images, targets = prepare(next(batches.batches(0)), 0)
    assert images.shape == (24, 3, 8, 8)
    assert targets.shape == (8, 3)


def test_a_batch_depends_on_seed_and_epoch_alone(pictures, tiny):
    experiment = tiny(pictures, {"augment.horizontal_flip": True})
    data, batches = build(experiment)
    prepare = build_preparation(experiment, data.contract, batches)
    batch = next(batches.batches(0))
    torch.manual_seed(1)
    one = prepare(batch, 0)[0]
    torch.manual_seed(2)
    assert torch.equal(prepare(batch, 0)[0], one)
    assert not torch.equal(prepare(batch, 1)[0], one)


def test_the_state_starts_as_the_experiment_says(pictures, tiny):
    experiment = tiny(pictures)
    data, batches = build(experiment)
    state = build_state(experiment, build_network(experiment, data), batches)
    assert state.progress.total_steps == 15
    assert state.average is not None
    other = tiny(pictures, {"training.ema_decay": None, "training.epochs": 0.01})
    state = build_state(other, build_network(other, data), batches)
    assert state.progress.total_steps == 1
    assert state.average is None


def test_a_runs_identity_holds_settings_and_data_but_not_the_workers(pictures, tiny, change):
    experiment = tiny(pictures)
    data, _ = build(experiment)
    identity = identify(experiment, data)
    assert identity["data"] == data.digest
    assert identity["input contract"] == data.contract.hash
    free = {"data.workers": 7, "training.checkpoint_seconds": 1.0}
    assert identify(change(experiment, free), data) == identity
    assert identify(change(experiment, {"training.seed": 7}), data) != identity


def test_workers_are_decided_only_where_files_are_decoded():
    assert with_workers(DataConfig(storage="memory")).workers is None
    assert with_workers(DataConfig(storage="files", workers=0)).workers == 0
    decided = with_workers(DataConfig(storage="files")).workers
    assert decided == min(8, len(os.sched_getaffinity(0)))
