"""Layer names for Keras 3 files of before names were stored: there, the order says which is which.

Groups are numbered by class in the order of `model.layers`, which is that of the depth in the
graph: of a block's convolutions 1, 2, then the projection 0 where there is one, then 3.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

NUMBERED = re.compile(r"(.*/)?(conv2d|batch_normalization)(?:_(\d+))?")
Shape = tuple[int, ...]


def names_by_order(kernels: Mapping[str, Shape]) -> dict[str, str]:
    """Layer's path -> its name in keras.applications, for the largest model in a file.

    `kernels` are the shapes of each layer's first variable, [H,W,I,O] of a convolution.
    Returns nothing where the numbers of layers are not those of a ResNet.
    """
    models: dict[str, dict[str, dict[int, str]]] = defaultdict(lambda: defaultdict(dict))
    for path in kernels:
        if found := NUMBERED.fullmatch(path):
            models[found[1] or ""][found[2]][int(found[3] or 0)] = path
    if not models:
        return {}
    largest = max(models.values(), key=lambda classes: len(classes["conv2d"]))
    convolutions, norms = (
        [path for _, path in sorted(largest[name].items())]
        for name in ("conv2d", "batch_normalization")
    )
    blocks = _blocks([kernels[path] for path in convolutions])
    convolution_names = ["conv1_conv", *(f"{b}_{n}_conv" for b, places in blocks for n in places)]
    if len(norms) == len(convolutions):
        norm_names = ["conv1_bn", *(f"{b}_{n}_bn" for b, places in blocks for n in places)]
    else:
        norm_names = [f"{b}_{n}_bn" for b, _ in blocks for n in ("preact", 1, 2)] + ["post_bn"]
    if (len(convolution_names), len(norm_names)) != (len(convolutions), len(norms)):
        return {}
    paths, names = [*convolutions, *norms], [*convolution_names, *norm_names]
    return dict(zip(paths, names, strict=True))


def _blocks(kernels: Sequence[Shape]) -> list[tuple[str, Sequence[int]]]:
    """Each block's name and its convolutions' numbers, in order."""
    blocks: list[tuple[str, Sequence[int]]] = []
    stage, block, position = 1, 0, 1  # the first one is the stem's
    while position < len(kernels):
        narrow = kernels[position][-1]
        third = kernels[position + 3] if position + 3 < len(kernels) else ()
        # After a projection comes convolution 3, which takes the narrow channels; else the next
        # block's first, which takes four times as many.
        projects = len(third) == 4 and third[2] == narrow
        stage, block = (stage + 1, 1) if projects else (stage, block + 1)
        blocks.append((f"conv{stage}_block{block}", (1, 2, 0, 3) if projects else (1, 2, 3)))
        position += 4 if projects else 3
    return blocks
