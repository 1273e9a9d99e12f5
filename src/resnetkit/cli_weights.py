"""`resnetkit import-weights`: weights of another library become a model package."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from resnetkit.arguments import ImportArguments
from resnetkit.terminal import parse, show

if TYPE_CHECKING:
    from resnetkit.pipeline_weights import ImportedWeights

Result = dict[str, Any]

SHOWN = 5  # names of each kind
COUNTER = "num_batches_tracked"  # only BatchNorm without momentum reads it; other libraries lack it


def run_import_weights(arguments: list[str], as_json: bool) -> Result:
    """Import, then say which network it is, what was used and what was not, and where it lies."""
    from resnetkit.narration import printable
    from resnetkit.pipeline_weights import import_weights

    asked = parse(ImportArguments, "import-weights", arguments)
    result = import_weights(
        asked.weights, asked.out, model=asked.model, classes=asked.classes, mean=asked.mean
    )
    show([printable(line) for line in describe_import(result)], as_json)
    contract, report = result.package.contract, result.foreign.report
    imported = result.package.provenance["imported"]
    return {
        "package": str(result.folder),
        "origin": result.foreign.origin,
        "network": imported["network"],
        "source": str(result.source),
        "sha256": result.sha256,
        "classes": contract.num_classes,
        "input": list(contract.crop),
        "preprocessing": imported["preprocessing"],
        "class_names": imported["class_names"],
        **{key: value for key, value in asdict(report).items() if key != "layout"},
        "layout": report.layout,
    }


def describe_import(result: ImportedWeights) -> list[str]:
    """The lines for a person: network, entries, input, classes, notes, place."""
    contract, report = result.package.contract, result.foreign.report
    imported = result.package.provenance["imported"]
    parameters = sum(value.numel() for value in result.package.model.parameters())
    assumed = imported["preprocessing"] == "assumed"
    missing = tuple(name for name in report.missing if not name.endswith(COUNTER))
    counters = len(report.missing) - len(missing)
    started = f", {counters:,} batch counters begin at 0" if counters else ""
    names = contract.class_names
    shown = ", ".join(names[:3]) + (f", … {names[-1]}" if len(names) > 4 else "")
    lines = [
        f"Network  {imported['network']}, {parameters:,} parameters, from {result.foreign.origin}",
        f"Entries  {report.used:,} used ({report.renamed:,} under another name), "
        f"{len(report.left_over):,} left over, {len(missing):,} missing{started}",
        *_listed("left over", report.left_over),
        *_listed("missing", missing),
        f"Input    {contract.color_mode} {contract.crop[0]}x{contract.crop[1]} from a shorter side "
        f"of {contract.resize}, {contract.interpolation}"
        + (": assumed, since the file does not say; check it with `evaluate`" if assumed else ""),
        f"Classes  {contract.num_classes:,}, {imported['class_names']}: {shown}",
        *(f"Note     {note}" for note in report.notes),
        f"Package  {result.folder}",
    ]
    if imported["class_names"] == "numbered":
        lines.insert(-1, "Note     Name the classes with --classes FILE, one name a line.")
    return lines


def _listed(what: str, names: tuple[str, ...]) -> list[str]:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [f"  {what}: {', '.join(names[:SHOWN])}{more}"] if names else []
