"""A manifest's own columns reach the images they are about, whatever the order of its rows."""

from __future__ import annotations

import pytest

from resnetkit.data.manifest_columns import own_columns, read_own_columns
from resnetkit.types import UserError

TEXT = (
    "path,label,camera,split,site\nb.png,dog,2,test,\na.png,cat,1,test,north\nc.png,cat,3,train,\n"
)


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "m.csv").write_text(TEXT, encoding="utf-8")
    return tmp_path / "m.csv"


def test_own_columns_are_those_that_resnetkit_has_no_use_for(manifest):
    assert own_columns(manifest) == ["camera", "site"]


def test_cells_come_in_the_order_of_the_images(manifest):
    found = read_own_columns(manifest, ["camera", "site", "split"], ["a.png", "x.png", "b.png"])
    assert found == {
        "camera": ["1", None, "2"],
        "site": ["north", None, None],
        "split": ["test", None, "test"],
    }


def test_a_column_that_is_not_there_is_refused_with_the_nearest(manifest):
    with pytest.raises(UserError, match=r"no column 'camra'.*'camera'.*Did you mean 'camera'\?"):
        read_own_columns(manifest, ["camra"], ["a.png"])
