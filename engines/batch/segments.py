"""One long clip by segments: cut it, do those that are left, join them, and remove them.

Segments are works whose outputs go into a hidden folder beside the clip's own output, with a
manifest, so that a later call goes on with those that are missing. Nothing has the final name
before it is whole.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from engines import images
from engines.batch.manifest import NAME, Manifest, Record, State, identity
from engines.batch.plan import Plan, judge, options_of
from engines.batch.run import Batch, Executor
from engines.batch.split import lead_in_frames, split
from engines.batch.work import Ended, Event, Opened, Work
from engines.errors import BadData, CannotOpen, Say, UsageError, WsshmError, reading, silent
from engines.files import destination, parts_left
from engines.video.compose.moving import VideoBackground
from engines.video.compose.open import open_background
from engines.video.config import RunConfig, Segment
from engines.video.matte.network import open_network
from engines.video.pipeline import Stop
from engines.video.read.packets import PacketSource
from engines.video.write.codecs import CONTAINERS
from engines.video.write.open import Target, check_free, name_targets, open_outputs, targets
from engines.video.write.pipe import is_pipe
from engines.video.write.video import VideoSink

ALONE = "leave --segments out"
MIN_SECONDS = 1  # of a segment: about as long is what leads in to it
FILM = "film"  # its name among the records of the segments
STEP = Fraction(1)  # seconds of video that are joined at once


@dataclass(frozen=True)
class Film:
    """What was made of the segments.

    Attributes:
        frames: how many it has.
        outputs: its files.
        left: unfinished files that could not take their final names.
        warnings: what the outputs could not hold.
        fault: why the clip ended early; empty if it did not.
    """

    frames: int
    outputs: list[Path]
    left: list[Path]
    warnings: list[str]
    fault: str


class SegmentedClip:
    """A clip that is written by segments. Use it as a context manager.

    Args:
        config: the request, of one video file.
        seconds: that a segment lasts, about.
        version: of wsshm.
        warn: told what is known before the first frame.

    Attributes:
        plan: its segments, and which of them there is to do; see `Plan`.
        source: the clip.
        is_joined: whether an earlier call has finished it: there is nothing to do.

    Raises:
        UsageError: there is no making the outputs of segments.
        CannotCreate: an output or the folder cannot be made, is there already, or has segments that
            other options made.
        WsshmError: source, background, model or encoder cannot be used.
    """

    plan: Plan

    def __init__(self, config: RunConfig, seconds: Fraction, version: str, warn: Say):
        self._seconds, self._version, self._warn = seconds, version, warn
        self._sinks: list[VideoSink] = []
        self.is_joined = False
        self._held = ExitStack()
        try:
            if seconds < MIN_SECONDS:
                text = f"--segments {float(seconds):g}: must be at least {MIN_SECONDS} s"
                raise UsageError(text)
            _check_request(config)
            assert isinstance(config.input, Path)
            self._path, self._made_of = config.input, identity(config.input)
            self.source = self._open(config, warn)
            self._held.callback(self.source.close)
            self._config, self._targets = config, targets(config, self.source)
            _check_targets(self._targets, config)
            for target in self._targets:
                check_free(target.path, True)
            first = destination(self._targets[0].path)
            self._folder = first.with_name(f".{first.name}.segments")
            self._batch = self._held.enter_context(Batch(self._make, self._folder, version))
        except BaseException:
            self.close()
            raise
        self.plan = self._batch.plan

    def _open(self, config: RunConfig, warn: Say) -> PacketSource:
        path = self._path
        refusal = UsageError(f"{path}: --segments cuts videos", "leave it out")
        with reading(path):
            if not path.is_file():
                path.open("rb").close()
                raise refusal
            if images.is_animation(path) or images.is_still(path):
                raise refusal
        source = PacketSource(path, config.clip, config.threads, config.bit_depth, warn)
        if not source.is_picture and source.has_times:
            return source
        source.close()
        if source.is_picture:
            raise refusal
        raise UsageError(
            f"{path}: has no times to cut it by", f"first: ffmpeg -i {path} -c copy NAME.mkv"
        )

    def _make(self, manifest: Manifest) -> Plan:
        """Plan what is left, and open the outputs, so that what is wrong with them is known now."""
        config, record = self._config, manifest.records.get(FILM)
        options = options_of(config) | {"segments": str(self._seconds), "version": self._version}
        self._options = options
        if record and record.state == "done":
            if self._is_film(record):
                self.is_joined = True
                return Plan(self._folder, options, [], [], [], [], [])
            manifest.records.clear()
            _remove_files(self._folder)
        elif record and record.state == "begun":  # by a process that was killed as it joined them
            for target in self._targets:
                for part in parts_left(destination(target.path)):
                    part.unlink()
            config = replace(config, overwrite=True)
        for sink in open_outputs(config, self.source, self._warn, Stop()):
            assert isinstance(sink, VideoSink)
            self._sinks.append(sink)
        background = open_background(
            config.background,
            self.source.sample_aspect,
            config.background_fit,
            self._warn,
            config.bit_depth,
            config.background_colour,
        )
        if background is not None:
            background.close()
        if isinstance(background, VideoBackground):
            raise UsageError(f"--segments: --bg {config.background} is a video", ALONE)
        segments = split(self.source, self._seconds, lead_in_frames(config.matte.smooth))
        options |= {"cut SHA-256": hashlib.sha256(repr(segments).encode()).hexdigest()}
        order = [self._work(config, i, segment) for i, segment in enumerate(segments)]
        plan = Plan(self._folder, options, order, [], [], [], [])
        judge(plan, manifest, config.overwrite, "remove it")
        if plan.works:
            engine, _ = open_network(config, self.source.format, self._warn)
            if engine.device == "cpu":  # one for all, however busy the machine is when they begin
                precision = engine.spec.precision
                plan.works[:] = [
                    replace(work, config=replace(work.config, precision=precision))
                    for work in plan.works
                ]
        return plan

    def _work(self, config: RunConfig, i: int, segment: Segment) -> Work:
        output = self._folder / f"{i + 1:05d}{self._targets[0].suffix}"
        its = replace(config, output=output, output_is_folder=False, overwrite=False)
        its = replace(its, segment=segment)
        return Work(its, tuple(t.path for t in name_targets(its, self._path, False, True)))

    def _is_film(self, record: Record) -> bool:
        """Return whether the film that an earlier call made is the one asked for, and is there."""
        is_same = record.options == self._options and record.made_of == self._made_of
        return is_same and record.outputs == self._sizes()

    def _sizes(self) -> dict[str, int]:
        """Return the size in bytes of each output that is there."""
        found = {str(t.path): identity(destination(t.path)) for t in self._targets}
        return {name: there.size for name, there in found.items() if there}

    def run(self, execute: Executor, stop: Stop) -> Iterator[Event]:
        """Do the segments that are left, and yield what happens.

        Args:
            execute: does works and yields what happens; see `run_local`.
            stop: set to let what is being done finish early, and begin nothing more.

        Raises:
            CannotCreate, WriteFailed: the manifest cannot be written.
            BadData: the clip changes, or its frames do.
        """
        error: WsshmError | None = None
        for event in self._batch.run(execute, stop):
            if isinstance(event, Opened) and event.started.format != self.source.format:
                text = f"{self._path}: its frames change on the way and cannot be joined"
                error = BadData(text, ALONE)
            elif isinstance(event, Ended) and identity(self._path) != self._made_of:
                error = self._changed()
            if error:
                stop.requested = True
            yield event
        if error:
            raise error

    def _changed(self) -> WsshmError:
        return CannotOpen(f"{self._path}: has changed since it was cut", "run again")

    def has(self, work: Work) -> bool:
        """Return whether there are all frames of a segment that there can be."""
        record = self._batch.manifest.records.get(self.plan.key(work))
        if record is None or record.state == "done":
            return record is not None
        is_last = work.outputs == self.plan.order[-1].outputs
        return is_last and record.state == "unusable" and len(record.outputs) == len(work.outputs)

    @property
    def left(self) -> int:
        """Number of segments that are not there."""
        return sum(not self.has(work) for work in self.plan.order)

    def frames_of(self, works: Iterable[Work]) -> int:
        """Return about how many frames some of the segments have."""
        rate, total = self.source.rate, self.source.total
        if not rate or total is None:
            return 0
        begin, seconds = self.source.moment(0), Fraction(0)
        for work in works:
            part = work.config.segment or Segment()
            seconds += (part.end or begin + total / rate) - (part.begin or begin)
        return round(seconds * rate)

    @property
    def is_complete(self) -> bool:
        """Whether all segments are there; the last one may end early, as the clip does."""
        return all(map(self.has, self.plan.order))

    def join(self, stop: Stop) -> Film | None:
        """Join the segments, with all else that the clip has, and remove them.

        Returns:
            The film; None if it was stopped, so that a later call joins them.

        Raises:
            WsshmError: they cannot be joined, or the film cannot be written. They are kept.
        """
        if identity(self._path) != self._made_of:
            raise self._changed()
        self._record("begun")
        with self._open(self._config, silent) as source:
            if not self._copy(source, stop):
                return None
        last = self._batch.manifest.records[self.plan.key(self.plan.order[-1])]
        for sink in self._sinks:
            sink.close(whole=not last.error)
        self._record("done")
        film = Film(
            min(sink.frames for sink in self._sinks),
            [s.path for s in self._sinks if s.left_at is None],
            [s.left_at for s in self._sinks if s.left_at is not None],
            [text for sink in self._sinks for text in sink.warnings],
            last.error,
        )
        self.remove()
        return film

    def _copy(self, source: PacketSource, stop: Stop) -> bool:
        """Write the video of the segments and the other streams, in the order of their times.

        Returns:
            Whether all is written; it is not if it was stopped.
        """
        for i, sink in enumerate(self._sinks):
            sink.begin_joined([work.outputs[i] for work in self.plan.order])
        time = Fraction(0)
        for packet in source.packets():
            if stop.requested:
                return False
            if packet.stream.type != "video":
                time = Fraction((packet.dts or 0) * packet.time_base)
                for sink in self._sinks:
                    sink.write_joined(time)
                    sink.packet(packet)
        while any([sink.write_joined(time) for sink in self._sinks]):
            if stop.requested:
                return False
            time += STEP
        return True

    def _record(self, state: State) -> None:
        record = Record(
            state, str(self._path), self._made_of, self._options, self._version, self._sizes()
        )
        self._batch.manifest.open()
        self._batch.manifest.add(FILM, record)

    def remove(self) -> None:
        """Remove the segments, once the film is there."""
        _remove_files(self._folder)
        self._batch.manifest.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """Close all; unfinished outputs are removed, segments stay."""
        for sink in self._sinks:
            sink.discard()
        self._held.close()

    def __enter__(self) -> SegmentedClip:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _remove_files(folder: Path) -> None:
    """Remove all files of a folder but its manifest."""
    for path in folder.iterdir():
        if path.name != NAME:
            with suppress(OSError):
                path.unlink()


def _check_request(config: RunConfig) -> None:
    refused = {
        "--realtime": config.realtime,
        "--size auto": config.auto_size,
        "--fps": config.fps is not None,
        "--reconnect": config.reconnect,
        "--virtual-cam": config.virtual_camera,
        "--preview": config.preview,
        f"-o {config.output}": config.output is not None and is_pipe(config.output),
        str(config.input): not isinstance(config.input, Path),
    }
    for what, given in refused.items():
        if given:
            raise UsageError(f"{what}: does not go with --segments", "leave one of them out")


def _check_targets(found: Sequence[Target], config: RunConfig) -> None:
    """Check that segments of the outputs can be made and joined."""
    for target in found:
        if target.suffix not in CONTAINERS or CONTAINERS[target.suffix].is_raw:
            kinds = " ".join(k for k in CONTAINERS if not CONTAINERS[k].is_raw)
            raise UsageError(
                f"{target.path}: --segments cannot be joined in such an output", f"use {kinds}"
            )
    if config.output is None and len({target.suffix for target in found}) > 1:
        raise UsageError("--segments: outputs would be of several kinds", "add -o FILE")
