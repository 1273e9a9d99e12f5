"""The Python API in ten lines: train on the built-in digits, judge, predict.

python examples/train_and_predict.py RUN_FOLDER
"""

import sys
from dataclasses import replace
from pathlib import Path

import resnetkit
from resnetkit.data.sources import load_source

run = Path(sys.argv[1])
experiment = resnetkit.load_recipe("digits")
experiment = replace(experiment, training=replace(experiment.training, epochs=5))
result = resnetkit.train(experiment, run)
test = resnetkit.evaluate(result.package, "digits", split="test")
print(f"top-1 on {test.metrics.images} unseen digits: {100 * test.metrics.top1:.1f} %")

predictor = resnetkit.load(result.package)
digits = load_source("digits", ("test",)).splits["test"].images
assert digits is not None
print(predictor.predict(digits[0, 0])[0])
