"""Checkpoints of every format through the child, and the files that attack it."""

import argparse
import os
import pickle
import resource
import zipfile
from functools import partial

import pytest
import torch

from resnetkit.models.weights import pickles, shut_in
from resnetkit.models.weights.pickles import read_pickle
from resnetkit.types import UserError

MOST_MEMORY_MIB = 1500  # of a child: torch itself maps 300 to 700
HEADER = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]
save_legacy = partial(torch.save, _use_new_zipfile_serialization=False)


def state():
    generator = torch.Generator().manual_seed(0)
    return {
        "conv1.weight": torch.randn(4, 3, 3, 3, generator=generator),
        "fc.weight": torch.randn(5, 4, generator=generator).half(),
        "bn1.num_batches_tracked": torch.tensor(7),
    }


class Attack:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def refusal(path):
    # The system keeps the largest child ever: one of another test counts as allowed.
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    with pytest.raises(UserError) as refused:
        read_pickle(path)
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    assert used < max(MOST_MEMORY_MIB, before + 1)
    assert str(path) in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("save", [torch.save, save_legacy])
def test_tensors_come_back_bit_for_bit_with_the_names_of_the_rest(tmp_path, save):
    path = tmp_path / "ä checkpoint.pth.tar"
    optimizer = {"state": {0: {"momentum": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    save({"state_dict": state(), "optimizer": optimizer, "epoch": 3}, path)
    checkpoint = read_pickle(path)
    assert {
        key: list(value) if isinstance(value, dict) else value for key, value in checkpoint.items()
    } == {
        "state_dict": list(state()),
        "optimizer": ["state", "param_groups"],
        "epoch": None,
    }
    for name, value in state().items():
        assert checkpoint["state_dict"][name].dtype == value.dtype
        assert torch.equal(checkpoint["state_dict"][name], value)


@pytest.mark.parametrize("kind", ["zip", "legacy", "plain"])
def test_a_pickle_that_runs_a_program_is_refused_and_runs_nothing(tmp_path, kind):
    marker, path = tmp_path / "MARK", tmp_path / "evil.pth"
    write = {
        "zip": torch.save,
        "legacy": save_legacy,
        "plain": lambda content, to: to.write_bytes(pickle.dumps(content)),
    }[kind]
    write({"state_dict": state(), "extra": Attack(marker)}, path)
    message = refusal(path)
    assert "system" in message
    assert "which was not done" in message
    assert ".safetensors" in message
    assert not marker.exists()


def test_settings_beside_the_weights_are_named_with_the_lines_that_resave(tmp_path, monkeypatch):
    path = tmp_path / "run.pth"
    torch.save({"state_dict": state(), "args": argparse.Namespace(lr=1)}, path)
    message = refusal(path)
    assert "argparse.Namespace" in message
    assert "holds more than weights" in message
    lines = [line.strip() for line in message.splitlines() if line.startswith("  ")]
    monkeypatch.chdir(tmp_path)
    exec("\n".join(lines), {})  # what the sender would run
    assert list(read_pickle(tmp_path / "weights.pth")) == list(state())


def test_a_newer_pickle_protocol_is_told_apart_from_an_attack(tmp_path):
    torch.save(state(), tmp_path / "new.pth", pickle_protocol=4)
    assert "newer pickle protocol" in refusal(tmp_path / "new.pth")


def repacked(path, change, **options):
    """The same archive, its tensors' bytes changed."""
    source = zipfile.ZipFile(path)
    with zipfile.ZipFile(path.with_name("changed.pth"), "w", **options) as archive:
        for name in source.namelist():
            content = source.read(name)
            archive.writestr(name, change(content) if "/data/" in name else content)
    return path.with_name("changed.pth")


def test_an_archive_that_unpacks_to_more_than_it_is_is_refused(tmp_path):
    torch.save(state(), tmp_path / "good.pth")
    bomb = repacked(
        tmp_path / "good.pth", lambda _: bytes(64 << 20), compression=zipfile.ZIP_DEFLATED
    )
    assert bomb.stat().st_size < 1 << 20
    assert "claims" in refusal(bomb)


def test_entries_that_claim_absurd_sizes_are_refused(tmp_path):
    torch.save(state(), tmp_path / "good.pth")
    content = bytearray((tmp_path / "good.pth").read_bytes())
    place = content.rfind(b"PK\x01\x02")  # the last entry of the central directory
    content[place + 20 : place + 28] = (0xF0000000).to_bytes(4, "little") * 2
    (tmp_path / "absurd.pth").write_bytes(content)
    assert "claims" in refusal(tmp_path / "absurd.pth")


def test_a_storage_that_claims_terabytes_is_refused_and_memory_stays_bounded(tmp_path):
    save_legacy({"a": torch.zeros(3, 3)}, tmp_path / "good.pth")
    content = (tmp_path / "good.pth").read_bytes()
    # The number of elements, 9, follows "cpu" and its memo: X 3 "cpu" q n K 9.
    place = content.index(b"cpu") + 5
    assert content[place : place + 2] == b"K\x09"
    huge = b"\x8a\x06" + (1 << 40).to_bytes(6, "little")  # LONG1
    (tmp_path / "bomb.pth").write_bytes(content[:place] + huge + content[place + 2 :])
    message = refusal(tmp_path / "bomb.pth")
    assert "far more memory than its size explains" in message


def laughing_key(levels):
    """A dictionary whose key is a pair of pairs of pairs: its hash takes two to the levels."""
    pairs = b")q\x00" + b"".join(b"h%c\x86q%c" % (n, n + 1) for n in range(levels))
    return b"\x80\x02}" + pairs + b"K\x01s."


def test_a_pickle_that_never_ends_is_stopped(tmp_path, monkeypatch):
    path = tmp_path / "laughing.pth"
    header = b"".join(pickle.dumps(part, 2) for part in HEADER)
    path.write_bytes(header + laughing_key(60) + pickle.dumps([], 2))
    monkeypatch.setattr(pickles, "CPU_SECONDS", 1)
    assert "far longer than its size explains" in refusal(path)


def test_deep_recursion_is_refused_or_harmless(tmp_path):
    path = tmp_path / "deep.pth"
    header = b"".join(pickle.dumps(part, 2) for part in HEADER)
    deep = b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b"."
    path.write_bytes(header + deep + pickle.dumps([], 2))
    assert refusal(path)


@pytest.mark.parametrize("save", [torch.save, save_legacy])
def test_a_download_cut_off_says_so(tmp_path, save):
    path = tmp_path / "half.pth"
    save(state(), path)
    path.write_bytes(path.read_bytes()[:-400])
    assert "incomplete" in refusal(path)


def test_other_archives_and_no_weights_say_what_they_are(tmp_path):
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("resnet18.pth", b"x")
        archive.writestr("readme.txt", b"x")
    assert "unpack" in refusal(tmp_path / "zip.pth")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("m/data.pkl", b"x")
        archive.writestr("m/constants.pkl", b"x")
    assert "TorchScript" in refusal(tmp_path / "script.pt")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    assert "a list" in refusal(tmp_path / "list.pth")


def test_secrets_of_the_environment_are_not_handed_on(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    seen = {}

    def stand_in(command, **options):
        seen.update(options["env"])
        raise shut_in.subprocess.TimeoutExpired(command, 1)

    monkeypatch.setattr(shut_in.subprocess, "run", stand_in)
    (tmp_path / "a.pth").write_bytes(b"x")
    assert "far longer" in refusal(tmp_path / "a.pth")
    assert "HF_TOKEN" not in seen
    assert "PATH" in seen
