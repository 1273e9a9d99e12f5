"""One JSON file of COCO instance annotations, checked and kept by columns.

Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from resnetkit.types import UserError

Records = list[dict[str, Any]]

LISTS = ("images", "annotations", "categories")
_HEAVY = ("segmentation", "keypoints", "caption")  # most of the file; nothing here needs them


@dataclass(frozen=True, kw_only=True, eq=False)
class CocoAnnotation:
    """P images and M objects; classes are numbered in the order of their category ids."""

    path: Path
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    file_names: list[str]  # P
    sizes: np.ndarray  # [P,2] float64: width and height, 0 where not said
    pictures: np.ndarray  # [M] int64: position in file_names
    classes: np.ndarray  # [M] int64
    boxes: np.ndarray  # [M,4] float64: left, top, right, bottom from 0; NaN without a box
    crowds: np.ndarray  # [M] bool


def read_annotation(path: Path) -> CocoAnnotation:
    """Read a file; UserError for broken JSON, missing or repeated ids, and ids that do not exist.

    Outlines are dropped while reading: of COCO's own training file they are nine tenths.
    """
    content = _read_json(path)
    lists = {key: _read_list(path, content, key) for key in LISTS}
    categories = dict(zip(*_ids_and(path, "categories", lists["categories"], "name"), strict=True))
    image_ids, file_names = _ids_and(path, "images", lists["images"], "file_name")
    for name in file_names:
        _refuse_elsewhere(path, name)
    objects, order = lists["annotations"], sorted(categories)
    return CocoAnnotation(
        path=path,
        class_names=tuple(categories[id_] for id_ in order),
        category_ids=tuple(order),
        file_names=file_names,
        sizes=np.array(
            [[_side(image, key) for key in ("width", "height")] for image in lists["images"]]
        ),
        pictures=_positions(path, objects, "image_id", image_ids),
        classes=_positions(path, objects, "category_id", order),
        boxes=np.array([_corners(path, number, item) for number, item in enumerate(objects)]),
        crowds=np.array([bool(item.get("iscrowd")) for item in objects]),
    )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_hook=_without_heavy)
    except json.JSONDecodeError as error:
        reason, line = error.msg, f", line {error.lineno}"
    except UnicodeDecodeError as error:
        reason, line = f"not text in UTF-8 at byte {error.start}", ""
    except RecursionError:
        reason, line = "nested too deeply", ""
    raise UserError(f"{path}{line}: broken JSON ({reason}); copy or export it again.")


def _without_heavy(record: dict[str, Any]) -> dict[str, Any]:
    for key in _HEAVY:
        record.pop(key, None)
    return record


def _read_list(path: Path, content: Any, key: str) -> Records:
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, list) or not all(isinstance(record, dict) for record in value):
        raise UserError(
            f"{path}: needed is a JSON object with the lists {', '.join(LISTS)}; {key!r} is "
            "missing or no list of objects."
        )
    if not value:
        raise UserError(f"{path}: its list {key!r} is empty; there is nothing to learn from.")
    return value


def _ids_and(path: Path, what: str, records: Records, key: str) -> tuple[list[int], list[str]]:
    """The ids and the texts under `key`, none of them there twice."""
    return _unique(path, what, records, "id", int), _unique(path, what, records, key, str)


def _unique(path: Path, what: str, records: Records, key: str, kind: type) -> list[Any]:
    seen: dict[Any, int] = {}
    for number, record in enumerate(records):
        value = record.get(key)
        if type(value) is not kind:
            wanted = "a whole number" if kind is int else "text"
            raise UserError(f"{path}: {what}[{number}] needs {wanted} as {key!r}; got {value!r}.")
        if value in seen:
            raise UserError(
                f"{path}: {what}[{seen[value]}] and {what}[{number}] have the same {key} "
                f"{value!r}; each needs its own."
            )
        seen[value] = number
    return list(seen)


def _refuse_elsewhere(path: Path, name: str) -> None:
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or "\0" in name or not place.parts:
        raise UserError(
            f"{path}: the image {name!r} does not lie in a folder beside this file; write file "
            "names relative to the folder of images, without '..'."
        )


def _side(image: dict[str, Any], key: str) -> float:
    value = image.get(key)
    return float(value) if isinstance(value, int | float) and 0 < value < 2**31 else 0.0


def _positions(path: Path, objects: Records, key: str, ids: list[int]) -> np.ndarray:
    """Where in `ids` each object's `key` is: int64 [M]."""
    places = {id_: place for place, id_ in enumerate(ids)}
    try:
        return np.array([places[item[key]] for item in objects], np.int64)
    except (KeyError, TypeError):  # found again below, for the message: a million checks cost time
        pass
    number, value = next(
        (number, item.get(key))
        for number, item in enumerate(objects)
        if type(item.get(key)) is not int or item[key] not in places
    )
    kind = "images" if key == "image_id" else "categories"
    raise UserError(
        f"{path}: annotations[{number}] has the {key} {value!r}, which none of the {len(ids)} "
        f"{kind} has; remove the annotation, or add what it belongs to."
    )


def _corners(path: Path, number: int, item: dict[str, Any]) -> tuple[float, float, float, float]:
    box = item.get("bbox")
    if not box:
        return math.nan, math.nan, math.nan, math.nan
    fits = isinstance(box, list) and len(box) == 4
    if not fits or not all(type(side) in (int, float) and abs(side) < 1e9 for side in box):
        raise UserError(
            f"{path}: annotations[{number}] needs a bbox [left, top, width, height] in pixels; "
            f"got {box!r}."
        )
    left, top, width, height = box
    return left, top, left + width, top + height
