"""kill -9 anywhere in a check: there is no result or a whole one, and the next call goes on."""

import os
import subprocess
import sys
from pathlib import Path

from planted import Planter, encode, picture, tree_digest

from resnetkit.data.manifest_table import read_manifest_table
from resnetkit.runtime import verify_folder

# One process imports everything once, then forks a check for every moment to be killed at.
SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from resnetkit.data.checks.check import check_source
import pyarrow.parquet

source, out, moments = sys.argv[1], Path(sys.argv[2]), [int(text) for text in sys.argv[3:]]
for moment in moments:
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        def progress(what, done, total):
            os.write(tell, b".")
            time.sleep(0.002)
        check_source(source, out, progress=progress)
        os._exit(0)
    os.close(tell)
    seen = 0
    while seen < moment and (more := os.read(told, 1)):
        seen += len(more)
    time.sleep(0.001 * (moment % 7))
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os.waitpid(child, 0)
    os.close(told)
    parts = out.with_name(f".{out.name}.parts")
    print(seen, len(list(parts.glob("[0-9a-f]*.parquet"))) if parts.is_dir() else 0, out.exists())
check_source(source, out, progress=lambda *_: None)
"""


def test_killed_at_many_moments(tmp_path):
    planter = Planter(tmp_path / "source")
    for number in range(120):
        data = encode(picture(number, (20, 20)), "PNG")
        planter.put(f"{'ab'[number % 2]}/{number:03d}.png", b"" if number == 60 else data)
    before = tree_digest(planter.root)
    (tmp_path / "work").mkdir()
    out = tmp_path / "work" / "out"
    moments = [1, 2, 4, 5, 7, 9, 11, 13, 15, 16]
    command = [sys.executable, "-c", SCRIPT, str(planter.root), str(out), *map(str, moments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    killed = [line.split() for line in done.stdout.splitlines()]
    assert len(killed) == len(moments)
    assert any(int(parts) > 0 for _, parts, _ in killed), "no kill came after the first part"
    assert any(there == "False" for seen, _, there in killed if int(seen) > 10), "none came late"
    verify_folder(out)
    table = read_manifest_table(out / "manifest.parquet")
    assert len(table) == 120
    assert [table.paths[row] for row in table.exclude.nonzero()[0]] == ["a/060.png"]
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["out"]
    assert tree_digest(planter.root) == before
    assert Path(out / "report.html").is_file()
