"""The model card: README.md of a package, for people and for the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from resnetkit.data.contract import InputContract
from resnetkit.evaluation.confidence import Confidence, describe_confidence

CARD = "README.md"
CLASSES_NAMED = 50


def render_card(
    contract: InputContract,
    provenance: Mapping[str, Any],
    metrics: Mapping[str, Mapping[str, Any]],
    confidence: Confidence | None = None,
) -> str:
    """The card as Markdown: what it is, data, accuracy with interval, use, limits, notes.

    `provenance` may bring "notes", each a heading with its text: on the licence, for instance.
    """
    tags = {
        "library_name": "resnetkit",
        "pipeline_tag": "image-classification",
        "tags": ["resnet", "image-classification"],
    }
    experiment = provenance.get("experiment", {})
    data = provenance.get("data", {})
    imported = provenance.get("imported", {})
    name = experiment.get("model", {}).get("name") or imported.get("network", "Residual network")
    images = ", ".join(f"{split} {count:,}" for split, count in data.get("images", {}).items())
    facts = {
        "Network": name,
        "Recipe": provenance.get("recipe"),
        "Data": data.get("source"),
        "Weights": imported.get("origin"),
        "Images": images,
        "Classes": _class_list(contract),
        "Input": _input(contract),
    }
    lines = [f"- {key}: {_plain(value)}" for key, value in facts.items() if value]
    return (
        f"---\n{yaml.safe_dump(tags, sort_keys=False)}---\n"
        f"# {_plain(name)} for {contract.num_classes} classes\n\n"
        f"{WHAT[contract.task]} {IMPORTED if imported else TRAINED}\n\n"
        + "\n".join(lines)
        + f"\n\n## Accuracy\n\n{_accuracy(contract, metrics)}\n\n"
        + USE.replace("LOOK", LOOKS[contract.task])
        + "\n"
        + LIMITS.replace("UNKNOWN", UNKNOWNS[contract.task]).replace(
            "SURENESS", _plain(describe_confidence(confidence))
        )
        + _notes(provenance.get("notes", {}))
    )


def _accuracy(contract: InputContract, metrics: Mapping[str, Mapping[str, Any]]) -> str:
    if not metrics:
        return "Not evaluated yet."
    if contract.task == "multi-label":
        return _precision(metrics)
    rows = ["| split | images | top-1 | 95 % interval |", "| --- | --- | --- | --- |"]
    for split, figures in metrics.items():
        low, high = figures["top1_interval"]
        rows.append(
            f"| {split} | {figures['images']:,} | {figures['top1']:.2%} | {low:.2%} to {high:.2%} |"
        )
    return "\n".join(rows)


def _precision(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        "| split | images | mean average precision | 95 % interval | F1 (mean of classes) |",
        "| --- | --- | --- | --- | --- |",
    ]
    for split, figures in metrics.items():
        value, interval = (
            figures["mean_average_precision"],
            figures["mean_average_precision_interval"],
        )
        shown = "undefined" if value is None else f"{value:.2%}"
        bounds = "–" if interval is None else f"{interval[0]:.2%} to {interval[1]:.2%}"
        rows.append(
            f"| {split} | {figures['images']:,} | {shown} | {bounds} | {figures['macro_f1']:.2%} |"
        )
    return "\n".join(rows)


def _notes(notes: Mapping[str, str]) -> str:
    return "".join(f"\n## {_plain(heading)}\n\n{_plain(notes[heading])}\n" for heading in notes)


def _class_list(contract: InputContract) -> str:
    names = ", ".join(contract.class_names[:CLASSES_NAMED])
    more = contract.num_classes - CLASSES_NAMED
    return f"{names} and {more} more" if more > 0 else names


def _input(contract: InputContract) -> str:
    height, width = contract.crop
    return (
        f"{contract.color_mode}, shorter side resized to {contract.resize} pixels "
        f"({contract.interpolation}), centre crop of {height} x {width} pixels"
    )


def _plain(text: Any) -> str:
    """Text that Markdown shows as it is: names may hold backslashes, stars or line ends."""
    flat = " ".join(str(text).split())
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>#|$" else letter for letter in flat)


WHAT = {
    "single-label": "An image classifier (one class an image)",
    "multi-label": "An image tagger (any number of classes an image, a sigmoid each)",
}
LOOKS = {
    "single-label": "print(prediction.label, prediction.probability)",
    "multi-label": "print(prediction.labels, prediction.top)  # above 50 %; all, likeliest first",
}
UNKNOWNS = {
    "single-label": (
        "It knows only the classes above: an image of anything else is given one of them all the "
        "same, often\nwith a high probability."
    ),
    "multi-label": (
        "It knows only the classes above, and may see them in an image of anything else. A class "
        "counts as\nthere above 50 %, a threshold nobody has tuned."
    ),
}

TRAINED = (
    "trained with resnetkit. How it was trained, in full, is in `config.json` under `provenance`."
)
IMPORTED = (
    "trained elsewhere and imported by resnetkit. Where from, and what became of every entry, is "
    "in `config.json` under `provenance`; the licence is that of the weights."
)

USE = """## Use

```python
import resnetkit

for prediction in resnetkit.load("path/to/this/folder").predict("image.jpg"):
    LOOK
```

The folder carries its own input contract (`preprocessor_config.json`): colour mode, resizing, crop
and normalisation are applied for you, exactly as in training.
"""

LIMITS = """## Limits

UNKNOWN SURENESS
Accuracy and probabilities hold for images like those they were measured on; measure them on your
own before relying on them: `resnetkit evaluate path/to/this/folder --data YOUR_IMAGES`.
"""
