"""Crops, composites and photometric changes, random by the given generator alone.

Images are (H, W, 3) uint8 RGB, labels (H, W) uint8 with 255 = person, weights (H, W) uint8 with 255
where a label may be learnt and 0 where it may not. Labels are resized as images are, so that masks
get soft edges.

Differs from WSSHM, which scales, crops and flips at random, by amounts that it does not give, and
jitters colours for the student alone. Here `strong` blurs, adds grain, takes resolution and encodes
as JPEG too, and photographs have it in pre-training as well. Composites, which have no weak form,
go through the same for teacher and student, with colours changed in each part by itself; a cut-out
is placed at random, often lit towards its background, or its background shifted towards one of its
colours, and one composite in four has several people.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as F

from engines.arrays import U8
from train.data.traces import TraceRule

LANDSCAPE_SHARE = 0.65  # of photographs


def resize(image: U8, width: int, height: int) -> U8:
    """Resize to `width` × `height` pixels: area average to shrink, linear to enlarge."""
    shrink = width * height < image.shape[0] * image.shape[1]
    return cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
    )


class Labelled(NamedTuple):
    """An image, its label and the label's weight, of one height and width.

    `weight` is None where no label of a run has one.
    """

    image: U8
    label: U8
    weight: U8 | None = None

    def each(self, change: Callable[[U8], U8]) -> Labelled:
        """Return image, label and weight, each changed in the same way."""
        weight = None if self.weight is None else change(self.weight)
        return Labelled(change(self.image), change(self.label), weight)

    def weighted(self) -> Labelled:
        """Return the same with a weight of 255 everywhere where there was none."""
        if self.weight is not None:
            return self
        return self._replace(weight=np.full_like(self.label, 255))


def empty(image: U8) -> Labelled:
    """Return an image (H, W, 3) with the label that nobody is in it."""
    return Labelled(image, np.zeros(image.shape[:2], np.uint8))


def zoom_crop(rng: Generator, photo: Labelled, size: int) -> Labelled:
    """Crop a random square of 0.7 of the short to 1.2 of the long edge, resized to `size` pixels.

    Most crops contain a pixel of a person near their centre. Beyond the image, all is mirrored.
    """
    label = photo.label
    h, w = label.shape
    side = round(np.exp(rng.uniform(np.log(0.7 * min(h, w)), np.log(1.2 * max(h, w)))))
    if label.any() and rng.random() < 0.7:
        people = np.flatnonzero(label > 127)
        cy, cx = divmod(int(rng.choice(people)) if len(people) else 0, w)
        x0, y0 = (round(c - side * rng.uniform(0.2, 0.8)) for c in (cx, cy))
    else:
        x0, y0 = (round(rng.uniform(min(0, n - side), max(0, n - side))) for n in (w, h))
    # Keep the square over the image where it fits, and around it where it does not.
    x0 = int(np.clip(x0, min(0, w - side), max(0, w - side)))
    y0 = int(np.clip(y0, min(0, h - side), max(0, h - side)))
    crop = photo.each(lambda x: resize(_window(x, x0, y0, side), size, size))
    return crop.each(lambda x: np.ascontiguousarray(x[:, ::-1])) if rng.random() < 0.5 else crop


def unsquash(rng: Generator, photo: Labelled, ratio: float) -> Labelled:
    """Stretch an image that was squashed to a square back to landscape, or less often to portrait.

    Args:
        ratio: of the long to the short edge that it had.
    """
    height, width = photo.label.shape
    if rng.random() < LANDSCAPE_SHARE:
        width = round(width * ratio)
    else:
        height = round(height * ratio)
    return photo.each(lambda x: resize(x, width, height))


def _window(image: U8, x0: int, y0: int, side: int) -> U8:
    h, w = image.shape[:2]
    inside = image[max(y0, 0) : y0 + side, max(x0, 0) : x0 + side]
    return cv2.copyMakeBorder(
        inside,
        max(-y0, 0),
        max(y0 + side - h, 0),
        max(-x0, 0),
        max(x0 + side - w, 0),
        cv2.BORDER_REFLECT,
    )


def flat_edges(alpha: U8) -> tuple[bool, bool, bool]:
    """Return whether the person is cut off at the (left, right, bottom) edge of alpha (H, W)."""
    body = alpha > 127

    def flat(line: NDArray[np.bool_]) -> bool:
        return bool(line.mean() > 0.12)

    return flat(body[:, 0]), flat(body[:, -1]), flat(body[-1])


def place(rng: Generator, rgba: U8, size: int) -> tuple[U8, U8]:
    """Place a cut-out at random in a square frame; edges that cut it off go to the border.

    Args:
        rgba: (H, W, 4) uint8, straight alpha.

    Returns:
        colour (size, size, 3) and alpha (size, size), both uint8.
    """
    if rng.random() < 0.5:
        rgba = np.ascontiguousarray(rgba[:, ::-1])
    left, right, bottom = flat_edges(rgba[..., 3])
    h, w = rgba.shape[:2]
    scale = size * np.exp(rng.uniform(np.log(0.45), np.log(1.5))) / max(h, w)
    if left and right:
        scale = max(scale, size / w)
    w, h = max(8, round(w * scale)), max(8, round(h * scale))
    rgba = resize(rgba, w, h)
    x0 = round(rng.uniform(-0.3 * w, size - 0.7 * w))
    y0 = round(rng.uniform(-0.15 * h, max(size - 0.7 * h, 0)))
    if left:
        x0 = min(x0, 0)
    if right:
        x0 = max(x0, size - w)
    if bottom:
        y0 = max(y0, size - h)
    m = np.array([[1, 0, x0], [0, 1, y0]], np.float32)
    colour = cv2.warpAffine(rgba[..., :3], m, (size, size), borderMode=cv2.BORDER_REPLICATE)
    return colour, cv2.warpAffine(rgba[..., 3], m, (size, size))


class Composite(NamedTuple):
    """A composite of S×S pixels.

    Attributes:
        image: (S, S, 3) uint8.
        alpha: (S, S) uint8.
        contrast: (S, S) uint8, the mean difference of foreground and background in R, G and B, if
            it was asked for. Of several people one above the other, the foreground is their own
            composite.
    """

    image: U8
    alpha: U8
    contrast: U8 | None


def composite(
    rng: Generator,
    people: list[U8],
    background: U8,
    size: int,
    traces: TraceRule | None = None,
    with_contrast: bool = False,
    low_contrast: float = 0.0,
) -> Composite:
    """Composite cut-outs over a background by ``I = αF + (1 - α)B`` on stored values (eq. 1).

    Args:
        people: cut-outs (H, W, 4) uint8, straight alpha.
        background: (H, W, 3) uint8.
        size: side of the composite in pixels.
        traces: what hides that it is one; None: nothing.
        with_contrast: give `Composite.contrast`, which takes a fifth of the time more.
        low_contrast: probability that the background is shifted towards a colour of the first.
    """

    def lit(image: U8) -> Any:
        changed = photometric(rng, image)
        return (traces.part(rng, changed) if traces else changed).astype(np.float32)

    image = behind = lit(zoom_crop(rng, empty(background), size).image)
    front: Any = behind
    alpha: Any = np.zeros((size, size), np.float32)
    for n, rgba in enumerate(people):
        flat, a = place(rng, rgba, size)
        colour = lit(flat)
        if rng.random() < 0.5:  # the light of the background: shift the mean colour towards it
            mean = (image.mean((0, 1)) - colour[a > 127].mean(0)) if (a > 127).any() else 0
            colour = np.clip(colour + rng.uniform(0, 0.5) * mean, 0, 255)
        if n == 0 and low_contrast and rng.random() < low_contrast:
            image = front = behind = _towards(rng, behind, colour[a > 127])
        af = a.astype(np.float32)[..., None] / 255
        image = af * colour + (1 - af) * image
        alpha = 1 - (1 - alpha) * (1 - af[..., 0])
        if with_contrast:
            seen = alpha[..., None]
            share = np.divide(af, seen, out=np.ones_like(af), where=seen > 0)
            front = share * colour + (1 - share) * front
    made = np.rint(image).astype(np.uint8)
    return Composite(
        traces.whole(rng, made) if traces else made,
        np.rint(alpha * 255).astype(np.uint8),
        np.rint(np.abs(front - behind).mean(2)).astype(np.uint8) if with_contrast else None,
    )


def _towards(rng: Generator, background: Any, colours: Any) -> Any:
    """Return a background (H, W, 3) float shifted towards one of `colours` (N, 3), if any."""
    if not len(colours):
        return background
    shift = colours[rng.integers(len(colours))] - background.mean((0, 1))
    return np.clip(background + rng.uniform(0.3, 0.9) * shift, 0, 255).astype(np.float32)


def paste(rng: Generator, crop: Labelled, photo: Labelled) -> Labelled:
    """Paste the persons of another photograph into a crop, at a random position and size.

    Copy-paste (Ghiasi et al., 2021): people in places, sizes and groups that no photograph shows.
    The label may be coarse, so its edge is eroded a little and softened in the image; what has a
    weight has none there, where label and image differ.

    Args:
        crop: of S×S pixels.
        photo: of any size, with a weight if the crop has one.
    """
    size, mask = crop.label.shape[0], photo.label
    rows, columns = (np.flatnonzero((mask > 127).any(axis)) for axis in (1, 0))
    if not len(rows):
        return crop
    if rng.random() < 0.5:
        photo, columns = photo.each(lambda x: x[:, ::-1]), mask.shape[1] - 1 - columns[::-1]
        mask = photo.label
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = size * np.exp(rng.uniform(np.log(0.25), np.log(1.1))) / max(mask[box].shape)
    h, w = (max(2, round(n * scale)) for n in mask[box].shape)
    x0, y0 = (rng.uniform(-0.3, 0.3) * n + rng.uniform() * (size - n) for n in (w, h))
    # A person that the photograph's border cut off is cut off by the crop's border too.
    if columns[0] == 0:
        x0 = min(x0, 0)
    if columns[-1] == mask.shape[1] - 1:
        x0 = max(x0, size - w)
    if rows[-1] == mask.shape[0] - 1:
        y0 = max(y0, size - h)
    at = np.array([[1, 0, x0], [0, 1, y0]], np.float32)
    colour, solid, own = photo.each(
        lambda x: cv2.warpAffine(resize(np.ascontiguousarray(x[box]), w, h), at, (size, size))
    )
    soft: Any = cv2.GaussianBlur(cv2.erode(solid, None), (0, 0), 0.7) / np.float32(255)
    mixed = soft[..., None] * photometric(rng, colour) + (1 - soft[..., None]) * crop.image
    weight: Any = None
    if own is not None and crop.weight is not None:
        edge = cv2.morphologyEx(solid, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 24
        mixed_weight = soft * own + (1 - soft) * crop.weight
        weight = np.where(edge, 0, np.rint(mixed_weight)).astype(np.uint8)
    return Labelled(np.rint(mixed).astype(np.uint8), np.maximum(crop.label, solid), weight)


def photometric(rng: Generator, image: U8) -> U8:
    """Change brightness, contrast, saturation, hue and gamma at random; now and then to grey."""
    x: Any = torch.from_numpy(image).permute(2, 0, 1)
    if rng.random() < 0.8:
        x = F.adjust_brightness(x, float(rng.uniform(0.6, 1.4)))
        x = F.adjust_contrast(x, float(rng.uniform(0.6, 1.4)))
        x = F.adjust_saturation(x, float(rng.uniform(0.4, 1.6)))
    if rng.random() < 0.3:
        x = F.adjust_hue(x, float(rng.uniform(-0.06, 0.06)))
    if rng.random() < 0.3:
        x = F.adjust_gamma(x, float(np.exp(rng.uniform(-0.5, 0.5))))
    if rng.random() < 0.05:
        x = F.rgb_to_grayscale(x, 3)
    return np.ascontiguousarray(x.permute(1, 2, 0).numpy())


def degrade(rng: Generator, image: U8) -> U8:
    """Degrade at random as lenses, sensors and codecs do: blur, grain, low resolution, JPEG."""
    size = image.shape[0]
    if rng.random() < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.6)))
    if rng.random() < 0.1:
        small = round(size * rng.uniform(0.4, 0.9))
        image = resize(resize(image, small, small), size, size)
    if rng.random() < 0.3:
        grain = rng.normal(0, rng.uniform(1, 10), image.shape).astype(np.float32)
        image = np.clip(image + grain, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return image


def strong(rng: Generator, image: U8) -> U8:
    """Apply strong augmentation: `photometric`, then `degrade`."""
    return degrade(rng, photometric(rng, image))
