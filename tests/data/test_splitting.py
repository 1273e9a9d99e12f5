"""`data split`: shares, folds, groups, test splits that stay, and what it will not write."""

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnetkit.data.manifest_table import NONE, read_manifest_table
from resnetkit.data.manifest_writer import write_manifest_table
from resnetkit.data.overlay import apply_manifest
from resnetkit.data.source_types import SPLIT_NAMES
from resnetkit.data.sources import load_source
from resnetkit.data.split_plan import SplitPlan
from resnetkit.data.splitting import split_source
from resnetkit.types import UserError


def silent(what, done, total):
    """Progress that nobody watches."""


def draw(root, counts):
    """A folder with so many different pictures in each of its folders."""
    shade = 0
    for place, count in counts.items():
        for number in range(count):
            path = root / place / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            shade += 1
            Image.fromarray(np.full((2, 2), shade, np.uint8)).save(path)
    return root


@pytest.fixture
def folder(tmp_path):
    return draw(tmp_path / "source", {"a": 40, "b": 20})


def split(folder, out, *, manifest=None, find_groups=None, **plan):
    return split_source(
        str(folder),
        out,
        SplitPlan(**plan),
        manifest=manifest,
        find_groups=find_groups,
        progress=silent,
    )


def pairs(whole, progress):
    """Groups as near-duplicates are found: the first ten images by twos, the rest alone."""
    return np.where(np.arange(len(whole)) < 10, np.arange(len(whole)) // 2, NONE)


def parts_of(path):
    table = read_manifest_table(path)
    assert table.splits is not None
    return {
        name: [
            table.paths[row] for row in np.flatnonzero((table.splits == number) & ~table.exclude)
        ]
        for number, name in enumerate(SPLIT_NAMES)
    }


def test_shares_and_hashes(folder, tmp_path):
    out = tmp_path / "m.parquet"
    report = split(folder, out)
    assert report.parts == ("train", "val", "test")
    assert report.images == (48, 6, 6)
    assert report.counts.tolist() == [[32, 16], [4, 2], [4, 2]]
    assert report.largest_miss == pytest.approx(0)
    assert report.lacking == []
    table = read_manifest_table(out)
    assert report.digest == table.digest
    assert table.source == str(folder)
    assert table.notes["split"]["seed"] == 0
    assert table.sha256 is not None
    assert len({row.tobytes() for row in table.sha256}) == 60
    source = load_source(str(folder), SPLIT_NAMES)
    assert {
        n: list(s.names) for n, s in apply_manifest(source, table, "m").source.splits.items()
    } == (parts_of(out))


def test_the_seed_decides_and_one_more_image_hardly_matters(folder, tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        split(folder, tmp_path / f"{name}.csv", seed=seed)
    one, two, other = (parts_of(tmp_path / f"{name}.csv") for name in ("one", "two", "other"))
    assert one == two
    assert one["test"] != other["test"]
    draw(folder, {"a": 41})
    split(folder, tmp_path / "more.csv")
    more = parts_of(tmp_path / "more.csv")
    moved = [name for part in one for name in one[part] if name not in more[part]]
    assert len(moved) <= 2


def test_folds(folder, tmp_path):
    report = split(folder, tmp_path / "m.parquet", folds=5, ratios=(0.9, 0, 0.1))
    assert report.parts == ("fold 0", "fold 1", "fold 2", "fold 3", "fold 4", "test")
    assert report.images[5] == 6
    assert sum(report.images) == 60
    assert max(report.images[:5]) - min(report.images[:5]) <= 1
    assert report.largest_miss < 1
    table = read_manifest_table(tmp_path / "m.parquet")
    source = load_source(str(folder), SPLIT_NAMES)
    seen = [apply_manifest(source, table, "m", k).source.splits["val"].names for k in range(5)]
    names = [name for part in seen for name in part]
    assert len(set(names)) == len(names) == 54


def test_near_duplicates_stay_together(folder, tmp_path):
    report = split(folder, tmp_path / "m.parquet", group_by="near-duplicates", find_groups=pairs)
    assert (report.groups, report.grouped, report.largest_group) == (5, 10, 2)
    assert report.images == (48, 6, 6)
    for part in parts_of(tmp_path / "m.parquet").values():
        first = {name for name in part if name < "a/10.png"}
        assert all(f"a/{int(name[2:4]) ^ 1:02d}.png" in first for name in first)


def test_groups_by_a_column_of_a_manifest(folder, tmp_path):
    rows = [
        f"{label}/{n:02d}.png,{label},P{n % 10}"
        for label, k in (("a", 40), ("b", 20))
        for n in range(k)
    ]
    table = tmp_path / "patients.csv"
    table.write_text("path,label,patient\n" + "\n".join(rows) + "\n")
    report = split(folder, tmp_path / "m.parquet", manifest=table, group_by="patient")
    assert (report.groups, report.grouped) == (10, 60)
    assert report.images == (48, 6, 6)
    parts = parts_of(tmp_path / "m.parquet")
    patients = [{int(name[2:4]) % 10 for name in part} for part in parts.values()]
    assert sum(map(len, patients)) == 10
    with pytest.raises(UserError, match="no column 'group_id' to group by"):
        split(folder, tmp_path / "n.csv", manifest=table, group_by="group_id")
    with pytest.raises(UserError, match="To group by 'patient' a manifest with this column"):
        split(folder, tmp_path / "n.csv", group_by="patient")


def test_a_test_split_stays_and_its_duplicates_are_not_trained_on(tmp_path):
    root = draw(tmp_path / "s", {"train/a": 20, "train/b": 20, "test/a": 5, "test/b": 5})

    def leak(whole, progress):
        groups = np.full(len(whole), NONE)
        names = list(whole.names)
        groups[[names.index("train/a/03.png"), names.index("test/b/01.png")]] = 4
        return groups

    report = split(
        root,
        tmp_path / "m.parquet",
        group_by="near-duplicates",
        find_groups=leak,
        ratios=(0.5, 0.2, 0.3),
    )
    assert (report.leaking, report.excluded, report.kept_test) == (1, 1, 10)
    parts = parts_of(tmp_path / "m.parquet")
    assert len(parts["test"]) == 10
    assert all(name.startswith("test/") for name in parts["test"])
    assert "train/a/03.png" not in parts["train"] + parts["val"]
    assert report.images == (28, 11, 10)  # 5 : 2
    table = read_manifest_table(tmp_path / "m.parquet")
    assert table.findings is not None
    assert ("shared-between-splits",) in table.findings
    anew = split(root, tmp_path / "n.parquet", deal_test_anew=True)
    assert anew.kept_test == 0
    assert anew.images == (40, 5, 5)
    assert any(name.startswith("train/") for name in parts_of(tmp_path / "n.parquet")["test"])


def test_labels_and_exclusions_of_a_check_are_kept(folder, tmp_path):
    split(folder, tmp_path / "first.parquet")
    table = read_manifest_table(tmp_path / "first.parquet")
    labels, exclude = table.labels.copy(), table.exclude.copy()
    labels[0], exclude[1] = 1, True
    checked = replace(table, labels=labels, exclude=exclude, checked=True, splits=None)
    write_manifest_table(tmp_path / "check.parquet", checked)
    report = split(folder, tmp_path / "m.parquet", manifest=tmp_path / "check.parquet")
    assert report.excluded == 1
    assert report.counts.sum(axis=0).tolist() == [38, 21]
    result = read_manifest_table(tmp_path / "m.parquet")
    assert result.checked
    assert result.labels[0] == 1
    (folder / "a/05.png").write_bytes(b"other")
    with pytest.raises(UserError, match=r"1 image\(s\) have changed since .*'a/05\.png'"):
        split(folder, tmp_path / "again.parquet", manifest=tmp_path / "check.parquet")


def test_a_manifest_as_the_source(folder, tmp_path):
    (tmp_path / "list.csv").write_text(
        "path,label,site\n" + "".join(f"source/a/{n:02d}.png,{n % 3},{n // 4}\n" for n in range(30))
    )
    report = split(tmp_path / "list.csv", tmp_path / "m.parquet", group_by="site")
    assert report.class_names == ("0", "1", "2")
    assert sum(report.images) == 30
    assert report.groups == 8


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"ratios": (0.8, 0.1, 0.2)}, r"sum to 1, say 0\.8 0\.1 0\.1; got 0\.8 0\.1 0\.2"),
        ({"ratios": (1.2, -0.1, -0.1)}, "from 0 to 1"),
        ({"ratios": (0, 0.5, 0.5)}, "ratio of train is 0"),
        ({"folds": 1}, "folds must be 2 or more, got 1"),
        ({"folds": 5, "ratios": (0.6, 0.3, 0.1)}, r"ratio 0\.6 : 0\.3 has no effect.* 0\.9 0 0\.1"),
    ],
)
def test_plans_that_make_no_sense(plan, message):
    with pytest.raises(UserError, match=message):
        SplitPlan(**plan)


