"""Which images are looked at before training, and which are found to be bad."""

import io

import numpy as np
import pytest
from PIL import Image

from resnetkit.data import soundness
from resnetkit.data.columns import FileColumn, pack_texts
from resnetkit.data.soundness import look_over
from resnetkit.data.source_types import Split


@pytest.fixture
def split(tmp_path, monkeypatch):
    monkeypatch.setattr(soundness, "WHOLE_CHECK", 10)
    stream = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(stream, "PNG")
    names = [f"{number:03d}.png" for number in range(100)]
    for name in names:
        (tmp_path / name).write_bytes(stream.getvalue())
    column = pack_texts(names)
    files = FileColumn(str(tmp_path), column)
    return Split(labels=np.zeros(100, np.int64), names=column, encoded=files)


def look(split, whole=False):
    seen = []
    return look_over(split, whole=whole, progress=seen.append), seen


def test_of_many_a_sample_is_read(split):
    found, seen = look(split)
    assert found.failures == []
    assert found.unchecked == 90
    assert seen[-1] == 10
    assert look(split.subset(np.arange(10)))[0].unchecked == 0


def test_empty_and_missing_files_are_found_among_any_number(split, tmp_path):
    (tmp_path / "037.png").write_bytes(b"")
    (tmp_path / "058.png").unlink()
    (tmp_path / "061.png").write_bytes(b"damaged, but not in the sample")
    found, _ = look(split)
    assert [index for index, _ in found.failures] == [37, 58]
    assert "'037.png': it is empty" in found.failures[0][1]
    assert "'058.png': there is no such file" in found.failures[1][1]
    assert found.unchecked == 88
    found, _ = look(split, whole=True)
    assert [index for index, _ in found.failures] == [37, 58, 61]
    assert found.unchecked == 0


def test_images_in_memory_need_no_look(split):
    images = np.zeros((100, 1, 2, 2), np.uint8)
    decoded = Split(labels=split.labels, names=split.names, images=images)
    assert look(decoded)[0].unchecked == 0
