"""Fine-tuning against fastai and torchvision's transfer tutorial: same images, weights, machine.

    python benchmarks/finetune_peers.py --fastai-python FASTAI/bin/python

The task is that of `finetune_defects.py`: surface defects, a third for testing. Every tool learns
from the same images and starts from the same weights, ours as a plain `nn.Module`. As the peers'
documentation has it, they validate after every epoch on a fifth of what they are given; here those
are further images, a quarter as many, so that they learn from as many as ours does. Every tool is
seen with the input side that its documentation gives (224; ours: what the rule chooses) and with
the other's (with one seed, by default). `peer_tools.py` says how each is run. Minutes are from
reading the images to the trained network, loading and validation included as each tool does them,
and in ours the package; imports and the test are not in it. One function counts what is right.

fastai needs an environment of its own that sees this one's torch, without spaCy, which is for text:

    python -m venv FASTAI
    python -c 'import torch, pathlib; print(pathlib.Path(torch.__file__).parents[1])' \
        > FASTAI/lib/python3.11/site-packages/ours.pth
    FASTAI/bin/pip install --no-deps fastai==2.8.12
    FASTAI/bin/pip install "fastcore>=2.2.22,<3" "plum-dispatch<2.10" fastprogress fasttransform \
        fastdownload requests
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune_defects import (
    CUT,
    DEFAULT,
    data_config,
    held_out_third,
    names_digest,
    no_progress,
    set_apart,
)
from study import (
    ASIDE,
    SUMMARY_HEADS,
    Job,
    Record,
    describe_origin,
    digest_weights,
    markdown,
    run_jobs,
    stopwatch,
    summarise,
)

import resnetkit
from resnetkit.data.opening import open_source
from resnetkit.data.seen import PARTS, find_seen
from resnetkit.data.shots import take_shots
from resnetkit.data.source_types import Split
from resnetkit.data.splits import cut_source
from resnetkit.decisions import decide
from resnetkit.export.package import load_seen
from resnetkit.export.starting import SHIPPED, SHIPPED_FOLDER, load_starting_package
from resnetkit.pipeline_finetuning import finetune

HERE = Path(__file__).resolve().parent
PROBE = "linear-probe"
OURS = {DEFAULT: "ours, default", PROBE: "ours, linear-probe"}
TUTORIAL_EPOCHS = 25
DOCUMENTED_SIDE = 224
SHARES = {DEFAULT: 1 / 3, PROBE: 1 / 10}  # of a peer's time that ours may take


def split_images(source: str, shots: int, seed: int) -> dict[str, Split]:
    """What all tools learn from, what the peers validate on, and the test third."""
    config = replace(data_config(source), shots=shots, shots_seed=seed, validation_fraction=0.0)
    opened = open_source(config, ("train", "val"), no_progress).source
    whole = cut_source(opened, 0.0, config.test_fraction, config.split_seed)
    more = replace(config, shots=shots + max(1, round(shots / 4)))
    train = take_shots(opened, whole, config)["train"]
    pool = take_shots(opened, whole, more)["train"]
    learnt = set(train.names)
    others = [row for row, name in enumerate(pool.names) if name not in learnt]
    assert len(others) == len(pool) - len(train), "fewer shots are among more"
    return {"train": train, "valid": pool.subset(others), "test": whole["test"]}


def link_images(splits: Mapping[str, Split], source: Path, folder: Path) -> None:
    """The folder that peers read: a class folder in each of train, valid and test."""
    for name, split in splits.items():
        for image in split.names:
            link = folder / name / image
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((source / image).resolve())


def make_jobs(asked: argparse.Namespace) -> list[Job]:
    """Every tool at its own side and at the other's, for all shots and seeds."""
    package = load_starting_package(asked.weights)
    weights = digest_weights(package.model)
    test = names_digest(held_out_third(asked.data))
    places = {"data": asked.data, "weights": asked.weights, "python": str(asked.fastai_python)}
    jobs = []
    for shots, seed in itertools.product(asked.shots, asked.seeds):
        shared = {"shots": shots, "seed": seed, "weights": weights, "test": test, ASIDE: places}
        ours = []
        for strategy, side in itertools.product(OURS, (None, asked.peer_side)):
            settings = our_settings(strategy, shots, seed, side)
            sources = {"data.source": asked.data, "finetuning.weights": asked.weights}
            chosen = set_apart(decide(package, {**settings, **sources}, no_progress)[0])
            asked_side = {"side": chosen["data.image_size"], "own": side is None}
            ours.append({"tool": strategy, **asked_side, "settings": settings, "chosen": chosen})
        peers = []
        for (tool, epochs), side in itertools.product(
            list_peers(asked), (asked.peer_side, ours[0]["side"])
        ):
            own = side == asked.peer_side
            peers.append({"tool": tool, "epochs": epochs, "side": side, "own": own})
        jobs += [
            {**shared, **job} for job in ours + peers if job["own"] or seed in asked.seeds_other
        ]
    return list({json.dumps(job): job for job in jobs}.values())


