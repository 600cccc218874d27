"""Choose the largest size that keeps up with a clip here: ``--size auto`` and ``--realtime``.

The first second of the clip goes through the very pipeline, with the least that the network may
see. The work of a frame there without the network, that of the network at each size, and the cores
that there are to have, give the frames a second to expect.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from engines.errors import BadData, UsageError
from engines.models import files, shipped
from engines.preprocess import fit
from engines.timing import work
from engines.video.config import RunConfig
from engines.video.frame import FrameFormat
from engines.video.matte.network import open_network
from engines.video.matte.pace import sizes
from engines.video.pipeline import Stop
from engines.video.read.open import open_source
from engines.video.write.codecs import CONTAINERS, default_codec, find_codec
from engines.video.write.open import check_free, targets

TRIAL_SECONDS = Fraction(1)  # of the clip
SPARE_FACTOR = 1.2  # times the clip's rate that is to be expected: stages wait for one another too
COARSE_LINES = 720  # from which on edges are refined at half the size in real time
FAST_MODEL = "fast"  # the shipped model for where the default is too slow
FASTER_PRESETS = "superfast", "ultrafast"  # of x264, for where the smallest size is not enough


@dataclass(frozen=True)
class Load:
    """The work of a frame in core-ms, and the number of cores that it gets.

    `cores` is measured: fewer than the machine has if other programs use them too.
    """

    core_ms: float
    cores: float

    def without(self, network_ms: float) -> Load:
        """Return the load without a network of that many core-ms."""
        return replace(self, core_ms=max(0.0, self.core_ms - network_ms))

    def fps(self, network_ms: float = 0.0) -> float:
        """Return the frames a second to expect with a network of that many core-ms added."""
        return 1000 * self.cores / (self.core_ms + network_ms)


class Ended(Protocol):
    """The part of a run's summary that a trial needs."""

    @property
    def frames(self) -> int: ...
    @property
    def error(self) -> BaseException | None: ...


def largest(choices: Sequence[int], fps: Callable[[int], float], rate: float) -> int:
    """Return the largest of ascending sizes that holds `rate` frames a second; else the smallest.

    Args:
        fps: frames a second to expect at a size, fewer the larger it is; asked about few sizes.
    """
    low, high = 0, len(choices) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if fps(choices[middle]) >= rate:
            low = middle
        else:
            high = middle - 1
    return choices[low]


def settle(
    config: RunConfig, stop: Stop, trial: Callable[[RunConfig, Stop], Load | None]
) -> tuple[RunConfig, str]:
    """Choose the size that holds the rate of a file, and in real time the model as well.

    With `config.realtime` the model is chosen if none is named, and x264's preset if no size is
    small enough.

    Args:
        config: has `auto_size` or `realtime`; its input is a file or a folder.
        stop: set from a signal handler to leave early, with nothing chosen.
        trial: runs the beginning of the clip as a config says and returns the load of a frame, with
            its network; None after a stop. See `measure`.

    Returns:
        The config to run, and the choice in one line.

    Raises:
        UsageError: the input has no rate to hold, or a size is given as well.
        WsshmError: the request or the input cannot be used.
    """
    option = "realtime" if config.realtime else "size auto"
    path = config.input
    if config.size is not None:
        raise UsageError(
            f"--size {config.size}: --{option} chooses the size", "leave one of them out"
        )
    if not isinstance(path, Path):
        raise UsageError(f"--{option}: {path} cannot be tried first", "use --size N")
    with open_source(path, config.clip, fps=config.fps, bit_depth=config.bit_depth) as source:
        if not source.rate:
            raise UsageError(f"--{option}: {path} has no frame rate", "use --size N")
        fmt, rate = source.format, float(source.rate)
        outputs = targets(config, source)
    for target in outputs if config.writes_files else []:
        check_free(target.path, config.overwrite)
    in_real_time = config.realtime
    config = replace(config, auto_size=False, realtime=False)
    if in_real_time and min(fmt.width, fmt.height) >= COARSE_LINES:
        config = replace(config, matte=replace(config.matte, coarse=True))
    names = [config.model]
    if in_real_time and config.model is None and FAST_MODEL in (m.name for m in shipped()):
        names.append(FAST_MODEL)
    candidates = [_Candidate(replace(config, model=name), fmt) for name in names]
    presets = [config.encoding.preset]
    is_x264 = any(_is_x264(t.suffix, config.encoding.codec) for t in outputs)
    if in_real_time and is_x264 and config.encoding.preset is None:
        presets += [None, *FASTER_PRESETS]  # None once more: another program may have been busy
    tried: list[tuple[RunConfig, str]] = []
    for preset in presets:
        encoding = replace(config.encoding, preset=preset)
        first = candidates[0]
        with tempfile.TemporaryDirectory(prefix="wsshm") as folder:
            load = trial(
                replace(
                    first.config,
                    output=Path(folder) / f"trial{outputs[0].suffix}",
                    size=first.sizes[0],
                    encoding=replace(encoding, format=None),
                    clip=replace(
                        config.clip,
                        duration=min(TRIAL_SECONDS, config.clip.duration or TRIAL_SECONDS),
                    ),
                    virtual_camera=False,
                    preview=False,
                ),
                stop,
            )
        if load is None:
            return config, ""
        load = load.without(first.network_ms(first.sizes[0]))
        best = max((c.choose(load, rate) for c in candidates), key=lambda c: c.merit)
        why = f", x264 {preset} because no size is small enough" * (preset != presets[0])
        text = f"{option}: {best.name} at {best.size} lines{why} (≈ {best.fps:.0f} FPS expected, "
        text += f"source {rate:.4g}"
        if best.holds:
            return replace(best.config, encoding=encoding), f"{text})"
        tried.append((best.config, f"{text}: too much for this machine)"))
    return tried[0]


