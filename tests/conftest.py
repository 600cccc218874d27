"""Fixtures every test may use, and guards that hold for all of them."""

from __future__ import annotations

import os

# Before torch reads it: the small tensors of tests take longer on two threads, which wait for each
# other by spinning, than on one; many times as long on a machine that is busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from skimage import data

from engines.cuda import has_driver
from engines.errors import ENDING_SIGNALS
from tests import graphs
from tests.media import write_clip

REPOSITORY = Path(__file__).parents[1]
SHARED = REPOSITORY.parent / "shared" / "data"  # real images and clips; not part of the project


TRAINING = {"onnxscript", "safetensors", "sklearn", "tensorboard", "torch", "torchvision"}
HAS_TRAINING = all(find_spec(name) for name in ("torch", "torchvision"))


class _SkipWithoutTraining(MetaPathFinder):
    """Skips what imports a package of ``wsshm[train]`` that is not installed: the last finder."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name in TRAINING:
            pytest.skip(f"needs wsshm[train] ({name})", allow_module_level=True)


if not HAS_TRAINING:
    sys.meta_path.append(_SkipWithoutTraining())


def pytest_report_header() -> list[str]:
    """Say which tests are skipped."""
    return [
        f"real data: {SHARED if SHARED.is_dir() else 'none; tests marked data are skipped'}",
        f"training: {'yes' if HAS_TRAINING else 'not installed; its tests are skipped'}",
    ]


for _signum in ENDING_SIGNALS:  # ignored in the background or under nohup, in children too
    if signal.getsignal(_signum) is signal.SIG_IGN:
        _is_interrupt = _signum == signal.SIGINT
        signal.signal(_signum, signal.default_int_handler if _is_interrupt else signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that ask for `shared_data`; skip those of a GPU or of training without it."""
    without_training = pytest.mark.skip(reason="needs wsshm[train]")
    without_gpu = pytest.mark.skip(reason="no NVIDIA driver on this machine")
    for item in items:
        if item.get_closest_marker("gpu") and not has_driver():
            item.add_marker(without_gpu)
        if item.get_closest_marker("train") and not HAS_TRAINING:
            item.add_marker(without_training)
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker("data")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Give the folder of real images and clips beside the checkout, or skip the test."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    return SHARED


def _environment() -> dict[str, str]:
    """The environment, but for what pytest and torchvision set."""
    theirs = "PYTEST_CURRENT_TEST", "TORCHINDUCTOR_CACHE_DIR"
    return {name: value for name, value in os.environ.items() if name not in theirs}


@pytest.fixture(autouse=True)
def _leaves_nothing_behind(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> Iterator[None]:
    """No thread, no environment change and no logged error outlives a test."""
    threads, environment = set(threading.enumerate()), _environment()
    yield
    left = [t.name for t in threading.enumerate() if t not in threads and t.name[:5] == "wsshm"]
    assert not left, f"threads left: {left}"
    assert _environment() == environment, "the environment was changed"
    errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert not errors, f"logged: {errors}"


@pytest.fixture(scope="session")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a real person with sound, 320×240 at 30 frames a second."""
    path = tmp_path_factory.mktemp("portrait") / "portrait.mp4"
    write_clip(path, seconds=2.0, width=320, height=240)
    return path


@pytest.fixture(scope="session")
def ones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for which everything is person."""
    return graphs.constant(tmp_path_factory.mktemp("models") / "ones.onnx", 1.0)


@pytest.fixture(scope="session")
def zeros(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for which nobody is there."""
    return graphs.constant(tmp_path_factory.mktemp("models") / "zeros.onnx", 0.0)


@pytest.fixture(scope="session")
def brightness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose alpha is the image's brightness."""
    return graphs.brightness(tmp_path_factory.mktemp("models") / "brightness.onnx")


Wsshm = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def wsshm(tmp_path: Path) -> Wsshm:
    """Run the command line in a real process, in an empty folder: ``wsshm("run", clip, …)``."""

    def call(*args: object, timeout: float = 50, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "wsshm_cli", *map(str, args)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, cwd=tmp_path, **kwargs
        )

    return call


def one_error_line(result: subprocess.CompletedProcess[str], *needles: object) -> str:
    """The one error line of a failed run; no traceback, and every needle in the line."""
    assert "Traceback" not in result.stderr, result.stderr
    lines = [x for x in result.stderr.splitlines() if x.startswith("wsshm: error: ")]
    assert len(lines) == 1, result.stderr
    for needle in needles:
        assert str(needle) in lines[0], lines[0]
    return lines[0]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One portrait as photograph with mask and as cut-out, and two backgrounds."""
    root = tmp_path_factory.mktemp("data")
    portrait = cv2.resize(data.astronaut(), (128, 128), interpolation=cv2.INTER_AREA)
    y, x = np.mgrid[:128, :128]
    person = ((x - 56) ** 2 / 30**2 + (y - 40) ** 2 / 40**2 < 1) | (y > 90)
    for folder in ("seg/a/images", "seg/a/masks", "matte/b/rgba", "background"):
        (root / folder).mkdir(parents=True)
    bgr, mask = cv2.cvtColor(portrait, cv2.COLOR_RGB2BGR), person.astype(np.uint8) * 255
    for name in ("1", "2", "10"):
        cv2.imwrite(str(root / f"seg/a/images/{name}.jpg"), bgr)
        cv2.imwrite(str(root / f"seg/a/masks/{name}.png"), mask)
    alpha = cv2.GaussianBlur(mask, (0, 0), 2)
    cv2.imwrite(str(root / "matte/b/rgba/1.png"), np.dstack([bgr, alpha]))
    for name, image in (("coffee", data.coffee()), ("stars", data.hubble_deep_field())):
        small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (160, 120))
        cv2.imwrite(str(root / f"background/{name}.jpg"), small)
    return root
