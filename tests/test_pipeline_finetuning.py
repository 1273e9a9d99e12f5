"""Fine-tuning end to end: what each strategy leaves, that frozen parts stay frozen, and the cache.

Resuming is in test_phases.py.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from resnetkit.config import from_yaml
from resnetkit.data.source_types import Source, Split
from resnetkit.data.sources import SOURCES
from resnetkit.experiment import CONFIG_FILE, Experiment
from resnetkit.export.package import load_package
from resnetkit.finetuning.plan import Plan
from resnetkit.finetuning.settings import FinetuneConfig
from resnetkit.finetuning.strategies import build_plan
from resnetkit.jsonl import load_records
from resnetkit.pipeline_evaluation import evaluate
from resnetkit.pipeline_finetuning import PARENT_LICENCE, PLAN_FILE, describe_origin
from resnetkit.runtime import verify_folder
from resnetkit.types import UserError

pytestmark = pytest.mark.usefixtures("one_thread")

NO_STEPS = {"training.epochs": ..., "training.log_every_steps": ...}  # the head is solved for
BY_STEPS = {"finetuning.probe": "sgd"}
SOLVED = {"finetuning.views": 1, "training.keep": "last"}
# name: strategy and settings. Average, memory order, solver and cache vary over them.
RUNS = {
    "linear-probe": {**NO_STEPS, "finetuning.views": 2},
    "linear-probe by steps": {**BY_STEPS, "training.ema_decay": 0.5},
    "linear-probe on images": {**BY_STEPS, "finetuning.cache": "no", "training.ema_decay": 0.5},
    "lp-ft": {**SOLVED, "training.ema_decay": 0.5},
    "lp-ft by steps": {**BY_STEPS, "execution.memory_order": "channels_first"},
    "full": {"training.ema_decay": 0.5, "finetuning.batch_norm": "train"},
    "gradual": {**SOLVED, "training.epochs": 3, "training.ema_decay": 0.5},
    "gradual by steps": {
        **BY_STEPS,
        "training.epochs": 4,
        "finetuning.cache": "yes",
        "finetuning.views": 1,
        "finetuning.batch_norm": "train",
    },
    "layer-decay": {"finetuning.l2_sp": 0.1},
    "surgical": {"training.ema_decay": 0.5, "finetuning.batch_norm": "train"},
    "surgical channels first": {"execution.memory_order": "channels_first", "finetuning.bss": 0.01},
    "bn-only": {"training.ema_decay": 0.5},
    "adapters": {"training.ema_decay": 0.5},
}


def parts_by_key(network):
    """The part of each tensor of a network's state."""
    names = {id(value): key for key, value in network.state_dict(keep_vars=True).items()}
    return {
        names[id(value)]: part
        for part, modules in network.parts().items()
        for module in modules
        for value in module.state_dict(keep_vars=True).values()
    }


def may_change(network, part, key):
    """Whether a plan's part lets this tensor of it change."""
    name, _, kind = key.rpartition(".")
    module = network.get_submodule(name)
    if kind in ("running_mean", "running_var", "num_batches_tracked"):
        return part.batch_norm == "train"
    kinds = {"nothing": (), "norms": nn.BatchNorm2d, "adapters": nn.Conv2d}
    return part.trains == "everything" or isinstance(module, kinds[part.trains])


def changed_keys(before, after):
    return {key for key in before if not torch.equal(before[key], after[key])}


def check_treatment(network, before, after, parts):
    """That what changed from `before` to `after`, be it a bit, is what the plan's `parts` train."""
    part_of = {key: part for key, part in parts_by_key(network).items() if key in after}
    treated = {part.name: part for part in parts}
    compared = {key for key in part_of if before[key].shape == after[key].shape}
    changed = changed_keys({key: before[key] for key in compared}, after)
    allowed = {key for key in compared if may_change(network, treated[part_of[key]], key)}
    assert changed <= allowed, f"frozen, and changed: {sorted(changed - allowed)}"
    trained = {name for name, part in treated.items() if part.trains != "nothing"} - {"head"}
    assert trained <= {part_of[key] for key in changed}, "what trains must change"


