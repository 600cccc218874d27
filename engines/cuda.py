"""A GPU of NVIDIA's: whether it can be used, and the memory through which it is fed.

The calls are those of the CUDA runtime (NVIDIA, CUDA Runtime API 12 and 13) as ``cuda.bindings``
names them. It is imported only when a driver is there.
"""

from __future__ import annotations

import ctypes
import re
import sys
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.errors import Unavailable, UsageError

LIBRARIES = "pip install 'wsshm[gpu]'"
DRIVER = "sudo ubuntu-drivers install (elsewhere: nvidia.com/drivers)"


@dataclass(frozen=True)
class Gpu:
    """A GPU that answers. `driver` is the CUDA version of its driver: 13000 for 13.0."""

    index: int
    name: str
    capability: str  # "8.9"
    multiprocessors: int
    driver: int

    @property
    def device(self) -> str:
        return f"cuda:{self.index}"

    def use(self) -> None:
        """Make it the one that this thread's calls go to."""
        from cuda.bindings import runtime

        checked(runtime.cudaSetDevice(self.index))


def number(device: str) -> int:
    """0 of ``cuda``, N of ``cuda:N``; raises UsageError for anything else."""
    match = re.fullmatch(r"cuda(?::(\d{1,3}))?", device)
    if match is None:
        raise UsageError(f"--device {device}: no such device; use auto, cpu, cuda or cuda:N")
    return int(match[1] or 0)


def has_driver() -> bool:
    """Whether NVIDIA's driver is installed. Where it is not, the answer costs next to nothing."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def find_gpu(device: str = "cuda") -> Gpu:
    """The GPU that `device`, ``cuda`` or ``cuda:N``, means.

    Raises:
        UsageError: `device` is neither.
        Unavailable: what is missing, and the command that mends it.
    """
    index = number(device)
    if not has_driver():
        raise Unavailable(f"{device}: no NVIDIA driver on this machine; mend it with: {DRIVER}")
    try:
        from cuda.bindings import runtime
    except ImportError as e:
        raise Unavailable(f"{device}: {e}; mend it with: {LIBRARIES}") from e
    _, driver = runtime.cudaDriverGetVersion()
    error, count = runtime.cudaGetDeviceCount()
    if error == runtime.cudaError_t.cudaErrorInsufficientDriver:
        _, needed = runtime.cudaRuntimeGetVersion()
        raise Unavailable(
            f"{device}: the NVIDIA driver is for CUDA {driver // 1000}.{driver % 1000 // 10}, "
            f"CUDA {needed // 1000} is needed; mend it with: {DRIVER}"
        )
    if error == runtime.cudaError_t.cudaErrorNoDevice or count == 0:
        raise Unavailable(f"{device}: the NVIDIA driver finds no GPU; see: nvidia-smi")
    checked((error,))
    if index >= count:
        raise Unavailable(f"{device}: no such GPU, there are {count}; see: nvidia-smi")
    properties = checked(runtime.cudaGetDeviceProperties(index))
    return Gpu(
        index,
        properties.name.rstrip(b"\0").decode("ascii", "replace"),
        f"{properties.major}.{properties.minor}",
        int(properties.multiProcessorCount),
        int(driver),
    )


def checked(result: tuple[Any, ...]) -> Any:
    """What a call of the CUDA runtime gives beside its error, which is raised as Unavailable."""
    from cuda.bindings import runtime

    error, *values = result
    if error == runtime.cudaError_t.cudaErrorMemoryAllocation:
        raise Unavailable("cuda: the memory is full; use a smaller --size, or --device cpu")
    if int(error):
        _, words = runtime.cudaGetErrorString(error)
        raise Unavailable(f"cuda: {words.decode()} ({error.name}); see: nvidia-smi")
    return values[0] if values else None


class Buffers:
    """Memory for frames of one shape and their alpha, on the GPU and page-locked on this side.

    Page-locked memory is copied directly, without a copy of the driver's in between. `frames` and
    `alpha` are addresses on the GPU, of (N, H, W, 3) uint8 and (N, H, W) float32; `stream` is the
    stream that they are copied on. All of it is freed with this object.
    """

    def __init__(self, shape: tuple[int, ...]):
        from cuda.bindings import runtime

        self._runtime = runtime
        freed: list[tuple[Any, Any]] = []
        weakref.finalize(self, _free, freed)

        def take(result: tuple[Any, ...], free: Any) -> Any:
            value = checked(result)
            freed.append((free, value))
            return value

        pixels = int(np.prod(shape[:3]))
        sizes = 3 * pixels, 4 * pixels  # bytes
        flags = runtime.cudaStreamNonBlocking
        self.stream = take(runtime.cudaStreamCreateWithFlags(flags), runtime.cudaStreamDestroy)
        here = [take(runtime.cudaMallocHost(n), runtime.cudaFreeHost) for n in sizes]
        self.frames, self.alpha = (take(runtime.cudaMalloc(n), runtime.cudaFree) for n in sizes)
        frames, alpha = (
            np.ctypeslib.as_array((ctypes.c_uint8 * n).from_address(address))
            for n, address in zip(sizes, here, strict=True)
        )
        self._frames = frames.reshape(shape)
        self._alpha = alpha.view(np.float32).reshape(shape[:3])

    def upload(self, frames: NDArray[np.uint8]) -> None:
        """Begin to copy frames to the GPU; done when the stream is."""
        np.copyto(self._frames, frames)
        self._copy(self.frames, self._frames.ctypes.data, self._frames.nbytes, "HostToDevice")

    def download(self) -> NDArray[np.float32]:
        """Alpha, when the stream has done all it was given: (N, H, W), for the caller to keep."""
        self._copy(self._alpha.ctypes.data, self.alpha, self._alpha.nbytes, "DeviceToHost")
        self.wait()
        return self._alpha.copy()

    def wait(self) -> None:
        """Until the stream has done all it was given."""
        checked(self._runtime.cudaStreamSynchronize(self.stream))

    def _copy(self, to: int, source: int, size: int, direction: str) -> None:
        kind = getattr(self._runtime.cudaMemcpyKind, f"cudaMemcpy{direction}")
        checked(self._runtime.cudaMemcpyAsync(to, source, size, kind, self.stream))


def _free(freed: list[tuple[Any, Any]]) -> None:
    for free, value in reversed(freed):
        free(value)
