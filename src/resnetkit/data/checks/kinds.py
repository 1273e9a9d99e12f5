"""Every kind of finding there is, by name."""

from __future__ import annotations

from resnetkit.data.checks.duplicates import DUPLICATE_KINDS
from resnetkit.data.checks.findings import Kind
from resnetkit.data.checks.folder_kinds import FOLDER_KINDS
from resnetkit.data.checks.image_kinds import IMAGE_KINDS
from resnetkit.data.checks.label_errors import LABEL_KINDS

KINDS: dict[str, Kind] = FOLDER_KINDS | IMAGE_KINDS | DUPLICATE_KINDS | LABEL_KINDS