def our_settings(strategy: str, shots: int, seed: int, side: int | None) -> dict[str, Any]:
    """What is not left to the rule."""
    settings: dict[str, Any] = {**CUT, "data.shots": shots, "training.seed": seed}
    if strategy != DEFAULT:
        settings["finetuning.strategy"] = strategy
    if side is not None:
        settings["data.image_size"] = side
    return settings


def list_peers(asked: argparse.Namespace) -> list[tuple[str, int]]:
    """Tools with their epochs."""
    peers = [("fastai", epochs) for epochs in asked.fastai_epochs]
    if asked.tutorial_epochs:
        peers += [(tool, asked.tutorial_epochs) for tool in ("torchvision", "torchvision-fixed")]
    return peers


def run(job: Job, folder: Path) -> Record:
    """Train by one tool, and count its right answers on the test third."""
    splits = split_images(job[ASIDE]["data"], job["shots"], job["seed"])
    assert names_digest(splits["test"]) == job["test"]
    record, said = (run_ours if job["tool"] in OURS else run_peer)(job, splits, folder)
    return {**record, **count_right(said, splits["test"])}


def count_right(said: Mapping[str, str], test: Split) -> dict[str, int]:
    """How many of `said`, the class by file, are right: the class is the file's folder."""
    answers = {"/".join(file.split("/")[-2:]): label for file, label in said.items()}
    names = list(test.names)
    assert sorted(answers) == sorted(names), "a tool did not judge the test images"
    return {
        "correct": sum(answers[name] == name.split("/")[0] for name in names),
        "images": len(names),
    }


def run_ours(
    job: Job, splits: Mapping[str, Split], folder: Path
) -> tuple[Record, Mapping[str, str]]:
    """`resnetkit finetune`, and what its package says of the test images."""
    source, weights = job[ASIDE]["data"], job[ASIDE]["weights"]
    with stopwatch() as spent:
        result = finetune(source, folder, weights=weights, settings=job["settings"])
    seen = load_seen(result.package)
    assert seen is not None
    _, learnt = find_seen(seen, splits["train"], PARTS, no_progress)
    assert learnt.all(), "ours learnt from other images than the peers"
    files = [str(Path(source, name)) for name in splits["test"].names]
    predictions = resnetkit.load(result.package).predict(files)
    record = {**vars(spent), "steps": result.steps}
    return record, {prediction.name: prediction.label for prediction in predictions}


def run_peer(
    job: Job, splits: Mapping[str, Split], folder: Path
) -> tuple[Record, Mapping[str, str]]:
    """`peer_tools.py` in the peer's environment."""
    places = job[ASIDE]
    link_images(splits, Path(places["data"]), folder / "images")
    package = SHIPPED_FOLDER if places["weights"] == SHIPPED else Path(places["weights"])
    told = {name: job[name] for name in ("tool", "side", "epochs", "seed")}
    told |= {"folder": str(folder / "images"), "package": str(package.resolve())}
    job_file, result_file = folder / "job.json", folder / "result.json"
    job_file.write_text(json.dumps(told))
    python = places["python"] if job["tool"] == "fastai" else sys.executable
    subprocess.run(
        [python, str(HERE / "peer_tools.py"), str(job_file), str(result_file)],
        check=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parent / "src")},
    )
    result = json.loads(result_file.read_text())
    return result, result.pop("said")


def name_row(job: Job) -> str:
    """Tool, epochs and side in a few words."""
    tool = OURS.get(job["tool"], job["tool"])
    epochs = f", {job['epochs']} epochs" if "epochs" in job else ""
    return f"{tool}{epochs}, {job['side']} px{'' if job['own'] else ' (not its own)'}"


