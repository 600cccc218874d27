"""Find an NVIDIA GPU, and copy frames to it and alpha from it.

The calls are those of the CUDA runtime (NVIDIA, CUDA Runtime API 12 and 13), by their names in
``cuda.bindings``, which is imported only if there is a driver.
"""

from __future__ import annotations

import ctypes
import re
import sys
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from engines.arrays import F32, U8
from engines.errors import Unavailable, UsageError

LIBRARIES_REMEDY = "run: pip install 'wsshm[gpu]'"
DRIVER_REMEDY = "run: sudo ubuntu-drivers install (elsewhere: nvidia.com/drivers)"
STATE_REMEDY = "see: nvidia-smi"
MEMORY_REMEDY = "use a smaller --size, or --device cpu"


@dataclass(frozen=True)
class Gpu:
    """A usable GPU. `driver` is the CUDA version that its driver is for: 13000 for 13.0."""

    index: int
    name: str
    capability: str  # "8.9"
    multiprocessors: int
    driver: int

    @property
    def device(self) -> str:
        """The ``--device`` that means this GPU."""
        return f"cuda:{self.index}"

    def use(self) -> None:
        """Make this GPU the current one of the calling thread."""
        from cuda.bindings import runtime

        check_call(runtime.cudaSetDevice(self.index))


def device_index(device: str) -> int:
    """Return 0 for ``cuda`` and N for ``cuda:N``; raise UsageError for anything else."""
    match = re.fullmatch(r"cuda(?::(\d{1,3}))?", device)
    if match is None:
        raise UsageError(f"--device {device}: no such device", "use auto, cpu, cuda or cuda:N")
    return int(match[1] or 0)


def has_driver() -> bool:
    """Return whether NVIDIA's driver is installed; takes almost no time if it is not."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def find_gpu(device: str = "cuda") -> Gpu:
    """Return the GPU that `device`, ``cuda`` or ``cuda:N``, stands for.

    Raises:
        UsageError: `device` is something else.
        Unavailable: no driver, libraries or GPU; the remedy installs what is missing.
    """
    index = device_index(device)
    if not has_driver():
        raise Unavailable(f"{device}: no NVIDIA driver on this machine", DRIVER_REMEDY)
    try:
        from cuda.bindings import runtime
    except ImportError as e:
        raise Unavailable(f"{device}: {e}", LIBRARIES_REMEDY) from e
    _, driver = runtime.cudaDriverGetVersion()
    error, count = runtime.cudaGetDeviceCount()
    if error == runtime.cudaError_t.cudaErrorInsufficientDriver:
        _, needed = runtime.cudaRuntimeGetVersion()
        raise Unavailable(
            f"{device}: the NVIDIA driver is for CUDA {driver // 1000}.{driver % 1000 // 10}, "
            f"CUDA {needed // 1000} is needed",
            DRIVER_REMEDY,
        )
    if error == runtime.cudaError_t.cudaErrorNoDevice or count == 0:
        raise Unavailable(f"{device}: the NVIDIA driver finds no GPU", STATE_REMEDY)
    check_call((error,))
    if index >= count:
        raise Unavailable(f"{device}: no such GPU, there are {count}", STATE_REMEDY)
    properties = check_call(runtime.cudaGetDeviceProperties(index))
    return Gpu(
        index,
        properties.name.rstrip(b"\0").decode("ascii", "replace"),
        f"{properties.major}.{properties.minor}",
        int(properties.multiProcessorCount),
        int(driver),
    )


def check_call(result: tuple[Any, ...]) -> Any:
    """Return the value of a CUDA runtime call, or raise its error.

    Args:
        result: what the call returned: an error number, and at most one value.

    Raises:
        Unavailable: the call failed.
    """
    from cuda.bindings import runtime

    error, *values = result
    if error == runtime.cudaError_t.cudaErrorMemoryAllocation:
        raise Unavailable("cuda: the memory is full", MEMORY_REMEDY)
    if int(error):
        _, words = runtime.cudaGetErrorString(error)
        raise Unavailable(f"cuda: {words.decode()} ({error.name})", STATE_REMEDY)
    return values[0] if values else None


class Buffers:
    """Memory for frames of one shape and their alpha, on the GPU and in page-locked host memory.

    Page-locked memory is copied directly, without a copy inside the driver. `frames` and `alpha`
    are addresses on the GPU, of (N, H, W, 3) uint8 and (N, H, W) float32; `stream` is the CUDA
    stream of the copies. All of it is freed with this object.

    Args:
        shape: (N, H, W, 3) of the frames.

    Raises:
        Unavailable: the GPU fails or runs out of memory.
    """

    def __init__(self, shape: tuple[int, ...]):
        from cuda.bindings import runtime

        self._runtime = runtime
        freed: list[tuple[Any, Any]] = []
        weakref.finalize(self, _free, freed)

        def take(result: tuple[Any, ...], free: Any) -> Any:
            value = check_call(result)
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

    def upload(self, frames: U8) -> None:
        """Start copying frames (N, H, W, 3) to the GPU; `wait` waits for the end."""
        np.copyto(self._frames, frames)
        self._copy(self.frames, self._frames.ctypes.data, self._frames.nbytes, "HostToDevice")

    def download(self) -> F32:
        """Wait for the stream, and return a new array of the alpha (N, H, W)."""
        self._copy(self._alpha.ctypes.data, self.alpha, self._alpha.nbytes, "DeviceToHost")
        self.wait()
        return self._alpha.copy()

    def wait(self) -> None:
        """Wait until the stream has done all its work."""
        check_call(self._runtime.cudaStreamSynchronize(self.stream))

    def _copy(self, to: int, source: int, size: int, direction: str) -> None:
        kind = getattr(self._runtime.cudaMemcpyKind, f"cudaMemcpy{direction}")
        check_call(self._runtime.cudaMemcpyAsync(to, source, size, kind, self.stream))


def _free(freed: list[tuple[Any, Any]]) -> None:
    for free, value in reversed(freed):
        free(value)
