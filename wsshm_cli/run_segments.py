"""`wsshm run --segments`: one clip by segments → one bar, its film, and an exit code."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.errors import BadData, WsshmError
from engines.video.config import RunConfig
from wsshm_cli import __version__, report

if TYPE_CHECKING:
    from engines.batch.run import Executor
    from engines.batch.segments import Film, SegmentedClip
    from engines.batch.work import Result
    from engines.video.pipeline import Stop


def run(
    config: RunConfig,
    seconds: Fraction,
    execute_in: Callable[[Path], Executor],
    stop: Stop,
    as_json: bool,
) -> int:
    """Run what `config` asks for by segments of so many seconds; return the exit code.

    Args:
        execute_in: gives what does works whose outputs go into a folder.

    Raises:
        WsshmError: nothing was begun.
    """
    from engines.batch.segments import SegmentedClip

    shown = _Lines(config)
    with SegmentedClip(config, seconds, __version__, shown.warn) as clip:
        try:
            if not clip.is_joined:
                with report.bar(" frames") as show:
                    shown.begin(clip, show)
                    for event in clip.run(execute_in(clip.plan.folder), stop):
                        shown.take(event)
                if clip.is_complete and not stop.requested:
                    shown.film = clip.join(stop)
            else:
                clip.remove()
                report.line(f"{config.input}: was finished by an earlier call")
        except WsshmError as e:
            if shown.code != e.exit_code:  # such as a full disk: the manifest is on it too
                shown.fail(str(e), e.exit_code)
        code = shown.end(clip, stop)
    if as_json:
        with suppress(BrokenPipeError):
            report.as_json(shown.to_dict(clip, code))
    return code


class _Lines:
    """What the run of a clip's segments says, and all that it did, for JSON."""

    def __init__(self, config: RunConfig):
        self.film: Film | None = None
        self._input = config.input
        self._began = time.perf_counter()
        self._errors: list[str] = []
        self.code = 0
        self._warnings: list[str] = []
        self._network: dict[str, Any] = {}
        self._written = 0  # frames by this call
        self._counted: dict[Path, int] = {}  # frames, by segment that is being done
        self._nobody = True
        self._show: report.Show = lambda *_: None

    def warn(self, text: str) -> None:
        """Say a warning, once."""
        if text not in self._warnings:
            self._warnings.append(text)
            report.warning(text)

    def fail(self, text: str, code: int) -> None:
        """Say an error, once."""
        if text not in self._errors:
            self._errors.append(text)
            report.error(text)
        self.code = max(self.code, code)

    def begin(self, clip: SegmentedClip, show: report.Show) -> None:
        """Say what there is to do."""
        plan = clip.plan
        n, finished = len(plan.order), len(plan.finished)
        segments = "1 segment" if n == 1 else f"{n} segments"
        earlier = f", {finished} of them finished by an earlier call" if finished else ""
        report.line(f"{self._input}: {segments}{earlier}")
        self._nobody = not finished
        self._show, self._total = show, clip.source.total
        self._earlier = clip.frames_of([work for work, _ in (*plan.finished, *plan.unusable)])
        for work, record in plan.unusable:
            if not clip.has(work):
                self.fail(f"{record.error} (as before)", record.exit_code)

    def take(self, event: Any) -> None:
        """Show what happens."""
        from engines.batch.work import Begins, Ended, Opened, Progress, Said

        key = event.work.outputs[0]
        if isinstance(event, Begins):
            self._counted[key] = 0
        elif isinstance(event, Opened) and not self._network:
            s = event.started
            self._network = {
                "model": s.model,
                "device": s.device,
                "precision": s.precision,
                "size": s.size,
            }
            report.line(
                f"{s.model} · {s.engine} · {s.device} · {s.precision} · "
                f"{s.format.width}x{s.format.height} seen at {s.fit.width}x{s.fit.height}"
            )
        elif isinstance(event, Progress):
            self._counted[key] = event.frames
        elif isinstance(event, Said):
            report.line(f"segment {key.stem}: {event.text}")
        elif isinstance(event, Ended):
            self._end_of(key, event.result)
        done = self._earlier + self._written + sum(self._counted.values())
        self._show(done, self._total, "")

    def _end_of(self, key: Path, result: Result) -> None:
        summary = result.summary or {}
        self._counted.pop(key, None)
        self._written += summary.get("frames", 0)
        self._nobody &= bool(summary.get("nobody"))
        for text in summary.get("warnings", []):
            self.warn(text)
        if result.error:
            if result.traceback:
                report.line(result.traceback.rstrip())
            self.fail(result.error, result.exit_code)

    def end(self, clip: SegmentedClip, stop: Stop) -> int:
        """Say how it went; return the exit code."""
        seconds, film = time.perf_counter() - self._began, self.film
        if film is not None:
            for text in film.warnings:
                self.warn(text)
            if film.fault:
                self.fail(film.fault, BadData.exit_code)
            if self._nobody:
                self.warn(f"no person was found in any of {film.frames} frames")
            for path in film.left:
                self.warn(f"{path}: holds what was finished; the earlier file was not replaced")
            outputs = ", ".join(map(str, film.outputs)) or "nothing"
            fps = self._written / seconds
            report.line(f"{film.frames} frames in {seconds:.1f} s, {fps:.1f} FPS → {outputs}")
            return self.code
        if stop.signum:
            report.line(f"stopped by {signal.Signals(stop.signum).name}")
        if clip.is_joined:
            return 0
        left = clip.left
        report.line(
            f"{len(clip.plan.order) - left} of {len(clip.plan.order)} segments are done; "
            "the same command goes on from here"
        )
        return 128 + stop.signum if stop.signum else self.code

    def to_dict(self, clip: SegmentedClip, code: int) -> dict[str, Any]:
        """Return the result as plain data for JSON."""
        seconds = time.perf_counter() - self._began
        film = self.film
        return {
            **self._network,
            "frames": film.frames if film else 0,
            "seconds": round(seconds, 3),
            "fps": round(self._written / seconds, 2),
            "segments": len(clip.plan.order),
            "segments_left": 0 if film or clip.is_joined else clip.left,
            "outputs": [str(path) for path in film.outputs] if film else [],
            "left": [str(path) for path in film.left] if film else [],
            "warnings": self._warnings,
            "error": self._errors[0] if self._errors else None,
            "exit_code": code,
        }
