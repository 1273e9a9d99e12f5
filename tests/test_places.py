"""Nothing is ever written into the images that a command was given."""

from __future__ import annotations

import pytest

from resnetkit.cli import main

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = ["--data.image-size", "12", "--data.batch-size", "8", "--training.epochs", "1"]


@pytest.mark.parametrize(
    "command",
    [
        ["train", "digits", "--data", "SOURCE", "--out", "SOURCE/run", *TINY],
        ["evaluate", "PACKAGE", "--data", "SOURCE", "--out", "SOURCE/judged"],
        ["predict", "PACKAGE", "SOURCE", "--out", "SOURCE/red/found.csv"],
        ["predict", "PACKAGE", "SOURCE/blue", "SOURCE/red", "--out", "SOURCE/red/found.csv"],
    ],
)
def test_results_may_not_be_put_into_the_source(command, draw_pictures, trained, tmp_path, capsys):
    source = draw_pictures(tmp_path / "pictures")
    before = sorted(tmp_path.rglob("*"))
    places = {"SOURCE": str(source), "PACKAGE": str(trained.package)}
    for name, place in places.items():
        command = [argument.replace(name, place) for argument in command]
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2
    assert "lies in the source" in " ".join(capsys.readouterr().err.split())
    assert sorted(tmp_path.rglob("*")) == before


def test_beside_the_images_asked_about_predictions_may_lie(draw_pictures, trained, tmp_path):
    source = draw_pictures(tmp_path / "pictures")
    found = source / "found.csv"
    main(["predict", str(trained.package), str(source / "red"), "--out", str(found)])
    assert found.is_file()
