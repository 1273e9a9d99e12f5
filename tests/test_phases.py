"""Phases of a fine-tuning: interrupted anywhere and resumed, they end with the same bits."""

import importlib
import signal
import sys
from pathlib import Path

import pytest

from resnetkit import phases
from resnetkit.jsonl import load_records
from resnetkit.pipeline_finetuning import PLAN_FILE
from resnetkit.training import trainer
from resnetkit.types import Interrupted, UserError

pytestmark = pytest.mark.usefixtures("one_thread")

EVERY_STEP = {"training.checkpoint_seconds": 0, "training.keep": "best"}
RUNS = {
    "lp-ft": {"finetuning.views": 2, "training.ema_decay": 0.5},
    "lp-ft by steps": {"finetuning.probe": "sgd", "training.epochs": 4, "finetuning.dropout": 0.2},
    "gradual": {"finetuning.views": 1, "training.epochs": 3},
}


def weights_of(result):
    return (result.package / "model.safetensors").read_bytes()


def trail(run):
    """What metrics.jsonl tells, its measured times aside."""
    return [
        (record["kind"], record["epoch"], record["step"], record["loss"])
        for record in load_records(run / "metrics.jsonl")
    ]


def die_at_the_first_save_of_each_phase(monkeypatch):
    """Every process dies once: just before, or just after, the first checkpoint of a phase."""
    save, died = phases.save_checkpoint, []

    def save_or_die(folder, state, identity):
        first = folder.name not in died
        if first:
            died.append(folder.name)
        if first and len(died) % 2:
            raise KeyboardInterrupt
        save(folder, state, identity)
        if first:
            raise KeyboardInterrupt

    monkeypatch.setattr(phases, "save_checkpoint", save_or_die)
    return died


@pytest.mark.parametrize("name", RUNS)
def test_a_run_killed_in_each_phase_ends_with_the_undisturbed_bits(
    name, finetuned, tmp_path, monkeypatch
):
    settings = {"finetuning.strategy": name.split()[0], **EVERY_STEP, **RUNS[name]}
    whole = finetuned("whole", settings)
    names = sorted(path.name for path in (tmp_path / "whole" / "checkpoints").iterdir())
    assert len(names) == {"lp-ft": 2, "gradual": 4}[settings["finetuning.strategy"]]

    died = die_at_the_first_save_of_each_phase(monkeypatch)
    for _ in names:
        with pytest.raises(KeyboardInterrupt):
            finetuned("run", settings, resume=True)
    result = finetuned("run", settings, resume=True)
    assert sorted(died) == names
    assert weights_of(result) == weights_of(whole)
    assert result.steps == whole.steps
    assert trail(tmp_path / "run") == trail(tmp_path / "whole")

    again = finetuned("run", settings, resume=True)  # there is nothing left to do
    assert weights_of(again) == weights_of(whole)
    assert trail(tmp_path / "run") == trail(tmp_path / "whole")


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_package_holds_the_best_of_all_phases_or_the_last(keep, finetuned, tmp_path):
    wild = {
        "optimizer.learning_rate": 20.0,
        "training.clip_norm": 1.0,
    }  # ruins what the probe found
    settings = {
        "finetuning.strategy": "lp-ft",
        "training.keep": keep,
        **wild,
        "finetuning.views": 1,
    }
    result = finetuned("run", settings)
    probe, *later = [
        record
        for record in load_records(tmp_path / "run" / "metrics.jsonl")
        if record["kind"] == "validation"
    ]
    assert max(record["top1"] for record in later) < probe["top1"]
    kept = probe if keep == "best" else later[-1]
    assert result.validation.top1 == kept["top1"]
    assert result.steps == later[-1]["step"]


def test_seconds_and_steps_are_counted_on(finetuned):
    settings = {"finetuning.strategy": "lp-ft", "finetuning.probe": "sgd", "training.epochs": 5}
    first = finetuned("run", settings)
    again = finetuned("run", settings, resume=True)
    assert (again.steps, again.seconds) == (first.steps, first.seconds)
    assert first.seconds > 0


# --- stopped on request ---


