"""One `wsshm run`: a source, a model, a background and the outputs, wired into a pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from engines import models
from engines.arrays import Plane
from engines.contract import ModelSpec
from engines.cuda import has_driver
from engines.engine import MattingEngine, open_engine
from engines.errors import UsageError, WsshmError
from engines.machine import cores
from engines.preprocess import Fit, fit
from engines.timing import open_faster
from engines.video.compose.background import open_background
from engines.video.compose.composite import composite
from engines.video.compose.open import BackgroundCycle
from engines.video.config import MatteOptions, RunConfig, Save, Stream
from engines.video.frame import Frame, FrameFormat, RgbScaler
from engines.video.matte.postprocess import Matted, MattePostprocessor
from engines.video.matte.watch import Watch
from engines.video.pipeline import Pipeline, Stop
from engines.video.read.source import FrameSource, open_source
from engines.video.write.open import open_outputs
from engines.video.write.sink import FrameSink, needs_alpha
from engines.video.write.writer import Writer

AUTO = "int8", "fp32"  # what `--precision auto` chooses between on the CPU
GPU = "fp16", "fp32"  # ... and what it takes on a GPU: the first that there is
LARGE = 4 << 20  # pixels of a frame over which fewer wait between stages: each has tens of MB


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
    format: FrameFormat
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
    dropped: int | None = None  # frames of a live source that came too soon; None elsewhere
    latency: tuple[float, float] | None = None  # of a live source: see `Writer.latency`

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
        """The step that worked longest; to decode a live source is mostly to wait for it."""
        steps = [name for name in self.busy if self.dropped is None or name != "decode"]
        return max(steps, key=lambda name: self.busy[name])


def run(
    config: RunConfig,
    stop: Stop | None = None,
    on_start: Callable[[Started], None] = lambda _: None,
    on_frame: Callable[[int], None] = lambda _: None,
    pipeline: Callable[..., Pipeline] = Pipeline,
    on_note: Callable[[str], None] | None = None,
    network: Callable[..., tuple[MattingEngine, str]] | None = None,
) -> Summary:
    """Matte and composite a clip, an image, a folder of images, or what a live source gives.

    Args:
        stop: set from a signal handler to finish early with what there is.
        on_start, on_frame: called once before, and with the number of frames after each.
        pipeline: what runs the steps; another one can measure them.
        on_note: called with what a live source has to say at once; else it is among the warnings.
        network: called in the place of `open_network`; another one can bring an engine of its own.

    Raises:
        WsshmError: what is wrong with the request or the input, before anything is written.
    """
    stop = stop or Stop()
    began = time.perf_counter()
    with _opened(config, stop) as source, _one_thread(), ExitStack() as held:
        warnings = source.warnings
        source.note = on_note or warnings.append
        if source.live:  # one frame with all threads is there sooner than two with half of them
            config = replace(config, max_workers=1)
        background = open_background(
            config.background,
            source.sample_aspect,
            config.background_fit,
            warnings.append,
            source.format.bit_depth,
        )
        if background and Save.composite not in config.save and not config.is_shown:
            background.close()  # what is wrong with it has been said
            background = None
        sinks = open_outputs(config, source) if config.writes_files else []
        backdrop = BackgroundCycle(config.background, config.background_fit, source, background)
        held.callback(backdrop.close)
        for shown in _shown_sinks(config, source, stop, backdrop):
            held.callback(shown.close, whole=True)  # also where the run does not begin
            sinks.append(shown)
        engine, why = (network or open_network)(config, source.format, warnings.append)
        size = config.size or engine.spec.size
        finish = config.matte
        if not source.rate:  # images that have nothing to do with one another
            finish = replace(finish, smooth=0.0)
        if set(config.save) == {Save.alpha} and not config.is_shown:
            finish = replace(finish, decontaminate=False)

        def stuck(text: str) -> None:
            warnings.append(text)
            if source.live and on_note is not None:
                on_note(text)

        remedy = "try another --model" if engine.device == "cpu" else "try --device cpu"
        watch = Watch(stuck, remedy)
        matting = _Matting(engine, size, finish, watch)
        first = matting.fit(source.format)
        on_start(
            Started(
                engine.spec.name,
                engine.name,
                engine.device,
                engine.spec.precision,
                why,
                size,
                first,
                source.format,
                source.total,
            )
        )
        cuts_out = config.writes_files and any(
            needs_alpha(save, config.background == "transparent") for save in config.save
        )
        in_time = config.is_shown and not source.live
        writer = Writer(sinks, on_frame, in_time, stop)
        pixels = source.format.width * source.format.height
        scale: Callable[[Frame], Any] = matting.scale
        if source.live and config.size is None and engine.device == "cpu":
            scale = _keeping_up(matting, engine.spec, lambda: steps.dropped, source.note)
        steps = pipeline(
            ("decode", source.items()),
            [
                [("scale", _frames(scale)), ("network", _frames(matting.network))],
                [
                    ("finish", _frames(matting.finish)),
                    ("composite", _frames(lambda m: composite(m, backdrop.now, cut_out=cuts_out))),
                ],
            ],
            ("encode", writer),
            depth=1 if source.live or pixels > LARGE else 3,
            stop=stop,
            workers={"scale": config.workers if engine.device == "cpu" else 1},
            may_drop=_is_frame if source.live else None,
        )
        error: BaseException | None = None
        try:
            steps.run()
        except Exception as e:
            error = e
        steps.busy["encode"] -= writer.waited
        if watch.nobody is not None:
            warnings.append(watch.nobody)
        cut = stop.requested or source.fault
        # A live source has no end of its own: what there is when it stops is all of it.
        error = writer.close(error, whole=error is None and (source.live or not cut))
        if error is not None and isinstance(error.__cause__, BrokenPipeError):
            error = None  # whoever reads standard output has seen enough
            if len(sinks) > 1:
                warnings.append("-: is not read any more; the other outputs end there too")
        elif error is None and source.fault and not stop.requested:
            error = source.fault_kind(source.fault)
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
            dropped=steps.dropped if source.live else None,
            latency=writer.latency,
        )


def _opened(config: RunConfig, stop: Stop) -> FrameSource:
    if isinstance(config.input, Stream):
        if config.fps:
            raise UsageError(f"--fps: is for a folder of images; {config.input} is none")
        from engines.video.read.live import open_stream

        return open_stream(
            config.input, config.clip, config.threads, stop, config.reconnect, config.bit_depth
        )
    if config.reconnect:
        raise UsageError(f"--reconnect: {config.input} is not live")
    return open_source(config.input, config.clip, config.threads, config.fps, config.bit_depth)


def _shown_sinks(
    config: RunConfig, source: FrameSource, stop: Stop, backdrop: BackgroundCycle
) -> Iterator[FrameSink]:
    """The outputs that somebody looks at while they are made."""
    if config.is_shown and backdrop.now is None:
        raise UsageError("--bg transparent: cannot be shown; give another --bg")
    if config.virtual_camera:
        from engines.video.write.virtual_camera import open_virtual_camera

        yield open_virtual_camera(config.virtual_device, source.format, source.rate)
    if config.preview:
        from engines.video.write.preview import Preview

        yield Preview(stop, backdrop.next, source.note)


def _is_frame(item: Any) -> bool:
    return isinstance(item, Frame)


def open_network(
    config: RunConfig, fmt: FrameFormat, on_note: Callable[[str], None] = lambda text: None
) -> tuple[MattingEngine, str]:
    """The engine for images of `fmt`, and in words why it is of that precision.

    Args:
        on_note: told why a GPU that is there is not used.

    Raises:
        CannotOpen, BadData: the model.
        UsageError, Unavailable: it is not there in that precision, or for that device.
    """
    threads = (config.network_threads or cores()) // config.workers

    def opened(file: Path, device: str = "cpu") -> MattingEngine:
        return open_engine(file, device, threads, config.engine, config.size, on_note)

    def shape(spec: ModelSpec) -> tuple[int, int]:
        f = fit(fmt.width, fmt.height, config.size or spec.size, spec.stride)
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

    def __init__(
        self,
        engine: MattingEngine,
        size: int,
        finish: MatteOptions,
        watch: Callable[[Plane, NDArray[np.float32]], None],
    ):
        self._engine, self.size, self._postprocess = engine, size, MattePostprocessor(finish)
        self._watch = watch
        self._scaler: RgbScaler | None = None

    def fit(self, fmt: FrameFormat) -> Fit:
        return fit(fmt.width, fmt.height, self.size, self._engine.spec.stride)

    def scale(self, frame: Frame) -> tuple[Frame, Fit, Plane]:
        """Beside the frame, (padded_height, padded_width, 3) uint8 RGB of it."""
        scaler = self._scaler  # another thread may put its own there meanwhile
        if scaler is None or scaler.format != frame.format:
            scaler = self._scaler = RgbScaler(frame.format)
        f = self.fit(frame.format)
        return frame, f, f.pad(scaler(frame.image, f.width, f.height))

    def network(self, item: tuple[Frame, Fit, Plane]) -> tuple[Frame, Plane, NDArray[np.float32]]:
        """Beside the frame and its small RGB copy, (height, width) float32 alpha of that size."""
        frame, f, rgb = item
        return frame, f.unpad(rgb), f.unpad(self._engine(rgb[np.newaxis])[0])

    def finish(self, item: tuple[Frame, Plane, NDArray[np.float32]]) -> Matted:
        """The matte at the frame's size; one frame after the other."""
        self._watch(*item[1:])
        return self._postprocess(*item)


def _keeping_up(
    matting: _Matting, spec: ModelSpec, dropped: Callable[[], int], note: Callable[[str], None]
) -> Callable[[Frame], Any]:
    """`matting.scale`, to smaller sizes while too many frames are dropped."""
    from engines.video.autotune import sizes
    from engines.video.read.live import Pace

    pace, frames = Pace(sizes(spec)), 0

    def scale(frame: Frame) -> Any:
        nonlocal frames
        frames += 1
        if pace.step(time.monotonic(), frames, dropped()):
            matting.size = pace.size
            note(f"too slow for this machine: the network sees {pace.size} lines from here on")
        return matting.scale(frame)

    return scale
