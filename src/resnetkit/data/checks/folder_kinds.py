"""Kinds of findings about a folder's layout and about its classes, found without decoding."""

from __future__ import annotations

from resnetkit.data.checks.findings import Kind

FOLDER_KINDS = {
    "source-refused": Kind(
        severity="unsafe",
        refused=True,
        title="The source cannot be read",
        treatment="Training refuses it with this message. Do what the message says.",
    ),
    "no-images": Kind(
        severity="unsafe",
        refused=True,
        title="A split without images",
        treatment="Training refuses it. Add image files, or remove the split's folder.",
    ),
    "unreadable-folder": Kind(
        severity="unsafe",
        refused=True,
        title="No permission to read a folder",
        treatment="Training refuses the source, since it cannot know what is in there. Change the "
        "folder's rights, or remove it.",
    ),
    "hidden-folder": Kind(
        severity="unsafe",
        refused=True,
        title="A hidden folder among the class folders",
        treatment="It is never read as a class; training refuses the source until it is gone. "
        "Remove it (.ipynb_checkpoints holds Jupyter's copies), or rename it if it is a class.",
    ),
    "empty-class": Kind(
        severity="unsafe",
        refused=True,
        title="A class folder without images",
        treatment="Training refuses it: skipped, it would shift the labels of other classes. Add "
        "images or remove the folder.",
    ),
    "loose-images": Kind(
        severity="unsafe",
        refused=True,
        title="Images beside the class folders",
        treatment="They have no class; training refuses the source, and they were not checked. "
        "Move them into class folders or away.",
    ),
    "one-class": Kind(
        severity="unsafe",
        refused=True,
        title="Only one class",
        treatment="Training refuses it: there is nothing to tell apart. Add a second class; or, if "
        "the class folders lie one level deeper, give that folder as the source.",
    ),
    "unknown-class": Kind(
        severity="unsafe",
        refused=True,
        title="A class that training does not have",
        treatment="Training refuses the source: no network could name this class. Add training "
        "images of it, or correct or remove the folder.",
    ),
    "split-twice": Kind(
        severity="unsafe",
        refused=True,
        title="Two folders for one split",
        treatment="Training refuses the source; only the first of the two was checked. Merge them, "
        "or keep one.",
    ),
    "splits-as-classes": Kind(
        severity="unsafe",
        title="Split folders that are taken for classes",
        treatment="Training would learn to tell train/ from test/. Move the images that lie loose "
        "in train/ into classes, or the other folders away, so that only splits are left.",
    ),
    "splits-inside-classes": Kind(
        severity="unsafe",
        title="Split folders inside the class folders",
        treatment="Training would learn from all of them, test images included, because folders "
        "inside a class folder belong to the class. Put the splits outside: test/cat/, not "
        "cat/test/.",
    ),
    "non-unicode-class": Kind(
        severity="unsafe",
        refused=True,
        title="A class name that is not Unicode",
        treatment="Training refuses it: the name could not be kept in a package. Rename it.",
    ),
    "class-missing-in-split": Kind(
        severity="warning",
        title="A class of training that a held-out split lacks",
        treatment="Training goes on; that split says nothing about the class. Add images of it.",
    ),
    "no-training-split": Kind(
        severity="warning",
        title="No training images",
        treatment="The source can be evaluated on, not trained on.",
    ),
    "class-names-alike": Kind(
        severity="warning",
        title="Class names that differ only in spelling",
        treatment="They are trained as different classes. If they are one, merge the folders.",
    ),
    "tiny-class": Kind(
        severity="warning",
        title="A class with very few training images",
        treatment="It is trained on and judged as it is: its accuracy will be a guess. Add images; "
        "weighted sampling helps only so far.",
    ),
    "class-imbalance": Kind(
        severity="warning",
        title="Classes of very different size",
        treatment="Every image counts the same by default, so rare classes are learned last. "
        "Consider square-root or weighted sampling, class weights or logit adjustment.",
    ),
    "unread-images": Kind(
        severity="warning",
        title="Images beside the split folders",
        treatment="They are passed over and were not checked. Move them into a split and a class.",
    ),
    "unread-format": Kind(
        severity="warning",
        title="Pictures in a format that is not read",
        treatment="They are passed over in silence by training. Save them as JPEG or PNG.",
    ),
    "image-without-ending": Kind(
        severity="warning",
        title="Images without an image's file ending",
        treatment="They are passed over: only the ending tells an image from other files. Give "
        "them one (.jpg, .png).",
    ),
    "hidden-image": Kind(
        severity="note",
        title="Hidden images in a class folder",
        treatment="They are passed over, as every file and folder whose name starts with a dot.",
    ),
    "other-file": Kind(
        severity="note",
        title="Files that are not images",
        treatment="They are passed over.",
    ),
    "ignored-folder": Kind(
        severity="note",
        title="A folder beside the split folders",
        treatment="It is passed over: only train/, val/ and test/ are read where they are there.",
    ),
    "nested-folders": Kind(
        severity="note",
        title="Folders inside a class folder",
        treatment="Their images belong to the class, at any depth.",
    ),
    "link-loop": Kind(
        severity="note",
        title="A link to a folder that was read already",
        treatment="Each folder of a class is read once; the link is passed over.",
    ),
    "names-alike": Kind(
        severity="note",
        title="File names that differ only in case or in composed letters",
        treatment="Both are read here; a copy on Windows or macOS would keep only one of them.",
    ),
    "unusual-name": Kind(
        severity="note",
        title="Names with control characters",
        treatment="They are read. In text lists they are written with backslash codes; other "
        "programs may break on them.",
    ),
    "non-unicode-name": Kind(
        severity="note",
        title="File names that are not Unicode",
        treatment="They are read; reports write their bytes as backslash codes.",
    ),
}
