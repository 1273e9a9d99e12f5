from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from resnetkit.data.contract import InputContract
from resnetkit.data.draws import epoch_order
from resnetkit.data.find_pack import attach_pack
from resnetkit.data.loader import AHEAD, MOST_THREADS, Loader, LoaderConfig, choose_worker_kind
from resnetkit.data.pack import pack_source
from resnetkit.data.packed import load_pack
from resnetkit.data.source_types import Split
from resnetkit.data.sources import load_source
from resnetkit.data.transforms import decode_split
from resnetkit.types import Batch, UserError

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


@pytest.mark.parametrize("kind", ["threads", "processes"])
@pytest.mark.parametrize("scale", [None, (0.2, 0.9)])
def test_workers_change_nothing(splits, kind, scale):
    none = build(splits["files"], resized_crop_scale=scale)
    two = build(splits["files"], resized_crop_scale=scale, workers=2, worker_kind=kind)
    for epoch, start in ((0, 0), (1, 0), (1, 3), (0, 4)):
        assert_equal(list(none.batches(epoch, start)), list(two.batches(epoch, start)))


@pytest.fixture(scope="module")
def packs(tmp_path_factory) -> dict[str, Split]:
    """Photographs of different sizes in a folder and in two packs."""
    root = tmp_path_factory.mktemp("packs")
    generator = np.random.default_rng(1)
    for number in range(COUNT):
        folder = root / "source" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        height, width = generator.integers(6, 40, 2)
        noise = generator.integers(0, 256, (height // 3 + 1, width // 3 + 1, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((int(width), int(height)))
        picture.save(folder / f"{number:02d}.jpg", quality=90)
    files = load_source(str(root / "source"), ("train",)).splits["train"]
    found = {"files": files}
    for storage in ("raw", "jpeg"):
        report = pack_source(str(root / "source"), root / storage, side=10, storage=storage)
        attached = attach_pack(files, load_pack(report.folder))
        assert isinstance(attached, Split)
        found[storage] = attached
    return found


@given(
    storage=st.sampled_from(["files", "raw", "jpeg"]),
    workers=st.integers(1, 4),
    batch_size=st.integers(1, COUNT + 3),
    epoch=st.integers(0, 3),
    scale=st.sampled_from([None, (0.08, 1.0), (0.5, 0.5)]),
    data=st.data(),
)
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_an_image_looks_the_same_in_every_lane_batch_and_thread(
    packs, storage, workers, batch_size, epoch, scale, data
):
    chosen = packs[storage]
    settings = {"batch_size": batch_size, "resized_crop_scale": scale}
    start = data.draw(st.integers(0, max(1, COUNT // batch_size) - 1))
    several = list(build(chosen, workers=workers, **settings).batches(epoch, start))
    assert_equal(several, list(build(chosen, **settings).batches(epoch))[start:])
    alone = list(build(chosen, **{**settings, "batch_size": 1}).batches(epoch))
    by_number = {int(batch.indices[0]): batch.images[0] for batch in alone}
    for batch in several:
        for number, image in zip(batch.indices.tolist(), batch.images, strict=True):
            assert torch.equal(image, by_number[number])


def test_a_raw_pack_of_the_contracts_side_is_judged_as_its_files_are(packs):
    decoded = list(build(packs["files"], shuffle=False).batches(0))
    assert_equal(decoded, list(build(packs["raw"], shuffle=False, workers=2).batches(0)))
    whole, unreadable = decode_split(packs["raw"], CONTRACT)
    assert not unreadable
    assert np.array_equal(whole, torch.cat([batch.images for batch in decoded]).numpy())


def test_packs_and_few_workers_are_read_by_threads(splits, packs):
    assert choose_worker_kind(splits["files"], MOST_THREADS) == "threads"
    assert choose_worker_kind(splits["files"], MOST_THREADS + 1) == "processes"
    assert choose_worker_kind(packs["raw"], 64) == "threads"


def test_read_batches_lie_in_memory_as_the_trainer_wants_them(splits):
    batch = next(build(splits["files"]).batches(0))
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_threads_begin_no_more_than_they_are_ahead(splits, monkeypatch):
    begun: list[int] = []
    original = Loader._begin

    def begin(self, epoch, chunk):
        begun.append(len(chunk))
        return original(self, epoch, chunk)

    monkeypatch.setattr(Loader, "_begin", begin)
    batches = build(splits["files"], workers=2, batch_size=2).batches(0)
    next(batches)
    assert len(begun) == AHEAD + 1
    batches.close()
    assert len(begun) == AHEAD + 1


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_workers_survive_an_iteration_that_is_given_up(splits, kind):
    loader = build(splits["bytes"], workers=2, worker_kind=kind)
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
    with pytest.raises(UserError, match=r"7\.png"):
        list(build(split, shuffle=False, workers=2).batches(0))
