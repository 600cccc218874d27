"""Read labelled images from disk as arrays: photographs, masks, alphas and cut-outs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engines import images
from engines.arrays import U8
from engines.datasets.layout import Pair
from engines.errors import BadData, CannotOpen

MIN_PERSON = 128  # of 255, that the brightest pixel of a label has if somebody is in it


def read_image(path: Path) -> U8:
    """Read an image as RGB (H, W, 3), or as RGBA (H, W, 4) if the file has alpha.

    The result is uint8 in sRGB, with straight alpha, and upright: as `wsshm run` reads it.

    Raises:
        BadData: the file cannot be read as an image.
    """
    try:
        rgb, alpha = images.read(path)
    except (BadData, CannotOpen) as e:
        raise BadData(e.message, e.remedy or "remove or replace it") from e
    return rgb if alpha is None else np.dstack([rgb, alpha])


def read_label(path: Path) -> U8:
    """Read a mask or an alpha as (H, W) uint8, 255 = person; 0 everywhere if nobody is in it.

    Raises:
        BadData: of `read_alpha`; or persons are not white in it, such as 1 in a mask of classes.
    """
    label = read_alpha(path)
    _check_level(path, label)
    return label


def read_alpha(path: Path) -> U8:
    """Read an alpha as (H, W) uint8, 255 = person, whatever its brightest pixel is.

    It is the file's alpha channel if that is not opaque everywhere, else its grey value.

    Raises:
        BadData: the file cannot be read as an image.
    """
    label: Any = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if label is not None and _has_alpha(label) and label[..., 3].min() < 255:
        return label[..., 3].copy()
    label = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if label is None:
        raise BadData(f"{path}: not a readable mask", "remove or replace it")
    return label


def read_pair(pair: Pair) -> tuple[U8, U8]:
    """Read a photograph (H, W, 3) RGB and its label (H, W), both uint8.

    Raises:
        BadData: one of the files cannot be read, or they differ in size; or of `read_label`.
    """
    assert pair.label is not None
    rgb, label = read_image(pair.image)[..., :3], read_label(pair.label)
    _check_size(pair.label, label, rgb)
    return rgb, label


def read_fine(pair: Pair, rgb: U8) -> U8:
    """Read the teacher's alpha (H, W) uint8 of a photograph `rgb` (H, W, 3).

    Raises:
        BadData: the file cannot be read, or has another size.
    """
    assert pair.fine is not None
    fine = read_alpha(pair.fine)
    _check_size(pair.fine, fine, rgb)
    return fine


def _check_level(path: Path, label: U8) -> None:
    brightest = int(label.max())
    if 0 < brightest < MIN_PERSON:
        raise BadData(
            f"{path}: its brightest pixel is {brightest} of 255, and persons are white",
            "save it with 0 and 255",
        )


def _check_size(path: Path, label: U8, rgb: U8) -> None:
    if rgb.shape[:2] != label.shape:
        raise BadData(
            f"{path}: {label.shape[1]}x{label.shape[0]}, its image is "
            f"{rgb.shape[1]}x{rgb.shape[0]}",
            "both must have one size",
        )


def read_cutout(pair: Pair) -> U8:
    """Read a cut-out as (H, W, 4) uint8 RGBA, straight alpha.

    Raises:
        BadData: a file cannot be read, has no alpha, or its label has another size; or of
            `read_label`.
    """
    image = read_image(pair.image)
    if pair.label is None:
        if image.shape[2] != 4:
            raise BadData(f"{pair.image}: no alpha in it", "save it as RGBA or remove it")
        _check_level(pair.image, image[..., 3])
        return image
    alpha = read_label(pair.label)
    if alpha.shape != image.shape[:2]:
        raise BadData(
            f"{pair.image}: {image.shape[1]}x{image.shape[0]}, but {pair.label} is "
            f"{alpha.shape[1]}x{alpha.shape[0]}",
            "remove or replace one of them",
        )
    return np.dstack([image[..., :3], alpha])


def _has_alpha(image: Any) -> bool:
    return image.ndim == 3 and image.shape[2] == 4 and image.dtype == np.uint8
