"""From images to labels: whatever form an image comes in, the package's contract applies to it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from resnetkit.data.contract import InputContract
from resnetkit.data.formats.folder import EXTENSIONS
from resnetkit.data.transforms import UnreadableImage, load_contract_image
from resnetkit.evaluation.calibration import scale_logits
from resnetkit.evaluation.conformal import prediction_sets
from resnetkit.evaluation.probabilities import probabilities
from resnetkit.export.package import ModelPackage, load_package
from resnetkit.runtime import pick_device
from resnetkit.types import UserError

ImageInput = str | Path | bytes | np.ndarray | Image.Image
TOP = 5
THRESHOLD = 0.5  # above it, a multi-label task counts a class as there


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the network sees in one image: `label` is the likeliest class.

    `top` has the likeliest classes with their probabilities: at most five; in a multi-label task
    all of them, each with a probability of its own. `labels` then are those above one half, the
    likeliest first and perhaps none; it is None in a single-label task.

    Of what the package keeps of its confidence: probabilities are calibrated, and `raw` has those
    the network gave itself, of the classes of `top` in its order; `rejected` says that the
    probability is below the threshold, so that `label` should not count as an answer;
    `prediction_set` has all classes that the image may show, the likeliest first and perhaps none.
    They are None where the package keeps no such.
    """

    name: str
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]
    labels: tuple[str, ...] | None = None
    raw: tuple[float, ...] | None = None
    rejected: bool | None = None
    prediction_set: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An image that could not be read, and why."""

    name: str
    reason: str


class Predictor:
    """A package ready to label images on one device; float32, evaluation mode, no gradients."""

    def __init__(self, package: ModelPackage, device: torch.device) -> None:
        self.package = package
        self.device = device
        package.model.to(device, torch.float32).eval()

    @property
    def contract(self) -> InputContract:
        """What the network needs to be shown, and what its outputs mean."""
        return self.package.contract

    @property
    def _single(self) -> bool:
        return self.contract.task == "single-label"

    def predict(
        self, images: ImageInput | Iterable[ImageInput], batch_size: int = 64
    ) -> list[Prediction]:
        """Label one image or several, in order.

        An image is a path, encoded bytes, a Pillow image or an array uint8 [H,W] or [H,W,C].

        Raises:
            UserError: an image cannot be read (`UnreadableImage`) or is of another kind.
        """
        alone = isinstance(images, str | Path | bytes | np.ndarray | Image.Image)
        named = list(_name_images([images] if alone else images))  # type: ignore[list-item]
        predictions: list[Prediction] = []
        for found in self._predict_batches(named, batch_size):
            if isinstance(found, Failure):
                raise UnreadableImage(found.reason)
            predictions.append(found)
        return predictions

    def predict_paths(
        self, paths: Sequence[Path | str], batch_size: int = 64
    ) -> list[Prediction | Failure]:
        """Label files, and in folders every image at any depth, sorted by name.

        A file that cannot be read becomes a `Failure` in its place, and the rest goes on.

        Raises:
            UserError: there is no such path, or a folder without images.
        """
        return list(self._predict_batches(_name_images(find_images(paths)), batch_size))

    def _predict_batches(
        self, images: Iterable[tuple[str, ImageInput]], batch_size: int
    ) -> Iterator[Prediction | Failure]:
        if batch_size < 1:
            raise UserError(f"batch_size must be 1 or more, got {batch_size}.")
        named = list(images)
        with ThreadPoolExecutor() as threads:
            for start in range(0, len(named), batch_size):
                batch = named[start : start + batch_size]
                yield from self._predict_batch(
                    [name for name, _ in batch], list(threads.map(self._load, batch))
                )

    def _predict_batch(
        self, names: Sequence[str], loaded: Sequence[np.ndarray | UnreadableImage]
    ) -> Iterator[Prediction | Failure]:
        """Failures keep their place among the predictions."""
        readable = [image for image in loaded if isinstance(image, np.ndarray)]
        found = iter(self._predict_readable(readable) if readable else ())
        for name, image in zip(names, loaded, strict=True):
            if isinstance(image, np.ndarray):
                yield replace(next(found), name=name)
            else:
                yield Failure(name=name, reason=str(image))

    def _load(self, named: tuple[str, ImageInput]) -> np.ndarray | UnreadableImage:
        name, image = named
        try:
            return load_contract_image(
                Path(image) if isinstance(image, str) else image, self.contract, name
            )
        except UnreadableImage as error:
            return error

    def _predict_readable(self, images: Sequence[np.ndarray]) -> Iterator[Prediction]:
        """The predictions, still without a name, of images uint8 [C,H,W]."""
        batch = torch.from_numpy(np.stack(images)).to(self.device)
        logits, confidence = self.package.logits(batch).cpu().numpy(), self.package.confidence
        own, task = probabilities(logits, self.contract.task), self.contract.task
        if confidence is None:
            yield from map(self._prediction, own)
            return
        scaled = scale_logits(logits, confidence.calibration)
        held: Sequence[np.ndarray | None] = [None] * len(images)
        if confidence.conformal is not None:
            held = list(prediction_sets(scaled, confidence.conformal, image_keys(images)))
        yield from map(self._prediction, probabilities(scaled, task), own, held)

    def _prediction(
        self, shares: np.ndarray, own: np.ndarray | None = None, held: np.ndarray | None = None
    ) -> Prediction:
        """What probabilities [K] say; `own` are the network's where these are calibrated.

        `held` bool [K] are the classes of the prediction set.
        """
        names, confidence = self.contract.class_names, self.package.confidence
        order = np.argsort(-shares, kind="stable")
        shown = order[: TOP if self._single else None]
        top = tuple((names[k], float(shares[k])) for k in shown)
        reject = None if confidence is None else confidence.reject
        return Prediction(
            name="",
            label=top[0][0],
            probability=top[0][1],
            top=top,
            labels=None if self._single else tuple(n for n, share in top if share > THRESHOLD),
            raw=None if own is None else tuple(own[shown].tolist()),
            rejected=None if reject is None else top[0][1] < reject.threshold,
            prediction_set=None if held is None else tuple(names[k] for k in order if held[k]),
        )


def load(package_folder: Path | str, device: str = "auto") -> Predictor:
    """The predictor of a package folder on "auto", "cpu", "cuda", "cuda:<number>" or "mps".

    Raises:
        UserError: this is not a sound package, or the machine has no such device.
    """
    chosen = pick_device(device)
    return Predictor(load_package(Path(package_folder)), chosen)


def image_keys(images: Sequence[np.ndarray]) -> np.ndarray:
    """A number for what each image uint8 [C,H,W] shows, uint64 [N]: the same pixels, the same."""
    digests = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images]
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def find_images(paths: Sequence[Path | str]) -> list[Path]:
    """Every file given, and every image in every folder given at any depth, sorted there.

    Raises:
        UserError: there is no such path, or a folder without images.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found += _images_in(path)
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"{path}: there is no such file or folder; give images or folders.")
    return found


def _images_in(folder: Path) -> list[Path]:
    images = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in EXTENSIONS
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    if not images:
        raise UserError(
            f"{folder}: needed image files ({' '.join(sorted(EXTENSIONS))}) in this folder or "
            "below, found none; give another folder."
        )
    return images


def _name_images(images: Iterable[Any]) -> Iterator[tuple[str, ImageInput]]:
    for index, image in enumerate(images):
        if isinstance(image, str | Path):
            # File names are bytes: one that is not UTF-8 could not be printed or saved.
            yield os.fsencode(image).decode("utf-8", "replace"), image
        elif isinstance(image, bytes | np.ndarray | Image.Image):
            yield f"image {index}", image
        else:
            raise UserError(
                f"Image {index}: needed a path, bytes, a Pillow image or an array, got "
                f"{type(image).__name__}."
            )
