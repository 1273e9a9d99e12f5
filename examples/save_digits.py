"""Save three of the test digits as PNG pictures: python examples/save_digits.py FOLDER."""

import sys
from pathlib import Path

from PIL import Image

from resnetkit.data.sources import load_source

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
source = load_source("digits", ("test",))
test = source.splits["test"]
assert test.images is not None
for number in (0, 1, 2):
    picture = Image.fromarray(test.images[number, 0])
    label = source.class_names[test.labels[number]]
    picture.save(folder / f"digit-{number}-is-{label}.png")
