"""What all commands share: parsing what was typed, and lines for a person."""

from __future__ import annotations

import sys
from typing import TypeVar

import tyro
from rich.console import Console

Arguments = TypeVar("Arguments")

STDERR = Console(stderr=True)


def parse(
    kind: type[Arguments],
    command: str,
    arguments: list[str],
    default: Arguments | None = None,
    *,
    flag_pairs: bool = False,
) -> Arguments:
    """The arguments of one command; tyro prints help and mistakes itself and exits with 2.

    With `flag_pairs` a flag can be turned off as well as on: where its default is still open.
    """
    return tyro.cli(
        kind,
        prog=f"resnetkit {command}",
        args=arguments,
        default=tyro.MISSING_NONPROP if default is None else default,
        config=() if flag_pairs else (tyro.conf.FlagCreatePairsOff,),
    )


def show(lines: list[str], as_json: bool) -> None:
    """Lines for a person: on stdout, or on stderr where stdout belongs to JSON."""
    for line in lines:
        print(line, file=sys.stderr if as_json else sys.stdout)