@pytest.mark.parametrize("name", RUNS)
def test_a_strategy_trains_what_its_plan_says_and_nothing_else(
    name, finetuned, digits_package, tmp_path
):
    strategy = name.split()[0]
    result = finetuned(name, {"finetuning.strategy": strategy, **RUNS[name]})
    run = tmp_path / name

    start, package = load_package(digits_package), load_package(result.package)
    plan = from_yaml(Plan, (run / PLAN_FILE).read_text(), "the plan")
    assert plan.strategy == strategy
    before = dict(start.model.state_dict())
    for number, phase in enumerate(plan.phases):
        folder = max((run / "checkpoints" / f"{number + 1}-{phase.name}").glob("step-*"))
        verify_folder(folder)
        files = {"model.safetensors", "best.safetensors", "average.safetensors"}
        states = [load_file(folder / file) for file in files if (folder / file).exists()]
        if strategy == "adapters":  # whose keys are others while it trains
            states = [package.model.state_dict()]
        for state in states:
            check_treatment(start.model, before, state, phase.parts)
        before = load_file(folder / "best.safetensors")
    check_treatment(
        start.model, start.model.state_dict(), package.model.state_dict(), most_trained(plan)
    )


def most_trained(plan):
    """Each part as the plan treats it when it trains most."""
    stretches = zip(*(phase.parts for phase in plan.phases), strict=True)
    return [max(parts, key=lambda part: part.trains != "nothing") for parts in stretches]


@pytest.mark.parametrize("strategy", ["auto", "gradual"])
def test_a_run_folder_says_what_was_done(strategy, finetuned, tmp_path):
    settings = {"finetuning.strategy": strategy, "finetuning.views": 1, "data.shots": 10}
    result = finetuned("run", settings)
    run = tmp_path / "run"
    saved = from_yaml(Experiment, (run / CONFIG_FILE).read_text(), "the settings")
    plan = from_yaml(Plan, (run / PLAN_FILE).read_text(), "the plan")
    assert saved.finetuning.strategy == plan.strategy == {"auto": "lp-ft"}.get(strategy, strategy)
    assert (saved.data.shots_seed, saved.data.image_size, saved.data.storage) == (0, 8, "memory")
    assert saved.data.color_mode == "L"
    assert saved.training.loss == "cross-entropy"
    assert saved.optimizer.learning_rate == pytest.approx(1e-3 / 2**0.5, rel=1e-2)

    records = load_records(run / "metrics.jsonl")
    steps = [record["step"] for record in records]
    assert steps == sorted(steps)
    trained = [record["step"] for record in records if record["kind"] == "train"]
    assert trained == list(range(1, result.steps + 1))
    epochs = [record["epoch"] for record in records]
    assert epochs == sorted(epochs)

    package = load_package(result.package)
    assert package.provenance["parent"]["data"] == "digits"
    assert package.provenance["plan"]["strategy"] == plan.strategy
    assert package.contract.class_names == tuple("0123456789")
    assert result.validation.images == 20
    assert evaluate(result.package, "digits").metrics.images == 359
    assert result.report.exists()


def tagged(wanted):
    """Grey pictures, each half dark or not: a source with up to two classes an image."""
    generator = np.random.default_rng(0)

    def split(name, count):
        labels = (generator.random((count, 2)) < 0.5).astype(np.float32)
        images = generator.normal(150, 20, (count, 1, 8, 8))
        images[..., :4] -= 100 * labels[:, 0, None, None, None]
        images[..., 4:] -= 100 * labels[:, 1, None, None, None]
        names = [f"{name}/{number}" for number in range(count)]
        return Split(labels=labels, names=names, images=images.clip(0, 255).astype(np.uint8))

    splits = {name: split(name, 60) for name in ("train", "val", "test")}
    return Source(
        location="tagged",
        class_names=("left", "right"),
        splits={name: splits[name] for name in splits if name in wanted},
        present=tuple(splits),
        task="multi-label",
    )


@pytest.mark.parametrize("settings", [{"finetuning.views": 1}, {"finetuning.strategy": "full"}])
def test_several_classes_an_image_are_learnt_from_weights_of_one(
    settings, finetuned, digits_package, tmp_path, monkeypatch
):
    monkeypatch.setitem(SOURCES, "tagged", tagged)
    plain = {"data.shots": ..., "data.validation_fraction": ...}
    options = {"weights": str(digits_package), "source": "tagged"}
    result = finetuned("run", {**plain, "training.epochs": 8, **settings}, **options)
    assert result.validation.score_name == "mean_average_precision"
    judged = evaluate(result.package, "tagged").metrics
    assert judged.score > 0.8
    same = {**plain, **settings, "finetuning.classes": "same"}
    with pytest.raises(UserError, match="multi-label"):
        finetuned("same", same, **options)


# --- features that are stored ---

