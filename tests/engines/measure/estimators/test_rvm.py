from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage import data

from engines.errors import BadData, CannotOpen
from engines.measure.estimators.open import open_estimator
from tests import graphs
from tests.conftest import SHARED
from tests.engines.measure.estimators import peer_graphs

SIZES = [(90, 160), (200, 75), (33, 500), (1, 1)]  # landscape, portrait, strip, one pixel
FILES = [
    "obs/selfie_segmentation.onnx",
    "obs/mediapipe.onnx",
    "obs/SINet_Softmax_simple.onnx",
    "rvm/rvm_mobilenetv3_tfjs-u8_288x512_ds1.onnx",
    "rvm/rvm_mobilenetv3_tfjs-u8_720x1280_ds0.375.onnx",
]


def image(height: int, width: int, rgb: tuple[int, int, int]) -> np.ndarray:
    """`rgb` in the right half, black in the left."""
    whole = np.zeros((height, width, 3), np.uint8)
    whole[:, width // 2 :] = rgb
    return whole


def halves(alpha: np.ndarray) -> tuple[float, float]:
    """Left and right alpha, away from the middle."""
    quarter = alpha.shape[1] // 4
    return float(alpha[:, : quarter + 1].mean()), float(alpha[:, -quarter - 1 :].mean())


@pytest.mark.parametrize("size", SIZES)
def test_rvm_sees_the_image_with_its_aspect(tmp_path: Path, size: tuple[int, int]) -> None:
    estimator = open_estimator(peer_graphs.rvm(tmp_path / "rvm.onnx"), "x")
    assert estimator.name == "RVM 72x128"
    alpha = estimator(image(*size, (102, 255, 0)))
    assert alpha.shape == size
    assert alpha.dtype == np.float32
    left, right = halves(alpha)
    # Two images were seen before the one that counts: 0.2 more.
    if size[1] > 1:
        assert left == pytest.approx(0.2, abs=1e-5)
    assert right == pytest.approx(102 / 255 + 0.2, abs=1e-5)


def test_rvm_carries_its_state_until_it_is_reset(tmp_path: Path) -> None:
    estimator = open_estimator(peer_graphs.rvm(tmp_path / "rvm.onnx"), "x")
    black = np.zeros((36, 64, 3), np.uint8)
    seen = [estimator(black).mean() for _ in range(3)]
    assert seen == pytest.approx([0.2, 0.3, 0.4], abs=1e-5)
    estimator.reset()
    assert estimator(black).mean() == pytest.approx(0.2, abs=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_selfie_takes_rgb_up_to_one(tmp_path: Path, size: tuple[int, int]) -> None:
    estimator = open_estimator(peer_graphs.selfie(tmp_path / "s.onnx"), "x")
    assert estimator.name == "MediaPipe selfie"
    alpha = estimator(image(*size, (51, 255, 255)))
    assert alpha.shape == size
    assert halves(alpha)[1] == pytest.approx(0.2, abs=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_meet_gives_the_softmax_of_two(tmp_path: Path, size: tuple[int, int]) -> None:
    estimator = open_estimator(peer_graphs.meet(tmp_path / "m.onnx"), "x")
    assert estimator.name == "Google Meet"
    assert halves(estimator(image(*size, (255, 0, 255))))[1] == pytest.approx(1)
    assert halves(estimator(image(*size, (0, 255, 255))))[1] == pytest.approx(0)
    by_a_hair = halves(estimator(image(*size, (11, 10, 0))))[1]
    assert by_a_hair == pytest.approx(1 / (1 + np.exp(-200 / 255)), abs=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_sinet_takes_normalised_bgr(tmp_path: Path, size: tuple[int, int]) -> None:
    estimator = open_estimator(peer_graphs.sinet(tmp_path / "s.onnx"), "x")
    assert estimator.name == "SINet"
    red = (200 - 126.91212) / 66.355705 / 255 * 50
    assert 0.1 < red < 0.9
    assert halves(estimator(image(*size, (200, 1, 2))))[1] == pytest.approx(red, abs=1e-4)


def test_ours_is_known_by_its_description(brightness: Path) -> None:
    estimator = open_estimator(brightness, "mine")
    assert estimator.name == "mine"
    assert halves(estimator(image(64, 64, (255, 255, 255)))) == pytest.approx((0, 1), abs=0.05)
    estimator.reset()


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    other = graphs.brightness(tmp_path / "b.onnx")
    nameless = graphs.build(
        tmp_path / "n.onnx",
        [*__import__("onnx").load(other).graph.node],
        {"white": np.float32([255])},
        spec=None,
    )
    with pytest.raises(BadData, match=r"n\.onnx: neither a model of wsshm nor one of RVM") as e:
        open_estimator(nameless, "x")
    assert "\n" not in str(e.value)
    (tmp_path / "junk.onnx").write_bytes(b"junk" * 100)
    with pytest.raises(BadData, match=r"junk\.onnx: not a model ONNX Runtime can load"):
        open_estimator(tmp_path / "junk.onnx", "x")
    with pytest.raises(CannotOpen, match="no such file"):
        open_estimator(tmp_path / "nothing.onnx", "x")


@pytest.mark.parametrize("file", FILES)
def test_real_peers_find_the_astronaut(file: str) -> None:
    path = SHARED / "peers" / file
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    alpha = open_estimator(path, "x")(data.astronaut())
    assert alpha.shape == (512, 512)
    assert alpha[90:170, 190:250].mean() > 0.95, "the face"
    assert alpha[:100, 20:110].mean() < 0.1, "the flag beside her"
