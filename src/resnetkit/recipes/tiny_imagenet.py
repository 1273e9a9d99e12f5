"""Tiny-ImageNet: the recipe of the backbone that ships with the project."""

from __future__ import annotations

from resnetkit.data.augment import AugmentConfig
from resnetkit.data.settings import DataConfig
from resnetkit.experiment import Experiment
from resnetkit.models.zoo import ModelConfig
from resnetkit.optim.optimizers import OptimizerConfig
from resnetkit.optim.schedules import ScheduleConfig
from resnetkit.training.config import TrainingConfig
from resnetkit.training.execution import ExecutionConfig


def tiny_imagenet_resnet18_slim() -> Experiment:
    """A slim ResNet-18 of general features at 64 pixels: the backbone that ships with resnetkit."""
    return Experiment(
        model=ModelConfig(name="resnet18-slim"),
        data=DataConfig(image_size=64),
        augment=AugmentConfig(
            horizontal_flip=True,
            alternate_flips=True,
            resized_crop_scale=(0.3, 1.0),
            early_size=40,
            early_share=0.625,
        ),
        optimizer=OptimizerConfig(
            name="muon",
            learning_rate=0.2,
            kernel_rate=0.03,
            weight_decay=5e-4,
            decay_norm_and_bias=False,
        ),
        schedule=ScheduleConfig(name="onecycle", warmup=0.1),
        training=TrainingConfig(epochs=24, label_smoothing=0.1, keep="last"),
        execution=ExecutionConfig(precision="float32", memory_order="channels_last", compile="yes"),
    )
