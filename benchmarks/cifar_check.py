"""What `data check` finds in CIFAR-10, against what people found in it.

    python benchmarks/cifar_check.py --data ../shared/data/cifar10 --known KNOWN --package PACKAGE

Near-duplicates between training and test images are compared with ciFAIR's 286 (Barz & Denzler
2020, "Do we train on test data?"), likely wrong test labels with the 54 that people confirmed among
the 275 they were shown (Northcutt, Athalye & Mueller 2021, "Pervasive label errors in test sets").
KNOWN is a folder with `duplicates_cifar10.csv` (github.com/cvjena/cifair, meta/),
`cifar10_mturk.json` (github.com/cleanlab/label-errors, mturk/) and `label_test_file`, the labels of
the original test set in order: both lists count the images in that order, and our copy of the data
names an image by its class and its place among the images of the class. Without KNOWN only what was
found is counted; without PACKAGE labels are not looked at. Time and memory are those of all 60,000
images, hashing included.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import resource
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyarrow import parquet

from resnetkit.data.checks.duplicates import find_duplicates
from resnetkit.data.checks.findings import Finding
from resnetkit.data.checks.label_errors import rank_label_errors
from resnetkit.data.checks.listing import list_source
from resnetkit.data.checks.part_store import PartStore
from resnetkit.data.checks.scan import scan_source
from resnetkit.data.checks.scan_types import Scan
from resnetkit.data.source_types import SPLIT_NAMES
from resnetkit.label_judges import predict_by_package, select_split

TEST = SPLIT_NAMES.index("test")
CLASSES, PER_CLASS, FIRST_NUMBER = 10, 1000, 50_000


@dataclass(frozen=True, kw_only=True)
class Known:
    """What people found, by the image's place in our test split."""

    near_duplicates: set[int]  # with a training image of the same camera shot
    very_similar: set[int]  # with another shot that is hard to tell apart
    judged: set[int]  # images whose labels people looked at
    confirmed: set[int]  # of those, the ones where most did not agree with the label


def silent(what: str, done: int, total: int) -> None:
    """Progress nobody looks at."""


def read_known(folder: Path, data: Path) -> Known:
    """The published lists, moved from the original order of the test set to that of `data`."""
    order = np.array((folder / "label_test_file").read_text().split(), dtype=np.int64)
    assert (np.bincount(order) == PER_CLASS).all(), "not the labels of the 10,000 test images"
    numbers = np.zeros(len(order), np.int64)
    for label in range(CLASSES):
        numbers[order == label] = FIRST_NUMBER + PER_CLASS * label + np.arange(PER_CLASS)
    with parquet.ParquetFile(data / "test.parquet") as file:
        paths = file.read(columns=["image.path"])["image"].to_pylist()
    places = {
        int(re.findall(r"\d+", Path(each["path"]).stem)[0]): n for n, each in enumerate(paths)
    }
    place = [places[number] for number in numbers.tolist()]
    with (folder / "duplicates_cifar10.csv").open() as file:
        pairs = [(int(row["TestID"]), int(row["Judgment"])) for row in csv.DictReader(file)]
    votes = json.loads((folder / "cifar10_mturk.json").read_text())
    return Known(
        near_duplicates={place[test] for test, judgment in pairs if judgment < 2},
        very_similar={place[test] for test, judgment in pairs if judgment == 2},
        judged={place[vote["id"]] for vote in votes},
        confirmed={place[vote["id"]] for vote in votes if vote["mturk"]["given"] < 3},
    )


def peak_megabytes() -> float:
    """The largest this process, and the largest worker, has been."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(each).ru_maxrss for each in who) / 1024


def scan_all(data: Path) -> Scan:
    """Hash every image, and say what it cost."""
    start = time.perf_counter()
    scan = scan_source(list_source(str(data)), PartStore(None), silent)
    show(
        "reading, decoding, hashing", f"{len(scan):,} images in {time.perf_counter() - start:.1f} s"
    )
    show("  peak memory", f"{peak_megabytes():.0f} MB, with the largest worker")
    return scan


def search_duplicates(scan: Scan) -> list[Finding]:
    """Find duplicates, and say what it cost."""
    start, processor = time.perf_counter(), time.process_time()
    findings = find_duplicates(scan)
    seconds, busy = time.perf_counter() - start, time.process_time() - processor
    show("finding duplicates", f"{seconds:.1f} s ({busy:.1f} s of processor time)")
    show("  peak memory", f"{peak_megabytes():.0f} MB, with the largest worker")
    for kind, count in Counter(finding.kind for finding in findings).items():
        show(f"  {kind}", f"{count} groups")
    return findings


def leaking_test_images(scan: Scan, findings: list[Finding]) -> set[int]:
    """Places in the test split of images that training images show as well."""
    names = {
        name for each in findings if each.kind == "shared-between-splits" for name in each.names
    }
    rows = [
        row for row, name in enumerate(scan.names) if name in names and scan.splits[row] == TEST
    ]
    first = int(np.flatnonzero(scan.splits == TEST)[0])
    return {row - first for row in rows}


def compare_duplicates(leaking: set[int], known: Known | None) -> None:
    """How many of the published near-duplicates were found, and how many others."""
    show("test images that are in training", str(len(leaking)))
    if known is None:
        return
    published = known.near_duplicates | known.very_similar
    for title, wanted in (
        ("of ciFAIR's list", published),
        ("  the same shot", known.near_duplicates),
        ("  very similar shots", known.very_similar),
    ):
        show(f"  {title}", f"{len(leaking & wanted)} of {len(wanted)} {share(leaking, wanted)}")
    show("  not on ciFAIR's list", str(len(leaking - published)))


def compare_labels(scan: Scan, package: Path, known: Known | None) -> None:
    """Rank the test labels by a package's probabilities; how many confirmed ones are there."""
    rows = np.flatnonzero(scan.splits == TEST)
    labels = scan.labels[rows]
    start = time.perf_counter()
    probabilities = predict_by_package(select_split(scan, rows), scan, package, silent)
    show("test accuracy of the package", f"{(probabilities.argmax(1) == labels).mean():.2%}")
    errors = rank_label_errors(labels, probabilities)
    show("likely wrong test labels", f"{len(errors.rows)} in {time.perf_counter() - start:.1f} s")
    if known is None:
        return
    steps = [count for count in (54, 100, 200) if count < len(errors.rows)]
    for count in (*steps, len(errors.rows)):
        found = set(errors.rows[:count].tolist())
        hits, judged = len(found & known.confirmed), len(found & known.judged)
        show(
            f"  the first {count}",
            f"{hits} of the {len(known.confirmed)} confirmed {share(found, known.confirmed)}; "
            f"people judged {judged} of these images, precision {hits / max(judged, 1):.0%} of "
            f"those, {hits / count:.0%} or more of all",
        )


def share(found: set[int], wanted: set[int]) -> str:
    """Recall in brackets."""
    return f"({len(found & wanted) / len(wanted):.0%})"


def show(what: str, value: str) -> None:
    """One line of the table."""
    print(f"{what:34}{value}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with test.parquet")
    parser.add_argument("--known", type=Path, help="folder with the published lists")
    parser.add_argument("--package", type=Path, help="model package trained on the training split")
    asked = parser.parse_args()
    known = None if asked.known is None else read_known(asked.known, asked.data)
    scan = scan_all(asked.data)
    compare_duplicates(leaking_test_images(scan, search_duplicates(scan)), known)
    if asked.package is not None:
        compare_labels(scan, asked.package, known)


if __name__ == "__main__":
    main()
