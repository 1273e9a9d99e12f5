"""resnetkit: develop and fine-tune residual networks on your own images."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

_API = {
    "train": "pipeline",
    "finetune": "pipeline_finetuning",
    "import_weights": "pipeline_weights",
    "evaluate": "pipeline_evaluation",
    "compare": "pipeline_comparison",
    "calibrate": "pipeline_calibration",
    "explain": "pipeline_explanation",
    "predict": "pipeline",
    "load": "serving.predictor",
    "load_recipe": "recipes",
}


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; `import resnetkit` and `resnetkit --help` should not.
    if name in _API:
        from importlib import import_module

        return getattr(import_module(f"resnetkit.{_API[name]}"), name)
    raise AttributeError(f"module 'resnetkit' has no attribute {name!r}")
