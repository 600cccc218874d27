"""One batch: hold its folder, do what its manifest says is left, and keep the manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from engines.batch.manifest import Identity, Manifest, Record, State, identity
from engines.batch.plan import Plan, relative
from engines.batch.work import Begins, Ended, Event, Result, Work
from engines.errors import BadData, WriteFailed
from engines.files import LockedFolder, destination, parts_left
from engines.video.pipeline import Stop

Executor = Callable[[Sequence[Work], Stop], Iterator[Event]]


class Batch:
    """Works whose outputs go into one folder. Use it as a context manager.

    Args:
        make: plans them by the folder's manifest; see `plan.make`.
        folder: of the outputs; made if it is not there.
        version: of wsshm, for the manifest.

    Attributes:
        manifest: of the folder.
        plan: what there is to do.

    Raises:
        WsshmError: nothing was begun; see `plan.make` and `Manifest`.
        CannotCreate: another process writes into the folder.
    """

    def __init__(self, make: Callable[[Manifest], Plan], folder: Path, version: str):
        self._version = version
        self._made_of: dict[Path, Identity | None] = {}  # inputs as they were when they were begun
        self._folder = LockedFolder(folder)
        try:
            self.manifest = Manifest(folder)
            self.plan = make(self.manifest)
        except BaseException:
            self._folder.release()
            raise

    def run(self, execute: Executor, stop: Stop) -> Iterator[Event]:
        """Do what is left and yield what happens.

        Args:
            execute: does works and yields what happens; see `run_local`.
            stop: set to let what is being done finish early, and begin nothing more.

        Raises:
            CannotCreate, WriteFailed: the manifest cannot be written. What is being done finishes
                early and is kept.
        """
        if not self.plan.works:
            return
        self.manifest.open()
        failure: WriteFailed | None = None
        for event in execute(self.plan.works, stop):
            try:
                if isinstance(event, Begins):
                    self._begin(event)
                elif isinstance(event, Ended):
                    self._note(event.work, event.result)
            except WriteFailed as e:
                failure, stop.requested = failure or e, True
            yield event
        if failure:
            raise failure

    def _begin(self, event: Begins) -> None:
        work = event.work
        self._made_of[work.outputs[0]] = identity(Path(work.name))
        self._add(work, "begun")
        for output in work.outputs:
            with suppress(OSError):  # the work's own run fails too, and says why
                output.parent.mkdir(parents=True, exist_ok=True)
                for part in parts_left(destination(output)) if work.again else ():
                    part.unlink()

    def _note(self, work: Work, result: Result) -> None:
        if result.is_done:
            state: State = "done"
        elif result.stopped and not result.error:
            state = "stopped"
        else:
            state = "unusable" if result.exit_code == BadData.exit_code else "failed"
        self._add(work, state, result)

    def _add(self, work: Work, state: State, result: Result | None = None) -> None:
        result = result or Result()
        earlier = self.manifest.records.get(self.plan.key(work))
        written = {}  # by this work, now or earlier: what else is there is not ours
        for output in work.outputs:
            name = relative(output, self.plan.folder)
            if result.summary and str(output) in result.summary["outputs"]:
                if (found := identity(destination(output))) is not None:
                    written[name] = found.size
            elif earlier and name in earlier.outputs:
                written[name] = earlier.outputs[name]
        record = Record(
            state,
            work.name,
            self._made_of.get(work.outputs[0]),
            self.plan.options,
            self._version,
            written,
            result.error,
            result.exit_code,
        )
        self.manifest.add(self.plan.key(work), record)

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, *_: object) -> None:
        self.manifest.close()
        self._folder.release()
