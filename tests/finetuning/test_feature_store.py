from __future__ import annotations

import errno
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resnetkit.finetuning import feature_store
from resnetkit.finetuning.feature_store import (
    FEATURES,
    JOURNAL,
    STORE,
    FeatureStore,
    Layout,
    build_store,
    load_store,
    remove_store,
)
from resnetkit.runtime import DamagedFolder

LAYOUT = Layout(key="ab" * 32, views=2, chunk_rows=(4, 1, 4, 1), row_shape=(3,))
ROWS = np.random.default_rng(0).normal(size=LAYOUT.shape).astype(np.float32)
STARTS = [0, 4, 5, 9]


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


def chunks_from(first: int):
    for start, count in list(zip(STARTS, LAYOUT.chunk_rows, strict=True))[first:]:
        yield ROWS[start : start + count]


def build(final: Path, chunks: Any = chunks_from) -> FeatureStore:
    return build_store(final, LAYOUT, chunks, lambda done: None)


def test_what_is_stored_comes_back_mapped(tmp_path):
    final = tmp_path / "store"
    assert load_store(final, LAYOUT) is None
    for store in (build(final), load_store(final, LAYOUT)):
        assert store is not None
        assert (store.views, store.images, store.folder) == (2, 5, final)
        assert torch.equal(store.rows, torch.from_numpy(ROWS))
        assert torch.equal(store.pooled(), torch.from_numpy(ROWS).view(2, 5, 3))
    np.testing.assert_array_equal(np.load(final / FEATURES), ROWS)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert {path.name for path in final.iterdir()} == {FEATURES, STORE}


def test_images_are_taken_in_their_views():
    rows = torch.arange(2 * 3 * 2 * 2 * 4).float().view(6, 2, 2, 4)
    store = FeatureStore(rows=rows, views=2)
    taken = store.take(torch.tensor([1, 0, 1]), torch.tensor([2, 2, 0]))
    assert torch.equal(taken, rows[[5, 2, 3]].permute(0, 3, 1, 2))
    assert taken.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("save_seconds", [0.0, 1e9], ids=["saved always", "saved never"])
@pytest.mark.parametrize("killed_before", [0, 1, 2, 3])
def test_killed_anywhere_it_continues_with_the_same_bits(
    tmp_path, monkeypatch, save_seconds, killed_before
):
    monkeypatch.setattr(feature_store, "SAVE_SECONDS", save_seconds)
    final, asked = tmp_path / "store", []

    def dying(first):
        for number, rows in enumerate(chunks_from(first)):
            if number == killed_before:
                raise Killed
            yield rows

    with pytest.raises(Killed):
        build(final, dying)
    assert load_store(final, LAYOUT) is None

    def recorded(first):
        asked.append(first)
        return chunks_from(first)

    assert torch.equal(build(final, recorded).rows, torch.from_numpy(ROWS))
    assert load_store(final, LAYOUT) is not None
    assert asked == [killed_before if save_seconds == 0 else 0]


def test_what_was_written_after_the_last_save_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "SAVE_SECONDS", 0.0)
    final = tmp_path / "store"

    def dying(first):
        yield ROWS[:4]
        with (tmp_path / ".store.part" / FEATURES).open("ab") as file:
            file.write(b"half a chunk")
        raise Killed

    with pytest.raises(Killed):
        build(final, dying)
    build(final)
    np.testing.assert_array_equal(np.load(final / FEATURES), ROWS)


def test_a_journal_of_other_features_is_not_continued(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "SAVE_SECONDS", 0.0)
    part = tmp_path / ".store.part"
    part.mkdir()
    (part / FEATURES).write_bytes(bytes(1000))
    (part / JOURNAL).write_text(json.dumps({"key": "other", "checksums": [1, 2]}))
    assert torch.equal(build(tmp_path / "store").rows, torch.from_numpy(ROWS))


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / FEATURES).read_bytes())
    content[-5] ^= 1
    (folder / FEATURES).write_bytes(content)


def cut_short(folder: Path) -> None:
    (folder / FEATURES).write_bytes((folder / FEATURES).read_bytes()[:-4])


def rename_key(folder: Path) -> None:
    described = json.loads((folder / STORE).read_text())
    (folder / STORE).write_text(json.dumps(described | {"key": "other"}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_bit, "features.npy is not what was written"),
        (cut_short, "mmap length is greater"),
        (rename_key, "store.json is not that of this store"),
        (lambda folder: (folder / FEATURES).unlink(), "features.npy is missing"),
        (lambda folder: (folder / STORE).write_text("{"), "Expecting"),
        (lambda folder: (folder / STORE).write_text("[]"), "store.json is not that of this store"),
        (lambda folder: np.save(folder / FEATURES, ROWS.astype("f8")), "has float64"),
    ],
)
def test_damage_is_noticed(tmp_path, damage, message):
    build(tmp_path / "store")
    damage(tmp_path / "store")
    with pytest.raises(DamagedFolder, match=message):
        load_store(tmp_path / "store", LAYOUT)


def test_two_at_once_both_work_and_leave_one_store(tmp_path):
    final, meet = tmp_path / "store", threading.Barrier(2, timeout=20)
    results: list[Any] = []

    def slow(first):
        meet.wait()
        yield from chunks_from(first)
        meet.wait()  # neither is in place before the other is done

    threads = [threading.Thread(target=lambda: results.append(build(final, slow))) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert all(torch.equal(store.rows, torch.from_numpy(ROWS)) for store in results)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_full_disk_leaves_nothing(tmp_path):
    def full(first):
        yield ROWS[:4]
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        build(tmp_path / "store", full)
    assert list(tmp_path.iterdir()) == []


def test_an_open_store_outlives_its_removal(tmp_path):
    store = build(tmp_path / "store")
    remove_store(tmp_path / "store")
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(store.rows, torch.from_numpy(ROWS))
