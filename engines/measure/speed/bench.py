"""How fast networks are alone, each in a process of its own, measured in turn.

Core-ms are milliseconds of one core's work, all threads of a process together: on a busy machine
they stay what they are while times grow.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import platform
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from engines.contract import KEY, ModelSpec
from engines.engine import open_engine
from engines.errors import BadData, Unavailable, WsshmError
from engines.machine import cores, cpu
from engines.measure.estimators.peers import peer
from engines.measure.speed.cost import Cost, count
from engines.onnx_engine import first_line, open_session
from engines.preprocess import fit

WARM_UP = 2  # runs: the first allocates

# Frames a second of the paper's networks at 512×512, one at a time, on a Tesla V100 and on a
# Xeon Gold 5120.
PAPER = {"r101": (58.3, 5.0), "r18": (222.2, 18.7), "r18x0.5": (328.9, 43.7)}


@dataclass(frozen=True)
class Network:
    """A model file, and what it is given: the shape of each input, the image's first.

    `size` is the shorter edge of the image in pixels; None for a peer's, which is fixed.
    """

    name: str
    file: Path
    precision: str | None
    size: int | None
    shapes: dict[str, tuple[int, ...]]
    cost: Cost | None

    @property
    def is_ours(self) -> bool:
        return self.size is not None

    @property
    def batch(self) -> int:
        return next(iter(self.shapes.values()))[0]


@dataclass(frozen=True)
class Speed:
    """A network alone. Times are of one frame, in ms; a batch counts as so many frames.

    `fps`, `core_ms` and `ratio`, its speed as a multiple of the first network's, are medians over
    rounds. `peak_rss_mb` is None where the system does not say.
    """

    name: str
    frames: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    fps: float
    core_ms: float
    ratio: float
    peak_rss_mb: float | None


@dataclass(frozen=True)
class Round:
    """What one process measured in one go; `calls` are seconds of each run."""

    calls: list[float]
    core_seconds: float
    peak_rss_mb: float | None


def describe(
    name: str, file: Path, frame: tuple[int, int], size: int | None = None, batch: int = 1
) -> Network:
    """Look into a model file of ours or of a known peer, and count what it takes.

    Args:
        name: what ours is called in results; a peer has its own.
        frame: width and height of the images, in pixels.
        size: shorter edge that ours sees; its own when None.
        batch: images that ours sees at once; peers see one.

    Raises:
        CannotOpen, BadData: it cannot be loaded or run, or is neither.
    """
    session = open_session(file)
    metadata = session.get_modelmeta().custom_metadata_map
    shapes = {n.name: tuple(n.shape) for n in session.get_inputs()}
    if KEY in metadata:
        spec = ModelSpec.from_metadata(metadata, file)
        f = fit(*frame, size or spec.size, spec.stride)
        shape = (batch, f.padded_height, f.padded_width, 3)
        found = Network(name, file, spec.precision, size or spec.size, {spec.input: shape}, None)
    else:
        found = Network(peer(session, file).name, file, None, None, shapes, None)
    return replace(found, cost=count(file, inputs(found)))


def inputs(network: Network) -> dict[str, NDArray[Any]]:
    """Noise for the image, 0 for what a network remembers."""
    rng = np.random.default_rng(0)
    image, *states = network.shapes.items()
    if network.is_ours:
        return {image[0]: rng.integers(0, 256, image[1], np.uint8)}
    given = {image[0]: rng.random(image[1], np.float32)}
    return given | {name: np.zeros(shape, np.float32) for name, shape in states}


def _opened(network: Network, threads: int | None) -> Callable[[], object]:
    """What runs the network once."""
    given = inputs(network)
    if network.is_ours:
        engine = open_engine(network.file, threads=threads)
        (frames,) = given.values()
        return lambda: engine(frames)
    session = open_session(network.file, threads)

    def run() -> object:
        try:
            return session.run(None, given)
        except Exception as e:  # onnxruntime's own classes share no base but Exception
            raise BadData(f"{network.file}: the model failed ({first_line(e)})") from e

    return run


def measure(
    networks: list[Network],
    threads: int | None = None,
    seconds: float = 3.0,
    rounds: int = 3,
    on_step: Callable[[str], None] = lambda _: None,
) -> list[Speed]:
    """Every network alone, in turn, round by round; warming up is not counted.

    Args:
        threads: of each network; all cores when None.
        seconds: that each is run in each round, and at least once.
        on_step: called with the name of a network after each of its rounds.

    Raises:
        WsshmError: what a process met with.
    """
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Worker(_measuring, n, threads)) for n in networks]
        found: list[list[Round]] = [[] for _ in networks]
        for _ in range(rounds):
            for network, worker, own in zip(networks, workers, found, strict=True):
                own.append(worker(seconds))
                on_step(network.name)
    first = _fps(networks[0], found[0])
    return [speed_of(n, own, first) for n, own in zip(networks, found, strict=True)]


def _measuring(network: Network, threads: int | None) -> Callable[[float], Round]:
    run = _opened(network, threads)
    for _ in range(WARM_UP):
        run()

    def measured(seconds: float) -> Round:
        calls: list[float] = []
        cores, began = time.process_time(), time.perf_counter()
        while not calls or time.perf_counter() - began < seconds:
            start = time.perf_counter()
            run()
            calls.append(time.perf_counter() - start)
        return Round(calls, time.process_time() - cores, peak_rss_mb())

    return measured


def speed_of(network: Network, rounds: list[Round], first: list[float]) -> Speed:
    """Rounds of a network put together; `first` are the first network's frames a second in each."""
    calls = [c / network.batch for r in rounds for c in r.calls]
    fps = _fps(network, rounds)
    return Speed(
        network.name,
        len(calls) * network.batch,
        *percentiles(calls),
        fps=median(fps),
        core_ms=median(1000 * r.core_seconds / len(r.calls) / network.batch for r in rounds),
        ratio=median(own / other for own, other in zip(fps, first, strict=True)),
        peak_rss_mb=rounds[-1].peak_rss_mb,
    )


