"""The frames of a clip with their mattes, as an iterator that a run feeds."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engines.arrays import U8
from engines.errors import Unavailable, memory_error
from engines.video.compose.composite import Composited
from engines.video.config import PrecisionChoice, RunConfig, Save
from engines.video.frame import FrameFormat, RgbScaler
from engines.video.pipeline import TICK, RunThread, Stop
from engines.video.read.source import FrameSource
from engines.video.run import run
from engines.video.write.sink import FrameSink
from wsshm._request import PathLike, Seconds, clip, known_errors, logger, matte, network, source

THREAD_NAME = "wsshm frames"


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a clip with its matte.

    Attributes:
        time: seconds from the beginning of the clip, not of the part taken, at which it is shown.
        rgb: (H, W, 3) uint8; the frame as it is, or the person's own colours (see `frames`).
        alpha: (H, W) uint8, 255 = person.
    """

    time: float
    rgb: U8
    alpha: U8


def frames(
    input: PathLike,
    *,
    foreground: bool = False,
    start: Seconds = 0,
    duration: Seconds | None = None,
    model: PathLike | None = None,
    size: int | None = None,
    device: str = "auto",
    precision: PrecisionChoice = "auto",
    smooth: float = 0.8,
) -> Frames:
    """Open a clip and return an iterator of its frames with their mattes.

    The mattes are those that ``wsshm run INPUT --save alpha`` writes. Decoding and the network work
    ahead in threads of their own, a few frames at most, whatever the length of the clip.

    Args:
        input: the path of a video, an image, a folder of images or a pattern such as
            ``shots/*.png``; or an address such as ``rtsp://camera/stream``, of which frames that
            come while the loop is busy are left out.
        foreground: give as `Frame.rgb` the person's own colours, as ``--save foreground`` does:
            the old background's colour is taken out of the edges, and the room is gone.
        start, duration: the part of a video to take, in seconds; None means to its end.
        model, size, device, precision: see `matte`.
        smooth: weight of the past where nothing moves, at least 0 and under 1.

    Raises:
        WsshmError: see `matte`; here if the clip cannot be opened, and from the iterator, after the
            frames that there are, if it ends early.
    """
    with known_errors():
        return Frames(
            RunConfig(
                source(input),
                save=(Save.foreground if foreground else Save.alpha,),
                background="transparent",
                clip=clip(start, duration),
                matte=matte(smooth),
                **network(model, size, device, precision),
            )
        )


class Frames(Iterator[Frame]):
    """An iterator of the `Frame`s of a clip, made by `frames` and not by its constructor.

    Leaving a loop early ends the work; where the iterator has a name, use it as a context manager
    or `close` it.

    Attributes:
        width, height: of the first frame in pixels, upright; of all frames in a video.
        rate: average frames a second; None for images that make no video.
        total: number of frames to come; None if the input does not say.
    """

    width: int
    height: int
    rate: Fraction | None
    total: int | None

    def __init__(self, _config: Any):
        # The thread must not hold `self`: it is to end when nobody else does.
        self._stop, self._handed = _Stop(), queue.Queue[Any](1)
        args = _config, self._handed, self._stop
        thread = RunThread(target=_work, args=args, name=THREAD_NAME)
        self._end = weakref.finalize(self, _end, self._stop, thread)
        self._end.atexit = False  # at the exit, `_Stop` has ended the thread long before
        thread.start()
        opened = self._next()
        self.width, self.height = opened.format.width, opened.format.height
        self.rate, self.total = opened.rate, opened.total

    def __next__(self) -> Frame:
        """Return the next frame.

        Raises:
            StopIteration: there are no more, or the iterator was closed.
            WsshmError: the clip ends early, or what reads it fails.
        """
        frame: Frame = self._next()
        return frame

    def _next(self) -> Any:
        try:
            item = self._wait()
        except BaseException:  # Ctrl-C
            self.close()
            raise
        if isinstance(item, _Ended):
            self.close()
            raise StopIteration if item.error is None else item.error
        return item

    def _wait(self) -> Any:
        while not self._stop.left:
            try:
                return self._handed.get(timeout=TICK)
            except queue.Empty:
                continue
        if self._stop.requested:  # another thread has closed it
            return _Ended(None)
        return _Ended(Unavailable("frames: there are none while the program ends"))

    def close(self) -> None:
        """Stop the work and wait until its threads have ended; safe to call twice."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()


class _Stop(Stop):
    """A stop that also comes when the program ends, which would wait for the threads for ever."""

    @property
    def left(self) -> bool:
        """Whether nobody takes frames any more.

        The program ends when the main thread and all others that are no daemons have ended.
        """
        return self.requested or not any(
            thread.is_alive() and not thread.daemon and not isinstance(thread, RunThread)
            for thread in threading.enumerate()
        )

    @property
    def ended(self) -> bool:
        return self.halted or self.left


@dataclass(frozen=True)
class _Ended:
    """The last item that is handed over: why there are no more."""

    error: BaseException | None


class _Hand(FrameSink):
    """An output of a run: it gives each frame to whoever iterates, and waits for them.

    Args:
        give: called with a frame, and whether it takes the place of one that waits.
        start: of the part of the clip that is taken, in seconds.
        is_live: only the newest frame waits. What is left out here is not lost for want of speed.
    """

    def __init__(self, give: Callable[[Frame, bool], None], start: Fraction, is_live: bool):
        self.path, self.warnings = Path(THREAD_NAME), []
        self._give, self._start, self._is_live = give, start, is_live
        self._scalers: dict[FrameFormat, RgbScaler] = {}

    def write(self, item: Composited) -> None:
        frame, fmt = item.frame, item.frame.format
        scaler = self._scalers.setdefault(fmt, RgbScaler(fmt))
        # No composite is made: this is the foreground, or the frame itself where alpha is saved.
        rgb = scaler(frame.image, fmt.width, fmt.height)
        self.frames += 1
        shown = Frame(float(self._start + frame.pts * frame.time_base), rgb, item.alpha)
        self._give(shown, self._is_live and self.frames > 1)  # before the first, the source waits

    def close(self, whole: bool) -> None:
        pass


def _work(config: RunConfig, handed: queue.Queue[Any], stop: _Stop) -> None:
    """Run a config and hand over its source, its frames, and why there are no more."""

    def give(item: Any, in_place: bool = False) -> None:
        if in_place:
            with suppress(queue.Empty):
                handed.get_nowait()
        while not stop.left:
            try:
                return handed.put(item, timeout=TICK)
            except queue.Full:
                continue

    def outputs(config: RunConfig, source: FrameSource, *_: Any) -> Iterator[FrameSink]:
        opened.append(source)
        yield _Hand(give, config.clip.start, source.is_live)

    opened: list[FrameSource] = []
    error: BaseException | None
    try:
        summary = run(config, stop, lambda _: give(opened[0]), say=logger.info, outputs=outputs)
        error = summary.error
        for warning in summary.warnings if not stop.left else ():
            logger.warning(warning)
    except BaseException as e:
        error = memory_error(e) or e
    give(_Ended(error))


def _end(stop: Stop, thread: threading.Thread) -> None:
    stop.requested = True
    # Where the garbage collector calls this in a thread of the run, that thread is one to wait for.
    if not isinstance(threading.current_thread(), RunThread) and thread.is_alive():
        thread.join()
