"""Pickles are read as data: what they would run is refused."""

import pickle
import struct

import numpy as np
import pytest

from resnetkit.data.formats.restricted_pickle import load_batch
from resnetkit.types import UserError

DATA = np.arange(12, dtype=np.uint8).reshape(3, 4)


def python2_bytes(content):
    return b"T" + struct.pack("<i", len(content)) + content  # BINSTRING, as Python 2 wrote str


def python2_batch():
    """What Python 2 and NumPy 1 wrote: {"data": array, "labels": [7], "batch_label": "x"}."""
    dtype = b"cnumpy\ndtype\n" + python2_bytes(b"u1") + b"K\0K\1\x87R"
    dtype += b"(K\3" + python2_bytes(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0t" + python2_bytes(b"b")
    array += b"tR(K\1(K\3K\4t" + dtype + b"\x89" + python2_bytes(DATA.tobytes()) + b"tb"
    pairs = [(b"data", array), (b"labels", b"(lK\x07a"), (b"batch_label", python2_bytes(b"x"))]
    items = b"".join(python2_bytes(key) + value for key, value in pairs)
    return b"\x80\x02}(" + items + b"u."


def test_a_python_2_batch():
    batch = load_batch(python2_batch(), "x")
    assert np.array_equal(batch["data"], DATA)
    assert batch["data"].dtype == np.uint8
    assert batch["labels"] == [7]
    assert batch["batch_label"] == "x"


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_python_3_batch(protocol):
    batch = {b"data": DATA, b"labels": [1, 2, 3], b"names": [b"a", "ä"], "text": "t"}
    read = load_batch(pickle.dumps(batch, protocol), "x")
    assert np.array_equal(read.pop("data"), DATA)
    assert read == {"labels": [1, 2, 3], "names": ["a", "ä"], "text": "t"}


class Attack:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_run(protocol, capsys):
    with pytest.raises(UserError, match=r"x: not a CIFAR batch .*names .*\.print, which no CIFAR"):
        load_batch(pickle.dumps({"data": Attack()}, protocol), "x")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        python2_batch()[:-9],
        pickle.dumps([1]),
        pickle.dumps({"data": DATA.astype(np.float32)}, 2),
        pickle.dumps({"data": np.array([[1], "x"], dtype=object)}, 2),
        b"\x80\x02cos\nsystem\n.",
        b"\x80\x02c__builtin__\neval\n.",
    ],
)
def test_anything_else_is_refused(content):
    with pytest.raises(UserError, match=r"x: not a CIFAR batch as published .*binary version"):
        load_batch(content, "x")
