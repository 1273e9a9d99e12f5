import os

import numpy as np
import pytest
import torch
from PIL import Image

from resnetkit.data.contract import InputContract
from resnetkit.data.transforms import UnreadableImage
from resnetkit.export.package import ModelPackage, golden_outputs, save_package
from resnetkit.models.zoo import ModelConfig, build_model, resolve_model
from resnetkit.serving.predictor import Failure, Prediction, find_images, load
from resnetkit.types import UserError

CLASSES = tuple(f"class {index}" for index in range(7))


@pytest.fixture(scope="module")
def package_folder(tmp_path_factory):
    contract = InputContract(
        class_names=CLASSES, resize=20, crop=(16, 16), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3)
    )
    architecture = resolve_model(ModelConfig(name="cifar-resnet20"), 7, 3)
    package = ModelPackage(
        model=build_model(architecture, seed=3).eval(),
        architecture=architecture,
        contract=contract,
    )
    folder = tmp_path_factory.mktemp("run") / "package"
    images = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    save_package(folder, package, golden_outputs(package, images))
    return folder


@pytest.fixture(scope="module")
def predictor(package_folder):
    return load(package_folder, device="cpu")


@pytest.fixture
def pictures(tmp_path):
    """Pictures of several shapes and modes in nested folders, with their paths in sorted order."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    paths = []
    for index in range(20):
        shape = generator.integers(8, 40, 2)
        pixels = generator.integers(0, 256, (*shape, 3)).astype(np.uint8)
        path = folder / f"part {index % 3}" / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).convert(["RGB", "L", "RGBA"][index % 3]).save(path)
        paths.append(path)
    return folder, sorted(paths)


def close(ours, theirs):
    assert [one.label for one in ours] == [one.label for one in theirs]
    np.testing.assert_allclose(
        [[share for _, share in one.top] for one in ours],
        [[share for _, share in one.top] for one in theirs],
        rtol=0,
        atol=1e-5,
    )


def test_one_image_is_the_same_alone_and_in_any_batch(predictor, pictures):
    folder, paths = pictures
    alone = [predictor.predict(path)[0] for path in paths]
    for batch_size in (1, 3, 64):
        close(predictor.predict(paths, batch_size=batch_size), alone)
        close(predictor.predict_paths([folder], batch_size=batch_size), alone)
    many = predictor.predict([paths[4]] * 64)
    close(many, [alone[4]] * 64)


def test_every_form_of_an_image_gives_the_same(predictor, pictures):
    path = pictures[1][0]
    opened = Image.open(path)
    forms = [path, str(path), path.read_bytes(), opened, np.asarray(opened)]
    predictions = predictor.predict(forms)
    close(predictions, [predictor.predict(path)[0]] * len(forms))
    assert [one.name for one in predictions] == [
        str(path),
        str(path),
        "image 2",
        "image 3",
        "image 4",
    ]
    for form in forms:
        assert predictor.predict(form)[0].top == predictor.predict(path)[0].top


def test_a_prediction_is_the_networks_own(predictor, pictures):
    prediction = predictor.predict(pictures[1][0])[0]
    assert prediction.label == prediction.top[0][0] in CLASSES
    assert prediction.probability == prediction.top[0][1]
    assert len(prediction.top) == 5
    shares = [share for _, share in prediction.top]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1 + 1e-12
    image = np.zeros((16, 16, 3), np.uint8)
    resized = np.zeros((1, 3, 16, 16), np.uint8)
    logits = predictor.package.logits(torch.from_numpy(resized))
    assert predictor.predict(image)[0].label == CLASSES[int(logits.argmax())]


def test_an_unreadable_file_does_not_stop_the_others(predictor, pictures):
    folder, paths = pictures
    (folder / "part 0/empty.jpg").write_bytes(b"")
    (folder / "part 1/text.png").write_text("not an image")
    data = paths[0].read_bytes()
    (folder / "part 2/cut.png").write_bytes(data[: len(data) // 2])
    results = predictor.predict_paths([folder], batch_size=4)
    failures = [one for one in results if isinstance(one, Failure)]
    assert [one.name for one in results] == [str(path) for path in find_images([folder])]
    assert [os.path.basename(one.name) for one in failures] == ["empty.jpg", "text.png", "cut.png"]  # noqa: PTH119
    assert all(os.path.basename(one.name) in one.reason for one in failures)  # noqa: PTH119
    good = [one for one in results if isinstance(one, Prediction)]
    close(good, predictor.predict(paths))


def test_only_unreadable_files(predictor, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    assert [type(one) for one in predictor.predict_paths([tmp_path])] == [Failure]


def test_predict_raises_for_an_unreadable_image(predictor, tmp_path):
    (tmp_path / "broken.png").write_text("x")
    with pytest.raises(UnreadableImage, match=r"broken\.png"):
        predictor.predict([np.zeros((16, 16, 3), np.uint8), tmp_path / "broken.png"])


def test_hidden_files_and_other_endings_are_passed_over_in_folders(pictures):
    folder, paths = pictures
    (folder / ".hidden").mkdir()
    for name in (".a.png", "notes.txt", ".hidden/b.png"):
        (folder / name).write_text("x")
    (folder / "odd.dat").write_bytes(paths[0].read_bytes())
    assert find_images([folder]) == paths
    assert find_images([folder / "odd.dat", folder]) == [folder / "odd.dat", *paths]


def test_bad_paths_and_inputs_are_named(predictor, tmp_path):
    with pytest.raises(UserError, match=r"absent\.png: there is no such file or folder"):
        predictor.predict_paths([tmp_path / "absent.png"])
    with pytest.raises(UserError, match=r"needed image files .* found none"):
        predictor.predict_paths([tmp_path])
    with pytest.raises(UserError, match=r"Image 1: needed a path.*, got int"):
        predictor.predict([tmp_path, 3])
    with pytest.raises(UserError, match="must be uint8"):
        predictor.predict(np.zeros((4, 4), np.float32))
    with pytest.raises(UserError, match="batch_size must be 1 or more, got 0"):
        predictor.predict([], batch_size=0)
    assert predictor.predict([]) == []


def test_a_file_name_that_is_not_text_can_be_printed(predictor, pictures):
    odd = os.fsencode(pictures[0]) + b"/\xff.png"
    try:
        with open(odd, "wb") as file:  # noqa: PTH123 - a Path cannot be made of bytes
            file.write(pictures[1][0].read_bytes())
    except OSError:
        pytest.skip("this file system takes only text")
    names = [one.name for one in predictor.predict_paths([pictures[0]])]
    assert [name for name in names if name.endswith("�.png")]
    assert all(name.encode() for name in names)


def test_load_refuses_an_absent_device_before_reading(tmp_path):
    with pytest.raises(UserError, match="got 'tpu'"):
        load(tmp_path / "absent", device="tpu")
