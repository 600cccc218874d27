"""Do works on a machine of a cluster, after a look at whether it can; Ray is not needed for it."""

from __future__ import annotations

import hashlib
import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from engines import models
from engines.batch.local import with_cores
from engines.batch.work import Ended, Event, Result, Work
from engines.batch.worker import PROGRESS_SECONDS, Engines, do
from engines.errors import CannotCreate, CannotOpen, WsshmError
from engines.files import destination, parts_left, replacing, sha256
from engines.video.compose import kinds
from engines.video.pipeline import Stop

LOCK_SECONDS = 120.0  # until what a lost machine was writing is free: NFS waits 90 for its locks
RETRY_SECONDS = 0.5
REPORTS = 250  # of progress a second, from all works together
SEEN_BY_ALL = "put it in a folder that every machine sees under the same path"
# Of errors with these exit codes the machine is a part of the reason.
_BY_MACHINE = {69, 70, 73, 74}


@dataclass(frozen=True)
class Asked:
    """What a machine must have, as the command's own machine has it.

    Attributes:
        version: of wsshm.
        code: a hash of what runs there, see `code`.
        folder: from which relative paths lead; None if there are none.
        paths: files and folders.
        model: name and SHA-256 of the file that is sent; None if a shipped model is asked for.
        cores: that one work may use.
        pause: seconds between two reports of a work's progress.
    """

    version: str
    code: str
    folder: str | None
    paths: tuple[str, ...]
    model: tuple[str, str] | None
    cores: int
    pause: float


@cache
def code() -> str:
    """Return a hash of the modules that do works: checkouts of one version may differ."""
    folder, found = models.WEIGHTS.parent, hashlib.sha256()
    for path in sorted([*folder.rglob("*.py"), *models.WEIGHTS.glob("*.json")]):
        found.update(path.relative_to(folder).as_posix().encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def ask(
    works: Sequence[Work], manifest: Path, cores: int, most: int = 1
) -> tuple[Asked, Path | None]:
    """Return what a machine must have to do works, and the model's file if it is to be sent.

    Args:
        manifest: in the folder of the outputs, which must be the same one everywhere.
        cores: that one work may use.
        most: works at once, from all of which the command hears.
    """
    config, file = works[0].config, models.find(works[0].config.model)
    is_sent = models.WEIGHTS not in file.parents
    background = [] if kinds.find(config.background) else [config.background]
    of_folders = {os.path.dirname(w.name): w.name for w in works if os.path.exists(w.name)}
    paths = (str(manifest), *background, *of_folders.values())
    is_relative = not all(map(os.path.isabs, paths))
    asked = Asked(
        metadata.version("wsshm"),
        code(),
        os.getcwd() if is_relative else None,
        paths,
        (file.name, sha256(file)) if is_sent else None,
        cores,
        max(PROGRESS_SECONDS, most / REPORTS),
    )
    return asked, file if is_sent else None


class Node:
    """What a process on a machine of a cluster keeps between two works.

    Args:
        name: of the machine, for messages.
        asked: what the machine must have.
        content: of the model's file, if one is sent.
        temporary: a folder of this machine for that.

    Attributes:
        refused: why works cannot be done here; empty if they can.
    """

    def __init__(self, name: str, asked: Asked, content: Any, temporary: Path):
        self._name, self._asked, self._model = name, asked, ""
        self._stop, self._engines = Stop(), Engines()
        try:
            self.refused = self._look(content, temporary)
        except WsshmError as e:
            self.refused = str(e)

    def _look(self, content: Any, temporary: Path) -> str:
        asked = self._asked
        if asked.code != code():
            return f"its wsshm {asked.version} has other code; install the same one everywhere"
        if asked.folder is not None:
            if not os.path.isdir(asked.folder):
                return f"it does not see {asked.folder}; {SEEN_BY_ALL}"
            os.chdir(asked.folder)
        for path in asked.paths:
            if not os.path.exists(path):
                return f"it does not see {path}; {SEEN_BY_ALL}"
        if asked.model is not None:
            self._model = str(_stored(content, *asked.model, temporary))
        return ""

    def stop(self, signum: int) -> None:
        """Let the work that is being done finish early."""
        self._stop.signum, self._stop.requested = signum, True

    def events(self, work: Work) -> Iterator[Event]:
        """Do a work and yield what happens, last that it has ended."""
        here = with_cores(work, self._asked.cores)
        if self._model:
            here = replace(here, config=replace(here.config, model=self._model))
        happened = queue.SimpleQueue[Event]()

        def run() -> None:
            happened.put(Ended(work, self._done(here, happened)))

        thread = threading.Thread(target=run, name="wsshm work")
        thread.start()
        while not isinstance(event := happened.get(), Ended):
            yield replace(event, work=work)
        thread.join()
        yield event

    def _done(self, work: Work, happened: queue.SimpleQueue[Event]) -> Result:
        if not os.path.exists(work.name):
            error = CannotOpen(f"{work.name}: {self._name} does not see it", SEEN_BY_ALL)
            return Result(error.exit_code, str(error), ends_batch=True)
        try:
            if work.again:
                _wait_for_locks(work, self._stop)
        except CannotCreate as e:
            if self._stop.requested:
                return Result(128 + self._stop.signum if self._stop.signum else 0, stopped=True)
            return Result(e.exit_code, f"{e} (on {self._name})")
        result = do(work, self._stop, happened.put, self._engines, self._asked.pause)
        if result.exit_code in _BY_MACHINE and result.error:
            return replace(result, error=f"{result.error} (on {self._name})")
        return result


def _stored(content: Any, name: str, hashed: str, folder: Path) -> Path:
    """Return the model's file, which the first process of a machine writes.

    Raises:
        CannotCreate, WriteFailed: it cannot be written.
    """
    path = folder / "wsshm" / hashed[:16] / name
    if not path.exists() or sha256(path) != hashed:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise CannotCreate(f"{path.parent}: cannot be created ({e.strerror})") from e
        with replacing(path, private=True, durable=False) as file:
            file.write(content)
    return path


def _wait_for_locks(work: Work, stop: Stop) -> None:
    """Wait until nobody writes what a lost process was writing, and remove it.

    Raises:
        CannotCreate: it is still being written after `LOCK_SECONDS`.
    """
    until = time.monotonic() + LOCK_SECONDS
    for output in work.outputs:
        while output.parent.exists():
            try:
                for part in parts_left(destination(output)):
                    part.unlink(missing_ok=True)
                break
            except CannotCreate:
                if time.monotonic() > until or stop.requested:
                    raise
                time.sleep(RETRY_SECONDS)
