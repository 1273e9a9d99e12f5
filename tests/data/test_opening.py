"""Opening a source under a manifest: idle settings are refused, faults blamed on the manifest."""

from dataclasses import replace

import numpy as np
import pytest

from resnetkit.data.manifest_table import read_manifest_table
from resnetkit.data.manifest_writer import write_manifest_table
from resnetkit.data.opening import find_split, open_source, refuse_untrainable
from resnetkit.data.settings import DataConfig
from resnetkit.data.split_plan import SplitPlan
from resnetkit.data.splitting import split_source
from resnetkit.types import UserError


def silent(what, done, total):
    """Progress that nobody watches."""


@pytest.fixture
def folder(tmp_path):
    for label in ("cat", "dog"):
        for number in range(12):
            path = tmp_path / "pics" / label / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{label} {number}".encode())
    return tmp_path / "pics"


def deal(folder, ratios=(0.5, 0.25, 0.25), change=None, folds=None):
    out = folder.parent / "m.parquet"
    split_source(str(folder), out, SplitPlan(ratios=ratios, folds=folds), progress=silent)
    if change is not None:
        write_manifest_table(out, change(read_manifest_table(out)))
    return out


def check(folder, manifest, **settings):
    config = DataConfig(source=str(folder), manifest=str(manifest), **settings)
    refuse_untrainable(config, open_source(config, ("train", "val"), silent))


@pytest.mark.parametrize(
    "setting", [{"validation_fraction": 0.2}, {"test_fraction": 0.3}, {"split_seed": 4}]
)
def test_settings_that_a_manifest_leaves_without_effect_are_refused(folder, setting):
    (name, value), *_ = setting.items()
    manifest = deal(folder)
    message = rf"^data\.{name} {value} has no effect: .*m\.parquet says .*train, val, test"
    with pytest.raises(UserError, match=message):
        check(folder, manifest, **setting)


def test_settings_with_an_effect_and_shares_of_nothing_pass(folder):
    manifest = deal(folder, ratios=(0.8, 0, 0.2))
    check(folder, manifest, validation_fraction=0.2, split_seed=4)
    with pytest.raises(UserError, match=r"data\.test_fraction 0\.2 has no effect"):
        check(folder, manifest, test_fraction=0.2)
    manifest.unlink()
    check(folder, deal(folder), validation_fraction=0.0, test_fraction=0.0)


def test_a_class_that_the_manifest_took_away_is_its_own_fault(folder):
    def relabel(table):
        return replace(table, labels=np.zeros(len(table), np.int64))

    manifest = deal(folder, change=relabel)
    with pytest.raises(UserError, match=r"m\.parquet: the manifest leaves no .*'dog'.*Correct"):
        check(folder, manifest)


def test_a_fold_that_takes_a_class_away_is_named(folder):
    def gather(table):
        return replace(table, fold=np.where(table.labels == 0, 0, table.fold))

    manifest = deal(folder, ratios=(1, 0, 0), folds=3, change=gather)
    with pytest.raises(UserError, match=r"m\.parquet: .*when fold 0 validates: 'cat'"):
        check(folder, manifest, fold=0)


def test_missing_splits_are_the_manifest_s_fault(folder):
    def only(number):
        return lambda table: replace(table, splits=np.full(len(table), number, np.int8))

    manifest = deal(folder, change=only(2))
    with pytest.raises(UserError, match=r"m\.parquet: .*train on; the manifest has only test\. D"):
        check(folder, manifest)
    manifest.unlink()
    manifest = deal(folder, change=only(0))
    config = DataConfig(source=str(folder), manifest=str(manifest), test_fraction=0)
    with pytest.raises(UserError, match=r"m\.parquet: there is no test split; the manifest has tr"):
        find_split(config, "test", silent)
