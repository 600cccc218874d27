"""Do works on the machines of a Ray cluster, or on this one through Ray. Nothing else imports Ray.

A worker is a Ray actor: Ray finds a machine for it, starts it there and says when it is lost. It is
no Ray task because what it does can be told to finish early, and because its network stays open.
"""

from __future__ import annotations

import importlib.metadata
import logging
import math
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from engines.batch import cluster
from engines.batch.cluster import LOCAL, Machine, Needs
from engines.batch.local import once_more
from engines.batch.manifest import NAME
from engines.batch.node import ask
from engines.batch.work import Begins, Ended, Event, Result, Said, Work
from engines.errors import Say, Unavailable, WsshmError, silent
from engines.machine import cores
from engines.video.pipeline import TICK, Stop

try:
    import ray
    from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayError, RayTaskError
    from ray.util import get_node_ip_address
except ModuleNotFoundError as e:
    if e.name != "ray":
        raise
    raise Unavailable("--cluster: Ray is not installed", "run: pip install 'wsshm[cluster]'") from e

MAX_ATTEMPTS = 3  # of a work whose process or machine was lost
MAX_FAILED_STARTS = 3  # of workers, while there is no other
MIN_STARTING = 4  # workers that start at once, or wait for a machine; as many as there are, later
CONNECT_SECONDS = 60.0
WAIT_SECONDS = 60.0  # without any worker until that is said
STORE_BYTES = 100 << 20  # of Ray's shared memory on this machine: it holds a model
ENVIRONMENT = "OPENCV_IO_MAX_IMAGE_PIXELS", "OPENCV_LOG_LEVEL", "ORT_DISABLE_TELEMETRY", "SVT_LOG"


class _Remote:
    """A worker, which runs elsewhere: it is sent as it is here, as wsshm may be missing there."""

    def hello(self, asked: Any, wanted: str, environment: Any, content: Any) -> tuple[str, ...]:
        """Look whether works can be done here.

        Returns:
            Ray's name of the machine, one for messages, and why not; empty if they can.
        """
        context = ray.get_runtime_context()
        name = f"{get_node_ip_address()} ({socket.gethostname()})"
        try:
            found = importlib.metadata.version("wsshm")
        except importlib.metadata.PackageNotFoundError:
            found = "no version"
        if found != wanted:
            refused = f"it has {found} of wsshm, and this machine {wanted}; install the same one"
            return context.get_node_id(), name, refused
        os.environ.update(environment)
        from engines.batch.node import Node

        folder = Path(context.get_temp_dir(), context.get_session_name())
        self.node = Node(name, ray.cloudpickle.loads(asked), content, folder)
        return context.get_node_id(), name, self.node.refused

    def events(self, work: Any) -> Iterator[Any]:
        """Do a work and yield what happens."""
        yield from self.node.events(work)

    @ray.method(concurrency_group="control")  # type: ignore
    def stop(self, signum: int) -> None:
        """Let the work that is being done finish early."""
        self.node.stop(signum)


class _Worker:
    """A process on some machine of the cluster, and the work that it has at the moment."""

    def __init__(self, actor: Any, given: tuple[Any, ...]):
        self._actor = actor
        self.coming: Any = actor.hello.remote(*given)  # what Ray is asked to wait for; or None
        self.node, self.name = "", ""  # of its machine, once it has said that it can do works
        self.work: Work | None = None
        self.attempt = 0

    @property
    def is_ready(self) -> bool:
        return bool(self.node)

    def give(self, work: Work, attempt: int) -> None:
        self.work, self.attempt = work, attempt
        self.coming = self._actor.events.options(num_returns="streaming").remote(work)

    def greet(self) -> str:
        """Return why it cannot do works; empty if it can, and is ready.

        Raises:
            RayError: it is lost.
        """
        self.node, self.name, refused = ray.get(self.coming)
        self.coming = None
        return refused

    def receive(self) -> Event | None:
        """Return what has happened; None after the last of a work.

        Raises:
            RayError: it is lost.
        """
        try:
            return ray.get(next(self.coming))
        except StopIteration:
            self.coming = None
            return None

    def stop(self, signum: int) -> None:
        if self.work:
            self._actor.stop.remote(signum)

    def end(self) -> None:
        """End its process, if it still has one: a machine out of reach may come back."""
        with suppress(Exception):
            ray.kill(self._actor)


