"""Fine-tuning as fastai and torchvision's tutorial do it: the other side of `finetune_peers.py`.

    PYTHONPATH=src VENV/bin/python benchmarks/peer_tools.py JOB.json RESULT.json

A job names the tool, a folder with train/, valid/ and test/ (a folder for each class in each), a
model package whose network and normalisation both tools are given, the side of the input in pixels,
epochs and seed. The result has what it took from reading the images to the trained network, and the
class that the network then says of every test image.

fastai: as its book does with some hundred photographs of bears of three kinds (chapter 2), which is
nearest to what is compared here: `RandomResizedCrop(side, min_scale=0.5)`, `aug_transforms()`,
`vision_learner`, `fine_tune(4)` with the default rate of 0.002; body cut and split into three
groups as for its own ResNets. Batches are of 64 as by default, but at most a quarter of the images:
fastai drops the last incomplete batch, which may be the only one.

torchvision: "Transfer Learning for Computer Vision Tutorial" (pytorch.org/tutorials): batches of 4,
SGD 0.001 with momentum 0.9, a tenth of it after each 7 of 25 epochs, the weights that validated
best. `torchvision` trains everything ("finetuning the ConvNet"), `torchvision-fixed` the new `fc`
only ("ConvNet as fixed feature extractor"). Of workers there are as many as cores.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from study import Spent, stopwatch
from torch import nn, optim
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from resnetkit.export.package import ModelPackage, load_package

Job = dict[str, Any]
Answer = tuple[list[str], list[str]]  # files and the class of each
BODY = -3  # children of our ResNet before pooling, dropout and fc
LARGEST_BATCH = 64
ENLARGED = 256 / 224  # of the tutorial: resized to 256, cropped to 224


def load_weights(job: Job) -> ModelPackage:
    """The network to start from, with the normalisation it was trained with."""
    package = load_package(Path(job["package"]))
    assert len(package.contract.mean) == 3, "the peers normalise by channel, in RGB"
    assert package.contract.scale == 1 / 255
    return package


def fine_tune_fastai(job: Job) -> tuple[Spent, Answer]:
    """What training took, and what the network says of the test images."""
    from fastai.vision.all import (
        ImageDataLoaders,
        RandomResizedCrop,
        aug_transforms,
        error_rate,
        get_image_files,
        set_seed,
        vision_learner,
    )
    from fastai.vision.learner import _resnet_split, model_meta

    set_seed(job["seed"])
    folder = Path(job["folder"])
    images = len(get_image_files(folder / "train"))
    with stopwatch() as spent:
        package = load_weights(job)

        def our_network(pretrained: bool = True) -> nn.Module:
            return package.model

        stats = (package.contract.mean, package.contract.std)
        model_meta[our_network] = {"cut": BODY, "split": _resnet_split, "stats": stats}
        loaders = ImageDataLoaders.from_folder(
            folder,
            train="train",
            valid="valid",
            item_tfms=RandomResizedCrop(job["side"], min_scale=0.5),
            batch_tfms=aug_transforms(),
            bs=min(LARGEST_BATCH, max(2, images // 4)),
        )
        learner = vision_learner(loaders, our_network, metrics=error_rate)
        with learner.no_bar(), learner.no_logging():
            learner.fine_tune(job["epochs"])
    files = get_image_files(folder / "test")
    with learner.no_bar(), learner.no_logging():
        logits, _ = learner.get_preds(dl=learner.dls.test_dl(files))
    classes = [learner.dls.vocab[index] for index in logits.argmax(1).tolist()]
    return spent, ([str(file) for file in files], classes)


def fine_tune_torchvision(job: Job) -> tuple[Spent, Answer]:
    """As the tutorial: "finetuning the ConvNet", or with the backbone fixed."""
    torch.manual_seed(job["seed"])
    folder = Path(job["folder"])
    with stopwatch() as spent:
        package = load_weights(job)
        model: Any = package.model
        steps = tutorial_transforms(package, job["side"])
        sets = {name: ImageFolder(str(folder / name), steps[name]) for name in steps}
        loaders = {
            name: DataLoader(part, batch_size=4, shuffle=True, num_workers=os.cpu_count() or 1)
            for name, part in sets.items()
        }
        fixed = job["tool"] == "torchvision-fixed"
        if fixed:
            for parameter in model.parameters():
                parameter.requires_grad = False
        model.fc = nn.Linear(model.fc.in_features, len(sets["train"].classes))
        learning = model.fc.parameters() if fixed else model.parameters()
        optimizer = optim.SGD(learning, lr=0.001, momentum=0.9)
        scheduler = lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
        train_as_tutorial(model, loaders, optimizer, scheduler, job["epochs"])
    test = ImageFolder(str(folder / "test"), steps["valid"])
    model.eval()
    found = []
    with torch.no_grad():
        for images, _ in DataLoader(test, batch_size=64):
            found += model(images).argmax(1).tolist()
    files = [path for path, _ in test.samples]
    return spent, (files, [sets["train"].classes[index] for index in found])


def tutorial_transforms(package: ModelPackage, side: int) -> dict[str, Callable[..., Any]]:
    """What the tutorial does with training and validation images, for another side than 224."""
    contract = package.contract
    normalise = transforms.Normalize(contract.mean, contract.std)
    return {
        "train": transforms.Compose(
            [
                transforms.RandomResizedCrop(side),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                normalise,
            ]
        ),
        "valid": transforms.Compose(
            [
                transforms.Resize(round(ENLARGED * side)),
                transforms.CenterCrop(side),
                transforms.ToTensor(),
                normalise,
            ]
        ),
    }


def train_as_tutorial(
    model: nn.Module,
    loaders: dict[str, DataLoader],
    optimizer: optim.Optimizer,
    scheduler: lr_scheduler.LRScheduler,
    epochs: int,
) -> None:
    """The tutorial's `train_model`; the best weights are kept in memory, which saves it files."""
    criterion = nn.CrossEntropyLoss()
    best_share, best = -1.0, {}
    for _ in range(epochs):
        model.train()
        for images, labels in loaders["train"]:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
        scheduler.step()
        model.eval()
        right = count = 0
        with torch.no_grad():
            for images, labels in loaders["valid"]:
                right += int((model(images).argmax(1) == labels).sum())
                count += len(labels)
        if right / count > best_share:
            best_share = right / count
            best = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(best)


TOOLS: dict[str, Callable[[Job], tuple[Spent, Answer]]] = {
    "fastai": fine_tune_fastai,
    "torchvision": fine_tune_torchvision,
    "torchvision-fixed": fine_tune_torchvision,
}


def main() -> None:
    """Do the job in the first file, write the result into the second."""
    job_file, result_file = map(Path, sys.argv[1:])
    job = json.loads(job_file.read_text())
    spent, (files, classes) = TOOLS[job["tool"]](job)
    versions = {}
    if "fastai" in sys.modules:
        versions["fastai"] = sys.modules["fastai"].__version__
    result = {
        **vars(spent),
        "threads": torch.get_num_threads(),
        "versions": versions,
        "said": dict(zip(files, classes, strict=True)),
    }
    result_file.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
