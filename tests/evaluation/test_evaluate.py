import numpy as np
import pytest
import torch

from resnetkit.evaluation.evaluate import evaluate, evaluate_metrics
from resnetkit.types import Batch, UserError


def batches(sizes):
    start = 0
    for size in sizes:
        indices = torch.arange(start, start + size)
        images = torch.zeros(size, 1, 2, 2, dtype=torch.uint8) + indices[:, None, None, None]
        yield Batch(images=images.to(torch.uint8), labels=indices % 3, indices=indices)
        start += size


def predict(batch):
    """Right for every image but those divisible by 4."""
    wrong = batch.indices % 4 == 0
    return torch.nn.functional.one_hot((batch.labels + wrong) % 3, 3).bfloat16()


def test_gathers_all_batches_in_order():
    logits, labels, indices = evaluate(predict, batches([4, 4, 1]))
    assert logits.dtype == np.float32
    assert logits.shape == (9, 3)
    np.testing.assert_array_equal(indices, np.arange(9))
    np.testing.assert_array_equal(labels, np.arange(9) % 3)


def test_runs_without_gradients():
    weight = torch.ones(1, requires_grad=True)

    def watched(batch):
        output = predict(batch).float() * weight
        assert not output.requires_grad
        return output

    evaluate(watched, batches([2]))


def test_metrics_do_not_depend_on_the_batch_size():
    whole = evaluate_metrics(predict, batches([12]), ["a", "b", "c"])
    parts = evaluate_metrics(predict, batches([5, 1, 6]), ["a", "b", "c"])
    assert whole == parts
    assert whole.top1 == pytest.approx(9 / 12)


@pytest.mark.parametrize("sizes", [[], [0]])
def test_refuses_to_judge_nothing(sizes):
    with pytest.raises(UserError, match="needed at least one image, got none"):
        evaluate(predict, batches(sizes))
