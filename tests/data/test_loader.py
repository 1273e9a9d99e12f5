from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnetkit.data.contract import InputContract
from resnetkit.data.draws import epoch_order
from resnetkit.data.loader import Loader, LoaderConfig
from resnetkit.data.source_types import Split
from resnetkit.types import Batch, Interrupted, UserError

COUNT = 23
CONTRACT = InputContract(
    class_names=("a", "b", "c"), resize=10, crop=(10, 10), mean=(0.5,) * 3, std=(0.2,) * 3
)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COUNT, 3, 10, 10), dtype=np.uint8)


@pytest.fixture(scope="module")
def splits(pixels, tmp_path_factory) -> dict[str, Split]:
    """The same images as arrays, as encoded bytes and as files."""
    folder = tmp_path_factory.mktemp("images")
    labels = np.arange(COUNT, dtype=np.int64) % 3
    names = [f"{i}.png" for i in range(COUNT)]
    encoded = [png(image) for image in pixels]
    for name, content in zip(names, encoded, strict=True):
        (folder / name).write_bytes(content)
    return {
        "memory": Split(labels=labels, names=names, images=pixels),
        "bytes": Split(labels=labels, names=names, encoded=encoded),
        "files": Split(labels=labels, names=names, encoded=[folder / name for name in names]),
    }


def build(split: Split, **settings: object) -> Loader:
    config = {"batch_size": 4, "workers": 0, "seed": 3, "shuffle": True} | settings
    return Loader(split, CONTRACT, LoaderConfig(**config))


def assert_equal(ours: list[Batch], theirs: list[Batch]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.indices, other.indices)


@pytest.mark.parametrize("kind", ["memory", "bytes", "files"])
def test_batches_hold_the_images_their_indices_name(splits, pixels, kind):
    loader = build(splits[kind])
    assert loader.crops_in_worker == (kind != "memory")
    batches = list(loader.batches(0))
    assert len(batches) == loader.steps_per_epoch == 5
    for batch in batches:
        assert batch.images.dtype == torch.uint8
        assert batch.labels.dtype == batch.indices.dtype == torch.int64
        np.testing.assert_array_equal(batch.images.numpy(), pixels[batch.indices.numpy()])
        np.testing.assert_array_equal(batch.labels.numpy(), batch.indices.numpy() % 3)


@pytest.mark.parametrize("shuffle", [True, False])
def test_memory_bytes_and_files_give_the_same_batches(splits, shuffle):
    memory = build(splits["memory"], shuffle=shuffle)
    for kind in ("bytes", "files"):
        other = build(splits[kind], shuffle=shuffle)
        for epoch in (0, 1):
            assert_equal(list(memory.batches(epoch)), list(other.batches(epoch)))


@pytest.mark.parametrize("scale", [None, (0.2, 0.9)])
def test_workers_change_nothing(splits, scale):
    none = build(splits["files"], resized_crop_scale=scale)
    two = build(splits["files"], resized_crop_scale=scale, workers=2)
    for epoch, start in ((0, 0), (1, 0), (1, 3), (0, 4)):
        assert_equal(list(none.batches(epoch, start)), list(two.batches(epoch, start)))


def test_workers_survive_an_iteration_that_is_given_up(splits):
    loader = build(splits["bytes"], workers=2)
    expected = list(build(splits["memory"]).batches(1))
    assert torch.equal(next(loader.batches(1)).indices, expected[0].indices)
    assert_equal(list(loader.batches(1)), expected)
    given_up = loader.batches(0)
    third = [next(given_up) for _ in range(3)][2]
    assert torch.equal(third.indices, list(build(splits["memory"]).batches(0))[2].indices)
    assert_equal(list(loader.batches(1, 2)), expected[2:])


@pytest.mark.parametrize("kind", ["memory", "bytes"])
@pytest.mark.parametrize("scale", [None, (0.2, 0.9)])
def test_a_start_in_the_middle_skips_what_came_before(splits, kind, scale):
    loader = build(splits[kind], resized_crop_scale=scale)
    whole = list(loader.batches(4))
    for start in range(6):
        assert_equal(list(loader.batches(4, start)), whole[start:])


def test_an_epoch_is_a_permutation_without_the_last_partial_batch(splits):
    loader = build(splits["memory"])
    orders = [torch.cat([b.indices for b in loader.batches(epoch)]).tolist() for epoch in (0, 1)]
    for epoch, order in enumerate(orders):
        assert len(set(order)) == len(order) == 20
        assert order == epoch_order(3, epoch, COUNT)[:20].tolist()
    assert orders[0] != orders[1]
    other_seed = build(splits["memory"], seed=4).batches(0)
    assert orders[0] != torch.cat([batch.indices for batch in other_seed]).tolist()


