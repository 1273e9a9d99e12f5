"""From a package, pictures and boxes to the table that says which map to believe."""

import json
import shutil

import pytest

from resnetkit import pipeline
from resnetkit.data.opening import DescribedSource
from resnetkit.explanation.attribution import METHODS
from resnetkit.explanation.attribution_settings import AttributionSettings
from resnetkit.explanation.pixel_curves import CurveConfig
from resnetkit.explanation.randomised_weights import RandomisedConfig
from resnetkit.explanation.trust import TrustConfig
from resnetkit.export.package import load_package
from resnetkit.package_split import load_package_split
from resnetkit.pipeline_trust import MapRequest, check_maps, plan_maps
from resnetkit.runtime import verify_folder
from resnetkit.types import UserError

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = TrustConfig(
    curves=CurveConfig(steps=3, pictures=4), randomised=RandomisedConfig(draws=1, pictures=3)
)


def request(**settings):
    asked = {"methods": ("gradcam", "occlusion"), "images": 9, "split": "all", "checks": QUICK}
    return MapRequest(**{**asked, **settings})


@pytest.fixture(scope="module")
def boxes(pictures, tmp_path_factory):
    """A box in all but the last picture of each class, 12 x 12 pixels large."""
    folder = tmp_path_factory.mktemp("boxes")
    for path in sorted(pictures.rglob("*.png")):
        if path.name == "11.png":
            continue
        corners = "<xmin>2</xmin><ymin>3</ymin><xmax>7</xmax><ymax>9</ymax>"
        text = (
            f"<annotation><size><width>12</width><height>12</height></size><object><name>"
            f"{path.parent.name}</name><bndbox>{corners}</bndbox></object></annotation>"
        )
        (folder / path.parent.name).mkdir(exist_ok=True)
        (folder / path.parent.name / f"{path.stem}.xml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def result(trained, pictures, boxes, tmp_path_factory, one_thread):
    out = tmp_path_factory.mktemp("trust") / "out"
    return check_maps(trained.package, str(pictures), boxes=boxes, out=out, request=request())


def test_every_method_is_judged_on_the_same_pictures(result):
    assert [report.method for report in result.reports] == ["gradcam", "occlusion"]
    assert result.pictures == 9
    assert {report.pointing.points.trials for report in result.reports} == {9}
    assert len({report.pointing.centre for report in result.reports}) == 1
    assert {report.randomised.pictures for report in result.reports} == {3}
    assert 0 <= result.recognised <= 1
    area = 6 * 7 / 144  # 2…7 by 3…9, both ends inside, of 12 x 12
    assert result.reports[0].pointing.area == pytest.approx(area)
    assert result.notes == ("3 of 36 pictures have no box",)


def test_the_files_say_the_same(result, trained, pictures, boxes):
    record = json.loads((result.out / "trust.json").read_text())
    assert record["package"] == str(trained.package)
    assert record["boxes"] == str(boxes)
    assert record["request"]["checks"]["curves"]["steps"] == 3
    assert [method["method"] for method in record["methods"]] == ["gradcam", "occlusion"]
    assert record["methods"][0]["verdict"] == result.reports[0].verdict
    assert record["environment"]["torch"]
    for name in ("trust.md", "trust.html"):
        text = (result.out / name).read_text()
        assert "3 of 36 pictures have no box" in text
        assert "9 pictures; the network recognises the explained class in" in text
        assert str(pictures.name) in text
    verify_folder(trained.package)
    verify_folder(result.out)


def test_the_same_request_gives_the_same_figures(result, trained, pictures, boxes):
    again = check_maps(trained.package, str(pictures), boxes=boxes, request=request()).as_dict()
    first = result.as_dict()
    for record in (*first["methods"], *again["methods"]):
        del record["milliseconds"]
    assert first == again


def test_without_boxes_the_game_is_not_played(trained, pictures):
    settings = AttributionSettings(noise_samples=2)
    asked = request(methods=("smoothgrad",), images=4, attribution=settings)
    found = check_maps(trained.package, str(pictures), request=asked)
    assert found.reports[0].pointing is None
    assert found.out is None


def test_digits_can_be_checked_too(digits_package):
    asked = request(methods=("layercam",), split="test", images=6)
    found = check_maps(digits_package, "digits", request=asked)
    assert found.pictures == 6
    json.dumps(found.as_dict(), allow_nan=False)


def test_nothing_is_written_where_it_must_not_be(trained, pictures, boxes, tmp_path):
    for place, message in (
        (pictures / "out", "lies in the source"),
        (boxes / "out", "lies in the source"),
        (trained.package / "out", "lies in the package .*, which is sealed"),
    ):
        with pytest.raises(UserError, match=message):
            check_maps(trained.package, str(pictures), boxes=boxes, out=place, request=request())
        assert not place.exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"found notes\.txt in it"):
        check_maps(trained.package, str(pictures), out=tmp_path / "mine", request=request())
    out = tmp_path / "out"
    with pytest.raises(UserError, match="there is no such file or folder"):
        check_maps(
            trained.package, str(pictures), boxes=tmp_path / "no", out=out, request=request()
        )
    assert not out.exists()


def test_too_few_boxes_are_refused(trained, pictures, boxes, tmp_path):
    (tmp_path / "red").mkdir()
    shutil.copy(boxes / "red/00.xml", tmp_path / "red/00.xml")
    with pytest.raises(UserError, match="the all split has 1 picture"):
        check_maps(trained.package, str(pictures), boxes=tmp_path, request=request())


def test_methods_that_the_network_does_not_allow_are_left_out_unless_named(
    tiny, pictures, tmp_path
):
    smooth = {"model.activation": "silu", "training.epochs": 1}
    folder = pipeline.train(tiny(pictures, smooth), tmp_path / "run").package
    package, asked = load_package(folder), DescribedSource(location=str(pictures))
    split = load_package_split(folder, package, asked, "all", lambda *progress: None)
    plan = plan_maps(package, split, None, MapRequest(split="all", images=4))
    assert set(plan.methods) == set(METHODS) - {"guided-backprop"}
    (note,) = plan.notes
    assert note.startswith("Not checked: guided-backprop: needs a network whose activations are")
    with pytest.raises(UserError, match="guided-backprop: needs a network"):
        check_maps(folder, str(pictures), request=request(methods=("gradcam", "guided-backprop")))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ("gradcan",)}, "did you mean 'gradcam'"),
        ({"methods": ()}, "needed are one or more of gradcam, .*; got none"),
        ({"methods": ("gradcam", "gradcam")}, "each once"),
        ({"images": 1}, "two or more are needed to check maps on, got 1"),
    ],
)
def test_requests_without_sense_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        request(**settings)
