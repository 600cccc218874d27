"""The person's own colour on the outline: no fringe of the old background over a new one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.arrays import Plane
from engines.datasets.composites import extend_foreground
from engines.datasets.layout import list_cutouts
from engines.datasets.read import read_cutout
from engines.measure.quality import cases
from engines.video import frame as fr
from engines.video.blend import at_planes
from engines.video.compose.composite import composite
from engines.video.frame import Frame
from engines.video.matte import outline
from engines.video.matte.decontaminate import decontaminate
from engines.video.matte.postprocess import Matted
from tests.outlines import FORMATS, PERSON, WALL, framed, over, reduced, soft_person, textured

MAGENTA = (255, 0, 255)


class Colour:
    """A background of one colour."""

    def __init__(self, colour: tuple[int, int, int]):
        self._colour = colour

    def planes(self, frame: Frame, alphas: list[Plane]) -> list[Plane]:
        size = (frame.format.height, frame.format.width, 3)
        rgb = np.broadcast_to(np.array(self._colour, np.uint8), size)
        return fr.planes(fr.from_rgb(rgb, frame.format))

    def close(self) -> None:
        pass


def cleaned(frame: Frame, alpha: Plane, margin: int = 0) -> Frame:
    found = outline.find(fr.planes(frame.image), reduced(alpha, 2), margin)
    image = decontaminate(frame, at_planes(alpha, frame.format), found)
    return Frame(image, frame.format, frame.pts, frame.time_base)


def fringe(frame: Frame, alpha: Plane, foreground: Plane, colour: tuple[int, int, int]) -> float:
    """Error of the composite over a colour: mean |difference| on the outline, in levels of RGB."""
    rgb_of = fr.RgbScaler(frame.format)
    size = (frame.format.width, frame.format.height)
    made = composite(
        Matted(frame, at_planes(alpha, frame.format), frame.image), Colour(colour)
    ).composite
    ideal = framed(over(alpha, foreground, np.full_like(foreground, colour)), frame.format.pix_fmt)
    error = np.abs(rgb_of(made, *size).astype(int) - rgb_of(ideal.image, *size))
    return float(error[(alpha > 5) & (alpha < 250)].mean())


@pytest.mark.parametrize("colour", [MAGENTA, (0, 0, 0), (255, 255, 255)])
@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_no_fringe(pix_fmt: str, colour: tuple[int, int, int]) -> None:
    """A head with strands of hair before a wall: three tenths of the error go or more."""
    alpha = soft_person()
    height, width = alpha.shape
    person = textured(PERSON, width, height, 0)
    frame = framed(over(alpha, person, textured(WALL, width, height, 1)), pix_fmt)
    before = fringe(frame, alpha, person, colour)
    after = fringe(cleaned(frame, alpha), alpha, person, colour)
    assert after < 0.7 * before, (before, after)


def test_photographs_composited(shared_data: Path) -> None:
    """Cut-outs over photographs: a third of the error goes or more."""
    cutouts = {p.image.stem: p for p in list_cutouts(shared_data, "val")}
    errors = []
    for case in cases.choose(cases.composites(shared_data, "val"), only="[!o]*/*", limit=1):
        rgb, alpha = case.read()
        person = extend_foreground(read_cutout(cutouts[case.group]))[..., :3]
        frame = framed(rgb)
        both = frame, cleaned(frame, alpha)
        errors.append([fringe(f, alpha, person, MAGENTA) for f in both])
    before, after = np.mean(errors, axis=0)
    assert after < before * 2 / 3, (before, after)


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_only_the_outline_is_changed(pix_fmt: str) -> None:
    """Away from it every value is the frame's own, and the frame itself is left as it was."""
    alpha = soft_person(241, 181)
    height, width = alpha.shape
    frame = framed(
        over(alpha, textured(PERSON, width, height, 0), textured(WALL, width, height, 1)), pix_fmt
    )
    before = [p.copy() for p in fr.planes(frame.image)]
    changed = fr.planes(cleaned(frame, alpha).image)
    edge = cv2.dilate(((alpha > 0) & (alpha < 255)).astype(np.uint8), np.ones((13, 13), np.uint8))
    for plane, old, new in zip(fr.planes(frame.image), before, changed, strict=True):
        np.testing.assert_array_equal(plane, old)
        away = cv2.resize(edge, plane.shape[::-1], interpolation=cv2.INTER_AREA) == 0
        assert 0.2 < away.mean() < 0.9
        np.testing.assert_array_equal(new[away], old[away])
        assert (new != old).any()


@pytest.mark.parametrize("level", [0, 255])
def test_without_an_outline_nothing_is_changed(level: int) -> None:
    """Nobody, or nothing but a person: the same image, tagged as the frame is."""
    noise = np.random.default_rng(0).integers(0, 256, (61, 83, 3), np.uint8)
    frame = framed(noise)
    image = cleaned(frame, np.full((61, 83), level, np.uint8)).image
    for old, new in zip(fr.planes(frame.image), fr.planes(image), strict=True):
        np.testing.assert_array_equal(old, new)
    assert (image.colorspace, image.color_range) == (fr.BT709, fr.LIMITED)


def test_a_margin_reaches_further() -> None:
    """An edge that is grown and feathered afterwards shows the person's colour there too."""
    alpha = soft_person()
    height, width = alpha.shape
    person = textured(PERSON, width, height, 0)
    frame = framed(over(alpha, person, textured(WALL, width, height, 1)), "yuv444p")
    wide = cv2.GaussianBlur(cv2.dilate(alpha, np.ones((9, 9), np.uint8)), (0, 0), 3)
    errors = [fringe(cleaned(frame, alpha, margin=m), wide, person, MAGENTA) for m in (0, 6)]
    assert errors[1] < 0.8 * errors[0], errors