def measure(run: Callable[..., Ended], config: RunConfig, stop: Stop) -> Load | None:
    """Run a config and return the load of a frame in its middle; None after a stop.

    Args:
        run: `engines.video.run.run`.

    Raises:
        WsshmError: the run failed.
    """
    marks: list[tuple[float, float]] = []

    def mark(_: Any) -> None:
        marks.append((time.perf_counter(), time.process_time()))

    summary = run(config, stop, mark, mark)
    spent = time.process_time() - marks[0][1]
    if stop.requested:
        return None
    if not summary.frames:
        raise summary.error or BadData(f"{config.input}: has no frames in its beginning")
    # The middle half: at both ends stages wait for the first frame, or have nothing left to do.
    begin, end = marks[len(marks) // 4], marks[-(len(marks) // 4) - 1]
    cores = (end[1] - begin[1]) / (end[0] - begin[0])
    return Load(1000 * spent / summary.frames, cores)


@dataclass(frozen=True)
class _Choice:
    """A model at a size, and the frames a second to expect."""

    config: RunConfig
    name: str
    size: int
    share: float  # of the model's own size
    fps: float
    holds: bool

    @property
    def merit(self) -> tuple[bool, float]:
        """Sort key: of those that hold the rate, the one nearest its own size; else the fastest."""
        return self.holds, self.share if self.holds else self.fps


class _Candidate:
    """A model that may be chosen, in the precision that is least work here."""

    def __init__(self, config: RunConfig, fmt: FrameFormat):
        self._engine, _ = open_network(replace(config, size=None), fmt)
        self._spec, self._format = self._engine.spec, fmt
        self.sizes = sizes(self._spec)
        self.config = replace(config, precision=self._spec.precision)
        (self._file,) = files(config.model, (self._spec.precision,)).values()

    def network_ms(self, size: int) -> float:
        """Return the core-ms of the network at a size."""
        f = fit(self._format.width, self._format.height, size, self._spec.stride)
        return work({self._file: self._engine}, f.padded_height, f.padded_width)[self._file]

    def choose(self, load: Load, rate: float) -> _Choice:
        """Return the largest size that holds `rate`, for a load without the network."""

        def fps(size: int) -> float:
            return load.fps(self.network_ms(size))

        size = largest(self.sizes, fps, SPARE_FACTOR * rate)
        return _Choice(
            replace(self.config, size=size),
            f"{self._spec.name} {self._spec.precision}",
            size,
            size / self._spec.size,
            fps(size),
            fps(size) >= SPARE_FACTOR * rate,
        )


def _is_x264(suffix: str, codec: str | None) -> bool:
    """Return whether files of this ending are written by libx264."""
    if not codec and suffix not in CONTAINERS:
        return False
    return (find_codec(codec) if codec else default_codec(suffix)).encoder == "libx264"
