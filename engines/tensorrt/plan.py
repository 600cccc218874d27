"""Keep TensorRT plans in a cache, by the model, the shapes and the machine that each is for.

Loading a plan runs native code (NVIDIA TensorRT 11, Security Considerations), and TensorRT does not
notice that a plan was changed. Plans are therefore loaded from our own cache only, where nobody
else can write: under a key of the model and the machine, with the SHA-256 of their bytes. A plan is
saved after its alpha has been compared, so every plan in the cache has passed on this machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs

from engines.contract import KEY, MAX_SIZE, ModelSpec
from engines.cuda import Gpu
from engines.errors import BadData, UsageError, writing
from engines.files import replacing
from engines.preprocess import fit

FORMAT = 1
MAX_BATCH = 1  # frames that a plan takes at once: the pipeline passes one
MAX_HEADER_BYTES = 1 << 16  # of a plan file's first line, in JSON
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Profile:
    """The shapes (N, H, W) that a plan takes, from `min` to `max`; it is fastest at `opt`."""

    min: Shape
    opt: Shape
    max: Shape

    def covers(self, shape: tuple[int, ...]) -> bool:
        """Return whether frames of `shape`, (N, H, W, …), lie within the profile."""
        bounds = zip(self.min, shape[:3], self.max, strict=True)
        return all(low <= n <= high for low, n, high in bounds)


def profile(spec: ModelSpec, size: int | None = None) -> Profile:
    """Return the profile for frames whose shorter edge is `size`; None for the model's own.

    It ranges from square to 2.4:1, the widest common film format, in landscape and portrait; 16:9
    in landscape is fastest.

    Raises:
        UsageError: `size` is too small or too large.
    """
    size = size or spec.size
    if not spec.stride <= size <= MAX_SIZE:
        raise UsageError(f"--size {size}: from {spec.stride} to {MAX_SIZE} for {spec.name}")
    aspects = (1, 1), (16, 9), (12, 5)
    square, wide, widest = (fit(w, h, size, spec.stride) for w, h in aspects)
    return Profile(
        (1, square.padded_height, square.padded_width),
        (1, wide.padded_height, wide.padded_width),
        (MAX_BATCH, widest.padded_width, widest.padded_width),
    )


@dataclass(frozen=True)
class Key:
    """Everything that a plan depends on.

    `model` is the SHA-256 (hex) of the ONNX file. `size` is the shorter edge of the frames that the
    plan is for, in pixels; None for the model's own. Both together determine the profile.
    """

    model: str
    size: int | None
    tensorrt: str
    driver: int
    gpu: str
    capability: str
    multiprocessors: int
    system: str
    format: int = FORMAT

    @property
    def path(self) -> Path:
        """The plan's file in the cache."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return cache() / f"{digest}.plan"


def key(graph: bytes, size: int | None, version: str, gpu: Gpu) -> Key:
    """Return the key of a model's plan on this machine.

    Args:
        graph: the bytes of the ONNX file.
        version: of TensorRT.
    """
    return Key(
        model=hashlib.sha256(graph).hexdigest(),
        size=size,
        tensorrt=version,
        driver=gpu.driver,
        gpu=gpu.name,
        capability=gpu.capability,
        multiprocessors=gpu.multiprocessors,
        system=f"{platform.system()} {platform.machine()}",
    )


@dataclass(frozen=True)
class Plan:
    """A plan, and how much its alpha differed from ONNX Runtime's on the CPU."""

    key: Key
    spec: ModelSpec
    data: bytes
    parity: dict[str, float]

    @property
    def profile(self) -> Profile:
        """The shapes that the plan takes."""
        return profile(self.spec, self.key.size)


def cache() -> Path:
    """Return the folder of the plans."""
    return platformdirs.user_cache_path("wsshm", appauthor=False) / "plans"


def is_empty() -> bool:
    """Return whether the cache has no plan; if so, TensorRT need not be imported."""
    return not any(cache().glob("*.plan"))


def save(plan: Plan) -> Path:
    """Write a plan to the cache, readable for this user alone; replace an earlier one of its key.

    Returns:
        The plan's file.

    Raises:
        CannotCreate, WriteFailed: the cache cannot be written; an earlier plan is unchanged.
    """
    path = plan.key.path
    header = {
        "key": asdict(plan.key),
        "spec": plan.spec.to_json(),
        "parity": plan.parity,
        "sha256": hashlib.sha256(plan.data).hexdigest(),
    }
    with writing(path, begun=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)
    with replacing(path, private=True) as file:  # private: two builds may end at once
        file.write(json.dumps(header).encode() + b"\n")
        file.write(plan.data)
    return path


def find(graph: bytes, size: int | None, version: str, gpu: Gpu) -> Plan | None:
    """Return a model's plan on this machine for frames of shorter edge `size`, or None."""
    default = load(key(graph, None, version, gpu))
    if size is None or (default is not None and default.spec.size == size):
        return default
    return load(key(graph, size, version, gpu))


def load(key: Key) -> Plan | None:
    """Read the plan of a key.

    Returns:
        None if there is no plan, if it is damaged, or if another user could have written it.
    """
    path = key.path
    try:
        if not (_is_ours(path.parent) and _is_ours(path)):
            return None
        with path.open("rb") as file:
            header: Any = json.loads(file.readline(MAX_HEADER_BYTES))
            data = file.read()
        if header["key"] != asdict(key):
            return None
        if header["sha256"] != hashlib.sha256(data).hexdigest():
            return None
        spec = ModelSpec.from_metadata({KEY: header["spec"]}, path)
        return Plan(key, spec, data, dict(header["parity"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, BadData):
        return None


def _is_ours(path: Path) -> bool:
    """Return whether a file or folder belongs to this user and nobody else can write it."""
    if not hasattr(os, "getuid"):  # Windows, where a user's caches are private
        return True
    status, others = path.stat(), stat.S_IWGRP | stat.S_IWOTH
    return status.st_uid == os.getuid() and not status.st_mode & others
