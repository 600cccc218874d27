"""One `wsshm run`: a source, a model, a background and the outputs, wired into a pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from engines import models
from engines.contract import ModelSpec
from engines.cuda import has_driver
from engines.engine import MattingEngine, open_engine
from engines.errors import BadData, UsageError, WsshmError
from engines.machine import cores
from engines.preprocess import Fit, fit
from engines.timing import open_faster
from engines.video.background import open_background
from engines.video.composite import Composited, composite
from engines.video.frame import Frame, Layout, Plane, RgbScaler
from engines.video.matte import Finish, Finisher, Matted
from engines.video.pipeline import Pipeline, Stop
from engines.video.sinks import Encoding, FrameSink, Save, check_free, needs_alpha, open_sink
from engines.video.sources import Clip, FrameSource, open_source

AUTO = "int8", "fp32"  # what `--precision auto` chooses between on the CPU
GPU = "fp16", "fp32"  # ... and what it takes on a GPU: the first that there is
# Two frames at once with a thread each cost less than one frame with two: they wait for nobody.
LANES = 2


@dataclass(frozen=True)
class RunConfig:
    """Everything `wsshm run` was asked to do."""

    input: Path
    output: Path | None = None
    background: str = "blur"
    save: tuple[Save, ...] = (Save.composite,)
    model: str | None = None
    device: str = "auto"
    engine: str = "auto"
    precision: str = "auto"  # or one of fp32, fp16, int8
    size: int | None = None  # shorter edge the network sees; the model's own when None
    finish: Finish = field(default_factory=Finish)
    clip: Clip = field(default_factory=Clip)
    encoding: Encoding = field(default_factory=Encoding)
    overwrite: bool = False
    threads: int = 0  # of the decoder; 0 leaves it to FFmpeg
    network_threads: int | None = None  # of all lanes together; all cores when None

    @property
    def lanes(self) -> int:
        """How many frames the network sees at once."""
        return min(LANES, self.network_threads or cores())


@dataclass(frozen=True)
class Started:
    """What is running, for the first line."""

    model: str
    engine: str
    device: str
    precision: str
    why: str  # it is that precision, where there was a choice
    size: int
    fit: Fit
    layout: Layout
    total: int | None


@dataclass(frozen=True)
class Summary:
    """How it went. `error` is what cut the run short, after something may have been written."""

    frames: int
    total: int | None
    seconds: float
    busy: dict[str, float]  # seconds each step worked
    outputs: list[Path]  # finished, under their final names
    left: list[Path]  # unfinished files that could not take their final names
    warnings: list[str]
    error: BaseException | None
    signum: int  # of the signal that stopped the run, or 0

    @property
    def exit_code(self) -> int:
        """As in `engines.errors.exit_codes`."""
        if isinstance(self.error, WsshmError):
            return self.error.exit_code
        if self.error is not None:
            return WsshmError.exit_code
        return 128 + self.signum if self.signum else 0

    @property
    def slowest(self) -> str:
        """The step that worked longest."""
        return max(self.busy, key=lambda name: self.busy[name])


def output_paths(config: RunConfig, source: FrameSource) -> list[Path]:
    """Where each of `config.save` goes: the first where ``-o`` says, others by a name beside it."""
    still = source.rate is None and source.total == 1 and config.input.is_file()
    base = config.output if config.output is not None else config.input
    if still and config.output is not None and config.output.is_dir():
        base = config.output / config.input.name
    if base.name in ("", ".."):  # a folder named by dots
        base = base.resolve()
    paths: list[Path] = []
    for i, save in enumerate(config.save):
        if i == 0 and config.output is not None:
            path = config.output
            if still and path.is_dir():
                path = base.with_suffix(".png")
        else:
            rgba = needs_alpha(save, config.background == "transparent")
            tag = "wsshm" if save is Save.composite else save.value
            suffix = ".png" if still else "" if rgba or not source.rate else ".mp4"
            if config.output is not None and suffix == ".mp4" and base.suffix:
                suffix = base.suffix
            path = base.with_name(f"{base.stem}_{tag}{suffix}")
        paths.append(path)
    if len(set(paths)) < len(paths) or len(set(config.save)) < len(config.save):
        raise UsageError("--save names the same output twice")
    return paths


def run(
    config: RunConfig,
    stop: Stop | None = None,
    on_start: Callable[[Started], None] = lambda _: None,
    on_frame: Callable[[int], None] = lambda _: None,
    pipeline: Callable[..., Pipeline] = Pipeline,
) -> Summary:
    """Matte and composite a clip, a picture or a folder of pictures.

    Args:
        stop: set from a signal handler to finish early with what there is.
        on_start, on_frame: called once before, and with the number of frames after each.
        pipeline: what runs the steps; another one can measure them.

    Raises:
        WsshmError: what is wrong with the request or the input, before anything is written.
    """
    stop = stop or Stop()
    began = time.perf_counter()
    with open_source(config.input, config.clip, config.threads) as source, _one_thread():
        warnings = source.warnings
        composes = Save.composite in config.save
        background = open_background(config.background, source.sample_aspect) if composes else None
        sinks = []
        for path, save in zip(output_paths(config, source), config.save, strict=True):
            transparent = config.background == "transparent"
            warnings.extend(check_free(path, config.overwrite))
            if path.resolve() == config.input.resolve():
                raise UsageError(f"{path}: is the input; name another output with -o")
            sinks.append(open_sink(path, save, transparent, source, config.encoding))
        engine, why = open_network(config, source.layout, warnings.append)
        size = config.size or engine.spec.size
        finish = config.finish
        if not source.rate:  # pictures that have nothing to do with one another
            finish = replace(finish, smooth=0.0)
        if set(config.save) == {Save.alpha}:
            finish = replace(finish, decontaminate=False)
        matting = _Matting(engine, size, finish)
        first = matting.fit(source.layout)
        on_start(Started(
            engine.spec.name, engine.name, engine.device, engine.spec.precision, why,
            size, first, source.layout, source.total,
        ))  # fmt: skip
        writer = _Writer(sinks, on_frame)
        steps = pipeline(
            ("decode", source.items()),
            [
                [("scale", _frames(matting.scale)), ("network", _frames(matting.network))],
                [
                    ("finish", _frames(matting.finish)),
                    ("composite", _frames(lambda matted: composite(matted, background))),
                ],
            ],
            ("encode", writer),
            stop=stop,
            lanes={"scale": config.lanes if engine.device == "cpu" else 1},
        )
        error: BaseException | None = None
        try:
            steps.run()
        except Exception as e:
            error = e
        error = writer.close(error, whole=error is None and not stop.requested)
        if error is None and source.fault and not stop.requested:
            error = BadData(source.fault)
        return Summary(
            frames=min(s.frames for s in sinks),
            total=source.total,
            seconds=time.perf_counter() - began,
            busy=steps.busy,
            outputs=[s.path for s in sinks if s.frames and s.left_at is None],
            left=[s.left_at for s in sinks if s.left_at is not None],
            warnings=[*warnings, *(w for s in sinks for w in s.warnings)],
            error=error,
            signum=stop.signum,
        )


def open_network(
    config: RunConfig, layout: Layout, on_note: Callable[[str], None] = lambda text: None
) -> tuple[MattingEngine, str]:
    """The engine for pictures of `layout`, and in words why it is of that precision.

    Args:
        on_note: told why a GPU that is there is not used.

    Raises:
        CannotOpen, BadData: the model.
        UsageError, Unavailable: it is not there in that precision, or for that device.
    """
    threads = (config.network_threads or cores()) // config.lanes

    def opened(file: Path, device: str = "cpu") -> MattingEngine:
        return open_engine(file, device, threads, config.engine, config.size, on_note)

    def shape(spec: ModelSpec) -> tuple[int, int]:
        f = fit(layout.width, layout.height, config.size or spec.size, spec.stride)
        return f.padded_height, f.padded_width

    if config.precision != "auto":
        (file,) = models.files(config.model, (config.precision,)).values()
        engine, why = opened(file, config.device), ""
        if config.precision != (found := engine.spec.precision):
            raise UsageError(f"--precision {config.precision}: {config.model} is {found}")
        return engine, why
    if _may_use_gpu(config):
        file, *_ = models.files(config.model, GPU).values()
        engine = opened(file, config.device)
        if engine.device != "cpu":
            return engine, ""
    return open_faster(models.files(config.model, AUTO), opened, shape)


def _may_use_gpu(config: RunConfig) -> bool:
    if config.device == "auto" and config.engine != "tensorrt":
        return has_driver()
    return config.device != "cpu"


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV without threads of its own: each stage has one, and theirs would wait by spinning."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _frames(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`function` of frames and what became of them; packets pass."""
    return lambda item: item if isinstance(item, av.Packet) else function(item)


