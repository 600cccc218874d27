"""One `wsshm run`: open source, background, outputs and network; run the pipeline; close all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2

from engines.engine import MattingEngine
from engines.errors import Say, memory_error, silent
from engines.video.autotune import measure, settle
from engines.video.compose.composite import Composited, composite
from engines.video.compose.open import BackgroundCycle, open_background
from engines.video.config import MatteOptions, RunConfig, Save
from engines.video.frame import Frame, is_frame
from engines.video.matte.network import Inferred, Network, Scaled, open_network
from engines.video.matte.postprocess import Matted, MattePostprocessor
from engines.video.matte.watch import Watch
from engines.video.pipeline import Pipeline, Stop
from engines.video.read.open import open_source
from engines.video.read.source import FrameSource
from engines.video.summary import Started, Summary
from engines.video.write.codecs import LARGE_PIXELS
from engines.video.write.open import needs_alpha, open_outputs, open_viewers
from engines.video.write.sink import FrameSink
from engines.video.write.writer import Writer

DEPTH, LARGE_DEPTH = 3, 1  # frames that wait between two stages, and large ones


def run(
    config: RunConfig,
    stop: Stop | None = None,
    on_start: Callable[[Started], None] = lambda _: None,
    on_frame: Callable[[int], None] = lambda _: None,
    say: Say = silent,
    pipeline: Callable[..., Pipeline] = Pipeline,
    network: Callable[..., tuple[MattingEngine, str]] = open_network,
    outputs: Callable[..., Iterator[FrameSink]] = open_outputs,
) -> Summary:
    """Matte and composite a clip, an image, a folder of images, or a live source.

    Args:
        stop: set from a signal handler to finish early and keep the frames so far.
        on_start: called before the first frame.
        on_frame: called after each frame with the number of frames so far.
        say: told at once what the user should know during the run: a size that was chosen, a
            live source that stopped. All else is among the summary's warnings.
        pipeline: runs the steps; another one can measure them.
        network: opens the engine; another one can bring an engine of another kind.
        outputs: opens the outputs; another one can take frames elsewhere than to files.

    Raises:
        WsshmError: the request or the input cannot be used; nothing is written.
    """
    stop = stop or Stop()
    if (config.auto_size or config.realtime) and isinstance(config.input, Path):
        config, choice = settle(config, stop, trial=partial(measure, run))
        if choice:
            say(choice)
    began = time.perf_counter()
    warnings: list[str] = []
    with ExitStack() as held:
        source = open_source(
            config.input,
            config.clip,
            config.threads,
            config.fps,
            config.bit_depth,
            stop=stop,
            reconnect=config.reconnect,
            warn=warnings.append,
            say=say,
            segment=config.segment,
        )
        held.enter_context(source)
        held.enter_context(_one_opencv_thread())
        is_large = source.format.width * source.format.height > LARGE_PIXELS
        # One frame with all threads is done sooner than two with half of them, and holds less.
        if source.is_live or is_large:
            config = replace(config, max_workers=1)
        background = open_background(
            config.background,
            source.sample_aspect,
            config.background_fit,
            warnings.append,
            source.format.bit_depth,
            config.background_colour,
        )
        if background and not config.has_composite:
            background.close()  # it was opened for its errors alone
            background = None
        sinks: list[FrameSink] = []
        if config.writes_files:
            for output in outputs(config, source, warnings.append, stop, say):
                held.callback(output.close, whole=False)  # also if the run does not begin
                sinks.append(output)
        cycle = BackgroundCycle(
            config.background,
            background,
            source.sample_aspect,
            config.background_fit,
            source.format.bit_depth,
            say,
            config.background_colour,
        )
        held.callback(cycle.close)
        for viewer in open_viewers(config, source, stop, cycle.next, say):
            held.callback(viewer.close, whole=True)
            sinks.append(viewer)
        engine, reason = network(config, source.format, warnings.append)
        spec = engine.spec
        matting = Network(engine, config.size or spec.size)

        def stuck(text: str) -> None:
            warnings.append(text)
            if source.is_live:
                say(text)

        remedy = "try another --model" if engine.device == "cpu" else "try --device cpu"
        watch = Watch(stuck, remedy)
        postprocessor = MattePostprocessor(_matte_options(config, source))
        started = Started(
            spec.name,
            engine.name,
            engine.device,
            spec.precision,
            reason,
            matting.size,
            matting.fit(source.format),
            source.format,
            source.total,
        )
        on_start(started)
        keep_foreground = config.writes_files and any(
            needs_alpha(save, config.is_transparent) for save in config.save
        )

        def postprocess(inferred: Inferred) -> Matted:
            watch(inferred.rgb, inferred.alpha)
            return postprocessor(*inferred)

        def compose(matted: Matted) -> Composited:
            return composite(matted, cycle.now, keep_foreground=keep_foreground)

        scale: Callable[[Frame], Scaled] = matting.scale
        if source.is_live and config.size is None and engine.device == "cpu":
            scale = matting.keeping_up(lambda: steps.dropped, say)
        writer = Writer(sinks, on_frame, config.is_shown and not source.is_live, stop)
        steps = pipeline(
            ("decode", source.items()),
            [
                [("scale", scale), ("network", matting.infer)],
                [("postprocess", postprocess), ("composite", compose)],
            ],
            ("encode", writer.write),
            depth=LARGE_DEPTH if source.is_live or is_large else DEPTH,
            stop=stop,
            workers={"scale": config.workers if engine.device == "cpu" else 1},
            works_on=is_frame,
            pass_by=writer.packet,
            newest_only=source.is_live,
        )
        error: BaseException | None = None
        try:
            steps.run()
        except Exception as e:
            error = memory_error(e) or e
        if watch.nobody is not None and config.segment is None:
            warnings.append(watch.nobody)
        cut = stop.requested or source.fault
        # A live source never ends by itself: all that there is when it stops is the whole of it.
        error = writer.close(error, whole=error is None and (source.is_live or not cut))
        if error is not None and isinstance(error.__cause__, BrokenPipeError):
            error = None  # the reader of standard output has seen enough
            if len(sinks) > 1:
                warnings.append(
                    f"{sinks[0].path}: is not read any more; the other outputs end there too"
                )
        elif error is None and source.fault and not stop.requested:
            error = source.fault_kind(source.fault)
        return Summary(
            started=started,
            frames=min(s.frames for s in sinks),
            seconds=time.perf_counter() - began,
            busy=steps.busy | {"encode": steps.busy["encode"] - writer.waited},
            outputs=[s.path for s in sinks if s.frames and s.left_at is None],
            left=[s.left_at for s in sinks if s.left_at is not None],
            warnings=[*warnings, *(w for s in sinks for w in s.warnings)],
            error=error,
            signum=stop.signum,
            dropped=steps.dropped if source.is_live else None,
            latency=writer.latency,
            nobody=watch.nobody is not None,
        )


def _matte_options(config: RunConfig, source: FrameSource) -> MatteOptions:
    """Return `config.matte` without the steps that this source or these outputs do not need."""
    options = config.matte
    if not source.rate:  # images that have nothing to do with one another
        options = replace(options, smooth=0.0)
    if set(config.save) == {Save.alpha} and not config.is_shown:
        options = replace(options, decontaminate=False)
    return options


_opencv_lock = threading.Lock()
_opencv_runs = _opencv_threads = 0  # runs of this process, and what there was before the first


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """Keep OpenCV from starting threads: the stages have theirs, and OpenCV's wait by spinning."""
    global _opencv_runs, _opencv_threads
    with _opencv_lock:
        if not _opencv_runs:
            _opencv_threads = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _opencv_runs += 1
    try:
        yield
    finally:
        with _opencv_lock:
            _opencv_runs -= 1
            if not _opencv_runs:
                cv2.setNumThreads(_opencv_threads)