def name_job(job: Job) -> str:
    """A job in a few words."""
    return f"{job['shots']} a class, {name_row(job)}, seed {job['seed']}"


Row = tuple[int, str, bool, int, int]  # shots, tool, own side, epochs, side
Rows = Mapping[Row, Sequence[Record]]


def row_of(record: Record) -> Row:
    """Runs of one row differ in the seed only."""
    job = record["job"]
    return job["shots"], job["tool"], job["own"], job.get("epochs", 0), job["side"]


def print_results(records: Sequence[Record]) -> None:
    """The table with ratios of time, whether the goals are met, and where it is all from."""
    rows = {
        row: [record for record in records if row_of(record) == row]
        for row in dict.fromkeys(map(row_of, records))
    }
    heads = ["images a class", "tool", *SUMMARY_HEADS]
    heads += [f"{ours}: points, share of its time" for ours in OURS.values()]
    lines = []
    for row, found in rows.items():
        cells = [str(row[0]), name_row(found[0]["job"]), *summarise(found).cells()]
        cells += ["" if row[1] in OURS else compare(row, ours, rows) for ours in OURS]
        lines.append(cells)
    print(markdown(heads, lines))
    print()
    for line in verdicts(rows):
        print(f"- {line}")
    print(describe_origin(records))
    for record in records:
        if record.get("versions", {}).get("fastai"):
            print(f"- fastai: {record['versions']['fastai']}")
            break


def compare(row: Row, ours: str, rows: Rows) -> str:
    """Ours as it comes, and at the peer's side where that is another, against a peer's row."""
    words = []
    for other in rows:
        if other[:2] == (row[0], ours) and (other[2] or other[4] == row[4]):
            points, share = gain(rows[other], rows[row])
            words.append(f"{points:+.1f}, {share:.3f} at {other[4]} px")
    return "; ".join(dict.fromkeys(words))


def gain(mine: Sequence[Record], peers: Sequence[Record]) -> tuple[float, float]:
    """Points of accuracy and share of the time, by the seeds that both have."""
    seeds = {record["job"]["seed"] for record in mine} & {record["job"]["seed"] for record in peers}
    one, other = (
        summarise([record for record in records if record["job"]["seed"] in seeds])
        for records in (mine, peers)
    )
    return 100 * (one.mean - other.mean), one.minutes / other.minutes


def verdicts(rows: Rows) -> list[str]:
    """The goals: at least the peer's accuracy in a third of its time, for the probe a tenth."""
    lines = []
    for row, (ours, share) in itertools.product(rows, SHARES.items()):
        shots, tool, own = row[:3]
        mine = [found for found in rows if found[:3] == (shots, ours, True)]
        if tool in OURS or not own or not mine:
            continue
        points, taken = gain(rows[mine[0]], rows[row])
        lines.append(
            f"{shots} a class, {OURS[ours]} against {name_row(rows[row][0]['job'])}: "
            f"{points:+.2f} points ({'met' if points >= 0 else 'MISSED'}), {taken:.3f} of its time "
            f"(goal {share:.3f}: {'met' if taken <= share else 'MISSED'})"
        )
    return lines


def main() -> None:
    """Run what is missing and print the table of what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="../shared/data/surface-defects/images")
    parser.add_argument("--weights", default=SHIPPED, help="a package, or shipped")
    parser.add_argument("--out", type=Path, default=Path("runs/finetune_peers"))
    parser.add_argument("--shots", type=int, nargs="+", default=[5, 10, 30, 100])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--seeds-other",
        type=int,
        nargs="*",
        help="those of --seeds that are seen with the other's side too; the first by default",
    )
    parser.add_argument("--peer-side", type=int, default=DOCUMENTED_SIDE)
    parser.add_argument("--fastai-python", type=Path, default=Path(sys.executable))
    parser.add_argument("--fastai-epochs", type=int, nargs="*", default=[4, 20])
    parser.add_argument("--tutorial-epochs", type=int, default=TUTORIAL_EPOCHS, help="0: leave out")
    asked = parser.parse_args()
    if asked.seeds_other is None:
        asked.seeds_other = asked.seeds[:1]
    print_results(run_jobs(make_jobs(asked), run, asked.out, name_job))


if __name__ == "__main__":
    main()
