"""Classes of a package and of new data in one order; names that may be slips of the pen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnetkit.data.class_map import find_alike, reconcile_classes
from resnetkit.types import UserError

quiet = pytest.mark.filterwarnings("ignore:.*looks like the package's")
name_lists = st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=8, unique=True)


def test_the_packages_order_is_kept_and_new_classes_follow_in_the_datas():
    classes = reconcile_classes(["dog", "cat"], ["ant", "cat", "zebra"], "new", add=True)
    assert classes.names == ("dog", "cat", "ant", "zebra")
    assert (classes.old, classes.numbers) == (2, (2, 1, 3))
    assert (classes.new_names, classes.missing) == (("ant", "zebra"), ("dog",))
    assert classes.relabel(np.array([2, 0, 1])).tolist() == [3, 2, 1]


@quiet
@given(package=name_lists, data=name_lists)
@settings(deadline=None, max_examples=50)
def test_every_label_keeps_its_name(package, data):
    classes = reconcile_classes(package, data, "new", add=True)
    assert classes.names[: len(package)] == tuple(package)
    assert sorted(classes.names) == sorted({*package, *data})
    labels = np.arange(len(data))
    relabelled = classes.relabel(labels)
    assert relabelled.dtype == np.int64
    assert [classes.names[label] for label in relabelled] == data
    shares = classes.relabel(np.eye(len(data), dtype=np.float32) * 0.5)
    assert shares.dtype == np.float32
    assert shares.argmax(axis=1).tolist() == relabelled.tolist()
    assert (shares.sum(axis=1) == 0.5).all()


def test_another_order_of_the_same_classes_needs_no_permission():
    classes = reconcile_classes(["b", "a"], ["a", "b"], "new", add=False)
    assert classes.names == ("b", "a")
    assert classes.numbers == (1, 0)


def test_other_classes_are_refused_and_the_message_says_which_and_what_to_do():
    with pytest.raises(UserError) as caught:
        reconcile_classes(["scratches", "dent", "hole"], ["Scratch", "dent"], "new", add=False)
    message = str(caught.value)
    assert message.startswith("new: its classes are not the package's: it has 1 that the package")
    assert (
        "does not know: 'Scratch'; it lacks 2 of the package's 3: 'scratches', 'hole'." in message
    )
    assert "class 'Scratch' looks like the package's 'scratches': if they are one, give" in message
    assert "Add them to the head with --classes add, and replay the old images" in message
    assert message.endswith("or fine-tune with a fresh head for the data's own classes")


def test_classes_that_the_data_lacks_need_the_old_images():
    with pytest.raises(UserError, match=r"it lacks 1 of the package's 2: 'b'. Replay .* --replay"):
        reconcile_classes(["a", "b"], ["a"], "new", add=False)
    assert reconcile_classes(["a", "b"], ["a"], "new", add=False, replay=True).missing == ("b",)


def test_a_likely_slip_is_pointed_out_when_classes_are_added():
    with pytest.warns(UserWarning, match="new: class 'Scratch' looks like the package's 'scratch'"):
        reconcile_classes(["scratch"], ["Scratch"], "new", add=True)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("Scratch", "scratches"),
        ("oil spot", "oil_spot"),
        ("OilSpot", "oil_spot"),
        (" dent ", "dent"),
        ("pictures", "picture"),
        ("inclsuion", "inclusion"),
        ("inclusio", "inclusion"),
        ("inclusionn", "inclusion"),
        ("imclusion", "inclusion"),
        ("ｄｅｎｔ", "dent"),
    ],
)
def test_alike(name, known):
    assert find_alike([name], ["other thing", known]) == [(name, known)]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("bat", "cat"),
        ("grade10", "grade11"),
        ("10", "100"),
        ("A", "AS"),
        ("+", "-"),
        ("dog", "god"),
        ("scratch", "patches"),
        ("猫", "狗"),
    ],
)
def test_not_alike(name, known):
    assert find_alike([name], [known]) == []
