"""Training throughput against the plain loop a user would write, in one run.

    python benchmarks/throughput.py --data ../shared/data/cifar10

Both sides train the same network on the same CIFAR-10 images with the same batch size, optimizer
and augmentation (pad 4 and crop, flip), from reading to update. The plain side is float32, default
memory order, a DataLoader with two workers and torchvision transforms. Ours is the ordinary engine
with the execution it chooses on this machine. The sides take turns; the median ratio counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet18
from torchvision.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip, ToTensor

from resnetkit.build import (
    build_loader,
    build_predict,
    build_state,
    build_task,
    settle_choices,
)
from resnetkit.data.contract import InputContract
from resnetkit.data.dataset import TrainingData, load_evaluation_split, load_training_data
from resnetkit.data.past import DealtSource, Past
from resnetkit.data.sources import Split
from resnetkit.evaluation.evaluate import evaluate
from resnetkit.evaluation.metrics import compute_metrics
from resnetkit.experiment import Experiment
from resnetkit.models.zoo import build_model, resolve_model
from resnetkit.optim.optimizers import OptimizerConfig
from resnetkit.optim.schedules import learning_rate_factor
from resnetkit.recipes import load_recipe
from resnetkit.runtime import environment, reuse_freed_memory
from resnetkit.training.execution import choose_execution
from resnetkit.training.trainer import train_step

NETWORKS = {"resnet20": "cifar10-resnet20-fast", "resnet18": "cifar10-resnet18"}


class PlainImages(Dataset):
    """What torchvision's CIFAR10 does: an array to a PIL image, then the transforms."""

    def __init__(self, split: Split, contract: InputContract) -> None:
        assert split.images is not None
        self.images = split.images.transpose(0, 2, 3, 1)
        self.labels = split.labels
        self.transform = Compose(
            [
                RandomCrop(32, padding=4),
                RandomHorizontalFlip(),
                ToTensor(),
                Normalize(contract.mean, contract.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def plain_network(name: str, experiment: Experiment, contract: InputContract) -> nn.Module:
    """The plain side's network: torchvision's ResNet-18 with a small stem, or our ResNet-20."""
    if name == "resnet18":
        model = resnet18(num_classes=contract.num_classes)
        model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        model.maxpool = nn.Identity()  # type: ignore[assignment]
        return model
    return build_model(resolve_model(experiment.model, contract.num_classes, 3))


def plain_steps(
    model: nn.Module, data: TrainingData, experiment: Experiment, total_steps: int
) -> Iterator[int]:
    """Images learnt from, step by step, as a tutorial writes it."""
    config = experiment.optimizer
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=config.learning_rate,
        momentum=0.9,
        weight_decay=config.weight_decay,
        nesterov=True,
    )
    dataset = PlainImages(data.train, data.contract)
    loader = DataLoader(
        dataset,
        batch_size=experiment.data.batch_size,
        shuffle=True,
        num_workers=2,
        drop_last=True,
        persistent_workers=True,
    )
    step = 0
    model.train()
    while step < total_steps:
        for images, labels in loader:
            factor = learning_rate_factor(experiment.schedule, step, total_steps)
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * factor
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            yield len(labels)
            if step == total_steps:
                return


def our_steps(
    model: nn.Module, data: TrainingData, experiment: Experiment, total_steps: int
) -> Iterator[int]:
    """Images learnt from, step by step, by the engine."""
    batches = build_loader(experiment, data.train, data.contract, shuffle=True)
    state = build_state(experiment, model, batches)
    state.progress.total_steps = total_steps
    task = build_task(experiment, data, model, batches, lambda state: None, lambda: False)
    while state.progress.step < total_steps:
        epoch, start = divmod(state.progress.step, batches.steps_per_epoch)
        for batch in batches.batches(epoch, start):
            report = train_step(state, task, batch, epoch)
            float(report.loss)
            yield report.images
            if state.progress.step == total_steps:
                return


def images_per_second(steps: Iterator[int], count: int) -> float:
    """Throughput over the next `count` steps."""
    start = time.perf_counter()
    images = sum(next(steps) for _ in range(count))
    return images / (time.perf_counter() - start)


def prepare(name: str, source: str) -> tuple[Experiment, TrainingData]:
    """The recipe with its data read and its execution chosen here."""
    experiment = load_recipe(NETWORKS[name])
    experiment = replace(
        experiment,
        data=replace(experiment.data, source=source),
        augment=replace(
            experiment.augment, early_size=None, early_share=None, alternate_flips=False
        ),
        training=replace(experiment.training, label_smoothing=0.0),
        optimizer=OptimizerConfig(learning_rate=0.1, weight_decay=5e-4, nesterov=True),
        execution=replace(
            experiment.execution, precision="auto", memory_order="auto", compile="auto"
        ),
    )
    data = load_training_data(experiment.data, 32, lambda *_: None)
    experiment = settle_choices(experiment, data)
    model = build_model(resolve_model(experiment.model, data.contract.num_classes, 3))
    images = torch.randn(experiment.data.batch_size, 3, 32, 32)
    measured = choose_execution(model, experiment.execution, images, 10, total_steps=100_000)
    for row in measured:
        print(f"    {row.describe()}: {len(images) / row.seconds:,.0f} images/s without loading")
    return replace(experiment, execution=measured[0].choice), data


def compare_speed(name: str, source: str, rounds: int, steps: int) -> None:
    """Print both throughputs and their ratio, round by round and as medians."""
    print(f"{name}:")
    experiment, data = prepare(name, source)
    contract, total = data.contract, 10**6
    plain = plain_steps(plain_network(name, experiment, contract), data, experiment, total)
    model = build_model(resolve_model(experiment.model, contract.num_classes, 3))
    ours = our_steps(model, data, experiment, total)
    images_per_second(plain, 3)
    start = time.perf_counter()
    images_per_second(ours, 1)
    print(f"    time to first step of ours: {time.perf_counter() - start:.1f} s")
    images_per_second(ours, 3)
    pairs = [
        (images_per_second(plain, steps), images_per_second(ours, steps)) for _ in range(rounds)
    ]
    for slow, fast in pairs:
        print(f"    plain {slow:,.0f} images/s, ours {fast:,.0f} images/s, ratio {fast / slow:.2f}")
    medians = [statistics.median(values) for values in zip(*pairs, strict=True)]
    ratio = statistics.median(fast / slow for slow, fast in pairs)
    print(f"  {name}: plain {medians[0]:,.0f}, ours {medians[1]:,.0f} images/s, ratio {ratio:.2f}")


def compare_accuracy(name: str, source: str, images: int, epochs: int) -> None:
    """Train both sides equally long on the first images and print their test accuracy."""
    experiment, data = prepare(name, source)
    contract = data.contract
    data = replace(data, train=data.train.subset(range(images)), validation=None)
    dealings, past = [DealtSource(config=experiment.data)], Past(contract=contract)
    test = load_evaluation_split(dealings, "test", past, lambda *_: None)
    batches = build_loader(experiment, test, contract, shuffle=False)
    total = epochs * (images // experiment.data.batch_size)
    sides = {
        "plain": (plain_network(name, experiment, contract), plain_steps),
        "ours": (build_model(resolve_model(experiment.model, contract.num_classes, 3)), our_steps),
    }
    for side, (model, run) in sides.items():
        start = time.perf_counter()
        for _ in run(model, data, experiment, total):
            pass
        seconds = time.perf_counter() - start
        logits, labels, _ = evaluate(build_predict(model, contract), batches.batches(0))
        metrics = compute_metrics(logits, labels, contract.class_names)
        low, high = metrics.top1_interval
        print(
            f"  {name} {side}: {epochs} epochs of {images:,} images in {seconds:.0f} s, "
            f"test {100 * metrics.top1:.2f} % ({100 * low:.2f} to {100 * high:.2f})"
        )


def main() -> None:
    """Parse the command line and run what it asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--accuracy-images", type=int, default=0, help="also compare accuracy")
    parser.add_argument("--accuracy-epochs", type=int, default=3)
    asked = parser.parse_args()
    reuse_freed_memory()
    print(environment())
    for name in asked.networks:
        compare_speed(name, asked.data, asked.rounds, asked.steps)
        if asked.accuracy_images:
            compare_accuracy(name, asked.data, asked.accuracy_images, asked.accuracy_epochs)


if __name__ == "__main__":
    main()
