"""Training from scratch on any folder of pictures."""

from __future__ import annotations

from resnetkit.data.augment import AugmentConfig
from resnetkit.data.settings import DataConfig
from resnetkit.experiment import Experiment
from resnetkit.models.zoo import ModelConfig
from resnetkit.optim.optimizers import OptimizerConfig
from resnetkit.optim.schedules import ScheduleConfig
from resnetkit.training.config import TrainingConfig


def folder() -> Experiment:
    """ResNet-18 at 128 pixels from random weights: a sound start for photographs."""
    return Experiment(
        model=ModelConfig(name="resnet18"),
        data=DataConfig(image_size=128, batch_size=32),
        augment=AugmentConfig(horizontal_flip=True, resized_crop_scale=(0.35, 1.0)),
        optimizer=OptimizerConfig(
            learning_rate=0.05, weight_decay=5e-4, nesterov=True, decay_norm_and_bias=False
        ),
        schedule=ScheduleConfig(name="cosine", warmup=0.05),
        training=TrainingConfig(
            epochs=40, label_smoothing=0.1, ema_decay=0.998, early_stopping_patience=20
        ),
    )
