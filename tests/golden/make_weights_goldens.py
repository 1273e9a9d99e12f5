"""Makes tests/golden/weights/*.json: what other libraries' networks compute, with seeded weights.

Each file has the network's entries and their shapes, the logits of fixed images, what the library
says beside the weights, and the versions used. The weights are a function of their names
(tests/models/weights/seeded_weights.py), so none are stored. Run once, with the real libraries:

    pip install timm==1.0.31 transformers==5.23.0
    # resnet.py of akamaster/pytorch_resnet_cifar10 and models/resnet.py of kuangliu/pytorch-cifar
    python tests/golden/make_weights_goldens.py FOLDER   # holding akamaster.py and kuangliu.py
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "models" / "weights"))
from seeded_weights import seeded_images, seeded_state  # noqa: E402  (lies beside the tests)

TIMM = {  # name -> (image size, classes)
    "resnet18": (64, 1000),
    "resnet18d": (64, 7),
    "resnet26d": (64, 7),
    "resnet50": (32, 7),
    "seresnet50": (32, 7),
    "seresnext26d_32x4d": (64, 7),
}
HUGGINGFACE: dict[str, dict[str, Any]] = {
    "resnet-18": {
        "layer_type": "basic",
        "depths": [2, 2, 2, 2],
        "hidden_sizes": [64, 128, 256, 512],
        "id2label": {0: "cat", 1: "dog", 2: "fish"},
    },
    "resnet-50": {"id2label": {number: f"class {number}" for number in range(12)}},
    "narrow-v1": {
        "depths": [1, 2, 1],
        "hidden_sizes": [64, 128, 256],
        "embedding_size": 32,
        "downsample_in_bottleneck": True,
        "id2label": {0: "no", 1: "yes"},
    },
}
CIFAR: dict[str, tuple[str, Callable[[Any], nn.Module]]] = {
    "akamaster-resnet20": ("akamaster", lambda definition: definition.resnet20()),
    "kuangliu-resnet18": (
        "kuangliu",
        lambda definition: definition.ResNet(definition.BasicBlock, [2, 2, 2, 2]),
    ),
    "kuangliu-bottlenecks": (
        "kuangliu",
        lambda definition: definition.ResNet(definition.Bottleneck, [1, 1, 1, 1]),
    ),
}


def main() -> None:
    """Write all goldens."""
    import timm
    import transformers

    sys.path.insert(0, sys.argv[1])
    for name, (size, classes) in TIMM.items():
        network = timm.create_model(name, num_classes=classes)
        facts = {"architecture": name, "num_classes": classes}
        record(f"timm-{name}", network, size, f"timm {timm.__version__}", facts)
    for name, settings in HUGGINGFACE.items():
        config = transformers.ResNetConfig(**settings)
        network = transformers.ResNetForImageClassification(config)
        facts = json.loads(config.to_json_string(use_diff=False))
        facts = {key: facts[key] for key in ("model_type", *settings)}
        version = f"transformers {transformers.__version__}"
        record(f"huggingface-{name}", network, 64, version, facts)
    for name, (module, build) in CIFAR.items():
        definition = importlib.import_module(module)
        record(f"cifar-{name}", build(definition), 32, definition.__doc__.strip(), None)


def record(name: str, network: nn.Module, size: int, made_with: str, facts: Any) -> None:
    """Write one golden."""
    shapes = {key: list(entry.shape) for key, entry in network.state_dict().items()}
    network.load_state_dict(seeded_state(shapes), strict=True)
    with torch.inference_mode():
        logits = network.eval()(seeded_images(2, size))
    logits = getattr(logits, "logits", logits)
    golden = {
        "made_with": f"{made_with}, torch {torch.__version__}",
        "image_size": size,
        "config": facts,
        "logits": [[float(f"{logit:.7g}") for logit in row[:20].tolist()] for row in logits],
        "shapes": shapes,
    }
    path = HERE / "weights" / f"{name}.json"
    path.write_text(json.dumps(golden, indent=None, separators=(",", ":")) + "\n")
    print(path.name, path.stat().st_size, "bytes, logits up to", float(logits.abs().max()))


if __name__ == "__main__":
    main()
