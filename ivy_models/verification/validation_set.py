"""ImageNet's validation set, as folders."""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from ivy_models.base.paths import user_path
from ivy_models.errors import InputError
from ivy_models.preprocessing.image import is_image_file

CLASSES_SHA256 = "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd"
"""SHA-256 of the 1,000 class names (n01440764 ... n15075141), sorted and joined by newlines."""

SOLUTION = "LOC_val_solution.csv"
"""The labels of a folder without class folders: image and class name, as Kaggle publishes them."""

_CLASS = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class ValidationSet:
    """Images and their classes.

    Parameters
    ----------
    folder
        Folder of the images.
    images
        Paths below the folder, in a fixed order.
    labels
        The class of each image, from 0 to 999.
    """

    folder: Path
    images: tuple[str, ...]
    labels: tuple[int, ...]

    @property
    def sha256(self) -> str:
        """Checksum of names, sizes and classes of the images, without their contents."""
        digest = hashlib.sha256()
        for image, label in zip(self.images, self.labels, strict=True):
            size = (self.folder / image).stat().st_size
            digest.update(f"{image}\0{size}\0{label}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def read_validation_set(folder: str | Path) -> ValidationSet:
    """List the images of ImageNet's validation set.

    Parameters
    ----------
    folder
        A folder with one folder of images for each class (n01440764, ...), or with all images and
        the file ``LOC_val_solution.csv``. Other files are ignored. Nothing is decoded.

    Raises
    ------
    InputError
        If there is no such folder, or its classes are not those of ImageNet.
    """
    folder = user_path(folder).resolve()
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.")
    found = _in_class_folders(folder)
    if not found and (folder / SOLUTION).is_file():
        found = _by_solution(folder)
    classes = sorted({name for _, name in found})
    if not classes:
        raise InputError(
            f"{folder} has no images in class folders such as n01440764. Sort the images of "
            f"ImageNet's validation set into such folders, or put {SOLUTION} beside them."
        )
    if hashlib.sha256("\n".join(classes).encode()).hexdigest() != CLASSES_SHA256:
        raise InputError(
            f"The images in {folder} are of {len(classes):,} classes, {classes[0]} to "
            f"{classes[-1]}. Expected the 1,000 classes of ImageNet's validation set (ILSVRC2012), "
            "n01440764 to n15075141."
        )
    index = {name: i for i, name in enumerate(classes)}
    return ValidationSet(
        folder, tuple(image for image, _ in found), tuple(index[name] for _, name in found)
    )


def _in_class_folders(folder: Path) -> list[tuple[str, str]]:
    classes = (path for path in folder.iterdir() if _CLASS.fullmatch(path.name) and path.is_dir())
    return sorted(
        (f"{path.name}/{image.name}", path.name) for path in classes for image in _images(path)
    )


def _by_solution(folder: Path) -> list[tuple[str, str]]:
    path = folder / SOLUTION
    try:
        with path.open(newline="", encoding="utf-8") as file:
            # A prediction is a class and a box, repeated. An image has boxes of one class only.
            names = {
                row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)
            }
    except (OSError, ValueError, KeyError, IndexError, AttributeError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read. Expected the columns ImageId and PredictionString, such as "
            f"ILSVRC2012_val_00000001,n01751748 111 108 230 366."
        ) from error
    images = sorted(_images(folder))
    unknown = [image.name for image in images if image.stem not in names]
    if unknown:
        raise InputError(
            f"{path} has no class for {len(unknown):,} images, such as {unknown[0]}. Remove "
            "them, or use the file that belongs to these images."
        )
    return [(image.name, names[image.stem]) for image in images]


def _images(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name[0] != "." and is_image_file(path)]