def run_ray(
    works: Sequence[Work],
    stop: Stop,
    address: str,
    folder: Path,
    jobs: int | None = None,
    say: Say = silent,
) -> Iterator[Event]:
    """Do works in their order on a cluster, as many at once as it has room for, and yield events.

    A work begins when the iteration goes on after its `Begins`. One whose process or machine is
    lost is done again after all others. A result that ends the batch, and a stop, let the works
    that are being done finish early; the others are left out. Machines that cannot do them are
    named and left out.

    Args:
        address: of the cluster, ``auto`` for the one that this machine belongs to, or ``local`` for
            one on this machine alone, which ends with the works. See `cluster.check`.
        folder: of the outputs and their manifest.
        jobs: the most works at once; as many as there is room for if None.
        say: told what becomes of machines.

    Raises:
        Unavailable: there is no such cluster, or no machine of it can do the works.
    """
    most = min(jobs or len(works), len(works))
    with _connected(address, stop):
        if stop.requested:
            return
        needs = cluster.needs_of(
            works[0].config.device, most if jobs and address == LOCAL else None, _nodes()
        )
        if address != LOCAL:
            say(cluster.described(address, needs, _nodes()))
        given = _given(works, folder, needs, min(most, cluster.room(needs, _nodes())))
        yield from _run(_Pool(needs, given, most, say), works, stop)


