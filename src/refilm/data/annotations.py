"""Objects of pictures in COCO's format: a JSON file with images, annotations and categories."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from refilm.errors import RefilmError


@dataclass(frozen=True)
class KnownObject:
    """One object in one picture.

    box      left, top, right and bottom, in pixels
    label    name of its class
    outline  polygons, [P, 2] each, (x, y) in pixels; () if it has none
    crowd    whether it stands for several, which are not told apart
    """

    box: tuple[float, float, float, float]
    label: str
    outline: tuple[np.ndarray, ...] = ()
    crowd: bool = False


@dataclass(frozen=True)
class KnownPicture:
    """A picture, by its file, with its objects."""

    file: str
    objects: tuple[KnownObject, ...]


def read_coco(path: str | Path) -> list[KnownPicture]:
    """The pictures of a file in COCO's format, in its order.

    Outlines are read where they are polygons. Raises RefilmError for another format, naming what is missing.
    """
    try:
        whole: Mapping[str, Any] = json.loads(Path(path).read_text())
        names = {category["id"]: category["name"] for category in whole["categories"]}
        found: dict[int, list[KnownObject]] = {image["id"]: [] for image in whole["images"]}
        for entry in whole["annotations"]:
            x, y, wide, high = entry["bbox"]
            outline = entry.get("segmentation") or ()
            polygons = () if isinstance(outline, Mapping) else outline  # else in runs of pixels
            found[entry["image_id"]].append(
                KnownObject(
                    (x, y, x + wide, y + high),
                    names[entry["category_id"]],
                    outline=tuple(np.array(points, np.float32).reshape(-1, 2) for points in polygons),
                    crowd=bool(entry.get("iscrowd", 0)),
                )
            )
        return [KnownPicture(image["file_name"], tuple(found[image["id"]])) for image in whole["images"]]
    except FileNotFoundError:
        raise RefilmError(f"{path}: no such file") from None
    except json.JSONDecodeError as error:
        raise RefilmError(f"{path}: not valid JSON ({error})") from None
    except (KeyError, TypeError, ValueError) as error:
        raise RefilmError(f"{path}: not in COCO's format, {type(error).__name__}: {error}") from None
