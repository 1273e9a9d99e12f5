"""What a check leaves in its folder: manifest, quarantine list, page, summary, and the scan itself.

The scan (`scan.parquet`) is there so that the next check need not do again what did not change.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from resnetkit.data.checks.check_report import CheckReport
from resnetkit.data.checks.exclusion import Groups, kinds_by_image
from resnetkit.data.checks.findings import Finding
from resnetkit.data.checks.kinds import KINDS
from resnetkit.data.checks.page import render_page
from resnetkit.data.checks.part_store import SAVED_SCAN, PartStore
from resnetkit.data.checks.scan_types import Scan
from resnetkit.data.columns import pack_texts
from resnetkit.data.manifest_table import ManifestTable
from resnetkit.data.manifest_writer import write_manifest_table

Progress = Callable[[str, int, int], None]  # what, done, total

SHOWN = 20  # names and details of each kind in the summary
FILES = {
    "manifest": "manifest.parquet",
    "quarantine": "quarantine.csv",
    "report": "report.html",
    "summary": "summary.json",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """A check's report with everything needed to write it down."""

    report: CheckReport
    scan: Scan
    located: Mapping[str, Groups]  # kind -> the images of its findings
    excluded: Mapping[int, list[str]]  # image -> the kinds that are the reason


def output_paths(out: Path, has_images: bool) -> dict[str, Path]:
    """What `write_outputs` writes; no tables where there is no image to put into one."""
    names = FILES if has_images else {name: FILES[name] for name in ("report", "summary")}
    return {name: out / file for name, file in names.items()}


def write_outputs(folder: Path, outcome: Outcome, store: PartStore, progress: Progress) -> None:
    """Write all files of a check into `folder`, which is new and empty."""
    if len(outcome.scan):
        write_manifest_table(folder / FILES["manifest"], build_manifest(outcome))
        (folder / FILES["quarantine"]).write_text(_quarantine(outcome), encoding="utf-8")
        store.write_saved(folder / SAVED_SCAN)
    page = render_page(outcome.report, outcome.scan, outcome.located, progress)
    (folder / FILES["report"]).write_text(page, encoding="utf-8")
    summary = json.dumps(summarize(outcome.report), indent=2, ensure_ascii=False)
    (folder / FILES["summary"]).write_text(summary + "\n", encoding="utf-8")


def build_manifest(outcome: Outcome) -> ManifestTable:
    """The table that `--data.manifest` reads: every image with hash, label, findings, exclusion."""
    scan = outcome.scan
    exclude = np.zeros(len(scan), bool)
    exclude[list(outcome.excluded)] = True
    soft = scan.labels if scan.labels.ndim == 2 and scan.task == "single-label" else None
    return ManifestTable(
        class_names=scan.class_names,
        paths=pack_texts(scan.paths),
        labels=scan.labels if soft is None else soft.argmax(axis=1),
        splits=scan.splits,
        sha256=scan.sha256,
        sizes=scan.bytes,
        modified_ns=scan.modified_ns,
        findings=kinds_by_image(len(scan), outcome.located),
        exclude=exclude,
        soft_labels=soft,
        task=scan.task,
        source=scan.location,
        checked=True,
        notes={"made_by": "resnetkit data check", "unsafe": list(outcome.report.unsafe)},
    )


def _quarantine(outcome: Outcome) -> str:
    """The excluded images as CSV: path, split, label, reasons (";" between them)."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "label", "reasons"))
    for row, kinds in outcome.excluded.items():
        name = outcome.scan.names[row]
        writer.writerow((name, outcome.scan.label_name(row), ";".join(kinds)))
    return text.getvalue()


def some_names(findings: Sequence[Finding], most: int) -> list[str]:
    """The first names in `findings`, each once, `most` at most."""
    names = (name for finding in islice(findings, most) for name in finding.names)
    return list(islice(dict.fromkeys(names), most))


def summarize(report: CheckReport) -> dict[str, Any]:
    """The report as a JSON-safe dictionary; of each kind the first findings and their number."""
    return {
        "location": report.location,
        "passed": report.passed,
        "unsafe": list(report.unsafe),
        "allowed": list(report.allowed),
        "images": dict(report.images),
        "excluded": report.excluded,
        "classes": {
            name: {split: counts[number] for split, counts in report.counts.items()}
            for number, name in enumerate(report.class_names)
        },
        "findings": {
            kind: {
                "severity": KINDS[kind].severity,
                "allowable": not KINDS[kind].refused,
                "count": len(findings),
                "names": some_names(findings, SHOWN),
                "detail": findings[0].detail,
                "details": [finding.detail for finding in islice(findings, SHOWN)],
            }
            for kind, findings in report.findings.items()
        },
        "files": {name: path.name for name, path in report.paths.items()},
    }
