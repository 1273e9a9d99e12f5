"""A package with other facts about the same network: only what it says is new."""

from __future__ import annotations

import shutil
from pathlib import Path

from resnetkit.export.model_card import CARD
from resnetkit.export.package import CONFIG, ModelPackage, write_facts
from resnetkit.runtime import MANIFEST, commit_folder


def save_renewed(folder: Path, out: Path, package: ModelPackage) -> None:
    """Write at `out` the package of `folder` as `package` describes it, whole or not at all.

    Config and model card are those of `package`; weights, contract, golden outputs, reference
    statistics and keys are copied byte for byte. `load_package` has verified `folder`.

    Raises:
        UserError: `out` holds something that is not a package.
    """
    own = {MANIFEST, CONFIG, CARD}

    def write(temporary: Path) -> None:
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.name not in own and not path.name.startswith("."):
                shutil.copyfile(path, temporary / path.name)
        write_facts(temporary, package)

    commit_folder(out, write)
