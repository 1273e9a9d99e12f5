"""Explaining on one page: for each image a map of where the network sees the class it names.

`explain` shows images to a package as its contract says, has each method find its evidence, and
leaves pictures, raw maps and a line of facts for each. What else there is to say about an image,
an `Addition` says: it is handed what was shown and what was found, and its figures join the facts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console

from resnetkit.data.contract import InputContract, normalise
from resnetkit.data.lettering import Pen
from resnetkit.data.sources import refuse_inside
from resnetkit.data.transforms import UnreadableImage, load_contract_image
from resnetkit.evaluation.calibration import scale_logits
from resnetkit.evaluation.probabilities import probabilities
from resnetkit.experiment import refuse_unwritable
from resnetkit.explanation.attribution import METHODS, Attribution, attribute
from resnetkit.explanation.explained import (
    Explained,
    as_record,
    describe_explanation,
    draw_explanation,
    raw_map,
)
from resnetkit.explanation.file_names import RECORDS, FileNames, identify
from resnetkit.explanation.request import ExplanationRequest
from resnetkit.explanation.subjects import (
    Shown,
    Subject,
    describe_subject,
    display,
    find_classes,
    predicted_classes,
)
from resnetkit.export.package import ModelPackage
from resnetkit.jsonl import append_record, keep_records
from resnetkit.models.zoo import Network
from resnetkit.package_split import refuse_inside_package
from resnetkit.runtime import write_file_atomically
from resnetkit.serving.predictor import Failure, find_images, load
from resnetkit.training.observers import ReadingBar

# Of what was shown and found, more JSON-safe facts about each of the N maps.
Addition = Callable[[Shown, Attribution], Sequence[Mapping[str, Any]]]


def explain(
    package_folder: Path,
    paths: Sequence[Path],
    out: Path,
    asked: ExplanationRequest | None = None,
    *,
    additions: Sequence[Addition] = (),
    console: Console | None = None,
) -> list[Explained | Failure]:
    """Explain image files, and all images in folders; leaves pictures and raw maps in `out`.

    An image has its maps one after the other; what cannot be read is a Failure in its place. In
    `out`, explanations.jsonl has a line for each map: what was there stays, but for maps of the
    same image and wish, which are replaced. Raises UserError for unknown classes or stages, images
    that a method cannot work on, and a bad place to write; nothing is written then.
    """
    asked = asked or ExplanationRequest()
    refuse_place(package_folder, paths, out)
    files = list({file.absolute(): file for file in find_images(paths)}.values())
    package = load(package_folder, asked.device).package
    find_classes(asked.targets, package.contract)
    names, size = FileNames(out), asked.settings.batch_size
    results: list[Explained | Failure] = []
    with ReadingBar(console or Console(stderr=True, quiet=True)) as bar:
        for start in range(0, len(files), size):
            batch = files[start : start + size]
            images = read_images(batch, package.contract)
            shown = show_images(package, images, asked.targets)
            maps = find_maps(package, shown, asked) if shown else []
            explained = keep_maps(shown, maps, asked, additions, names) if shown else {}
            for file in batch:
                image = images[file]
                results += [image] if isinstance(image, Failure) else explained[file]
            bar("explaining", start + len(batch), len(files))
    return results


def read_images(files: Sequence[Path], contract: InputContract) -> dict[Path, np.ndarray | Failure]:
    """Each file as uint8 [C,H,W] as the contract says, or why it cannot be read."""

    def read(file: Path) -> np.ndarray | Failure:
        try:
            return load_contract_image(file, contract, display(file))
        except UnreadableImage as error:
            return Failure(name=display(file), reason=str(error))

    with ThreadPoolExecutor() as threads:
        return dict(zip(files, threads.map(read, files), strict=True))


def show_images(
    package: ModelPackage, images: Mapping[Path, np.ndarray | Failure], targets: Sequence[str]
) -> Shown | None:
    """What the network makes of the readable images, once for each class to explain."""
    readable = {file: image for file, image in images.items() if isinstance(image, np.ndarray)}
    if not readable:
        return None
    contract, device = package.contract, next(package.model.parameters()).device
    pixels = torch.from_numpy(np.stack(list(readable.values())))
    logits, confidence = package.logits(pixels.to(device)).cpu().numpy(), package.confidence
    scaled = logits if confidence is None else scale_logits(logits, confidence.calibration)
    shares = probabilities(scaled, contract.task)
    named = find_classes(targets, contract)
    pairs = [
        (row, target)
        for row in range(len(shares))
        for target in named or predicted_classes(shares[row], contract)
    ]
    files, rows = list(readable), torch.tensor([row for row, _ in pairs])
    subjects = [
        describe_subject(files[row], shares[row], target, contract) for row, target in pairs
    ]
    return Shown(
        subjects=tuple(subjects),
        pixels=pixels[rows],
        images=normalise(pixels[rows].to(device), contract),
        targets=torch.tensor([target for _, target in pairs], device=device),
    )


def find_maps(package: ModelPackage, shown: Shown, asked: ExplanationRequest) -> list[Attribution]:
    """The maps of each method for all that is shown."""
    network = cast("Network", package.model)
    return [
        attribute(
            network,
            shown.images,
            shown.targets,
            method,
            stage=asked.stage if METHODS[method].at_stage else None,
            settings=asked.settings,
        )
        for method in dict.fromkeys(asked.methods)
    ]


def keep_maps(
    shown: Shown,
    maps: Sequence[Attribution],
    asked: ExplanationRequest,
    additions: Sequence[Addition],
    names: FileNames,
) -> dict[Path, list[Explained]]:
    """Write pictures, raw maps and facts to the folder of `names`; what there is of each image."""
    more = [[addition(shown, found) for addition in additions] for found in maps]
    explained: dict[Path, list[Explained]] = {subject.file: [] for subject in shown.subjects}
    pen = Pen([text for one in shown.subjects for text in (one.name, one.says, one.target)])
    for row, subject in enumerate(shown.subjects):
        for found, added in zip(maps, more, strict=True):
            base = names.folder / names.base_of(subject.file, *wishes(subject, found, asked))
            one = describe_explanation(shown, found, row, base)
            facts = {key: value for each in added for key, value in each[row].items()}
            one = replace(one, facts={**one.facts, **facts})
            heat = found.maps[row].cpu().numpy()
            picture = draw_explanation(pen, shown.pixels[row].numpy(), heat, one)
            write_file_atomically(one.overlay, picture)
            write_file_atomically(one.map, raw_map(found, row))
            explained[subject.file].append(one)
    write_records(names, [one for several in explained.values() for one in several])
    return explained


def wishes(subject: Subject, found: Attribution, asked: ExplanationRequest) -> list[str]:
    """What a file's name says besides whose it is: the method, and what was asked for by name."""
    words = [found.method]
    if asked.stage is not None and found.stage is not None:
        words.append(found.stage)
    if asked.targets or subject.multi_label:
        # Classes can differ in signs that a file name cannot have; their numbers tell them apart.
        words.append(f"{subject.target_number}-{subject.target}")
    return words


def write_records(names: FileNames, explained: Sequence[Explained]) -> None:
    """Append a line for each explanation, in place of one with the same files."""
    path, files = names.folder / RECORDS, {one.overlay.name for one in explained}
    keep_records(path, lambda record: record.get("overlay") not in files)
    for one in explained:
        file = one.subject.file
        whose = {"source": identify(file), "stem": names.stem_of(file)}
        append_record(path, as_record(one) | whose)


def refuse_place(package_folder: Path, paths: Sequence[Path], out: Path) -> None:
    """UserError where explanations must not be written: with the images, or in the package."""
    refuse_unwritable(out)
    for folder in paths:
        if folder.is_dir():
            refuse_inside(str(folder.absolute()), out)  # never a built-in name
    refuse_inside_package(package_folder, out)