PROBED = {"finetuning.strategy": "linear-probe", "training.keep": "last", **BY_STEPS}
FROM_TOP = {  # the probe on features, then stages on feature maps
    "finetuning.strategy": "gradual",
    "training.epochs": 8,
    "finetuning.head_share": 0.25,
    "training.keep": "last",
    **BY_STEPS,
}


def weights_of(result):
    return load_file(result.package / "model.safetensors")


@pytest.mark.parametrize("settings", [PROBED, FROM_TOP])
def test_training_on_stored_features_is_training_on_images(settings, finetuned):
    # As many views as epochs: nothing is shown twice, as without the store.
    stored = finetuned("yes", {**settings, "finetuning.cache": "yes", "finetuning.views": 2})
    images = finetuned("no", {**settings, "finetuning.cache": "no"})
    assert stored.steps == images.steps
    one, other = weights_of(stored), weights_of(images)
    for key, value in one.items():
        torch.testing.assert_close(value, other[key], atol=2e-4, rtol=1e-3, msg=key)


def test_features_that_are_found_give_the_bits_of_those_that_are_computed(
    finetuned, tmp_path, capsys
):
    settings = {**PROBED, "finetuning.cache": "yes", "finetuning.views": 1}
    files = [
        (finetuned(name, settings).package / "model.safetensors").read_bytes()
        for name in ("computed", "found")
    ]
    assert files[0] == files[1]
    stores = list((tmp_path / "cache" / "features").iterdir())
    assert len(stores) == 2, "of the training and of the validation images"


def test_how_often_images_are_shown_is_decided_once(finetuned, tmp_path, monkeypatch):
    """Whatever room there is when a run is resumed."""
    settings = {**PROBED, "training.epochs": 4}
    wanted = weights_of(finetuned("whole", settings))
    monkeypatch.setattr("resnetkit.phases.fit", interrupt)
    with pytest.raises(KeyboardInterrupt):
        finetuned("run", settings)
    monkeypatch.undo()
    monkeypatch.setenv("RESNETKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("resnetkit.finetuning.feature_cache.RESERVED_BYTES", 1 << 60)
    found = weights_of(finetuned("run", settings, resume=True))
    assert all(torch.equal(value, found[key]) for key, value in wanted.items())


def test_features_for_which_there_is_no_room_are_refused_before_anything_is_written(
    finetuned, tmp_path, monkeypatch
):
    monkeypatch.setattr("resnetkit.finetuning.feature_cache.RESERVED_BYTES", 1 << 60)
    with pytest.raises(UserError, match=r"cache yes: phase linear-probe cannot .* 0 MB are free"):
        finetuned("run", {**PROBED, "finetuning.cache": "yes"})
    assert not (tmp_path / "run").exists()

    monkeypatch.setattr("resnetkit.finetuning.feature_cache.MEMORY_BYTES", 0)
    solved = {**NO_STEPS, "finetuning.strategy": "linear-probe"}
    with pytest.raises(UserError, match=r"lbfgs needs the features of all .* free some disk, or"):
        finetuned("solved", solved)
    with pytest.raises(UserError, match=r"do not fit into memory: leave finetuning.cache at auto"):
        finetuned("kept", {**solved, "finetuning.cache": "no"})


def test_nothing_is_written_into_weights_or_images(finetuned, digits_package, tmp_path):
    before = {path: path.read_bytes() for path in digits_package.rglob("*") if path.is_file()}
    finetuned("run", {**NO_STEPS, "finetuning.strategy": "linear-probe", "finetuning.views": 1})
    after = {path: path.read_bytes() for path in digits_package.rglob("*") if path.is_file()}
    assert before == after
    with pytest.raises(UserError, match="only read"):
        finetuned(str(digits_package / "run"), NO_STEPS)


def interrupt(*arguments):
    raise KeyboardInterrupt


def test_the_licence_of_the_weights_is_passed_on_from_package_to_package(digits_package):
    package = load_package(digits_package)
    plan = build_plan(tuple(package.model.parts()), FinetuneConfig(strategy="full"), 1.0)
    assert "notes" not in describe_origin(package, plan, None)
    notes = {"Licence": "Ask Ada first.", "Weights": "Stored as float16."}
    licensed = replace(package, provenance={**package.provenance, "notes": notes})
    child = describe_origin(licensed, plan, None)
    assert child["notes"] == {PARENT_LICENCE: "Ask Ada first."}
    again = replace(package, provenance={**package.provenance, **child})
    assert describe_origin(again, plan, None)["notes"] == child["notes"]