def test_folds_that_nothing_fills(folder, tmp_path):
    out = tmp_path / "m.parquet"
    with pytest.raises(UserError, match="--folds 37: the largest class, 'a', has 36 image"):
        split(folder, out, folds=37)
    assert min(split(folder, out, folds=36).images) > 0
    groups = {"group_by": "near-duplicates", "find_groups": threes}
    with pytest.raises(UserError, match=r"--folds 4: .* fill only \d of the folds; ask for fewer"):
        split(folder, tmp_path / "n.parquet", folds=4, ratios=(1, 0, 0), **groups)


def threes(whole, progress):
    """Three large groups."""
    return np.arange(len(whole)) % 3


def test_a_test_split_to_deal_anew_must_be_there(folder, tmp_path):
    with pytest.raises(UserError, match=r"no test split to deal anew.* leave --deal-test-anew out"):
        split(folder, tmp_path / "m.parquet", deal_test_anew=True)


def test_where_it_does_not_write(folder, tmp_path):
    with pytest.raises(UserError, match=r"lies in the source .*only read"):
        split(folder, folder / "m.parquet")
    (tmp_path / "there.csv").touch()
    with pytest.raises(UserError, match="there is something already"):
        split(folder, tmp_path / "there.csv")


def test_a_full_disk_leaves_nothing(folder, tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        split(folder, tmp_path / "m.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


OBJECT = (
    "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>2</ymin><xmax>{}</xmax><ymax>9</ymax>"
    "</bndbox></object>"
)


@pytest.fixture
def crops(tmp_path):
    """Thirty pictures with two boxes each, one of either class."""
    root = draw(tmp_path / "voc", {"JPEGImages": 30})
    (root / "Annotations").mkdir()
    for picture in (root / "JPEGImages").iterdir():
        Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20)).save(picture)
        objects = OBJECT.format("cat", 1, 8) + OBJECT.format("dog", 10, 18)
        text = f"<annotation><filename>{picture.name}</filename>{objects}</annotation>"
        (root / "Annotations" / f"{picture.stem}.xml").write_text(text)
    return f"voc-crops:{root}"


@pytest.mark.parametrize("group_by", [None, "near-duplicates"])
def test_crops_of_one_picture_stay_together(crops, tmp_path, group_by):
    split(crops, tmp_path / "m.parquet", find_groups=pairs, group_by=group_by)
    sides = {
        part: {path.partition("#")[0] for path in paths}
        for part, paths in parts_of(tmp_path / "m.parquet").items()
    }
    assert all(sides.values())
    assert sum(map(len, sides.values())) == 30


def test_a_prefix_does_not_open_the_source_for_writing(crops):
    place = Path(crops.partition(":")[2]) / "split.parquet"
    with pytest.raises(UserError, match="lies in the source"):
        split(crops, place)