class _Matting:
    """From a frame to its matte, in three steps."""

    def __init__(self, engine: MattingEngine, size: int, finish: Finish):
        self._engine, self._size, self._finisher = engine, size, Finisher(finish)
        self._scaler: RgbScaler | None = None

    def fit(self, layout: Layout) -> Fit:
        return fit(layout.width, layout.height, self._size, self._engine.spec.stride)

    def scale(self, frame: Frame) -> tuple[Frame, Fit, Plane]:
        """Beside the frame, (padded_height, padded_width, 3) uint8 RGB of it."""
        scaler = self._scaler  # another thread may put its own there meanwhile
        if scaler is None or scaler.layout != frame.layout:
            scaler = self._scaler = RgbScaler(frame.layout)
        f = self.fit(frame.layout)
        return frame, f, f.pad(scaler(frame.picture, f.width, f.height))

    def network(self, item: tuple[Frame, Fit, Plane]) -> tuple[Frame, Plane, NDArray[np.float32]]:
        """Beside the frame and its small RGB copy, (height, width) float32 alpha of that size."""
        frame, f, rgb = item
        return frame, f.unpad(rgb), f.unpad(self._engine(rgb[np.newaxis])[0])

    def finish(self, item: tuple[Frame, Plane, NDArray[np.float32]]) -> Matted:
        """The matte at the frame's size; one frame after the other."""
        return self._finisher(*item)


class _Writer:
    """Every sink gets every frame; whatever happens, every sink is closed."""

    def __init__(self, sinks: list[FrameSink], on_frame: Callable[[int], None]):
        self._sinks, self._on_frame, self.frames = sinks, on_frame, 0

    def __call__(self, item: Composited | av.Packet) -> None:
        if isinstance(item, av.Packet):
            for sink in self._sinks:
                sink.packet(item)
            return
        for sink in self._sinks:
            sink.write(item)
        self.frames += 1
        self._on_frame(self.frames)

    def close(self, error: BaseException | None, whole: bool) -> BaseException | None:
        """Finish the outputs; returns the first error there was."""
        for sink in self._sinks:
            try:
                sink.close(whole)
            except Exception as e:
                error = error or e
        return error
