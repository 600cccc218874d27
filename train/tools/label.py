"""Make fine labels for photographs with masks: ``wsshm train label``.

A teacher sees each photograph cut to the persons of its mask, so that they are what stands out. Its
alpha is written to DATA/seg/SET/fine at the photograph's size; `train.data.blend` says what is
learnt of it. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from engines.arrays import U8
from engines.checks import check_alpha, first_line
from engines.datasets.layout import Pair, folders, list_pairs
from engines.datasets.read import read_pair
from engines.errors import BadData, UsageError, WsshmError, writing
from engines.files import replacing
from engines.measure.estimators.estimator import Estimator
from train.data.blend import MIN_LEVEL

MARGIN_SHARE = 0.2  # of the longer side of the box around the persons, on every side of it
WHOLE_SHARE = 0.7  # of a photograph: the teacher sees all of it if the cut would be larger
WEBP_QUALITY = 82
WEBP_SIDE = 16383  # pixels that a WebP file can have


@dataclass(frozen=True)
class Job:
    """A photograph without a fine label, and the path of that label without a suffix."""

    pair: Pair
    out: Path


def photographs(root: Path, sets: Sequence[str] = ()) -> list[Pair]:
    """Return the photographs with masks of ``train``, of some sets or of all.

    Raises:
        BadData: there are none, one has no mask, or the layout of a folder is not known.
        UsageError: a set of `sets` has none.
    """
    pairs = list_pairs(root, "seg", "train")
    found = list(dict.fromkeys(pair.source for pair in pairs))
    for name in sets:
        if name not in found:
            raise UsageError(
                f"--set {name}: no photographs with masks to learn from in {root / 'seg' / name}",
                f"use one of {', '.join(found)}",
            )
    return [pair for pair in pairs if not sets or pair.source in sets]


def jobs(root: Path, pairs: list[Pair]) -> list[Job]:
    """Return the photographs that have no fine label yet."""
    where = {folder.images: folder.fine for folder in folders(root, "seg")}
    return [
        Job(pair, fine / pair.image.stem)
        for pair in pairs
        if pair.fine is None and (fine := where[pair.image.parent])
    ]


def label(teacher: Estimator, model: Path, todo: list[Job]) -> Iterator[str]:
    """Make fine labels one by one, each written whole; yield what is wrong after each, or "".

    Args:
        model: the teacher's file, for error messages.

    Raises:
        BadData: the teacher failed.
        CannotCreate, WriteFailed: a label cannot be written; those before it stay.
    """
    for job in todo:
        try:
            rgb, mask = read_pair(job.pair)
        except BadData as e:
            yield str(e)
            continue
        alpha = fine_alpha(teacher, model, rgb, mask)
        suffix = ".webp" if max(alpha.shape) <= WEBP_SIDE else ".png"
        _, data = cv2.imencode(suffix, alpha, [cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY])
        with writing(job.out.parent, begun=False):
            job.out.parent.mkdir(parents=True, exist_ok=True)
        # The stem may have dots.
        with replacing(job.out.with_name(job.out.name + suffix)) as file:
            file.write(data.tobytes())
        yield ""


def fine_alpha(teacher: Estimator, model: Path, rgb: U8, mask: U8) -> U8:
    """Return the teacher's alpha (H, W) uint8 of a photograph cut to its persons, 0 elsewhere.

    Args:
        rgb: (H, W, 3) uint8.
        mask: (H, W) uint8.

    Raises:
        BadData: the teacher failed, or gave something else than an alpha.
    """
    whole = np.zeros(mask.shape, np.uint8)
    if not (mask >= MIN_LEVEL).any():
        return whole
    box = _cut(mask)
    part = np.ascontiguousarray(rgb[box])
    teacher.reset()
    try:
        alpha = teacher(part)
    except WsshmError:
        raise
    except Exception as e:  # onnxruntime's own classes share no base but Exception
        raise BadData(f"{model}: the model failed ({first_line(e)})") from e
    check_alpha(alpha[None], (1, *part.shape), model, "it is no teacher for alphas")
    whole[box] = np.rint(np.clip(alpha, 0, 1) * 255)
    return whole


def _cut(mask: U8) -> tuple[slice, slice]:
    """Return the rows and columns around the persons of a mask, or all of them."""
    person = mask >= MIN_LEVEL
    ends = [np.flatnonzero(person.any(axis))[[0, -1]] for axis in (1, 0)]
    margin = MARGIN_SHARE * max(1, *(last - first for first, last in ends))
    rows, columns = (
        slice(max(0, int(first - margin)), min(size, int(last + margin) + 1))
        for (first, last), size in zip(ends, mask.shape, strict=True)
    )
    if mask[rows, columns].size > WHOLE_SHARE * mask.size:
        return slice(None), slice(None)
    return rows, columns
