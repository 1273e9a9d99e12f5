"""ImageNet: Kaggle's tree and the devkit's, in miniature."""

import numpy as np
import pytest
from PIL import Image
from scipy import io

from resnetkit.data.sources import load_source
from resnetkit.types import UserError

SYNSETS = {  # in the order of ILSVRC2012_ID, which is not that of the ids
    "n02119789": "kit fox, Vulpes macrotis",
    "n03126707": "crane",
    "n02012849": "crane",
    "n01440764": "tench, Tinca tinca",
}
SORTED = ("n01440764 tench", "n02012849 crane", "n02119789 kit fox", "n03126707 crane")
TRUTH = [4, 1, 3, 1]  # of validation images 1 to 4
MAPPING = "".join(f"{wnid} {name}\n" for wnid, name in sorted(SYNSETS.items()))
CLSLOC = "".join(
    f"{wnid} {number} {name.partition(',')[0].replace(' ', '_')}\n"
    for number, (wnid, name) in enumerate(SYNSETS.items(), 1)
)
SOLUTION = "ImageId,PredictionString\n" + "".join(
    f"ILSVRC2012_val_{i:08d},{list(SYNSETS)[TRUTH[i - 1] - 1]} 85 1 499 272 \n"
    for i in (3, 1, 4, 2)
)


