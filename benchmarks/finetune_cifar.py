"""CIFAR-10 from the shipped backbone against training from scratch in the same time.

    python benchmarks/finetune_cifar.py --data ../shared/data/cifar10

The images (32 pixels) are enlarged to what the weights were trained at, 64. From 10, 100 and all
images of each class: `finetune` with its default rule and at most `--minutes` (one for each number
of images), then, with as much time as that really took (`time_budget_minutes`):
- `same network`: the same network and input from random weights, with the recipe `folder`;
- `cifar10-resnet20-fast`: our fastest recipe for CIFAR-10, at its own 32 pixels.
All are judged on the 10,000 test images. Minutes are those of `finetune` and `train`, from reading
the images to writing the package; scratch has its time for the steps alone, with reading on top.
Call it again to continue.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from finetune_defects import no_progress, set_apart
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

from resnetkit.decisions import decide, network_name
from resnetkit.experiment import Experiment
from resnetkit.export.package import ModelPackage, load_package
from resnetkit.export.starting import load_starting_package
from resnetkit.pipeline import train
from resnetkit.pipeline_evaluation import evaluate
from resnetkit.pipeline_finetuning import finetune
from resnetkit.recipes import load_recipe
from resnetkit.training.execution import ExecutionConfig

ALL = "all"
TUNED, SAME, FAST = "finetune", "same network", "cifar10-resnet20-fast"
LONGEST_EPOCHS = 10_000.0  # which the time budget shortens
MINUTES = {"10": 3.0, "100": 10.0, ALL: 40.0}
OTHERS = 10.0  # minutes, for other numbers of images
COMPILED_FROM = 10.0  # minutes: compiling takes one


def make_jobs(asked: argparse.Namespace, package: ModelPackage) -> list[Job]:
    """Fine-tuning for each number of images and seed: scratch follows, with its time."""
    weights, minutes = digest_weights(package.model), {**MINUTES, **parse_minutes(asked.minutes)}
    jobs = []
    for shots in asked.shots:
        for seed in asked.seeds_all if shots == ALL else asked.seeds:
            job: Job = {
                "way": TUNED,
                "shots": shots,
                "seed": seed,
                "minutes": minutes.get(shots, OTHERS),
            }
            job |= {"weights": weights, ASIDE: {"data": asked.data, "weights": asked.weights}}
            # The budget is left out: what it does is measured anew each time.
            settings = {**tuning_settings(job), "training.time_budget_minutes": None}
            settings |= {"data.source": asked.data, "finetuning.weights": asked.weights}
            chosen = set_apart(decide(package, settings, no_progress)[0])
            jobs.append({**job, "chosen": chosen})
    return jobs


def parse_minutes(texts: Sequence[str]) -> dict[str, float]:
    """SHOTS=MINUTES."""
    return {shots: float(minutes) for shots, _, minutes in (text.partition("=") for text in texts)}


def scratch_jobs(tuned: Sequence[Record], ways: Sequence[str]) -> list[Job]:
    """Training from scratch for the time that each fine-tuning took."""
    jobs = []
    for record, way in itertools.product(tuned, ways):
        job = {key: record["job"][key] for key in ("shots", "seed", ASIDE)}
        job |= {"way": way, "minutes": round(record["seconds"] / 60, 3)}
        if way == SAME:
            job["weights"] = record["job"]["weights"]  # which network it is
        jobs.append(job)
    return jobs


def tuning_settings(job: Job) -> dict[str, object]:
    """What is not left to the rule."""
    settings = {"training.seed": job["seed"], "training.time_budget_minutes": job["minutes"]}
    return settings if job["shots"] == ALL else {**settings, "data.shots": int(job["shots"])}


def scratch_experiment(job: Job) -> Experiment:
    """A recipe on the job's images, as long as fits its minutes."""
    recipe = load_recipe("folder" if job["way"] == SAME else FAST)
    data = replace(recipe.data, source=job[ASIDE]["data"], validation_fraction=0.0)
    model = recipe.model
    if job["way"] == SAME:
        package = load_starting_package(job[ASIDE]["weights"])
        model = replace(model, name=network_name(package))
        data = replace(data, image_size=package.contract.crop[0], batch_size=64)
    if job["shots"] != ALL:
        # At least eight steps an epoch, as the recipes' batches are for thousands of images.
        most = max(8, 10 * int(job["shots"]) // 8)
        most -= most % recipe.training.micro_batches
        data = replace(data, shots=int(job["shots"]), batch_size=min(data.batch_size, most))
    training = replace(
        recipe.training,
        seed=job["seed"],
        epochs=LONGEST_EPOCHS,
        keep="last",
        early_stopping_patience=None,
        time_budget_minutes=job["minutes"],
    )
    compiled = "yes" if job["minutes"] >= COMPILED_FROM else "no"
    execution = ExecutionConfig(precision="float32", memory_order="channels_last", compile=compiled)
    return replace(recipe, data=data, model=model, training=training, execution=execution)


def run(job: Job, folder: Path) -> Record:
    """Train, and judge on the test images."""
    source = job[ASIDE]["data"]
    if job["way"] == TUNED:
        with stopwatch() as spent:
            result = finetune(
                source, folder, weights=job[ASIDE]["weights"], settings=tuning_settings(job)
            )
    else:
        experiment = scratch_experiment(job)
        with stopwatch() as spent:
            result = train(experiment, folder)
    metrics = evaluate(result.package, source, split="test").metrics
    done = load_package(result.package).provenance["experiment"]
    return {
        "correct": round(metrics.score * metrics.images),
        "images": metrics.images,
        **vars(spent),
        "steps": result.steps,
        "side": done["data"]["image_size"],
        "batch": done["data"]["batch_size"],
        "strategy": (done["finetuning"] or {}).get("strategy"),
        "execution": done["execution"],
    }


def name_job(job: Job) -> str:
    """A job in a few words."""
    return f"{job['shots']} a class, {job['way']}, seed {job['seed']}, {job['minutes']:g} minutes"


def table(records: Sequence[Record]) -> str:
    """A row for each number of images and way."""
    rows = []
    for shots, way in dict.fromkeys(map(_group, records)):
        same = [record for record in records if _group(record) == (shots, way)]
        first = same[0]
        what = [first["strategy"], f"{first['side']} px"]
        what += [f"{first['steps']:,} steps of {first['batch']}"] if first["steps"] else []
        cells = [shots, way, ", ".join(filter(None, what)), *summarise(same).cells()]
        rows.append(cells)
    return markdown(("images a class", "way", "what", *SUMMARY_HEADS), rows)


def _group(record: Record) -> tuple[str, str]:
    return record["job"]["shots"], record["job"]["way"]


def main() -> None:
    """Fine-tune, train from scratch for as long, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="../shared/data/cifar10")
    parser.add_argument("--weights", default="shipped")
    parser.add_argument("--out", type=Path, default=Path("runs/finetune_cifar"))
    parser.add_argument("--shots", nargs="+", default=["10", "100", ALL], help="numbers, or all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seeds-all", type=int, nargs="+", default=[0], help="with all images")
    parser.add_argument("--minutes", nargs="+", default=[], metavar="SHOTS=MINUTES")
    parser.add_argument("--ways", nargs="*", default=[SAME, FAST], help="of training from scratch")
    asked = parser.parse_args()
    package = load_starting_package(asked.weights)
    tuned = run_jobs(make_jobs(asked, package), run, asked.out, name_job)
    scratch = run_jobs(scratch_jobs(tuned, asked.ways), run, asked.out, name_job)
    records = sorted([*tuned, *scratch], key=lambda record: asked.shots.index(_group(record)[0]))
    print(table(records))
    print()
    print(describe_origin(records))


if __name__ == "__main__":
    main()
