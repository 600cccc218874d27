"""Build a TensorRT plan from an ONNX file, compare its alpha with ONNX Runtime's, and cache it.

TensorRT 11 builds strongly typed networks only: each tensor has the type that it has in the file.
Version 10 is told to do the same, so only a float16 file gives a float16 plan.
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

from engines.arrays import F32, U8
from engines.assets import PORTRAIT
from engines.checks import first_line, read_graph
from engines.contract import ModelSpec
from engines.cuda import find_gpu
from engines.datasets.read import read_image
from engines.errors import BadData, Unavailable, UsageError
from engines.onnx_engine import OnnxEngine
from engines.tensorrt import plan as tensorrt_plan
from engines.tensorrt.engine import TensorrtEngine, import_tensorrt, make_log
from engines.tensorrt.plan import Plan, Profile, load, profile, save

# Largest allowed |difference| of alpha from ONNX Runtime's on the CPU, which computes in float32.
# About four times the 6e-4, 1.5e-2 and 5e-2 of trained networks with every convolution in float16.
TOLERANCES = {"mean": 2e-3, "p99": 5e-2, "max": 2e-1}
OnProgress = Callable[[str, float], None]


@dataclass(frozen=True)
class Built:
    """A plan in the cache, and its file; `is_new` is false if it was there before."""

    plan: Plan
    path: Path
    is_new: bool


def build_plan(
    model: Path,
    device: str = "cuda",
    size: int | None = None,
    on_progress: OnProgress = lambda phase, fraction: None,
) -> Built:
    """Build a model's plan for a GPU of this machine, compare its alpha, and save it.

    Args:
        model: an fp16 or fp32 file that begins with a Cast: TensorRT takes uint8 as an input only.
        size: shorter edge of the frames, in pixels; None for the model's own.
        on_progress: called with TensorRT's name of a phase and the share done, in [0, 1].

    Raises:
        CannotOpen, BadData: the file, or its alpha differs by more than `TOLERANCES`.
        UsageError: an int8 file, or a device or size that does not exist.
        Unavailable: no GPU or no TensorRT; the remedy gets what is missing.
        CannotCreate, WriteFailed: the cache cannot be written.
    """
    gpu, trt = find_gpu(device), import_tensorrt()
    graph, reference = read_graph(model), OnnxEngine(model)
    spec = reference.spec
    if spec.precision not in ("fp32", "fp16"):
        raise UsageError(f"{model}: is {spec.precision}", "export it with --precision fp16 first")
    size = None if size == spec.size else size
    shapes, key = profile(spec, size), tensorrt_plan.key(graph, size, trt.__version__, gpu)
    if (found := load(key)) is not None:
        with suppress(Unavailable):  # a plan that TensorRT no longer loads is built again
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
    log, progress = make_log(trt), Progress(on_progress)
    builder = trt.Builder(log)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        reason = log.reason()
        if parser.num_errors:
            fault = parser.get_error(0)
            reason = first_line(f"{fault.node_operator()} {fault.node_name()}: {fault.desc()}")
        raise BadData(f"{model}: TensorRT {trt.__version__} cannot read it ({reason})")
    config, accepted = builder.create_builder_config(), builder.create_optimization_profile()
    accepted.set_shape(spec.input, *((*s, 3) for s in (shapes.min, shapes.opt, shapes.max)))
    if config.add_optimization_profile(accepted) < 0:
        raise BadData(f"{model}: TensorRT refuses the shapes {shapes}")
    config.progress_monitor = monitor = _monitor(trt, progress)  # must outlive the build
    data = builder.build_serialized_network(network, config)
    del monitor
    if progress.error is not None:
        raise progress.error
    if data is None:
        raise BadData(f"{model}: TensorRT {trt.__version__} cannot build it ({log.reason()})")
    return bytes(data)


class Progress:
    """Convert TensorRT's nested phases and their steps to the share of a build that is done.

    TensorRT calls it from several threads. `error` is what `on_progress` raised, such as an
    interruption: since nothing may be raised into TensorRT, the build is cancelled instead.
    """

    def __init__(self, on_progress: OnProgress):
        self._on_progress, self._lock = on_progress, threading.Lock()
        self._phases: dict[str, tuple[int, int]] = {}  # steps done and total, outermost first
        self.error: BaseException | None = None

    def __call__(self, phase: str, done: int | None, steps: int | None = None) -> bool:
        """Report `done` of `steps` of a phase, None at its end; return whether to go on."""
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


def compare(
    engine: Callable[[U8], F32], reference: Callable[[U8], F32], shapes: Profile
) -> dict[str, float]:
    """Return the ``mean``, ``p99`` and ``max`` |difference| of alpha between two engines.

    They are measured on a portrait stretched to the shapes of a profile, in landscape and portrait;
    each is the worst of all shapes.

    Raises:
        BadData: an engine returns something that is not an alpha.
    """
    n, h, w = shapes.opt
    worst = dict.fromkeys(TOLERANCES, 0.0)
    for shape in dict.fromkeys([shapes.min, shapes.opt, (n, w, h), shapes.max]):
        frames = _portraits(*shape)
        difference = np.abs(engine(frames) - reference(frames))
        found = difference.mean(dtype=np.float64), np.percentile(difference, 99), difference.max()
        worst = {k: max(worst[k], float(x)) for k, x in zip(worst, found, strict=True)}
    return worst


def check(difference: dict[str, float], model: Path) -> None:
    """Raise BadData if a difference exceeds its tolerance or is NaN."""
    for name, tolerance in TOLERANCES.items():
        if not difference[name] <= tolerance:
            raise BadData(
                f"{model}: alpha of its TensorRT plan differs from ONNX Runtime's by "
                f"{difference[name]:.2g} ({name}), allowed {tolerance:g}; the plan is not kept",
                "try the model in fp32",
            )


def _portraits(count: int, height: int, width: int) -> U8:
    """Return a portrait `count` times as (N, H, W, 3) uint8 RGB, every second one mirrored."""
    rgb: Any = cv2.resize(read_image(PORTRAIT), (width, height), interpolation=cv2.INTER_AREA)
    return np.stack([rgb[:, ::-1] if i % 2 else rgb for i in range(count)])
