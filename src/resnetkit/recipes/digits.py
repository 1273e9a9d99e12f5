"""Handwritten digits: the demo, a minute on two cores."""

from __future__ import annotations

from resnetkit.data.augment import AugmentConfig
from resnetkit.data.settings import DataConfig
from resnetkit.experiment import Experiment
from resnetkit.models.zoo import ModelConfig
from resnetkit.optim.optimizers import OptimizerConfig
from resnetkit.optim.schedules import ScheduleConfig
from resnetkit.training.config import TrainingConfig
from resnetkit.training.execution import ExecutionConfig


def digits() -> Experiment:
    """scikit-learn's 1,797 handwritten digits (8x8) with a small residual network."""
    return Experiment(
        model=ModelConfig(name="digits-resnet8"),
        data=DataConfig(source="digits", batch_size=64),
        augment=AugmentConfig(pad_crop=1),
        optimizer=OptimizerConfig(
            learning_rate=0.1, weight_decay=5e-4, nesterov=True, decay_norm_and_bias=False
        ),
        schedule=ScheduleConfig(name="onecycle", warmup=0.2),
        training=TrainingConfig(epochs=40, ema_decay=0.99, label_smoothing=0.05),
        # Pinned, so that two runs with one seed give the same bits.
        execution=ExecutionConfig(precision="float32", memory_order="channels_last", compile="no"),
    )
