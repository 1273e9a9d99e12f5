"""What a package keeps about the images it learnt from: where they were, and how dealt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from resnetkit.data.contract import InputContract
from resnetkit.data.opening import DescribedSource, evaluation_config, is_same_place
from resnetkit.data.seen import Seen
from resnetkit.data.settings import DataConfig


@dataclass(frozen=True, kw_only=True)
class DealtSource:
    """A source as `config` reads it, and which of its images that must leave to training.

    `cut` is that of `describe_cut`, None where it is not known; `manifest` is the SHA-256 of the
    manifest that `config` names.
    """

    config: DataConfig
    cut: str | None = None
    manifest: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Past:
    """All that a package keeps about its training images, as far as it does.

    `sources` are what it learnt from: its own training's first, then those of the packages it comes
    from, then replayed ones. A package of foreign weights has neither them nor `seen`.
    `learned_on` says that it took over the classes of another package: no source need show all.
    """

    contract: InputContract
    sources: tuple[DealtSource, ...] = ()
    seen: Seen | None = None
    learned_on: bool = False

    def at(self, location: str) -> DealtSource | None:
        """The source it learnt from at this place; None where there was none."""
        here = (one for one in self.sources if is_same_place(one.config.source, location))
        return next(here, None)


def find_dealings(past: Past, asked: DescribedSource, split: str) -> list[DealtSource]:
    """How the images at `asked` may have been dealt, to find `split` among them, likeliest first.

    At a place that was trained on, as then; at any other, as in the package's own training or, in
    case it is a copy, in an earlier one. Raises UserError as `evaluation_config` does.
    """
    known = past.at(asked.location)
    sources = past.sources if known is None else (known,)
    found: list[DealtSource] = []
    # Files, since it is not known whether they would fit in memory.
    for source in sources or (DealtSource(config=DataConfig(storage="files")),):
        if found and source.config.manifest is not None:
            continue  # it speaks of names in another place
        recorded = {"cut": source.cut, "manifest": source.manifest}
        config, cut = evaluation_config(source.config, recorded, asked, split)
        found.append(replace(source, config=config, cut=cut))
    return found


def distinct_sources(sources: Iterable[DealtSource]) -> tuple[DealtSource, ...]:
    """`sources` without those that hold out the same images as one before them."""
    found: list[DealtSource] = []
    for source in sources:
        if source.cut is None or all(source.cut != other.cut for other in found):
            found.append(source)
    return tuple(found)