def put(path, content=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def images(root, *, sorted_validation=False):
    for wnid in SYNSETS:
        for number in (10, 9):
            put(root / f"train/{wnid}/{wnid}_{number}.JPEG", b"train")
        put(root / f"train/{wnid}/notes.txt")
    for number, id_ in enumerate(TRUTH, 1):
        folder = f"val/{list(SYNSETS)[id_ - 1]}" if sorted_validation else "val"
        put(root / f"{folder}/ILSVRC2012_val_{number:08d}.JPEG", b"val")
    put(root / "test/ILSVRC2012_test_00000001.JPEG")
    return root


def kaggle(root):
    images(root / "ILSVRC/Data/CLS-LOC")
    put(root / "LOC_synset_mapping.txt", MAPPING)
    put(root / "LOC_val_solution.csv", SOLUTION)
    return root


def write_meta(path):
    """meta.mat as MATLAB wrote it: a struct array, inner nodes with numbers of their own last."""
    rows = [(i, wnid, words, "gloss", 0) for i, (wnid, words) in enumerate(SYNSETS.items(), 1)]
    rows.append((5, "n02118333", "fox", "gloss", 1))
    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children")
    synsets = np.empty((len(rows), 1), [(name, object) for name in fields])
    for row, values in enumerate(rows):
        for name, value in zip(fields, values, strict=True):
            synsets[name][row, 0] = np.array([[value]]) if isinstance(value, int) else value
    path.parent.mkdir(parents=True, exist_ok=True)
    io.savemat(path, {"synsets": synsets})


def devkit(root, folder="ILSVRC2012_devkit_t12/data"):
    images(root)
    write_meta(root / folder / "meta.mat")
    put(
        root / folder / "ILSVRC2012_validation_ground_truth.txt",
        "".join(f"{id_}\n" for id_ in TRUTH),
    )
    return root


def refused(location, message, splits=("train", "val", "test")):
    with pytest.raises(UserError, match=message):
        load_source(str(location), splits)


def check(location, base, class_names=SORTED):
    source = load_source(str(location), ["train", "val", "test"])
    assert source.class_names == class_names
    assert source.task == "single-label"
    assert source.present == ("train", "val")
    train, val = source.splits["train"], source.splits["val"]
    assert train.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert val.labels.tolist() == [0, 2, 1, 2]
    assert train.encoded is not None
    assert val.encoded is not None
    assert train.encoded[0] == base / "train/n01440764/n01440764_10.JPEG"
    assert val.encoded[1] == base / "val/ILSVRC2012_val_00000002.JPEG"
    assert location / val.names[1] == val.encoded[1]


@pytest.mark.parametrize("part", [".", "ILSVRC", "ILSVRC/Data", "ILSVRC/Data/CLS-LOC"])
def test_kaggles_tree_from_wherever_it_is_named(tmp_path, part):
    root = kaggle(tmp_path)
    if part == "ILSVRC/Data":
        refused(f"imagenet:{root / part}", "needed is ILSVRC/Data/CLS-LOC/ or a folder with train/")
        return
    check(root / part, root / "ILSVRC/Data/CLS-LOC")


@pytest.mark.parametrize("folder", ["ILSVRC2012_devkit_t12/data", "devkit/data", "."])
def test_the_original_devkit(tmp_path, folder):
    check(devkit(tmp_path, folder), tmp_path)


def test_the_devkit_of_2015(tmp_path):
    base = images(tmp_path / "ILSVRC/Data/CLS-LOC")
    put(tmp_path / "ILSVRC/devkit/data/map_clsloc.txt", CLSLOC)
    put(
        tmp_path / "ILSVRC/devkit/data/ILSVRC2015_clsloc_validation_ground_truth.txt",
        "\n".join(map(str, TRUTH)),
    )
    check(tmp_path, base)


def test_names_are_ids_where_nothing_gives_them(tmp_path):
    images(tmp_path)
    put(tmp_path / "LOC_val_solution.csv", SOLUTION)
    check(tmp_path, tmp_path, tuple(sorted(SYNSETS)))


def test_validation_images_sorted_into_folders(tmp_path):
    images(tmp_path, sorted_validation=True)
    assert load_source(str(tmp_path), ["val"]).class_names == tuple(sorted(SYNSETS))
    put(tmp_path / "LOC_synset_mapping.txt", MAPPING)
    for location in (tmp_path, f"imagenet:{tmp_path}"):
        source = load_source(str(location), ["val"])
        assert source.class_names == SORTED
        assert source.splits["val"].labels.tolist() == [0, 1, 2, 2]


def test_nothing_is_opened_and_other_splits_not_listed(tmp_path, monkeypatch):
    kaggle(tmp_path)
    monkeypatch.setattr(Image, "open", None)
    (tmp_path / "LOC_val_solution.csv").write_text("broken")
    assert set(load_source(str(tmp_path), ["train", "test"]).splits) == {"train"}
    assert load_source(str(tmp_path), []).present == ("train", "val")


def test_without_a_ground_truth(tmp_path):
    images(tmp_path)
    refused(
        tmp_path, r"not sorted into synsets, and LOC_val_solution.csv or ILSVRC2012_validation_"
    )
    put(tmp_path / "ILSVRC2012_validation_ground_truth.txt", "4\n1\n3\n1\n")
    refused(tmp_path, "and meta.mat is not there to say what they show")
    assert len(load_source(str(tmp_path), ["train"]).splits["train"]) == 8


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "LOC_synset_mapping.txt",
            "n01440764 tench\ntench\n",
            r"line 2: needed is .*; got 'tench'",
        ),
        ("LOC_synset_mapping.txt", "", "this file is empty"),
        ("LOC_synset_mapping.txt", b"n01440764 \xff\n", "not text in UTF-8"),
        (
            "LOC_val_solution.csv",
            "ImageId,PredictionString\nx,tench\n",
            "line 2: needed is an image",
        ),
        ("LOC_val_solution.csv", SOLUTION + SOLUTION, "line 7: needed is an image of its own"),
        ("LOC_val_solution.csv", SOLUTION + 'a,"n01440764', "line 6: broken CSV"),
        (
            "LOC_val_solution.csv",
            SOLUTION + "ILSVRC2012_val_00000005,n01440764 1 2 3 4\n",
            "1 of 5 labelled images are not in .*: 'ILSVRC2012_val_00000005'",
        ),
        (
            "LOC_val_solution.csv",
            SOLUTION.rpartition("\nILSVRC")[0],
            "1 of 4 images have no label in the ground truth: 'ILSVRC2012_val_00000002'",
        ),
        (
            "LOC_val_solution.csv",
            SOLUTION.replace("n02012849", "n09999999"),
            r"the ground truth has 1 synset\(s\) without a folder in train/: 'n09999999'",
        ),
    ],
)
def test_broken_files_of_kaggle(tmp_path, name, content, message):
    put(kaggle(tmp_path) / name, content)
    refused(tmp_path, message)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "ILSVRC2012_validation_ground_truth.txt",
            "4\n1\n5\n1\n",
            "line 3: needed is .* 1 to 4; got '5'",
        ),
        ("ILSVRC2012_validation_ground_truth.txt", "4\n1\nx\n1\n", "line 3: needed is .*; got 'x'"),
        ("ILSVRC2012_validation_ground_truth.txt", "4\n1\n", "2 of 4 images have no label"),
        (
            "ILSVRC2012_validation_ground_truth.txt",
            "4\n1\n3\n1\n1",
            "1 of 5 labelled images are not",
        ),
        ("meta.mat", b"MATLAB 5.0 MAT-file, cut", "meta.mat: not the devkit's meta.mat"),
        ("meta.mat", b"", "meta.mat: not the devkit's meta.mat"),
        ("map_clsloc.txt", "n02119789 one kit_fox", "line 1: needed is 'n02119789 1 kit_fox'"),
    ],
)
def test_broken_files_of_the_devkit(tmp_path, name, content, message):
    put(devkit(tmp_path) / "ILSVRC2012_devkit_t12/data" / name, content)
    refused(tmp_path, message)


def test_synsets_without_images(tmp_path):
    kaggle(tmp_path)
    folder = tmp_path / "ILSVRC/Data/CLS-LOC/train/n02012849"
    for path in folder.iterdir():
        path.unlink()
    refused(tmp_path, r"1 of 4 synsets have no images \(\*.JPEG\): 'n02012849'. Unpack")


def test_validation_folders_that_training_lacks(tmp_path):
    images(tmp_path, sorted_validation=True)
    put(tmp_path / "val/n09999999/a.JPEG")
    put(tmp_path / "LOC_synset_mapping.txt", MAPPING)
    refused(tmp_path, r"train/ has no folder for the 1 synset\(s\) 'n09999999'")


def test_archives_that_are_still_packed(tmp_path):
    put(tmp_path / "ILSVRC2012_img_train.tar")
    refused(f"imagenet:{tmp_path}", "unpack ILSVRC2012_img_train.tar and the archive of each class")
