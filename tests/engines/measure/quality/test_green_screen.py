from __future__ import annotations

from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from engines.errors import BadData
from engines.measure.quality import green_screen as gs
from engines.measure.quality.clips import Part

SCREEN = np.array([69, 151, 104])


def before_screen(alpha: np.ndarray, person: tuple[int, int, int] = (180, 140, 120)) -> np.ndarray:
    mixed = alpha[..., None] * np.array(person) + (1 - alpha[..., None]) * SCREEN
    return np.rint(mixed).astype(np.uint8)


def ramp(height: int = 60) -> np.ndarray:
    """Screen, a soft edge of 40 pixels, person."""
    return np.tile(np.clip((np.arange(120) - 40) / 40, 0, 1), (height, 1))


@pytest.mark.parametrize("person", [(180, 140, 120), (25, 22, 24), (90, 90, 90), (40, 20, 20)])
def test_a_known_alpha_is_keyed(person: tuple[int, int, int]) -> None:
    """Ends exact, rising in between, half where alpha is half: skin, dark hair, grey, a coat."""
    alpha = ramp()
    keyed = gs.key(before_screen(alpha, person))
    assert keyed.dtype == np.float32
    assert keyed.shape == alpha.shape
    assert (keyed[alpha == 0] == 0).all()
    assert (keyed[alpha == 1] == 1).all()
    assert (np.diff(keyed[0]) >= 0).all()
    half = alpha[0, np.argmax(keyed[0] >= 0.5)]
    assert abs(half - 0.5) < 0.1
    assert np.abs(keyed - alpha).mean() < 0.1


def test_a_grey_person_is_keyed_to_the_limits() -> None:
    """No excess of its own: the share of the screen's is 1 - alpha, exactly."""
    alpha = ramp()
    keyed = gs.key(before_screen(alpha, (90, 90, 90)))
    expected = np.clip((alpha - (1 - gs.CLEAR_SHARE)) / (gs.CLEAR_SHARE - gs.OPAQUE_SHARE), 0, 1)
    assert np.abs(keyed - expected).max() < 1.5 / 47  # one step of 8 bits, of the screen's excess


def test_noise_on_the_screen_is_no_person() -> None:
    rng = np.random.default_rng(0)
    noisy = before_screen(ramp()).astype(int) + rng.integers(-2, 3, (60, 120, 3))
    assert (gs.key(noisy.astype(np.uint8))[:, :40] == 0).all()


@pytest.mark.parametrize("colour", [(0, 0, 0), (200, 200, 200), (90, 100, 95)])
def test_no_screen_is_an_error(colour: tuple[int, int, int]) -> None:
    with pytest.raises(BadData, match="no green screen"):
        gs.key(np.full((20, 20, 3), colour, np.uint8))


def test_bars_are_cut_off_with_their_smeared_edge() -> None:
    rgb = np.zeros((60, 80, 3), np.uint8)
    rgb[:50, 10:] = 128
    assert gs.without_bars(rgb) == (slice(0, 48), slice(12, 80))
    assert gs.without_bars(rgb[:50, 10:]) == (slice(0, 50), slice(0, 70))
    with pytest.raises(BadData, match="black"):
        gs.without_bars(rgb[:, :5])


def write_clip(path: Path, images: list[np.ndarray]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv444p", {"qp": "0"}
        for image in images:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_dark_hair_in_green_light_is_hair() -> None:
    """What is a fifth as bright as the screen shows at most a fifth of it, however green it is."""
    image = np.empty((60, 60, 3), np.uint8)
    image[:] = SCREEN
    image[20:40, 20:40] = np.array(SCREEN) // 5
    alpha = gs.key(image)
    assert (alpha[20:40, 20:40] > 0.9).all()
    assert (alpha[:20] == 0).all()


def test_a_clip_is_one_sequence_of_cases(tmp_path: Path) -> None:
    alphas = [np.roll(ramp(), shift, axis=1) for shift in (0, -4, -8)]
    images = [np.vstack([before_screen(a), np.zeros((20, 120, 3), np.uint8)]) for a in alphas]
    clip = write_clip(tmp_path / "green.mp4", images)
    found = list(gs.cases(Part(clip)))
    assert [(c.set, c.source, c.name, c.frame) for c in found] == [
        ("green", "green", f"{i:05}", i) for i in range(3)
    ]
    for case, alpha in zip(found, alphas, strict=True):
        rgb, truth = case.read()
        assert rgb.shape == (58, 120, 3)
        assert truth.dtype == np.uint8
        assert (truth[:, alpha[0] == 1] == 255).all()
        assert (truth[:, 8:36] == 0).all()
    part = list(gs.cases(Part(clip, 1, 1)))
    assert [(c.name, c.frame) for c in part] == [("00001", 1)]
    assert (part[0].read()[1] == found[1].read()[1]).all()


def test_a_clip_without_a_screen_names_itself(portrait: Path) -> None:
    with pytest.raises(BadData, match=r"portrait\.mp4, image 0: no green screen"):
        next(gs.cases(Part(portrait)))


def test_the_real_clip(shared_data: Path) -> None:
    """The screen exactly 0, the face and the coat exactly 1, a soft edge between."""
    clip = shared_data / "video/person/liveportrait_d0_greenscreen_man.mp4"
    for _, rgb, alpha in islice(gs.read_keyed(Part(clip)), 2):
        assert rgb.shape == (483, 512, 3)
        assert (alpha[:38] == 0).all()
        assert (alpha[120:420, 190:330] == 1).all()
        assert (alpha[-5:, 60:440] == 1).all()
        assert 0.015 < ((alpha > 0.05) & (alpha < 0.95)).mean() < 0.03
