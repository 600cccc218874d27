"""The matting network of a run: which model runs on what, and how a frame goes through it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engines import models
from engines.arrays import F32, U8
from engines.contract import ModelSpec
from engines.cuda import has_driver
from engines.engine import MattingEngine, as_shipped, open_engine
from engines.errors import Say, UsageError, silent
from engines.machine import cores
from engines.preprocess import Fit, fit
from engines.timing import open_faster
from engines.video.config import RunConfig
from engines.video.frame import Frame, FrameFormat, RgbScaler
from engines.video.matte.pace import Pace, sizes

CPU_PRECISIONS = "int8", "fp32"  # `--precision auto` takes the faster of them on the CPU
GPU_PRECISIONS = "fp16", "fp32"  # ... and on a GPU the first that the model has


def open_network(
    config: RunConfig,
    fmt: FrameFormat,
    say: Say = silent,
    open_engine: Callable[..., MattingEngine] = open_engine,
) -> tuple[MattingEngine, str]:
    """Open the engine for frames of a format; return it and why it has that precision.

    Args:
        config: names model, engine, device, precision, size and threads.
        say: told why a GPU that is there is not used.
        open_engine: opens a file; another one can keep engines open for the next clip.

    Returns:
        The engine, and a reason in words; it is empty if there was no choice.

    Raises:
        CannotOpen, BadData: the model cannot be used.
        UsageError, Unavailable: the model does not exist in that precision, or for that device.
    """
    threads = (config.network_threads or cores()) // config.workers

    size = config.size or models.own_size(config.model)

    def opened(file: Path, device: str = "cpu") -> MattingEngine:
        engine = open_engine(file, device, threads, config.engine, size, say)
        return as_shipped(engine, config.model)

    def shape(spec: ModelSpec) -> tuple[int, int]:
        f = fit(fmt.width, fmt.height, config.size or spec.size, spec.stride)
        return f.padded_height, f.padded_width

    if config.precision != "auto":
        (file,) = models.files(config.model, (config.precision,)).values()
        engine = opened(file, config.device)
        if config.precision != (actual := engine.spec.precision):
            raise UsageError(f"--precision {config.precision}: {config.model} is {actual}")
        return engine, ""
    if _may_use_gpu(config):
        file, *_ = models.files(config.model, GPU_PRECISIONS).values()
        engine = opened(file, config.device)
        if engine.device != "cpu":
            return engine, ""
    return open_faster(models.files(config.model, CPU_PRECISIONS), opened, shape)


def _may_use_gpu(config: RunConfig) -> bool:
    if config.device == "auto" and config.engine != "tensorrt":
        return has_driver()
    return config.device != "cpu"


class Scaled(NamedTuple):
    """A frame and its (padded_height, padded_width, 3) uint8 RGB copy for the network."""

    frame: Frame
    fit: Fit
    rgb: U8


class Inferred(NamedTuple):
    """A frame and its matte at the network's size.

    `rgb` is (h, w, 3) uint8, what the network saw; `alpha` is (h, w) float32 in [0, 1].
    """

    frame: Frame
    rgb: U8
    alpha: F32


class Network:
    """A matting engine for frames of any size, in two steps.

    Several threads may call the steps at once where the engine allows it.

    Args:
        size: shorter edge of what the network sees, in pixels; it may change between two frames.
    """

    def __init__(self, engine: MattingEngine, size: int):
        self._engine, self.size = engine, size
        self._scaler: RgbScaler | None = None

    def fit(self, fmt: FrameFormat) -> Fit:
        """Return how frames of a format lie in the network's input."""
        return fit(fmt.width, fmt.height, self.size, self._engine.spec.stride)

    def scale(self, frame: Frame) -> Scaled:
        """Make the network's copy of a frame."""
        scaler = self._scaler  # another thread may put its own there meanwhile
        if scaler is None or scaler.format != frame.format:
            scaler = self._scaler = RgbScaler(frame.format)
        f = self.fit(frame.format)
        return Scaled(frame, f, f.pad(scaler(frame.image, f.width, f.height)))

    def infer(self, scaled: Scaled) -> Inferred:
        """Run the network on a frame's copy.

        Raises:
            WsshmError: the engine failed, or gave something that is no alpha.
        """
        frame, f, rgb = scaled
        return Inferred(frame, f.unpad(rgb), f.unpad(self._engine(rgb[np.newaxis])[0]))

    def keeping_up(self, dropped: Callable[[], int], say: Say) -> Callable[[Frame], Scaled]:
        """Return `scale` for a live source: to smaller sizes while too many frames are dropped.

        Args:
            dropped: asked how many frames were dropped so far.
            say: told each new size.
        """
        pace, frames = Pace(sizes(self._engine.spec)), 0

        def scale(frame: Frame) -> Scaled:
            nonlocal frames
            frames += 1
            if pace.step(time.monotonic(), frames, dropped()):
                self.size = pace.size
                say(f"too slow for this machine: the network sees {pace.size} lines from here on")
            return self.scale(frame)

        return scale
