"""From the network's alpha to what is composited: every step, in its order, and none."""

from __future__ import annotations

from dataclasses import replace

import av
import cv2
import numpy as np
import pytest

from engines.arrays import Plane
from engines.measure.quality.metrics import mse
from engines.video import frame as fr
from engines.video.blend import at_planes
from engines.video.config import MatteOptions
from engines.video.frame import Frame
from engines.video.matte import outline
from engines.video.matte.decontaminate import decontaminate
from engines.video.matte.postprocess import MattePostprocessor, full_size
from engines.video.matte.refine import refine
from tests.outlines import FORMATS, PERSON, WALL, framed, over, reduced, soft_person, textured

NOTHING = MatteOptions(smooth=0, refine=False, decontaminate=False)


def seen(pix_fmt: str = "yuv420p") -> tuple[Frame, Plane, np.ndarray, Plane]:
    """A frame, its small RGB copy and small alpha, and the true alpha at its size."""
    alpha = soft_person()
    height, width = alpha.shape
    rgb = over(alpha, textured(PERSON, width, height, 0), textured(WALL, width, height, 1))
    small = reduced(alpha, 3)
    size = small.shape[::-1]
    return framed(rgb, pix_fmt), cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), small, alpha


def equal(a: av.VideoFrame, b: av.VideoFrame) -> bool:
    return all(np.array_equal(p, q) for p, q in zip(fr.planes(a), fr.planes(b), strict=True))


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_nothing_asked_nothing_done(pix_fmt: str) -> None:
    """The matte is the enlarged one, at the size of each plane, and the person the frame's own."""
    frame, rgb, small, _ = seen(pix_fmt)
    done = MattePostprocessor(NOTHING)(frame, rgb, small)
    assert done.frame is frame
    assert done.foreground is frame.image
    np.testing.assert_array_equal(done.alphas[0], full_size(small, frame.format))
    assert [a.shape[::-1] for a in done.alphas] == list(frame.format.plane_sizes)


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_coarse_is_nearly_as_good(pix_fmt: str) -> None:
    """At half the size most of what refining brings is still there."""
    frame, rgb, small, true = seen(pix_fmt)
    bilinear, coarse, fine = (
        mse(MattePostprocessor(options)(frame, rgb, small).alphas[0] / 255, true / 255)
        for options in (NOTHING, MatteOptions(coarse=True), MatteOptions())
    )
    assert fine < coarse < 0.75 * bilinear


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_the_defaults_refine_and_decontaminate(pix_fmt: str) -> None:
    """They are what the two steps give by themselves; the frame stays as it was."""
    frame, rgb, small, true = seen(pix_fmt)
    before = [p.copy() for p in fr.planes(frame.image)]
    done = MattePostprocessor(MatteOptions())(frame, rgb, small)
    planes, full = fr.planes(frame.image), full_size(small, frame.format)
    found = outline.find(planes, small)
    assert mse(done.alphas[0] / 255, true / 255) < 0.5 * mse(full / 255, true / 255)
    refine(full, found, frame.format)
    np.testing.assert_array_equal(done.alphas[0], full)
    assert equal(done.foreground, decontaminate(frame, at_planes(full, frame.format), found))
    assert not equal(done.foreground, frame.image)
    for plane, old in zip(planes, before, strict=True):
        np.testing.assert_array_equal(plane, old)


def test_the_shape_changes_the_matte_and_not_the_person_within() -> None:
    """Eroded and feathered, alpha is smaller and softer; colour is found by the matte as seen."""
    frame, rgb, small, _ = seen()
    plain = MattePostprocessor(MatteOptions())(frame, rgb, small)
    shaped = MattePostprocessor(MatteOptions(erode=2, feather=3))(frame, rgb, small)
    assert shaped.alphas[0].sum() < 0.97 * plain.alphas[0].sum()
    edges = [np.abs(np.diff(m.alphas[0].astype(int))).max() for m in (plain, shaped)]
    assert edges[1] < 0.7 * edges[0]
    change = fr.planes(plain.foreground)[0].astype(int) - fr.planes(shaped.foreground)[0]
    assert np.abs(change[plain.alphas[0] > 250]).max() <= 2


def test_a_larger_person_is_not_framed_by_the_wall() -> None:
    """Grown by twelve pixels, what is added has the person's colour, not the old background's."""
    frame, rgb, small, _ = seen()
    plain = MattePostprocessor(MatteOptions())(frame, rgb, small)
    grown = MattePostprocessor(MatteOptions(erode=-12))(frame, rgb, small)
    added = (grown.alphas[0] > 250) & (plain.alphas[0] < 5)
    assert added.sum() > 500
    was, now = (fr.planes(p)[0][added] for p in (frame.image, grown.foreground))
    hair = float(fr.planes(framed(np.full((8, 8, 3), PERSON, np.uint8)).image)[0][0, 0])
    assert np.percentile(now, 95) - hair < 0.5 * (was.mean() - hair)


def test_islands_go_before_anything_remembers_them() -> None:
    """A speck is in no plane of the matte, nor in the next frame's."""
    frame, rgb, small, _ = seen()
    speck = small.copy()
    speck[2:5, 2:5] = 1
    postprocess = MattePostprocessor(MatteOptions(islands=0.05))
    for alpha in (speck, small):
        done = postprocess(frame, rgb, alpha)
        assert all(a[:8, :8].max() == 0 for a in done.alphas)
    assert MattePostprocessor(MatteOptions())(frame, rgb, speck).alphas[0][:12, :12].max() > 0


def test_frames_of_several_sizes() -> None:
    """A stream may change its size, to less than the network's too, and comes back from it."""
    postprocess = MattePostprocessor(MatteOptions(islands=0.01, erode=-40, feather=2.5))
    for width, height in ((64, 48), (2, 2), (853, 479), (64, 48)):
        for pix_fmt in FORMATS:
            rng = np.random.default_rng(width)
            frame = framed(rng.integers(0, 256, (height, width, 3), np.uint8), pix_fmt)
            small = rng.integers(0, 256, (32, 57, 3), np.uint8)
            done = postprocess(frame, small, rng.random((32, 57)).astype(np.float32))
            assert [a.shape[::-1] for a in done.alphas] == list(frame.format.plane_sizes)
            assert (done.foreground.width, done.foreground.height) == (width, height)


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize("options", [NOTHING, MatteOptions(), MatteOptions(erode=2, feather=3)])
def test_the_inputs_alpha_multiplies_the_matte_at_the_end(
    pix_fmt: str, options: MatteOptions
) -> None:
    """By nothing else: neither the alpha of the past nor the picture's edges have a part in it."""
    frame, rgb, small, _ = seen(pix_fmt)
    ramp = np.tile(np.linspace(0, 255, frame.format.width).astype(np.uint8), (180, 1))
    plain, with_alpha = MattePostprocessor(options), MattePostprocessor(options)
    for own in (ramp, np.ascontiguousarray(ramp[:, ::-1])):
        before = plain(frame, rgb, small).alphas[0]
        done = with_alpha(replace(frame, alpha=own), rgb, small)
        assert np.abs(done.alphas[0] - before * (own / 255)).max() <= 0.5
        for alpha, expected in zip(
            done.alphas, at_planes(done.alphas[0], frame.format), strict=True
        ):
            np.testing.assert_array_equal(alpha, expected)
