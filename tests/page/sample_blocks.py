"""One of each kind of block."""

import numpy as np

from resnetkit.page.blocks import (
    Axis,
    Beside,
    Card,
    Cards,
    Chart,
    Code,
    Column,
    Drawing,
    Estimate,
    Facts,
    Fold,
    Heading,
    Heat,
    Line,
    Notes,
    Picture,
    Pictures,
    Pixels,
    Table,
    Text,
)


def every_block(text):
    """One of each kind of block, with `text` wherever text can stand."""
    image = np.zeros((3, 2, 2), np.uint8)
    chart = Chart(
        title=text,
        series=[Line(label=text, points=[(0, 0), (1, 1)])],
        x=Axis(label=text),
        y=Axis(label=text),
        says=text,
    )
    columns = [Column(title=text), Column(title="n", kind="percent"), Column(title="b", kind="bar")]
    rows = [[text, Estimate(value=0.5, interval=(0.4, 0.6)), 0.5], [text, None, None]]
    matrix = {"row_names": [text], "column_names": [text], "corner": text}
    return [
        Text(text=text),
        Heading(text=text),
        Notes(items=[text, text]),
        Code(text=text),
        Facts(pairs={text: text, "none": None, "list": [1, 2]}),
        Cards(cards=[Card(label=text, value=text, below=text, range=Estimate(value=0.5))]),
        Table(columns=columns, rows=rows, name=text),
        Heat(values=np.array([[0.5]]), shades=np.array([[0.5]]), **matrix),
        chart,
        Drawing(title=text, markup="<svg></svg>", says=text),
        Pixels(pixels=np.zeros((2, 2, 4), np.uint8), alt=text),
        Pictures(
            pictures=[Picture(images=[image, image], alt=text, title=text, lines=[text])], name=text
        ),
        Beside(blocks=[Text(text=text), chart]),
        Fold(summary=text, blocks=[Text(text=text)]),
    ]