def _fps(network: Network, rounds: list[Round]) -> list[float]:
    return [network.batch * len(r.calls) / sum(r.calls) for r in rounds]


def percentiles(seconds: list[float]) -> tuple[float, float, float]:
    """The 50th, 95th and 99th of some times, in ms."""
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99]) * 1000
    return float(p50), float(p95), float(p99)


class Worker:
    """A process of its own that measures when it is called. Use as a context manager.

    Args:
        make: a function of a module, called with `args` in the process; what it returns is what
            calls run there. What it takes, returns and raises can be pickled.

    Raises:
        WsshmError: what `make` met with; calls raise what theirs did.
        Unavailable: the process was killed.
    """

    def __init__(self, make: Callable[..., Callable[..., Any]], *args: object):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, args), daemon=True)
        with _signals_held():
            self._process.start()
        theirs.close()
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def __call__(self, *args: object) -> Any:
        self._pipe.send(args)
        return self._answer()

    def _answer(self) -> Any:
        try:
            answer = self._pipe.recv()
        except EOFError as e:
            self._process.join()
            raise Unavailable(
                f"the process that measured ended with code {self._process.exitcode}; "
                "is there enough memory? Try a smaller --size or fewer models"
            ) from e
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """End the process, whatever it does; safe to call twice."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Handle SIGINT and SIGTERM after the block instead of inside it.

    A process that is left half started would say so in a traceback. What starts inside keeps
    SIGINT blocked: a terminal sends Ctrl-C to everyone, also to those who cannot ignore it yet.
    """
    arrived: list[int] = []
    handlers: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for signum in (signal.SIGINT, signal.SIGTERM):
            if callable(handler := signal.getsignal(signum)):
                handlers[signum] = handler
                signal.signal(signum, lambda signum, _: arrived.append(signum))
    masks = hasattr(signal, "pthread_sigmask")
    if masks:
        resource_tracker.ensure_running()  # started inside, it would unblock them
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        for number in arrived:
            signal.raise_signal(number)


def _serve(
    pipe: Connection, make: Callable[..., Callable[..., Any]], args: tuple[Any, ...]
) -> None:
    """Answer until the other end is closed, or with the first error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this one ends it
    work, error = _tried(make, args)
    try:
        pipe.send(error)
        while error is None:
            answer, error = _tried(work, pipe.recv())
            pipe.send(answer if error is None else error)
    except (EOFError, ConnectionError):
        return  # nobody waits for an answer


def _tried(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, Exception | None]:
    """What it returns, and what it raises as it can be sent."""
    try:
        return function(*args), None
    except WsshmError as e:
        return None, e
    except Exception:
        return None, RuntimeError(traceback.format_exc())


def peak_rss_mb() -> float | None:
    """The most memory this process has held, in MB of 10⁶ bytes."""
    try:
        # Not ru_maxrss: in a new process that begins with the memory of whoever started it.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def machine() -> dict[str, Any]:
    """CPU, cores, versions, and as `load` how many threads wanted to run, in the last minute."""
    import av
    import cv2
    import onnxruntime

    return {
        "cpu": cpu(),
        "cores": cores(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "platform": platform.platform(),
        "versions": {
            "python": platform.python_version(),
            "onnxruntime": onnxruntime.__version__,
            "av": av.__version__,
            "opencv": cv2.__version__,
        },
    }
