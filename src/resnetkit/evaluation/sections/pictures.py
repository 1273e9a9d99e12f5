"""Images with what the network made of them."""

from __future__ import annotations

from collections.abc import Sequence

from resnetkit.evaluation.report_input import LabelSuspects, Mistakes
from resnetkit.evaluation.samples import Sample
from resnetkit.page.blocks import Block, Heading, Picture, Pictures, Section, Text
from resnetkit.page.numbers import percent


def picture_of(sample: Sample) -> Picture:
    """A sample as a picture: what was said and how surely, what is true, where it is from."""
    sure = "" if sample.probability is None else f" {percent(sample.probability)}"
    lines = [sample.name]
    if not sample.right:
        shares = sample.true_probability
        given = "" if shares is None else f" {percent(shares)}"
        lines.insert(0, f"true: {sample.true}{given}")
    return Picture(
        images=[sample.image] if sample.map is None else [sample.image, sample.map],
        alt=f"{sample.name}: {sample.true}, taken for {sample.predicted}"
        if not sample.right
        else f"{sample.name}: {sample.true}",
        title=f"{sample.predicted}{sure}",
        lines=lines,
        tone="right" if sample.right else "wrong",
    )


def write_mistakes(mistakes: Mistakes) -> Section:
    """The errors that say most, each with its map where there is one."""
    blocks: list[Block] = []
    if mistakes.method:
        text = f"Beside each image is its map by {mistakes.method}: what spoke for the answer."
        blocks.append(Text(text=text, quiet=True))
    for title, name, samples in (
        ("Surest of the wrong class", "surest errors", mistakes.surest),
        ("Furthest from the true class", "worst errors", mistakes.furthest),
    ):
        if samples:
            pictures = [picture_of(sample) for sample in samples]
            blocks += [Heading(text=title), Pictures(pictures=pictures, name=name)]
    return Section(title="Worst errors", blocks=blocks or [Text(text="There is no error.")])


def write_suspects(suspects: LabelSuspects) -> Section:
    """Labels to be looked at, because a network that knows better speaks against them."""
    count = "No label is" if not suspects.found else f"{suspects.found:,} labels are"
    count = "1 label is" if suspects.found == 1 else count
    text = f"{count} likely wrong, judged by {suspects.judged_by}."
    blocks: list[Block] = [Text(text=text)]
    if suspects.samples:
        if suspects.found > len(suspects.samples):
            shown = f"The {len(suspects.samples)} surest are shown."
            blocks.append(Text(text=shown, quiet=True))
        pictures = [
            Picture(
                images=[sample.image],
                alt=f"{sample.name}: labelled {sample.true}, likely {sample.predicted}",
                title=f"labelled {sample.true}",
                lines=[f"likely {sample.predicted} {percent(sample.probability)}", sample.name],
            )
            for sample in suspects.samples
        ]
        blocks.append(Pictures(pictures=pictures, name="labels that are likely wrong"))
    return Section(title="Likely label errors", blocks=blocks)


def write_samples(samples: Sequence[Sample]) -> Section:
    """Predictions, wrong and right."""
    pictures = [picture_of(sample) for sample in samples]
    return Section(
        title="Sample predictions", blocks=[Pictures(pictures=pictures, name="predictions")]
    )
