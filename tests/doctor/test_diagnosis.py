"""A whole diagnosis, on pictures that take seconds: what is timed, and that nothing is changed."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from resnetkit.doctor.printing import as_record, print_diagnosis
from resnetkit.pipeline_data import doctor
from resnetkit.types import UserError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def of_files(draw_pictures, tiny, tmp_path_factory):
    """A folder of JPEG files with its diagnosis, and the folder's state from before."""
    folder = draw_pictures(tmp_path_factory.mktemp("doctor") / "x", size=40, ending="jpg")
    before = state(folder)
    settings = {"data.storage": "files", "data.workers": 1, "augment.resized_crop_scale": (0.3, 1)}
    return folder, before, doctor(tiny(folder, settings), seconds=0.05)


def state(folder):
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_stage_between_disk_and_weights_is_timed(of_files):
    _, _, diagnosis = of_files
    names = [stage.name for stage in diagnosis.measured.stages]
    assert names == ["read", "decode", "resize", "collate", "copy", "augment", "step"]
    for stage in diagnosis.measured.stages:
        assert 0 < stage.timing.fastest <= stage.timing.seconds <= stage.timing.slowest
        assert stage.timing.rounds >= 2
    assert "cache" in diagnosis.measured.stages[0].note


def test_the_loader_is_timed_as_set_with_other_workers_and_on_a_pack(of_files):
    folder, _, diagnosis = of_files
    loaders = diagnosis.measured.loaders
    assert [loader.setting for loader in loaders if loader.chosen] == ["--data.workers 1"]
    assert diagnosis.measured.loader.how == "1 thread"
    assert loaders[0].how == "in the training loop"
    assert loaders[-1].setting == f"resnetkit data pack {folder} --side 12"
    assert loaders[-1].how == "1 thread, pack for trial"


def test_the_training_itself_is_timed_and_a_stage_of_it_named(of_files):
    _, _, diagnosis = of_files
    measured = diagnosis.measured
    assert 0 <= measured.waiting <= 1
    assert measured.training.images_per_second < 2 * measured.network_limit
    assert diagnosis.bottleneck in {stage.name for stage in measured.stages}
    assert diagnosis.bottleneck in diagnosis.verdict


def test_not_a_byte_of_the_source_changes(of_files):
    folder, before, _ = of_files
    assert state(folder) == before


def test_a_diagnosis_can_be_printed_and_written_as_json(of_files, capsys):
    _, _, diagnosis = of_files
    print_diagnosis(Console(width=200), diagnosis)
    printed = capsys.readouterr().out
    for part in (
        "decode",
        "bottleneck",
        "as it is set",
        "the whole training",
        "Training waits",
        diagnosis.verdict,
    ):
        assert part in printed
    assert ("Nothing to set" in printed) == (not diagnosis.advice)
    record = json.loads(json.dumps(as_record(diagnosis), allow_nan=False))
    assert record["bottleneck"] == diagnosis.bottleneck
    assert len(record["stages"]) == 7


def test_of_images_in_memory_there_is_nothing_to_read_or_decode(pictures, tiny):
    diagnosis = doctor(tiny(pictures), seconds=0.05)
    stages = {stage.name: stage.note for stage in diagnosis.measured.stages}
    assert list(stages) == ["collate", "copy", "augment", "step"]
    assert "decoded into memory once" in stages["collate"]
    assert [loader.how for loader in diagnosis.measured.loaders] == ["from memory"]


def test_small_early_images_are_mentioned(pictures, tiny):
    settings = {"augment.early_size": 8, "augment.early_share": 0.5}
    diagnosis = doctor(tiny(pictures, settings), seconds=0.05)
    assert any("at 8 pixels" in fact for fact in diagnosis.facts)


@pytest.mark.parametrize("seconds", [0, -1, 10_000])
def test_senseless_times_are_refused(pictures, tiny, seconds):
    with pytest.raises(UserError, match=r"--seconds must be between 0\.05 and 600"):
        doctor(tiny(pictures), seconds=seconds)
