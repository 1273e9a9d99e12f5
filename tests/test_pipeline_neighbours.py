"""The training images that a package finds most alike: indexed beside it, looked up, kept fresh."""

import shutil

import numpy as np
import pytest

from resnetkit.data.contract import normalise
from resnetkit.data.transforms import load_contract_image
from resnetkit.explanation.neighbours import index_folder, load_index
from resnetkit.export.package import load_package
from resnetkit.pipeline_explanation import explain
from resnetkit.pipeline_neighbours import (
    add_nearest,
    index_training_images,
    weights_digest,
)
from resnetkit.runtime import verify_folder
from resnetkit.types import UserError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def package(trained, tmp_path):
    """A copy of the package, to have an index of its own."""
    shutil.copytree(trained.package, tmp_path / "run" / "package")
    return tmp_path / "run" / "package"


@pytest.fixture
def indexed(package, pictures):
    return index_training_images(package, str(pictures))


def test_the_index_has_the_training_images_and_their_features(package, pictures, indexed):
    assert indexed.folder == package.with_name("package.neighbours")
    assert not indexed.reused
    index = load_index(indexed.folder)
    trained_on = load_package(package).provenance["data"]["images"]["train"]
    assert len(index) == indexed.images == trained_on
    assert index.facts.weights_digest == weights_digest(package)
    assert index.contents.all()
    loaded = load_package(package)
    name = index.names[3]
    assert index.describe_label(3) == name.split("/")[0]
    pixels = load_contract_image(pictures / name, loaded.contract)
    import torch

    with torch.inference_mode():
        inputs = normalise(torch.from_numpy(pixels[None]), loaded.contract)
        features = loaded.model.forward_until("head", inputs)[0].numpy()
    np.testing.assert_allclose(index.features[3], features / np.linalg.norm(features), atol=1e-5)
    verify_folder(package)


def test_an_index_that_is_up_to_date_is_left_as_it_is(package, pictures, indexed):
    before = {path: path.stat().st_mtime_ns for path in indexed.folder.iterdir()}
    again = index_training_images(package, str(pictures))
    assert again.reused
    assert {path: path.stat().st_mtime_ns for path in indexed.folder.iterdir()} == before


def test_an_index_of_other_images_or_weights_is_made_anew(package, pictures, indexed, trained):
    whole = index_training_images(package, str(pictures), split="all")
    assert not whole.reused
    assert whole.images > indexed.images
    assert len(load_index(whole.folder)) == whole.images


def test_a_stale_index_is_refused_before_anything_is_looked_up(
    package, pictures, indexed, digits_package, tmp_path
):
    shutil.copytree(indexed.folder, index_folder(tmp_path / "other"))
    shutil.copytree(digits_package, tmp_path / "other")
    message = r"other\.neighbours: the index is of a network with other weights than the package's"
    with pytest.raises(UserError, match=message):
        add_nearest(tmp_path / "other", 1)
    shutil.rmtree(indexed.folder)
    with pytest.raises(UserError, match="there is no index of training images"):
        add_nearest(package, 1)


def test_a_new_picture_finds_those_of_its_colour(package, draw_pictures, indexed, tmp_path):
    other = draw_pictures(tmp_path / "new", count=14)  # 12 and 13 were not trained on
    colors = ("red", "green", "blue")
    files = [other / color / "13.png" for color in colors]
    for color, facts in zip(colors, looked_up(package, files, 5, tmp_path / "maps"), strict=True):
        assert facts["nearest_left_out"] == []
        assert [one["label"] for one in facts["nearest"]] == [color] * 5
        cosines = [one["cosine"] for one in facts["nearest"]]
        assert cosines == sorted(cosines, reverse=True)


def looked_up(package, files, count, out):
    results = explain(package, files, out, additions=[add_nearest(package, count)])
    return [result.facts for result in results]


def test_the_picture_itself_and_its_copies_are_left_out(package, pictures, indexed, tmp_path):
    name = load_index(indexed.folder).names[0]
    copy = tmp_path / "renamed.png"
    shutil.copy(pictures / name, copy)
    (facts,) = looked_up(package, [copy], 3, tmp_path / "maps")
    assert facts["nearest_left_out"] == [name]
    assert name not in [one["image"] for one in facts["nearest"]]
    assert len(facts["nearest"]) == 3
    with pytest.raises(UserError, match="--nearest 999: needed is a number from 1 to"):
        add_nearest(package, 999)


def test_nothing_is_written_where_it_must_not_be(package, pictures, tmp_path):
    for place, message in (
        (pictures / "index", "lies in the source"),
        (package / "index", "lies in the package"),
    ):
        with pytest.raises(UserError, match=message):
            index_training_images(package, str(pictures), out=place)
        assert not place.exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"found notes\.txt"):
        index_training_images(package, str(pictures), out=tmp_path / "mine")