class _Pool:
    """The workers of a batch, those that start or wait for a machine among them.

    Args:
        needs: what one takes of a machine, see `needs_of`.
        given: what each is told at first, see `_given`.
        most: of them.
    """

    def __init__(self, needs: Needs, given: tuple[Any, ...], most: int, say: Say):
        # By value, so that a machine without wsshm can say so.
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        self._remote = ray.remote(concurrency_groups={"control": 1})(_Remote)
        self._needs, self._given, self._most, self._say = needs, given, most, say
        self._refusals: dict[str, str] = {}  # by Ray's name of the machine
        self._failed_starts, self._alone_since = 0, time.monotonic()
        self.workers: list[_Worker] = []

    @property
    def ready(self) -> list[_Worker]:
        """Those that can do works."""
        return [w for w in self.workers if w.is_ready]

    @property
    def working(self) -> list[_Worker]:
        """Those that have a work."""
        return [w for w in self.workers if w.work is not None]

    def fit(self, waiting: int) -> None:
        """Have as many workers as so many waiting works need, and leave the room to others.

        Raises:
            Unavailable: no machine can do works.
        """
        if not waiting:
            for worker in [w for w in self.workers if w.work is None]:
                self.remove(worker)
        ready = len(self.ready)
        room = max(MIN_STARTING, ready) - (len(self.workers) - ready)
        missing = min(self._most, waiting + len(self.working)) - len(self.workers)
        label = {"ray.io/node-id": f"!in({','.join(self._refusals)})"} if self._refusals else None
        for _ in range(min(room, missing)):
            actor = self._remote.options(**self._needs, label_selector=label).remote()
            self.workers.append(_Worker(actor, self._given))
        if ready:
            self._alone_since = time.monotonic()
        elif self._refusals and not any(self._may_use(n) for n in _nodes()):
            raise Unavailable("no machine of the cluster can do the work", "see the lines above")
        elif time.monotonic() > self._alone_since + WAIT_SECONDS:
            self._alone_since = math.inf
            self._say("the cluster has no room for a work yet; waiting for it")

    def _may_use(self, node: Machine) -> bool:
        return cluster.fits(node, self._needs) and node["NodeID"] not in self._refusals

    def remove(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.end()

    def news(self) -> list[_Worker]:
        """Wait a little, and return the workers of which something has come."""
        by_ref = {w.coming: w for w in self.workers if w.coming is not None}
        if not by_ref:
            time.sleep(TICK)
            return []
        ready, _ = ray.wait(list(by_ref), num_returns=1, timeout=TICK)
        if ready and len(by_ref) > 1:
            ready, _ = ray.wait(list(by_ref), num_returns=len(by_ref), timeout=0)
        return [by_ref[ref] for ref in ready]

    def meet(self, worker: _Worker) -> None:
        """Take a worker that has started, or leave its machine out.

        Raises:
            Unavailable: workers end as they start.
        """
        try:
            refused = worker.greet()
        except RayError as e:
            self.remove(worker)
            # Ray may choose a machine that it does not know to be lost yet, for several at once.
            self._failed_starts += "node has died" not in f"{e}"
            if self._failed_starts >= MAX_FAILED_STARTS and not self.ready:
                how = f"{e}".strip().splitlines()[-1]
                raise Unavailable(
                    f"the processes that do the work end as they start ({how})",
                    "Ray's logs on that machine say why: /tmp/ray/session_latest/logs",
                ) from e
            return
        self._failed_starts = 0
        if not refused:
            return
        self.remove(worker)
        if worker.node not in self._refusals:
            self._refusals[worker.node] = refused
            self._say(f"{worker.name} is left out: {refused}")


def _run(pool: _Pool, works: Sequence[Work], stop: Stop) -> Iterator[Event]:
    """Do works with the workers of a pool; see `run_ray`."""
    waiting = deque((work, 1) for work in works)  # with the attempt that is next
    is_stopping = False
    while (waiting and not is_stopping) or pool.working:
        if stop.requested and not is_stopping:
            is_stopping = True
            for worker in pool.working:
                worker.stop(stop.signum)
        pool.fit(0 if is_stopping else len(waiting))
        for worker in pool.ready:
            if worker.work is None and waiting and not stop.requested:
                following, attempt = waiting.popleft()
                yield Begins(following, attempt)
                if not stop.requested:
                    worker.give(following, attempt)
        for worker in pool.news():
            if not worker.is_ready:
                pool.meet(worker)
                continue
            work = worker.work
            message: Event | None
            try:
                message = worker.receive()
            except RayTaskError as e:
                assert work is not None, "it has ended with another fault already"
                text = f"{work.name}: this is a fault of wsshm itself ({type(e.cause).__name__})"
                message = Ended(work, Result(WsshmError.exit_code, text, traceback=f"{e}"))
            except RayError as e:
                how = _how(e, worker)
                pool.remove(worker)
                if work is None:
                    continue
                if is_stopping:
                    message = Ended(
                        work, Result(128 + stop.signum if stop.signum else 0, stopped=True)
                    )
                elif worker.attempt < MAX_ATTEMPTS:
                    message = Said(work, f"{how}; it is done once more")
                    waiting.append((once_more(work), worker.attempt + 1))
                else:
                    message = Ended(work, cluster.lost_too_often(work, MAX_ATTEMPTS, how))
            if isinstance(message, Ended):
                message, worker.work = cluster.if_seen(message, worker.name), None
                if message.result.ends_batch:
                    stop.requested = True
            if message is not None:
                yield message


def _how(error: RayError, worker: _Worker) -> str:
    """Return how a worker was lost, in words."""
    alive = {n["NodeID"] for n in _nodes()}
    if worker.node not in alive or isinstance(error, ActorUnavailableError):
        return f"{worker.name} was lost"
    if isinstance(error, OutOfMemoryError) or "memory usage threshold" in f"{error}":
        return f"{worker.name} ran out of memory"
    return f"its process on {worker.name} was ended"


def _given(works: Sequence[Work], folder: Path, needs: Needs, most: int) -> tuple[Any, ...]:
    """Return what every worker is given; the model lies in Ray's store, once on a machine."""
    asked, file = ask(works, folder / NAME, int(needs["num_cpus"]), most)
    content = None if file is None else np.fromfile(file, np.uint8)
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    return ray.cloudpickle.dumps(asked), asked.version, environment, ray.put(content)


def _nodes() -> list[Machine]:
    return [n for n in ray.nodes() if n["Alive"]]


@contextmanager
def _connected(address: str, stop: Stop) -> Iterator[None]:
    """Connect this process to a cluster, or to a new one for ``local``, which then ends with it.

    Raises:
        Unavailable: there is none, or it runs other versions of Ray or Python.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    options: dict[str, Any] = {"address": address}
    with ExitStack() as held:
        if address == LOCAL:
            short = Path("/tmp")  # noqa: S108 (sockets have short names)
            base = short if short.is_dir() else Path(tempfile.gettempdir())
            temporary = str(held.enter_context(cluster.temporary_folder(base)))
            options |= {"num_cpus": cores(), "object_store_memory": STORE_BYTES}
            options |= {"include_dashboard": False, "_temp_dir": temporary}
        failures: list[Exception] = []
        connected, over = threading.Event(), threading.Event()

        def connect() -> None:
            if hasattr(signal, "pthread_sigmask"):  # a closed terminal ends Ray's processes else
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
            try:
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
            except Exception as e:
                failures.append(e)
            connected.set()
            over.wait()  # Linux ends the processes that a thread has started with that thread

        held.callback(over.set)
        held.callback(ray.shutdown, wait_for_processes=True)
        # Not in the main thread: there Ray would take SIGTERM over, and nobody could stop waiting.
        thread = threading.Thread(target=connect, name="ray connect", daemon=True)
        thread.start()
        until = time.monotonic() + CONNECT_SECONDS
        while not connected.wait(TICK) and time.monotonic() < until:
            if stop.requested and address != LOCAL:
                break
        if not connected.is_set():
            held.pop_all()
            if not stop.requested:
                raise Unavailable(
                    f"--cluster {address}: no Ray cluster has answered in {CONNECT_SECONDS:.0f} s",
                    "look at it with: ray status",
                )
        if failures:
            raise cluster.unconnected(address, failures[0]) from failures[0]
        # Else Ray prints to stdout, where JSON or a video may go, what it thinks of lost machines.
        ray._private.worker._worker_logs_enabled = False
        yield
