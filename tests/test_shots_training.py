"""Training on shots, end to end: the seed is the run's, and test images stay as they are."""

import pytest

from resnetkit.config import from_yaml
from resnetkit.data.shots import with_shots_seed
from resnetkit.experiment import CONFIG_FILE, Experiment
from resnetkit.pipeline import train
from resnetkit.pipeline_data import read_training_data
from resnetkit.pipeline_evaluation import evaluate
from resnetkit.types import UserError

pytestmark = pytest.mark.usefixtures("one_thread")
FEW = {"data.shots": 3, "data.validation_fraction": 0.0, "training.keep": "last"}


def test_a_run_on_shots_is_resumed_and_judged_like_any_other(tiny, pictures, trained, tmp_path):
    experiment = tiny(pictures, {**FEW, "training.seed": 4, "training.epochs": 1})
    result = train(experiment, tmp_path / "run")
    saved = from_yaml(Experiment, (tmp_path / "run" / CONFIG_FILE).read_text(), "the run")
    assert (saved.data.shots, saved.data.shots_seed) == (3, 4)
    assert saved.data == with_shots_seed(saved.data, 9)  # settled once
    again = train(experiment, tmp_path / "run", resume=True)
    assert again.steps == result.steps
    judged = evaluate(result.package, str(pictures))
    whole = evaluate(trained.package, str(pictures))
    assert judged.metrics.images == whole.metrics.images
    with pytest.raises(UserError, match=r"there is no val split"):
        evaluate(result.package, str(pictures), split="val")


def test_runs_with_other_seeds_draw_other_images(tiny, pictures):
    drawn = {
        tuple(read_training_data(tiny(pictures, {**FEW, "training.seed": seed}), None).train.names)
        for seed in range(3)
    }
    assert len(drawn) == 3
