"""`resnetkit explain --trust`, `--index` and `--nearest`, as a user types them."""

import json
import shutil

import pytest

from resnetkit.cli import main

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = ["--curves.steps", "3", "--curves.pictures", "4", "--randomised.draws", "1"]
QUICK += ["--randomised.pictures", "3", "--images", "6", "--split", "all"]


@pytest.fixture
def package(trained, tmp_path):
    shutil.copytree(trained.package, tmp_path / "run" / "package")
    return tmp_path / "run" / "package"


def printed(capsys, *arguments):
    main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def test_which_map_to_believe(capsys, package, pictures, tmp_path):
    out = tmp_path / "trust"
    asked = ["explain", package, "--data", pictures, "--trust", "--out", out, *QUICK]
    text = printed(capsys, *asked, "--method", "gradcam,layercam")
    assert "believe" in text
    assert "layercam" in text
    assert "6 pictures; the network recognises the class in" in text
    assert f"Report   {out / 'trust.html'}" in text
    files = ["manifest.json", "trust.html", "trust.json", "trust.md"]
    assert sorted(path.name for path in out.iterdir()) == files
    found = json.loads(printed(capsys, *asked, "--method", "gradcam", "--json"))
    assert [method["method"] for method in found["methods"]] == ["gradcam"]
    assert found["methods"][0]["verdict"].startswith(("believe, ", "do not believe, "))


def test_an_index_and_what_is_looked_up_in_it(capsys, package, pictures, tmp_path):
    asked = ["explain", package, "--data", pictures, "--index"]
    text = printed(capsys, *asked)
    assert "images: the index in" in text
    assert "features of each" in text
    found = json.loads(printed(capsys, *asked, "--json"))
    assert found["reused"]
    assert found["folder"] == str(package.with_name("package.neighbours"))
    image = pictures / "red/00.png"
    explained = ["explain", package, image, "--out", tmp_path / "maps", "--nearest", "3"]
    record = json.loads(printed(capsys, *explained, "--json"))
    near = record["explanations"][0]["facts"]["nearest"]
    assert len(near) == 3
    assert near[0]["label"] == near[0]["image"].split("/")[0]
    text = printed(capsys, *explained)
    assert near[0]["image"] in text


@pytest.mark.parametrize("option", ["--trust", "--index"])
def test_mistakes_exit_with_2(capsys, package, option):
    with pytest.raises(SystemExit) as stopped:
        main(["explain", str(package), option])
    assert stopped.value.code == 2
    with pytest.raises(SystemExit) as stopped:
        main(["explain", str(package), option, "--data", "/nowhere"])
    assert stopped.value.code == 2
    assert "There is no file or folder '/nowhere'" in capsys.readouterr().err


def test_nearest_without_an_index_says_how_to_make_one(capsys, package, pictures, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        main(["explain", str(package), str(pictures / "red"), "--out", str(tmp_path / "maps"),
              "--nearest", "2"])  # fmt: skip
    assert stopped.value.code == 2
    assert "--data SOURCE --index" in capsys.readouterr().err
    assert not (tmp_path / "maps").exists()
