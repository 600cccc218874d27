"""ONNX → a TensorRT plan in our cache, compared with ONNX Runtime before it is put there.

TensorRT 11 builds strongly typed networks only: each tensor has the type that it has in the file.
Version 10 is told to do the same, so that float16 comes from a float16 file and from nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.checks import read_graph
from engines.contract import ModelSpec
from engines.cuda import find_gpu
from engines.datasets.read import read_image
from engines.engine import MattingEngine
from engines.errors import BadData, Unavailable, UsageError
from engines.measure.speed.sample import PORTRAIT
from engines.onnx_engine import OnnxEngine
from engines.tensorrt import plan as tensorrt_plan
from engines.tensorrt.engine import TensorrtEngine, first_line, import_tensorrt, log
from engines.tensorrt.plan import Plan, Profile, load, profile, save

# Greatest |difference| of alpha from ONNX Runtime's on the CPU, which computes in float32. About
# four times what kernels and features in float16 do to trained networks of ours where all of their
# convolutions are in it: 6e-4, 1.5e-2 and 5e-2.
TOLERANCES = {"mean": 2e-3, "p99": 5e-2, "max": 2e-1}
OnProgress = Callable[[str, float], None]


@dataclass(frozen=True)
class Built:
    """A plan that is in the cache, at `path`; not `is_new` if it was there already."""

    plan: Plan
    path: Path
    is_new: bool


def build_plan(
    model: Path,
    device: str = "cuda",
    size: int | None = None,
    on_progress: OnProgress = lambda phase, fraction: None,
) -> Built:
    """Build a model's plan for a GPU of this machine, compare its alpha, and keep it.

    Args:
        model: fp16 or fp32, of ours, the Cast first: TensorRT takes uint8 as an input only.
        size: shorter edge of what it will see, in pixels; the model's own when None.
        on_progress: given TensorRT's name of what it does, and how much of that is done, in [0, 1].

    Raises:
        CannotOpen, BadData: the file; or alpha differs by more than `TOLERANCES`. Nothing is kept.
        UsageError: an int8 file, or another option that does not fit.
        Unavailable: no GPU, or no TensorRT: what is missing, and what mends it.
        CannotCreate, WriteFailed: the cache cannot be written.
    """
    gpu, trt = find_gpu(device), import_tensorrt()
    graph, reference = read_graph(model), OnnxEngine(model)
    spec = reference.spec
    if spec.precision not in ("fp32", "fp16"):
        raise UsageError(f"{model}: is {spec.precision}; export it with --precision fp16 first")
    size = None if size == spec.size else size
    shapes, key = profile(spec, size), tensorrt_plan.key(graph, size, trt.__version__, gpu)
    if (found := load(key)) is not None:
        with suppress(Unavailable):  # one that TensorRT does not take any more is built again
            TensorrtEngine(found, gpu, model)
            return Built(found, key.path, is_new=False)
    gpu.use()
    data = _serialize(trt, graph, spec, shapes, model, on_progress)
    plan = Plan(key, spec, data, parity={})
    on_progress("comparing alpha", 0.0)
    plan = replace(plan, parity=compare(TensorrtEngine(plan, gpu, model), reference, shapes))
    check(plan.parity, model)
    return Built(plan, save(plan), is_new=True)


def _serialize(
    trt: Any, graph: bytes, spec: ModelSpec, shapes: Profile, model: Path, on_progress: OnProgress
) -> bytes:
    said, progress = log(trt), Progress(on_progress)
    builder = trt.Builder(said)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, said)
    if not parser.parse(graph):
        words = said.reason()
        if parser.num_errors:
            fault = parser.get_error(0)
            words = first_line(f"{fault.node_operator()} {fault.node_name()}: {fault.desc()}")
        raise BadData(f"{model}: TensorRT {trt.__version__} cannot read it ({words})")
    config, wanted = builder.create_builder_config(), builder.create_optimization_profile()
    wanted.set_shape(spec.input, *((*s, 3) for s in (shapes.least, shapes.best, shapes.most)))
    if config.add_optimization_profile(wanted) < 0:
        raise BadData(f"{model}: TensorRT refuses the shapes {shapes}")
    config.progress_monitor = monitor = _monitor(trt, progress)  # has to outlive the build
    data = builder.build_serialized_network(network, config)
    del monitor
    if progress.error is not None:
        raise progress.error
    if data is None:
        raise BadData(f"{model}: TensorRT {trt.__version__} cannot build it ({said.reason()})")
    return bytes(data)


class Progress:
    """How much of a build is done: TensorRT tells of phases within phases, each of so many steps.

    It may tell from several threads. `error` is what `on_progress` raised, an interruption for
    one: nothing may be raised into TensorRT, so that the build is cancelled instead.
    """

    def __init__(self, on_progress: OnProgress):
        self._on_progress, self._lock = on_progress, threading.Lock()
        self._phases: dict[str, tuple[int, int]] = {}  # steps done and in all, the outermost first
        self.error: BaseException | None = None

    def __call__(self, phase: str, done: int | None, steps: int | None = None) -> bool:
        """Tell that `done` of a phase's `steps` are, None when it ends; whether to go on."""
        try:
            with self._lock:
                if done is None:
                    self._phases.pop(phase, None)
                else:
                    _, known = self._phases.get(phase, (0, 1))
                    self._phases[phase] = done, max(1, steps or known)
                if self._phases:
                    fraction, part = 0.0, 1.0
                    for step, of in self._phases.values():
                        fraction += part * step / of
                        part /= of
                    self._on_progress(next(iter(self._phases)), min(fraction, 1.0))
        except BaseException as e:
            self.error = self.error or e
        return self.error is None


def _monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc] # TensorRT is Any here
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return progress(phase_name, step + 1)

        def phase_finish(self, phase_name: str) -> None:
            progress(phase_name, None)

    return Monitor()


def compare(engine: MattingEngine, reference: MattingEngine, shapes: Profile) -> dict[str, float]:
    """|difference| of alpha between two engines, of all pixels: mean, 99th percentile, maximum.

    On a portrait stretched to the shapes of a profile, lying and upright; each is of the shape
    where it is worst.

    Raises:
        BadData: one of them gives something that is not an alpha.
    """
    n, h, w = shapes.best
    worst = dict.fromkeys(TOLERANCES, 0.0)
    for shape in dict.fromkeys([shapes.least, shapes.best, (n, w, h), shapes.most]):
        frames = _portraits(*shape)
        difference = np.abs(engine(frames) - reference(frames))
        found = difference.mean(dtype=np.float64), np.percentile(difference, 99), difference.max()
        worst = {k: max(worst[k], float(x)) for k, x in zip(worst, found, strict=True)}
    return worst


def check(difference: dict[str, float], model: Path) -> None:
    """Raises BadData where a `difference` is more than `TOLERANCES` allow, or not a number."""
    for name, most in TOLERANCES.items():
        if not difference[name] <= most:
            raise BadData(
                f"{model}: alpha of its TensorRT plan differs from ONNX Runtime's by "
                f"{difference[name]:.2g} ({name}), allowed {most:g}; the plan is not kept; "
                "try the model in fp32"
            )


def _portraits(count: int, height: int, width: int) -> NDArray[np.uint8]:
    """(N, H, W, 3) uint8 RGB, every second mirrored."""
    rgb: Any = cv2.resize(read_image(PORTRAIT), (width, height), interpolation=cv2.INTER_AREA)
    return np.stack([rgb[:, ::-1] if i % 2 else rgb for i in range(count)])
