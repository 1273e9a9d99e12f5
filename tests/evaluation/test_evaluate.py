import numpy as np
import pytest
import torch

from resnetkit.evaluation.evaluate import evaluate, task_metrics
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
    def metrics(sizes):
        logits, labels, _ = evaluate(predict, batches(sizes))
        return task_metrics(logits, labels, ["a", "b", "c"], "single-label")

    whole, parts = metrics([12]), metrics([5, 1, 6])
    assert whole == parts
    assert whole.top1 == pytest.approx(9 / 12)


@pytest.mark.parametrize("sizes", [[], [0]])
def test_refuses_to_judge_nothing(sizes):
    with pytest.raises(UserError, match="needed at least one image, got none"):
        evaluate(predict, batches(sizes))


def test_soft_labels_are_judged_by_their_largest_class():
    logits = np.array([[2.0, 0, 1], [0, 1, 2], [1, 0, 0]], np.float32)
    soft = np.array([[0.6, 0.4, 0], [0.5, 0.1, 0.4], [0.2, 0.3, 0.5]], np.float32)
    names = ["a", "b", "c"]
    judged = task_metrics(logits, soft, names, "single-label")
    assert judged == task_metrics(logits, np.array([0, 0, 2]), names, "single-label")
    assert judged.score == pytest.approx(1 / 3)


def test_several_classes_an_image_are_judged_by_average_precision():
    logits = np.array([[2.0, -1], [1, 1], [-3, -2]], np.float32)
    labels = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    judged = task_metrics(logits, labels, ["a", "b"], "multi-label")
    assert judged.score_name == "mean_average_precision"
    assert judged.score == pytest.approx((5 / 6 + 1) / 2)
    quick = task_metrics(logits, labels, ["a", "b"], "multi-label", resamples=0)
    assert (quick.score, quick.loss) == (judged.score, judged.loss)
    assert quick.headline()["mean_average_precision_interval"] is None
