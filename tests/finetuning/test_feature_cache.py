from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_features import AUGMENT, COUNT, request_for, tiny_network, tiny_split

from resnetkit.data.augment import AugmentConfig
from resnetkit.finetuning import feature_cache
from resnetkit.finetuning.feature_cache import FeatureCache, choose_views, compute_features
from resnetkit.finetuning.feature_store import FEATURES, FeatureStore

STORE_BYTES = COUNT * 16 * 4  # of the rows alone
ONE_STORE = 3 * STORE_BYTES // 2  # a limit that holds one, with its description, and not two


@pytest.fixture(autouse=True)
def _quick(one_thread):
    pass


class Told:
    """Records what `compute_features` says."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.cache = FeatureCache(folder=folder, **settings)
        self.notes: list[str] = []
        self.counted: list[tuple[int, int]] = []

    def compute(self, **settings: Any) -> FeatureStore | None:
        self.notes.clear()
        self.counted.clear()
        count = lambda what, done, total: self.counted.append((done, total))
        return compute_features(
            tiny_network(), request_for(**settings), self.cache, count, self.notes.append
        )


def stores(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_second_time_they_are_found(tmp_path):
    told = Told(tmp_path)
    first = told.compute()
    assert told.counted == [(64, COUNT), (COUNT, COUNT)]
    assert told.notes == []
    again = told.compute()
    assert told.counted == []
    assert told.notes == [f"features before head come from {again.folder}"]
    assert torch.equal(first.rows, again.rows)
    assert told.compute(augment=AUGMENT, views=2).views == 2
    assert len(told.counted) == 4
    assert len(stores(tmp_path)) == 2


def test_the_cache_is_in_the_users_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RESNETKIT_CACHE", str(tmp_path))
    assert FeatureCache().folder == tmp_path / "features"


def test_without_a_cache_they_come_in_memory(tmp_path):
    told = Told(tmp_path / "never")
    stored = Told(tmp_path / "cache").compute()
    there = compute_features(tiny_network(), request_for(), None, print, print)
    assert there.folder is None
    assert torch.equal(there.rows, stored.rows)
    assert not told.cache.folder.exists()


def test_a_damaged_store_is_computed_again_with_a_warning(tmp_path):
    told = Told(tmp_path)
    expected = told.compute().rows.clone()
    [file] = tmp_path.glob(f"*/{FEATURES}")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.warns(UserWarning, match="stored features are damaged and computed again"):
        again = told.compute()
    assert torch.equal(again.rows, expected)
    assert told.compute() is not None
    assert told.counted == []


def test_what_was_not_used_for_longest_goes_first_and_is_named(tmp_path):
    told = Told(tmp_path, limit_bytes=2 * ONE_STORE)
    folders = []
    for seed, age in ((0, 300), (1, 100), (0, 0)):  # the first is used again
        store = told.compute(split=tiny_split(seed=seed))
        folders.append(store.folder)
        if age:
            then = time.time() - age
            os.utime(store.folder / "store.json", (then, then))
        del store
    gc.collect()
    told.compute(split=tiny_split(seed=2))
    [note] = told.notes
    assert note.startswith(f"removed {folders[1]}: 1 MB of features last used on 20")
    assert not folders[1].exists()
    assert folders[0].exists()


def test_a_store_in_use_is_never_removed(tmp_path):
    told = Told(tmp_path, limit_bytes=ONE_STORE)
    held = told.compute()
    other = told.compute(split=tiny_split(seed=1))
    assert other.folder is None
    [note] = told.notes
    assert "features before head are not stored" in note
    assert "are in use; they are kept in memory" in note
    assert held.folder.exists()
    del held
    gc.collect()
    assert told.compute(split=tiny_split(seed=1)).folder is not None
    assert len(stores(tmp_path)) == 1


def test_others_folders_in_the_cache_are_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x" * 10 * ONE_STORE)
    told = Told(tmp_path, limit_bytes=ONE_STORE)
    told.compute()
    told.compute(split=tiny_split(seed=1))
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_full_disk_is_seen_beforehand_and_removes_nothing(tmp_path, monkeypatch):
    told = Told(tmp_path)
    told.compute()
    gc.collect()
    before = stores(tmp_path)
    monkeypatch.setattr(feature_cache, "RESERVED_BYTES", 1 << 60)
    assert told.compute(split=tiny_split(300)).folder is None
    [note] = told.notes
    assert "and 0 MB of the disk of" in note
    assert "kept in memory" in note
    assert stores(tmp_path) == before


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    told = Told(tmp_path / "file" / "cache")
    assert told.compute().folder is None
    assert "features before head are not stored" in told.notes[0]


def test_too_large_for_disk_and_memory_the_images_are_used(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "MEMORY_BYTES", 10)
    told = Told(tmp_path, limit_bytes=10)
    assert told.compute() is None
    assert told.notes[0].endswith("the images are used")


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_killed_while_computing_the_next_call_goes_on(tmp_path):
    script = textwrap.dedent(
        f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import torch
        from resnetkit.finetuning import feature_store
        from test_feature_cache import AUGMENT, Told, Path
        torch.set_num_threads(1)
        feature_store.SAVE_SECONDS = 0.0
        from resnetkit.finetuning.feature_store import _Building
        append = _Building.append
        def dying(self, rows):
            append(self, rows)
            if len(self.checksums) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
        _Building.append = dying
        Told(Path({str(tmp_path / "cache")!r})).compute(augment=AUGMENT, views=2)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    told, undisturbed = Told(tmp_path / "cache"), Told(tmp_path / "other")
    rows = told.compute(augment=AUGMENT, views=2).rows
    assert told.counted == [(2 * COUNT, 2 * COUNT)]
    assert torch.equal(rows, undisturbed.compute(augment=AUGMENT, views=2).rows)
    assert len(stores(tmp_path / "cache")) == 1


@pytest.mark.parametrize(
    ("epochs", "augment", "asked", "free", "views", "reason"),
    [
        (30, AUGMENT, None, 10**9, 7, "7 views of each image serve 30 epochs; 1 MB a view"),
        (100, AUGMENT, None, 10**9, 8, "8 views"),
        (5, AUGMENT, None, 10**9, 1, "1 view of each image serve"),
        (1, AUGMENT, None, 10**9, 0, "1 epoch(s) would use each view once"),
        (100, AugmentConfig(), None, 10**9, 1, "1 view"),
        (30, AUGMENT, None, 250_000, 2, "2 views of each image (of 7: no room for more)"),
        (30, AUGMENT, None, 99_999, 0, "features take 1 MB a view, 1 MB are free"),
        (30, AUGMENT, 3, 10**9, 3, "3 views"),
        (2.5, AUGMENT, 10, 10**9, 3, "3 views"),
        (12, AugmentConfig(horizontal_flip=True, alternate_flips=True), None, 10**9, 4, "4 views"),
    ],
)
def test_views_are_chosen_by_what_they_save(epochs, augment, asked, free, views, reason):
    choice = choose_views(epochs, 100, 1000, free, augment, asked)
    assert choice.views == views
    assert reason in choice.reason
