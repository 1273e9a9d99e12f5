"""The cheap part of the gate, which training runs by itself at every start: nothing is decoded."""

from __future__ import annotations

from pathlib import Path

from resnetkit.data.checks.classes import judge_classes
from resnetkit.data.checks.findings import SEVERITIES, Finding
from resnetkit.data.checks.folder_listing import list_folder
from resnetkit.data.checks.kinds import KINDS
from resnetkit.data.checks.listing import list_loaded
from resnetkit.data.source_types import Source
from resnetkit.data.sources import is_image_folder


def quick_check(source: Source) -> list[Finding]:
    """What names and counts alone say about a source that was read, the worst first.

    Of an image folder also what its folders hold beside the images that were read; the class sets
    of splits that were not read are not compared.
    """
    findings = judge_classes(list_loaded(source))
    if is_image_folder(source.location):
        findings += list_folder(Path(source.location).expanduser()).findings
    return sorted(findings, key=lambda finding: SEVERITIES.index(KINDS[finding.kind].severity))
