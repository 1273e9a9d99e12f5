"""ImageNet with the classic recipe."""

from __future__ import annotations

from resnetkit.data.augment import AugmentConfig
from resnetkit.data.settings import DataConfig
from resnetkit.experiment import Experiment
from resnetkit.models.zoo import ModelConfig
from resnetkit.optim.optimizers import OptimizerConfig
from resnetkit.optim.schedules import ScheduleConfig
from resnetkit.training.config import TrainingConfig


def imagenet_resnet50() -> Experiment:
    """ResNet-50, 90 epochs, batch 256, rate 0.1 divided by 10 every 30 epochs.

    The recipe behind torchvision's first weights (76.13 % top-1; reruns give 75.4 to 75.9 %).
    """
    return Experiment(
        model=ModelConfig(name="resnet50"),
        data=DataConfig(image_size=224, resize=256, batch_size=256, normalization="imagenet"),
        augment=AugmentConfig(horizontal_flip=True, resized_crop_scale=(0.08, 1.0)),
        optimizer=OptimizerConfig(learning_rate=0.1, weight_decay=1e-4),
        schedule=ScheduleConfig(name="multistep", milestones=(1 / 3, 2 / 3)),
        training=TrainingConfig(epochs=90),
    )
