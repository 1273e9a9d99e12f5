"""Recipes: complete, round-trip through YAML, and the paper's is the paper's."""

import ast
import inspect
import sys
from dataclasses import fields, is_dataclass, replace

import pytest

from resnetkit.config import from_yaml, to_yaml
from resnetkit.data.augment import AugmentConfig
from resnetkit.data.settings import DataConfig
from resnetkit.experiment import Experiment
from resnetkit.models.counting import count_parameters
from resnetkit.models.zoo import MODELS, ModelConfig, build_model, resolve_model
from resnetkit.optim.optimizers import OptimizerConfig
from resnetkit.optim.schedules import ScheduleConfig, learning_rate_factor
from resnetkit.recipes import RECIPES, load_recipe
from resnetkit.training.config import TrainingConfig
from resnetkit.training.execution import ExecutionConfig
from resnetkit.training.plan import count_steps
from resnetkit.types import UserError

CONFIGS = (
    ModelConfig,
    DataConfig,
    AugmentConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainingConfig,
    ExecutionConfig,
)
# He et al. 2015, table 6: "# params" in millions.
PAPER = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}
STEPS_PER_EPOCH = 50_000 // 128


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_whole_experiment(name):
    experiment = load_recipe(name)
    assert experiment.recipe == name
    assert experiment.model.name in MODELS
    assert from_yaml(Experiment, to_yaml(experiment), name) == experiment
    architecture = resolve_model(experiment.model, num_classes=7, in_channels=3)
    assert architecture.num_classes == 7
    summary = (RECIPES[name].__doc__ or "").split("\n")[0]
    assert len(summary) > 20
    assert summary.endswith((".", "%", ")"))


def test_the_recipes_that_were_promised():
    paper = {f"cifar10-resnet{depth}" for depth in PAPER}
    others = {"digits", "folder", "cifar10-resnet20-fast", "cifar10-resnet18", "imagenet-resnet50"}
    others |= {"tiny-imagenet-resnet18-slim", "cifar10-resnet20-fast-augmix"}
    assert set(RECIPES) == paper | others


def test_an_unknown_recipe_gets_the_nearest_name():
    with pytest.raises(UserError, match=r"'cifar10-resnt20'; did you mean 'cifar10-resnet20'\?"):
        load_recipe("cifar10-resnt20")
    with pytest.raises(UserError, match=r"unknown recipe 'zzz'\. Known: digits, folder"):
        load_recipe("zzz")


@pytest.mark.parametrize("depth", PAPER)
def test_the_papers_recipe_is_section_4_2(depth):
    experiment = load_recipe(f"cifar10-resnet{depth}")
    data, training = experiment.data, experiment.training
    assert (data.source, data.batch_size, data.normalization) == ("cifar10", 128, "pixel")
    assert data.validation_fraction == 0  # trained on all 50k
    assert experiment.augment == AugmentConfig(pad_crop=4, horizontal_flip=True)
    assert experiment.optimizer == OptimizerConfig(
        name="sgd", learning_rate=0.1, weight_decay=1e-4, decay_norm_and_bias=True
    )
    assert experiment.optimizer.momentum in (None, 0.9)  # None is 0.9, see below
    assert not experiment.optimizer.nesterov
    assert count_steps(training, STEPS_PER_EPOCH) == 64_000
    assert training.keep == "last"
    assert (training.ema_decay, training.label_smoothing, training.clip_norm) == (None, 0, None)
    architecture = resolve_model(experiment.model, 10, 3)
    assert architecture.block.shortcut == "A"
    assert count_parameters(build_model(architecture)) == pytest.approx(
        1e6 * PAPER[depth], rel=0.03
    )


def test_momentum_is_09_where_none_is_given():
    from resnetkit.optim.optimizers import build_optimizer

    experiment = load_recipe("cifar10-resnet20")
    model = build_model(resolve_model(experiment.model, 10, 3))
    optimizer = build_optimizer(model, experiment.optimizer)
    (group,) = optimizer.param_groups
    assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.9, 1e-4, False)


@pytest.mark.parametrize("depth", PAPER)
def test_the_papers_learning_rate(depth):
    experiment = load_recipe(f"cifar10-resnet{depth}")

    def rate(step):
        peak = experiment.optimizer.learning_rate
        return peak * learning_rate_factor(experiment.schedule, step, 64_000)

    first = 0.01 if depth == 110 else 0.1  # "0.01 to warm up ... (about 400 iterations)"
    assert [rate(0), rate(399)] == pytest.approx([first, first])
    assert [rate(400), rate(31_999)] == pytest.approx([0.1, 0.1])
    assert [rate(32_000), rate(47_999)] == pytest.approx([0.01, 0.01])
    assert [rate(48_000), rate(63_999)] == pytest.approx([0.001, 0.001])


def test_published_recipes_pin_how_they_are_executed():
    fast = ["cifar10-resnet20-fast", "cifar10-resnet20-fast-augmix"]
    for name in [*(f"cifar10-resnet{depth}" for depth in PAPER), *fast, "digits"]:
        execution = load_recipe(name).execution
        assert "auto" not in (execution.precision, execution.memory_order, execution.compile)


def test_the_fast_recipe_stays_within_30_epochs():
    assert (load_recipe("cifar10-resnet20-fast").training.epochs or 99) <= 30


def test_the_augmix_recipe_is_the_fast_one_with_augmix_and_nothing_else():
    fast, augmix = load_recipe("cifar10-resnet20-fast"), load_recipe("cifar10-resnet20-fast-augmix")
    assert augmix.augment.policy == "augmix"
    assert replace(augmix.augment, policy="none") == fast.augment
    assert replace(augmix, augment=fast.augment, recipe=fast.recipe) == fast


def test_the_imagenet_recipe_is_the_classic_one():
    experiment = load_recipe("imagenet-resnet50")
    assert (experiment.model.name, experiment.training.epochs) == ("resnet50", 90)
    assert (experiment.data.batch_size, experiment.data.resize) == (256, 256)
    factors = [learning_rate_factor(experiment.schedule, 5_000 * e, 450_000) for e in (29, 30, 60)]
    assert factors == pytest.approx([1, 0.1, 0.01])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_every_setting_is_explained(config):
    """tyro shows the string after a setting as its help."""
    module = ast.parse(inspect.getsource(sys.modules[config.__module__]))
    (tree,) = [n for n in module.body if isinstance(n, ast.ClassDef) and n.name == config.__name__]
    explained = {
        statement.target.id
        for statement, following in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(statement, ast.AnnAssign)
        and isinstance(following, ast.Expr)
        and isinstance(following.value, ast.Constant)
    }
    assert is_dataclass(config)
    assert explained == {field.name for field in fields(config)}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: OptimizerConfig(betas=(0.9, 0.99)), "betas has no effect with sgd"),
        (lambda: OptimizerConfig(name="adamw", nesterov=True), "nesterov has no effect with adamw"),
        (lambda: ScheduleConfig(milestones=(0.5,)), "milestones has no effect with cosine"),
        (lambda: ScheduleConfig(name="multistep"), "needs schedule.milestones"),
        (lambda: ScheduleConfig(warmup_from=0.1), "no effect without warm-up"),
        (lambda: ScheduleConfig(name="onecycle"), "onecycle needs schedule.warmup"),
        (lambda: AugmentConfig(early_size=8), "only act together"),
        (lambda: TrainingConfig(steps=5), "either training.epochs or training.steps"),
        (lambda: TrainingConfig(keep="last", early_stopping_patience=2), "contradict each other"),
    ],
)
def test_a_setting_without_effect_is_refused(build, message):
    with pytest.raises(UserError, match=message):
        build()
