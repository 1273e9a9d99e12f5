"""Ten digits of each class and the backbone that ships: no download, less than a minute.

python examples/finetune_few.py RUN_FOLDER
"""

import sys
from pathlib import Path

import resnetkit

run = Path(sys.argv[1])
settings = {"data.shots": 10, "finetuning.strategy": "linear-probe"}
result = resnetkit.finetune("digits", run, settings=settings)
test = resnetkit.evaluate(result.package, "digits", split="test")
low, high = test.metrics.top1_interval
print(f"unseen digits after 100 seen ones: {100 * test.metrics.top1:.1f} %", end=" ")
print(f"(95 % interval {100 * low:.1f} to {100 * high:.1f})")
