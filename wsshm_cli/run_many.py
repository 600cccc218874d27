"""`wsshm run` of several inputs: files → works → a line each, one bar, and the worst exit code."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.batch.inputs import find, fixed_part
from engines.errors import UsageError, WsshmError
from engines.files import listed, some
from engines.video.config import STDOUT, RunConfig, Stream
from wsshm_cli import __version__, report

if TYPE_CHECKING:
    from engines.batch.run import Executor
    from engines.batch.work import Result, Work
    from engines.video.pipeline import Stop
    from engines.video.summary import Started

MAX_SHOWN = 3  # clips whose progress the bar shows


def run(
    config: RunConfig,
    texts: Sequence[str],
    recursive: bool,
    execute_in: Callable[[Path], Executor],
    stop: Stop,
    as_json: bool,
) -> int:
    """Run what `config` asks for on each of several inputs; return the exit code.

    Args:
        execute_in: gives what does works whose outputs go into a folder.

    Raises:
        WsshmError: nothing was begun.
    """
    from engines.batch.plan import make
    from engines.batch.run import Batch

    folder = _folder(config, texts)
    found, notes = find(texts, recursive, folder)
    for note in notes:
        report.warning(note)
    plan = partial(make, config, found, folder)
    with Batch(plan, folder, __version__) as batch:
        shown = _Lines(batch)
        with report.bar(" inputs") as show:
            try:
                for event in batch.run(execute_in(folder), stop):
                    shown.take(event, show)
            except WsshmError as e:
                report.error(str(e))
                shown.error = e
    code = shown.end(stop)
    if as_json:
        with suppress(BrokenPipeError):
            report.as_json(shown.to_dict(code))
    return code


def _folder(config: RunConfig, texts: Sequence[str]) -> Path:
    """Return the folder of the outputs; refuse what several inputs cannot go with."""
    from engines.video.read.stream import parse_input

    for text in texts:
        if isinstance(source := parse_input(text), Stream):
            what = "stdin" if text == "-" else str(source)
            raise UsageError(f"{what}: only files can be several inputs", "run it by itself")
    output = config.output
    refused = {
        "--fps": config.fps is not None,
        "--reconnect": config.reconnect,
        "--virtual-cam": config.virtual_camera,
        "--preview": config.preview,
        "--format": config.encoding.format is not None,
        f"-o {output}": output == STDOUT,
    }
    for option, given in refused.items():
        if given:
            raise UsageError(f"{option}: goes with one input, not several", "leave it out")
    if output is None:
        if len(texts) > 1 or os.path.isfile(texts[0]):
            raise UsageError("several inputs need a folder to go into", "add -o FOLDER/")
        path = Path(texts[0])
        base = path if path.is_dir() else fixed_part(path)
        base = base.resolve() if base.name in ("", "..") else base
        return base.with_name(f"{base.name}_wsshm")
    if output.suffix and not config.output_is_folder and not os.path.isdir(output):
        raise UsageError(f"-o {output}: several inputs need a folder", f"write -o {output.stem}/")
    return output


class _Lines:
    """What a batch says, and all that it did, for JSON."""

    def __init__(self, batch: Any):
        self.error: WsshmError | None = None
        self._began = time.perf_counter()
        self._plan = plan = batch.plan
        self._totals: dict[str, int | None] = {}
        self._frames: dict[str, int] = {}
        self._network = ""
        self._ended = 0
        self._results: dict[Path, tuple[str, Result | None]] = {}
        self._failed: list[str] = []
        self._codes = [0]
        if plan.left_out:
            left_out = listed(plan.left_out)
            report.warning(f"{plan.folder}: left out {left_out}, made by an earlier call")
        others = Counter(r.version for _, r in plan.finished if r.version != __version__)
        for version, n in others.items():
            report.warning(
                f"{plan.folder}: {n} outputs were made by wsshm {version} and are kept; "
                "remove them to have them made again"
            )
        for work, record in plan.unusable:
            report.error(f"{record.error} (as before)")
            self._failed.append(work.name)
            self._codes.append(record.exit_code)

    def take(self, event: Any, show: report.Show) -> None:
        """Show what happens."""
        from engines.batch.work import Begins, Ended, Opened, Progress, Said

        name = event.work.name
        if isinstance(event, Begins):
            self._frames[name], self._totals[name] = 0, None
        elif isinstance(event, Opened):
            self._totals[name] = event.started.total
            self._say_network(event.started)
        elif isinstance(event, Progress):
            self._frames[name] = event.frames
        elif isinstance(event, Said):
            report.line(_about(name, event.text))
        elif isinstance(event, Ended):
            self._frames.pop(name, None)
            self._ended += 1
            self._end_of(event.work, event.result)
        show(self._ended, len(self._plan.works), self._note())

    def _say_network(self, s: Started) -> None:
        """Say which network runs, where it has changed."""
        reason = f" ({s.precision_reason})" if s.precision_reason else ""
        text = f"{s.model} · {s.engine} · {s.device} · {s.precision}"
        if text != self._network:
            report.line(text + reason)
        self._network = text

    def _note(self) -> str:
        parts = []
        for name, frames in self._frames.items():
            total = self._totals.get(name)
            share = f" {min(100, 100 * frames // total)} %" if total else ""
            parts.append(Path(name).name + share)
        return ", ".join(parts[:MAX_SHOWN]) + " …" * (len(parts) > MAX_SHOWN)

    def _end_of(self, work: Work, result: Result) -> None:
        summary = result.summary or {}
        for text in summary.get("warnings", []):
            report.warning(_about(work.name, text))
        for path in summary.get("left", []):
            report.warning(f"{path}: holds what was finished; the earlier file was not replaced")
        frames = summary.get("frames", 0)
        if result.error:
            if result.traceback:
                report.line(result.traceback.rstrip())
            of = f" of {summary['total']}" if summary.get("total") else ""
            written = f" ({frames}{of} frames written)" if result.summary else ""
            report.error(_about(work.name, result.error) + written)
            self._failed.append(work.name)
        else:
            outputs = ", ".join(summary.get("outputs", [])) or "nothing"
            some_frames = "1 frame" if frames == 1 else f"{frames} frames"
            stopped = ", stopped early" if result.stopped else ""
            seconds, fps = summary.get("seconds", 0.0), summary.get("fps", 0.0)
            report.line(
                f"{work.name}: {some_frames} in {seconds:.1f} s, {fps:.1f} FPS{stopped} → {outputs}"
            )
        self._codes.append(result.exit_code)
        state = "failed" if result.error else "stopped" if result.stopped else "done"
        self._results[work.outputs[0]] = state, result

    def end(self, stop: Stop) -> int:
        """Say how it went; return the exit code."""
        states = Counter(state for state, _ in self._results.values())
        left = len(self._plan.works) - states["done"] - states["failed"]
        if stop.signum:
            report.line(f"stopped by {signal.Signals(stop.signum).name}")
        if self._failed:
            report.error(f"{len(self._failed)} of {self._plan.total} failed: {some(self._failed)}")
        counts = {
            "done": states["done"],
            "finished earlier": len(self._plan.finished),
            "failed": len(self._failed),
            "left": left,
        }
        text = ", ".join(f"{n} {what}" for what, n in counts.items() if n)
        seconds = time.perf_counter() - self._began
        more = "; the same command goes on from here" if left else ""
        report.line(f"{text} of {self._plan.total} in {seconds:.1f} s → {self._plan.folder}{more}")
        if stop.signum:
            return 128 + stop.signum
        if self.error:
            self._codes.append(self.error.exit_code)
        return max(self._codes)

    def to_dict(self, code: int) -> dict[str, Any]:
        """Return the whole batch as plain data for JSON, every input in its order."""
        plan = self._plan
        known = [(*pair, "finished") for pair in plan.finished]
        known += [(*pair, "failed") for pair in plan.unusable]
        rows: dict[Path, dict[str, Any]] = {
            work.outputs[0]: {
                "state": state,
                "exit_code": record.exit_code,
                "error": record.error or None,
                "outputs": [str(plan.folder / name) for name in record.outputs],
                "summary": None,
            }
            for work, record, state in known
        }
        for work in plan.works:
            state, result = self._results.get(work.outputs[0], ("left", None))
            summary = result.summary if result else None
            rows[work.outputs[0]] = {
                "state": state,
                "exit_code": result.exit_code if result else None,
                "error": (result.error or None) if result else None,
                "outputs": summary["outputs"] if summary else [],
                "summary": summary,
            }
        return {
            "folder": str(plan.folder),
            "seconds": round(time.perf_counter() - self._began, 3),
            "inputs": [{"input": w.name, **rows[w.outputs[0]]} for w in plan.order],
            "error": str(self.error) if self.error else None,
            "exit_code": code,
        }


def _about(name: str, text: str) -> str:
    """Return a message that names the input, once."""
    return text if name in text else f"{name}: {text}"
