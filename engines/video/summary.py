"""The facts that a run reports at its start and at its end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.errors import WsshmError
from engines.preprocess import Fit
from engines.video.frame import FrameFormat


@dataclass(frozen=True)
class Started:
    """The facts of a run at its start, for the first line.

    `precision_reason` says why this precision was chosen; it is empty if it was given. `size` is
    the shorter edge that the network sees, in pixels, and `fit` how the first frame lies in its
    input. `total` is the number of frames to come, None if the input does not say.
    """

    model: str
    engine: str
    device: str
    precision: str
    precision_reason: str
    size: int
    fit: Fit
    format: FrameFormat
    total: int | None


@dataclass(frozen=True)
class Summary:
    """The result of a run.

    Attributes:
        started: what was run.
        frames: how many were written, to the output that has the fewest.
        seconds: how long it took.
        busy: seconds that each step worked, by its name.
        outputs: finished files, under their final names.
        left: unfinished files that could not take their final names.
        warnings: what the user is to know, in the order in which it happened.
        error: what cut the run short, after something may have been written.
        signum: the signal that stopped the run, or 0.
        dropped: frames of a live source that came too soon; None for other sources.
        latency: of a live source, see `Writer.latency`.
        nobody: whether no frame has shown a person.
    """

    started: Started
    frames: int
    seconds: float
    busy: dict[str, float]
    outputs: list[Path]
    left: list[Path]
    warnings: list[str]
    error: BaseException | None
    signum: int
    dropped: int | None = None
    latency: tuple[float, float] | None = None
    nobody: bool = False

    @property
    def total(self) -> int | None:
        """Number of frames that there were to come; None if the input does not say."""
        return self.started.total

    @property
    def exit_code(self) -> int:
        """Exit code of the process, one of `engines.errors.exit_codes`."""
        if isinstance(self.error, WsshmError):
            return self.error.exit_code
        if self.error is not None:
            return WsshmError.exit_code
        return 128 + self.signum if self.signum else 0

    @property
    def fps(self) -> float:
        """Frames a second, from the start of the run to its end."""
        return self.frames / self.seconds if self.seconds else 0.0

    @property
    def slowest(self) -> str:
        """The step that worked longest; to decode a live source is mostly to wait for it."""
        steps = [name for name in self.busy if self.dropped is None or name != "decode"]
        return max(steps, key=lambda name: self.busy[name])

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data for JSON; seconds and rates are rounded."""
        return {
            "model": self.started.model,
            "device": self.started.device,
            "precision": self.started.precision,
            "size": self.started.size,
            "frames": self.frames,
            "total": self.total,
            "seconds": round(self.seconds, 3),
            "fps": round(self.fps, 2),
            "slowest": self.slowest,
            "busy": {k: round(v, 3) for k, v in self.busy.items()},
            "dropped": self.dropped,
            "latency_ms": [round(1000 * x, 1) for x in self.latency] if self.latency else None,
            "nobody": self.nobody,
            "outputs": [str(p) for p in self.outputs],
            "left": [str(p) for p in self.left],
            "warnings": self.warnings,
            "error": str(self.error) if self.error else None,
            "exit_code": self.exit_code,
        }
