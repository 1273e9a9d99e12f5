"""Which map to believe of a package fine-tuned on surface defects: all methods, the same checks.

    python benchmarks/pointing_game.py runs/defects/package \
        --data ../shared/data/surface-defects/images \
        --boxes ../shared/data/surface-defects/annotations

The package comes from `resnetkit finetune --data ../shared/data/surface-defects/images`, with a
share for testing held out (`--data.test_fraction 0.3333`); its test split is looked at here, every
picture in the pointing game and a spread of them in the slower checks. Prints a table in Markdown,
the verdicts with their reasons, and where it is all from; `--out` keeps it as a page.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from study import describe_origin, digest_weights, peak_mib

from resnetkit.explanation.attribution import METHODS
from resnetkit.explanation.pixel_curves import CurveConfig
from resnetkit.explanation.randomised_weights import RandomisedConfig
from resnetkit.explanation.trust import TrustConfig
from resnetkit.export.package import load_package
from resnetkit.page.blocks import Document
from resnetkit.page.markdown import render_markdown
from resnetkit.pipeline_trust import MapRequest, MapTrust, check_maps
from resnetkit.runtime import environment


def read_request(asked: argparse.Namespace) -> MapRequest:
    """What is to be checked, as typed."""
    return MapRequest(
        methods=tuple(asked.methods),
        split=asked.split,
        images=asked.images,
        seed=asked.seed,
        device=asked.device,
        checks=TrustConfig(
            curves=CurveConfig(steps=asked.steps, pictures=asked.curve_pictures, seed=asked.seed),
            randomised=RandomisedConfig(
                draws=asked.draws, pictures=asked.randomised_pictures, seed=asked.seed
            ),
        ),
    )


def describe(result: MapTrust, asked: argparse.Namespace, seconds: float) -> str:
    """The table, what it is of, and where it is from."""
    package = load_package(asked.package)
    provenance = package.provenance
    data, first = provenance.get("data", {}), result.reports[0]
    section = replace(result.told.section, title="")
    lead = f"{asked.split} split of {asked.data}"
    lines = [
        render_markdown(Document(title="Which map to believe", lead=lead, sections=[section])),
        f"- package: {asked.package} (weights {digest_weights(package.model)}), "
        f"{provenance.get('experiment', {}).get('model', {}).get('name', 'imported')} at "
        f"{package.contract.crop[0]}x{package.contract.crop[1]}, trained on {data.get('images')}",
        f"- {result.pictures} pictures of the {asked.split} split of {asked.data} in the pointing "
        f"game, {min(result.pictures, asked.curve_pictures)} for curves of {asked.steps} steps, "
        f"{first.randomised.pictures} with weights drawn {asked.draws} times; seed {asked.seed}",
    ]
    if first.pointing is not None:
        lines.append(
            f"- tolerance {first.pointing.tolerance:.1f} pixels of the network's input; "
            "intervals at 95 %: Wilson's of hits, Student's of means"
        )
    load = os.getloadavg()[0]
    lines += [
        describe_origin([{"environment": environment(), "load": load}]),
        f"- {seconds / 60:.1f} minutes, peak memory {peak_mib():,.0f} MiB",
    ]
    return "\n".join(lines)


def main(typed: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("package", type=Path)
    parser.add_argument("--data", default="../shared/data/surface-defects/images")
    parser.add_argument(
        "--boxes", type=Path, default=Path("../shared/data/surface-defects/annotations")
    )
    parser.add_argument("--split", default="test")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--curve-pictures", type=int, default=120)
    parser.add_argument("--randomised-pictures", type=int, default=48)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(typed)
    start = time.monotonic()
    result = check_maps(
        asked.package,
        asked.data,
        boxes=asked.boxes,
        out=asked.out,
        request=read_request(asked),
        console=Console(stderr=True),
    )
    print(describe(result, asked, time.monotonic() - start))


if __name__ == "__main__":
    main()