@pytest.mark.parametrize(
    ("work", "message"),
    [
        ("computing features", "stopped while computing features"),
        ("cross-validating the probe", "stopped while cross-validating the probe"),
    ],
)
def test_work_before_the_first_step_can_be_stopped(work, message, finetuned, monkeypatch):
    def press(bar, what, done, total):
        if what == work:
            signal.raise_signal(signal.SIGINT)

    settings = {"finetuning.strategy": "lp-ft", "finetuning.views": 4}
    monkeypatch.setattr("resnetkit.finetuning.probe.GRID", (0.1, 1.0))
    with monkeypatch.context() as patch:
        patch.setattr("resnetkit.phase_features.ReadingBar.__call__", press)
        with pytest.raises(Interrupted, match=message):
            finetuned("run", settings)
    result = finetuned("run", settings, resume=True)
    assert weights_of(result) == weights_of(finetuned("whole", settings))


def test_stopped_in_a_phase_the_run_says_in_which(finetuned, tmp_path, monkeypatch):
    step = trainer.train_step

    def step_and_press(state, task, batch, epoch):
        report = step(state, task, batch, epoch)
        signal.raise_signal(signal.SIGINT)
        return report

    settings = {"finetuning.strategy": "lp-ft", "finetuning.views": 1}
    monkeypatch.setattr(trainer, "train_step", step_and_press)
    with pytest.raises(Interrupted, match=r"^phase full stopped at step 1 of 4$"):
        finetuned("run", settings)
    assert [path.name for path in (tmp_path / "run/checkpoints/2-full").glob("step-*")] == [
        "step-000000001"
    ]


# --- resumed with something else ---


def snapshot(run):
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.fixture
def begun(finetuned, tmp_path, monkeypatch):
    """A run that was killed in its last phase."""
    settings = {"finetuning.strategy": "lp-ft", "finetuning.views": 1, **EVERY_STEP}
    with monkeypatch.context() as patch:
        die_at_the_first_save_of_each_phase(patch)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                finetuned("run", settings, resume=True)
    return settings


def test_resuming_with_other_weights_of_the_kind_is_refused_and_changes_nothing(
    begun, finetuned, tmp_path
):
    other = finetuned("other", {**begun, "training.keep": "last"})
    before = snapshot(tmp_path / "run")
    with pytest.raises(UserError, match="made with other starting weights"):
        finetuned("run", begun, resume=True, weights=str(other.package))
    assert snapshot(tmp_path / "run") == before


def test_resuming_with_weights_of_another_network_is_refused_and_changes_nothing(
    begun, finetuned, tmp_path
):
    path = tmp_path / "run" / PLAN_FILE
    path.write_text(path.read_text().replace("stage3", "stage4"))
    before = snapshot(tmp_path / "run")
    with pytest.raises(UserError, match=r"plan is for a network of stem, .*stage4.*began with"):
        finetuned("run", begun, resume=True)
    assert snapshot(tmp_path / "run") == before


def test_a_run_killed_before_its_plan_was_written_is_resumed(begun, finetuned, tmp_path):
    (tmp_path / "run" / PLAN_FILE).unlink()
    result = finetuned("run", begun, resume=True)
    assert weights_of(result) == weights_of(finetuned("whole", begun))
    plans = [(tmp_path / name / PLAN_FILE).read_text() for name in ("run", "whole")]
    assert plans[0] == plans[1]


# --- killed ---


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no process groups")
def test_a_process_killed_in_each_phase_resumes_to_the_same_bits(
    digits_package, tmp_path, monkeypatch
):
    """With the benchmark, which does so for every strategy with phases."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    harness = importlib.import_module("kill_finetune")
    variant = harness.Variant(
        strategy="lp-ft", probe="lbfgs", epochs=2.0, weights=digits_package, folder=tmp_path
    )
    wanted = harness.finish(variant, tmp_path / "undisturbed")
    phases_met = harness.phases_of(tmp_path / "undisturbed")
    assert [phase.name for phase in phases_met] == ["1-probe", "2-full"]
    met, found = harness.kill_each_phase(variant, 0, phases_met, seed=0)
    assert [row.phase for row in met] == ["1-probe", "2-full"]
    assert found == wanted
