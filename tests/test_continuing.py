"""A package that learned on is judged on old images, on new ones, and on some of its classes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from resnetkit.data.opening import DescribedSource
from resnetkit.export.package import load_package
from resnetkit.pipeline_evaluation import evaluate
from resnetkit.pipeline_finetuning import finetune
from resnetkit.types import UserError

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # Of learning without old images, and of judging on some of the classes.
    pytest.mark.filterwarnings("ignore:.*no training image, new or replayed:UserWarning"),
]

QUICK = {
    "finetuning.strategy": "linear-probe",
    "finetuning.cache": "no",
    "data.image_size": 12,
}
TOLD = r"it has no images of {} of the package's {} classes: .*; the figures say nothing of them"


def draw(folder, colors, seed):
    generator = np.random.default_rng(seed)
    for name, color in colors.items():
        (folder / name).mkdir(parents=True)
        for number in range(15):
            noise = generator.normal(0, 20, (12, 12, 3))
            pixels = np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")
    return folder


def learn_on(package, source, out, **settings):
    """The package fine-tuned on `source` with its own classes kept."""
    own = {f"finetuning.{name}": value for name, value in settings.items()}
    return finetune(
        str(source),
        out,
        weights=str(package),
        settings={**QUICK, "finetuning.classes": "add"} | own,
    ).package


def judge(package, source, missing, of, **asked):
    """Figures on the test split, with the warning that classes are missing."""
    with pytest.warns(UserWarning, match=TOLD.format(missing, of)):
        return evaluate(package, DescribedSource(location=str(source), **asked)).metrics


@pytest.fixture(scope="module")
def violet(tmp_path_factory):
    """Two new classes."""
    colors = {"violet": (150, 60, 200), "indigo": (90, 20, 140)}
    return draw(tmp_path_factory.mktemp("learnt") / "violet", colors, 3)


@pytest.fixture(scope="module")
def learned(trained, violet, pictures, tmp_path_factory):
    """The package of blue, green and red after it has learnt violet and indigo as well."""
    out = tmp_path_factory.mktemp("learnt") / "run"
    return learn_on(trained.package, violet, out, replay=str(pictures), replay_per_class=4)


def test_it_is_judged_on_what_neither_training_has_seen(learned, trained, violet, pictures):
    old, new = judge(learned, pictures, 2, 5), judge(learned, violet, 3, 5)
    assert old.images == evaluate(trained.package, str(pictures)).metrics.images == 3
    assert new.images == 4
    support = {row.name: row.support for row in old.per_class}
    assert support == {"blue": 1, "green": 1, "red": 1, "indigo": 0, "violet": 0}
    assert old.top1 > 0.5  # by name: by position every old image would be wrong
    assert new.top1 > 0.5


def test_the_cut_of_the_first_training_is_kept_over_the_generations(
    learned, trained, violet, pictures, tmp_path
):
    first = load_package(trained.package).provenance["data"]["cut"]
    second = load_package(learned).provenance
    assert [one["cut"] for one in second["earlier_data"]] == [first]
    assert second["experiment"]["data"]["sampling"] == "balanced"
    gold = draw(tmp_path / "gold", {"gold": (220, 190, 40)}, 9)  # a single new class will do
    third = learn_on(learned, gold, tmp_path / "run")
    earlier = load_package(third).provenance["earlier_data"]
    assert [one["cut"] for one in earlier] == [second["data"]["cut"], first]
    assert judge(third, gold, 5, 6).images == 2  # of 15, a tenth
    assert judge(third, pictures, 3, 6).images == 3
    assert judge(third, shutil.copytree(pictures, tmp_path / "moved"), 3, 6).images == 3


def test_some_classes_are_enough_for_it_and_only_on_request_for_others(learned, trained, tmp_path):
    some = draw(tmp_path / "some" / "test", {"red": (220, 60, 40)}, 7).parent
    assert judge(learned, some, 4, 5).images == 15
    with pytest.raises(UserError, match=r"lacks 'blue', 'green'\. Add .* --some-classes"):
        evaluate(trained.package, str(some))
    assert judge(trained.package, some, 2, 3, some_classes=True).images == 15


@pytest.mark.parametrize(
    "setting", [{"training.class_weights": "inverse"}, {"training.logit_adjustment": 1.0}]
)
def test_a_correction_by_class_sizes_needs_images_of_every_class(
    setting, trained, violet, tmp_path
):
    with pytest.raises(UserError, match=r"3 of 5 have none: 'blue', 'green', 'red'.*replay"):
        finetune(
            str(violet),
            tmp_path / "run",
            weights=str(trained.package),
            settings=QUICK | setting | {"finetuning.classes": "add"},
        )
    assert not (tmp_path / "run").exists()
