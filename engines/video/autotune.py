"""The largest size that holds a clip's rate on this machine: ``--size auto`` and ``--realtime``.

The first second of the clip goes through the very pipeline, with the least the network may see.
What a frame takes there without the network, what the network takes at each size, and the cores
there are to have, give the frames a second to expect.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engines.contract import ModelSpec
from engines.errors import BadData, UsageError
from engines.models import files, shipped
from engines.preprocess import fit
from engines.timing import work
from engines.video.config import Encoding, RunConfig
from engines.video.frame import FrameFormat
from engines.video.pipeline import Stop
from engines.video.read.source import open_source
from engines.video.run import open_network, run
from engines.video.write.encoders import ENCODERS
from engines.video.write.open import targets
from engines.video.write.sink import check_free
from engines.video.write.video import CONTAINERS

LEAST = 160  # lines: fewer, and people are missed
SECONDS = 1.0  # of the clip that are tried
SPARE = 1.2  # times the source's rate that are to be expected: stages wait for one another too
LARGE = 720  # lines from which on edges are refined at half the size in real time
FAST = "fast"  # the shipped model for where the default is too slow
PRESETS = "superfast", "ultrafast"  # of x264, for where the smallest size is not enough


@dataclass(frozen=True)
class Load:
    """What a frame takes without the network, in core-ms, and the cores there are for it.

    `cores` is measured: fewer than the machine has where others use them too.
    """

    core_ms: float
    cores: float

    def fps(self, network_ms: float) -> float:
        """Frames a second to expect with a network of so many core-ms."""
        return 1000 * self.cores / (self.core_ms + network_ms)


def sizes(spec: ModelSpec) -> list[int]:
    """Shorter edges to choose from, in pixels: multiples of the stride, up to the model's own."""
    least = -(-min(LEAST, spec.size) // spec.stride) * spec.stride
    return [*range(least, spec.size, spec.stride), spec.size]


def largest(choices: Sequence[int], fps: Callable[[int], float], rate: float) -> int:
    """The largest of ascending sizes that holds `rate` frames a second; else the smallest.

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


def settle(config: RunConfig, realtime: bool, stop: Stop) -> tuple[RunConfig, str]:
    """Fill in the size that holds the rate of the input, and in real time the model as well.

    Args:
        realtime: where no model is named, choose it too; where no size is small enough, x264's
            preset.
        stop: set from a signal handler to leave early, with nothing chosen.

    Returns:
        What to run, and the choice in one line.

    Raises:
        UsageError: the input has no rate to hold.
        WsshmError: what is wrong with the request or the input.
    """
    option = "realtime" if realtime else "size auto"
    if not isinstance(config.input, Path):
        raise UsageError(f"--{option}: {config.input} cannot be tried first; use --size N")
    with open_source(
        config.input, config.clip, fps=config.fps, bit_depth=config.bit_depth
    ) as source:
        if not source.rate:
            raise UsageError(f"--{option}: {config.input} has no frame rate; use --size N")
        fmt, rate = source.format, source.rate
        outputs = targets(config, source)
    for target in outputs if config.writes_files else []:
        check_free(target.path, config.overwrite)
    if realtime and min(fmt.width, fmt.height) >= LARGE:
        config = replace(config, matte=replace(config.matte, coarse=True))
    names = [config.model]
    if realtime and config.model is None and FAST in (m.name for m in shipped()):
        names.append(FAST)
    candidates = [_Candidate(replace(config, model=name), fmt) for name in names]
    presets = [config.encoding.preset]
    is_x264 = any(_is_x264(t.ending, config.encoding.codec) for t in outputs)
    if realtime and is_x264 and config.encoding.preset is None:
        presets += [None, *PRESETS]  # once more first: something else may have had its turn
    tried: list[tuple[RunConfig, str]] = []
    for preset in presets:
        encoding = replace(config.encoding, preset=preset)
        load = candidates[0].measure(f"trial{outputs[0].ending}", encoding, stop)
        if load is None:
            return config, ""
        best = max((c.choose(load, float(rate)) for c in candidates), key=lambda c: c.merit)
        why = f", x264 {preset} because no size is small enough" * (preset != presets[0])
        text = f"{option}: {best.name} at {best.size} lines{why} (≈ {best.fps:.0f} FPS expected, "
        text += f"source {float(rate):.4g}"
        if best.holds:
            return replace(best.config, encoding=encoding), f"{text})"
        tried.append((best.config, f"{text}: too much for this machine)"))
    return tried[0]


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
        """Of those that hold the rate, the one nearest its own size; else the quickest."""
        return self.holds, self.share if self.holds else self.fps


class _Candidate:
    """A model that may be chosen, in the precision that is least work here."""

    def __init__(self, config: RunConfig, fmt: FrameFormat):
        self._engine, _ = open_network(replace(config, size=None), fmt)
        self._spec, self._format = self._engine.spec, fmt
        self._config = replace(config, precision=self._spec.precision)
        (self._file,) = files(config.model, (self._spec.precision,)).values()

    def network_ms(self, size: int) -> float:
        """Core-ms of the network at a size."""
        f = fit(self._format.width, self._format.height, size, self._spec.stride)
        return work({self._file: self._engine}, f.padded_height, f.padded_width)[self._file]

    def choose(self, load: Load, rate: float) -> _Choice:
        """The largest size that holds `rate`."""

        def fps(size: int) -> float:
            return load.fps(self.network_ms(size))

        size = largest(sizes(self._spec), fps, SPARE * rate)
        return _Choice(
            replace(self._config, size=size),
            f"{self._spec.name} {self._spec.precision}",
            size,
            size / self._spec.size,
            fps(size),
            fps(size) >= SPARE * rate,
        )

    def measure(self, name: str, encoding: Encoding, stop: Stop) -> Load | None:
        """Run the beginning of the clip, into a file `name` that goes again; None when stopped."""
        least = sizes(self._spec)[0]
        length = min(SECONDS, self._config.clip.duration or SECONDS)
        marks: list[tuple[float, float]] = []

        def mark(_: object) -> None:
            marks.append((time.perf_counter(), time.process_time()))

        with tempfile.TemporaryDirectory(prefix="wsshm") as folder:
            trial = replace(
                self._config,
                output=Path(folder) / name,
                size=least,
                encoding=replace(encoding, format=None),
                clip=replace(self._config.clip, duration=length),
                virtual_camera=False,
                preview=False,
            )
            summary = run(trial, stop, mark, mark)
        spent = time.process_time() - marks[0][1]
        if stop.requested:
            return None
        if not summary.frames:
            raise summary.error or BadData(f"{trial.input}: has no frames in its beginning")
        # The middle half: at both ends stages wait for the first frame, or for nothing any more.
        begin, end = marks[len(marks) // 4], marks[-(len(marks) // 4) - 1]
        cores = (end[1] - begin[1]) / (end[0] - begin[0])
        others = 1000 * spent / summary.frames - self.network_ms(least)
        return Load(max(0.0, others), cores)


def _is_x264(suffix: str, codec: str | None) -> bool:
    """Whether files of this ending are written by libx264."""
    kind = CONTAINERS.get(suffix)
    name = codec or (kind.encoder if kind else "")
    return (ENCODERS[name][0] if name in ENCODERS else name) == "libx264"
