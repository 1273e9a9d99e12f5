import json

import numpy as np
import pytest

from resnetkit.evaluation.attack_report import Outcome, summarise_attacks
from resnetkit.types import UserError

EPSILONS = (1.0, 4.0)


def held(*counts, images=20):
    """Rows in which the first `count` images are still recognised."""
    return np.stack([np.arange(images) < count for count in counts])


def outcome(noise=(18, 18), fgsm=(12, 5), pgd=(10, 2, 0), flat=0):
    return Outcome(
        labels=np.arange(20) % 4,
        clean=held(18)[0],
        noise=held(*noise),
        fgsm=held(*fgsm),
        pgd=held(*pgd),
        without_gradient=held(flat)[0],
    )


def report(*outcomes):
    return summarise_attacks(outcomes, EPSILONS, steps=20, restarts=2)


def test_curves_have_counts_and_wilson_intervals():
    judged = report(outcome(), outcome())
    assert judged.images == 40
    assert judged.clean.accuracy == pytest.approx(36 / 40)
    assert [point.right for point in judged.curve("pgd").points] == [20, 4]
    assert [point.epsilon for point in judged.curve("fgsm").points] == [1.0, 4.0]
    low, high = judged.curve("pgd").points[0].interval
    assert (low, high) == pytest.approx((0.3520, 0.6480), abs=1e-4)
    assert judged.unbounded.right == 0
    assert judged.warnings == ()
    assert json.loads(json.dumps(judged.as_dict(), allow_nan=False))["images"] == 40


@pytest.mark.parametrize(("attack", "shown"), [("fgsm", "FGSM"), ("noise", "random noise")])
def test_a_search_weaker_than_a_step_is_no_proof(attack, shown):
    judged = report(outcome(**{attack: (12, 1)}))
    assert len(judged.warnings) == 1
    assert f"at ε 4 PGD leaves 2 of 20 images recognised, {shown} only 1" in judged.warnings[0]


def test_an_attack_that_fails_without_a_bound_is_no_proof():
    # Of 20 images of 4 classes 5 would be right by chance; 8 might be (22 %), 12 are not (39 %).
    assert report(outcome(pgd=(10, 8, 8), fgsm=(12, 10))).warnings == ()
    judged = report(outcome(pgd=(12, 12, 12), fgsm=(12, 12)))
    assert len(judged.warnings) == 1
    assert "(ε 128), PGD still leaves 60.00 %" in judged.warnings[0]
    assert "commonest class would give 25.00 %" in judged.warnings[0]


def test_missing_gradients_are_told():
    judged = report(outcome(flat=3))
    assert "at 3 of 18 recognised images the loss has no gradient at all" in judged.warnings[0]


def test_there_must_be_images():
    with pytest.raises(UserError, match="Attacks: needed at least one image, got none"):
        report()
