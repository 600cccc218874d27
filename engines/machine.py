"""Describe the machine that this process runs on; standard library only."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from engines.errors import Unavailable

if sys.platform != "win32":
    import resource

MIN_ADDRESS_SPACE = 1280 << 20  # bytes; a run of a small clip on two cores takes a little more


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_memory() -> None:
    """Check that the process may take the memory without which libraries crash as they load.

    Raises:
        Unavailable: its address space is limited to less than `MIN_ADDRESS_SPACE`.
    """
    if sys.platform == "win32":
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < MIN_ADDRESS_SPACE:
        raise Unavailable(
            f"not enough memory: this process may have {limit >> 20} MB, and needs "
            f"{MIN_ADDRESS_SPACE >> 20}",
            "raise the limit: ulimit -v unlimited",
        )


def cpu() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(x for x in lines if x.startswith("model name")).split(":", 1)[1].strip()
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def has_int8_instructions(info: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Return whether the processor multiplies int8 fast (VNNI on x86); None if unknown.

    Args:
        info: the kernel's description of the processor.
    """
    try:
        lines = info.read_text(encoding="utf-8").splitlines()
        flags = next(x for x in lines if x.startswith("flags")).split()
    except (OSError, StopIteration):  # another system, or another processor
        return None
    return not {"avx512_vnni", "avx_vnni", "amx_int8"}.isdisjoint(flags)


def has_nvidia_hardware(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Return whether Linux lists a graphics processor of NVIDIA, with a driver or without.

    Args:
        devices: the kernel's list of PCI devices.
    """
    for device in devices.glob("*"):
        with suppress(OSError):
            vendor, kind = ((device / x).read_text(encoding="ascii") for x in ("vendor", "class"))
            if vendor.strip() == "0x10de" and kind.startswith("0x03"):  # of a display controller
                return True
    return False


def facts() -> dict[str, Any]:
    """Return what measurements of speed depend on, for JSON.

    ``load`` is the mean number of threads that wanted to run in the last minute; None where the
    system does not tell.
    """
    return {
        "cpu": cpu(),
        "cores": cores(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "platform": platform.platform(),
    }


def peak_rss_mb() -> float | None:
    """Return the most memory that this process has held, in MB (10⁶ bytes); None if unknown."""
    try:
        # Not ru_maxrss: a new process inherits the value of its parent.
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
