"""What shuts the process in, by itself: without torch, so that many attacks cost little."""

import io
import json
import pickle
import socket
import subprocess
import sys

import pytest
import torch

from resnetkit.models.weights import pickle_child
from resnetkit.models.weights.pickle_child import Refusal, collect, refuse_programs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="its layers are Linux's")

LIMITS = {"memory_bytes": 64 << 20, "written_bytes": 1 << 20, "seconds": 20, "file_bytes": 1000}
PRISONER = """
import ctypes, json, os, runpy, socket, subprocess, sys
child, folder, outside, limits, port = sys.argv[1:]
libc = ctypes.CDLL(None)
write, connect, new_socket, execute = libc.open, libc.connect, libc.socket, libc.execv
runpy.run_path(child)["shut_in"](folder, json.loads(limits))

def happens(act):
    try:
        act()
        return "done"
    except BaseException as error:
        return type(error).__name__

address = b"\\x02\\x00" + int(port).to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
kernel = {
    "write": write(outside.encode(), os.O_CREAT | os.O_WRONLY, 0o600),
    "write in folder": write(f"{folder}/tensors".encode(), os.O_CREAT | os.O_WRONLY, 0o600) >= 0,
    "connect": connect(new_socket(2, 1, 0), address, 16),
    "execute": execute(b"/bin/true", None),
}
print(json.dumps({"kernel": kernel, "python": {
    "system": happens(lambda: os.system("touch " + outside)),
    "popen": happens(lambda: subprocess.Popen(["touch", outside])),
    "fork": happens(os.fork),
    "exec": happens(lambda: os.execv("/bin/true", ["true"])),
    "socket": happens(socket.socket),
    "open": happens(lambda: open(outside, "w")),
    "append": happens(lambda: open(folder + "/own", "a")),
    "os.open": happens(lambda: os.open(outside, os.O_CREAT | os.O_WRONLY)),
    "remove": happens(lambda: os.remove(child)),
    "ctypes": happens(lambda: ctypes.CDLL("libc.so.6")),
    "memory": happens(lambda: bytearray(200 << 20)),
    "read": happens(lambda: open(child).read()),
}}))
"""


@pytest.fixture(scope="module")
def attempts(tmp_path_factory):
    folder, outside = tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("not") / "MARK"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        command = [sys.executable, "-P", "-c", PRISONER, pickle_child.__file__, str(folder)]
        command += [str(outside), json.dumps(LIMITS), port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), outside


def test_python_is_refused_whatever_is_not_reading(attempts):
    python = attempts[0]["python"]
    assert python.pop("read") == "done"
    assert python.pop("memory") == "MemoryError"
    assert set(python.values()) == {"PermissionError"}, python
    assert not attempts[1].exists()


def test_the_kernel_refuses_what_the_audit_hook_cannot_see(attempts):
    """As after an exploit that runs machine code: libc called directly."""
    kernel = attempts[0]["kernel"]
    if kernel["connect"] == 0:
        pytest.skip("user namespaces are switched off here")
    assert kernel["write in folder"]
    assert (kernel["write"], kernel["connect"], kernel["execute"]) == (-1, -1, -1)
    assert not attempts[1].exists()


class Names:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("function", [eval, exec, __import__, getattr, bytearray])
def test_names_are_found_in_every_protocol(protocol, function):
    with pytest.raises(Refusal) as refused:
        refuse_programs([io.BytesIO(pickle.dumps({"a": Names(function, "1")}, protocol))])
    kind, detail = refused.value.args
    assert kind == "programs"
    assert function.__name__ in detail


def test_names_of_tensors_pass(tmp_path):
    file = io.BytesIO()
    state = {"a": torch.nn.Parameter(torch.zeros(2)), "b": torch.zeros(2, dtype=torch.bool)}
    torch.save(state, file, _use_new_zipfile_serialization=False)
    file.seek(0)
    refuse_programs([file] * 5)


@pytest.mark.filterwarnings("ignore:Sparse invariant")
def test_sparse_tensors_and_views_of_any_size_are_refused():
    with pytest.raises(Refusal, match="claims"):
        collect({"a": torch.zeros(1).expand(1 << 20, 1 << 20)}, 2000)
    places = torch.tensor([[0], [0]])
    sparse = torch.sparse_coo_tensor(places, torch.ones(1), (2, 2), check_invariants=True)
    with pytest.raises(Refusal, match="tensors"):
        collect({"a": sparse}, 2000)


def test_a_tensor_in_two_places_counts_once_and_others_keep_their_names():
    weight = torch.arange(6.0).reshape(2, 3).t()  # not contiguous
    optimizer = {"state": {0: {"m": weight}}, "param_groups": [1]}
    entries, tensors = collect(
        {"model": {"w": weight}, "ema": {"w": weight}, "optimizer": optimizer, "epoch": 3}, 24
    )
    assert dict(entries) == {
        ("model", "w"): 0,
        ("ema", "w"): 0,
        ("optimizer", "state"): None,
        ("optimizer", "param_groups"): None,
        ("epoch",): None,
    }
    assert list(tensors) == ["0"]
    assert torch.equal(tensors["0"], weight)
    assert tensors["0"].is_contiguous()


def test_mappings_that_hold_each_other_end():
    laughing = {f"k{n}": {"a": torch.zeros(1)} for n in range(200)}
    for _ in range(3):
        laughing = dict.fromkeys((f"k{n}" for n in range(200)), laughing)
    with pytest.raises(Refusal, match="claims"):
        collect(laughing, 10**9)