@pytest.mark.parametrize("kind", ["memory", "bytes"])
def test_judging_sees_every_image_once_in_order(splits, kind):
    loader = build(splits[kind], shuffle=False)
    batches = list(loader.batches(0))
    assert loader.steps_per_epoch == 6
    assert [len(batch.images) for batch in batches] == [4, 4, 4, 4, 4, 3]
    assert torch.cat([batch.indices for batch in batches]).tolist() == list(range(COUNT))


@pytest.mark.parametrize("kind", ["memory", "bytes"])
def test_fewer_images_than_a_batch_are_one_batch(splits, kind):
    loader = build(splits[kind], batch_size=100)
    (batch,) = loader.batches(0)
    assert loader.steps_per_epoch == 1
    assert sorted(batch.indices.tolist()) == list(range(COUNT))


def test_random_resized_crops_change_with_epoch_index_and_seed(splits):
    def crops(epoch, seed):
        loader = build(splits["bytes"], resized_crop_scale=(0.2, 0.9), seed=seed)
        batches = list(loader.batches(epoch))
        return {int(i): im for b in batches for i, im in zip(b.indices, b.images, strict=True)}

    base = crops(0, 0)
    for other in (crops(1, 0), crops(0, 1)):
        both = base.keys() & other.keys()
        assert len(both) > 10
        assert not any(torch.equal(base[i], other[i]) for i in both)


def test_an_image_that_broke_during_training_is_named(splits, tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(COUNT)]
    for path, content in zip(files, splits["bytes"].encoded, strict=True):
        path.write_bytes(content)
    split = Split(labels=splits["files"].labels, names=splits["files"].names, encoded=files)
    files[7].write_bytes(b"")
    with pytest.raises(UserError, match=r"7\.png"):
        list(build(split, shuffle=False).batches(0))
    loader = build(split, shuffle=False, workers=2)
    with pytest.raises(UserError, match=r"7\.png"):
        list(loader.batches(0))
    # Held by the caught traceback, it would be collected late, which takes torch 10 seconds.
    assert loader._decoder is not None
    loader._decoder._iterator._shutdown_workers()


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
@pytest.mark.parametrize("attempt", range(4))
def test_ctrl_c_leaves_the_workers_to_the_trainer(splits, attempt):
    loader = build(splits["bytes"], workers=2)
    batches = loader.batches(0)
    first = next(batches)  # the second worker may still be starting
    assert loader._decoder is not None
    for worker in loader._decoder._iterator._workers:
        os.kill(worker.pid, signal.SIGINT)
    assert_equal([first, *batches], list(build(splits["memory"]).batches(0)))


SCRIPT = """
import os, signal, sys
from pathlib import Path
import numpy as np, torch
from resnetkit.data.contract import InputContract
from resnetkit.data.loader import Loader, LoaderConfig
from resnetkit.data.source_types import Split
print("script runs")
split = Split(labels=np.zeros(4, np.int64), names=list("abcd"), encoded=[Path(sys.argv[1])] * 4)
contract = InputContract(
    class_names=("a",), resize=10, crop=(10, 10), mean=(0.5,) * 3, std=(1.0,) * 3
)
torch.nn.functional.conv2d(torch.randn(8, 3, 64, 64), torch.randn(8, 3, 3, 3))
config = LoaderConfig(batch_size=2, workers=2, seed=0, shuffle=True)
loader = Loader(split, contract, config)
"""


def run_script(folder: Path, splits: dict[str, Split], ending: str) -> tuple[int, str, str]:
    script = folder / "script.py"
    script.write_text(SCRIPT + ending)
    command = [sys.executable, "-W", "error", script, splits["files"].encoded[0]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_a_script_without_a_main_guard_is_run_once(splits, tmp_path):
    result = run_script(tmp_path, splits, "print(len(list(loader.batches(0))))")
    assert result == (0, "script runs\n2\n", "")


KILLED = """
batches = loader.batches(0)
next(batches)
print(*(worker.pid for worker in loader._decoder._iterator._workers), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks in /proc")
def test_workers_end_with_a_trainer_that_is_killed(splits, tmp_path):
    code, output, errors = run_script(tmp_path, splits, KILLED)
    assert (code, errors) == (-signal.SIGKILL, "")
    workers = output.splitlines()[1].split()
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "a worker outlives its trainer"
        time.sleep(0.05)


def test_a_worker_ended_from_outside_interrupts(splits):
    """As `systemctl stop` or a job scheduler does, which signal every process."""
    loader = build(splits["files"], workers=1)
    next(loader.batches(0))
    (worker,) = loader._decoder._iterator._workers
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(Interrupted, match="a decoding process was ended from outside"):
        [batch for epoch in range(50) for batch in loader.batches(epoch)]
