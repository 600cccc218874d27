"""TensorRT plans: the shapes and the machine that each is for, and the cache they live in.

To load a plan is to run native code (NVIDIA TensorRT 11, Security Considerations), and TensorRT
does not notice when one was changed. So none is ever taken but from our own cache: under a key of
the model and the machine, with the SHA-256 of its bytes, and where nobody else can write. A plan is
put there when its alpha has been compared, so that what is found has passed on this very machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import stat
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs

from engines.contract import KEY, ModelSpec
from engines.cuda import Gpu
from engines.errors import BadData, UsageError, writing
from engines.preprocess import fit

FORMAT = 1
BATCH = 1  # frames a plan takes at once: as many as a pipeline gives
HEAD = 1 << 16  # bytes: a longer first line is none of ours
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Profile:
    """Shapes (N, H, W) that a plan takes, from `least` to `most`; it is fastest at `best`."""

    least: Shape
    best: Shape
    most: Shape

    def covers(self, shape: tuple[int, ...]) -> bool:
        """Whether frames of `shape`, (N, H, W, …), are within it."""
        bounds = zip(self.least, shape[:3], self.most, strict=True)
        return all(least <= n <= most for least, n, most in bounds)


def profile(spec: ModelSpec, size: int | None = None) -> Profile:
    """The shapes of images whose shorter edge is `size`, the model's own when None.

    From square to 2.4:1, as wide as films are, lying and upright; fastest at 16:9, lying.

    Raises:
        UsageError: not a size.
    """
    size = size or spec.size
    if not spec.stride <= size <= 8192:
        raise UsageError(f"--size {size}: from {spec.stride} to 8192 for {spec.name}")
    aspects = (1, 1), (16, 9), (12, 5)
    square, wide, widest = (fit(w, h, size, spec.stride) for w, h in aspects)
    return Profile(
        (1, square.padded_height, square.padded_width),
        (1, wide.padded_height, wide.padded_width),
        (BATCH, widest.padded_width, widest.padded_width),
    )


@dataclass(frozen=True)
class Key:
    """Everything that a plan depends on.

    `model` is the SHA-256 (hex) of the ONNX file. With it, `size`, the shorter edge of what the
    plan is for, gives the profile; None is the model's own.
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
        """Where the cache keeps the plan."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return cache() / f"{digest}.plan"


def key(graph: bytes, size: int | None, version: str, gpu: Gpu) -> Key:
    """The key of a model's plan on this machine; `version` is TensorRT's."""
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
    """A plan of the cache, and how far its alpha was from ONNX Runtime's on the CPU."""

    key: Key
    spec: ModelSpec
    data: bytes
    parity: dict[str, float]

    @property
    def profile(self) -> Profile:
        return profile(self.spec, self.key.size)


def cache() -> Path:
    return platformdirs.user_cache_path("wsshm", appauthor=False) / "plans"


def is_empty() -> bool:
    """Whether no plan was ever built here: TensorRT need not even be imported then."""
    return not any(cache().glob("*.plan"))


def save(plan: Plan) -> Path:
    """Put a plan into the cache, readable for nobody else; what was under its key is replaced.

    Raises:
        CannotCreate, WriteFailed: the cache cannot be written; what was there is as it was.
    """
    path = plan.key.path
    head = {
        "key": asdict(plan.key),
        "spec": plan.spec.to_json(),
        "parity": plan.parity,
        "sha256": hashlib.sha256(plan.data).hexdigest(),
    }
    with writing(path, begun=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        # Made with mode 0600, and under a name of its own: two builds may end at once.
        descriptor, part = tempfile.mkstemp(".part", dir=path.parent)
    try:
        with writing(path, begun=True):
            with open(descriptor, "wb") as file:
                file.write(json.dumps(head).encode() + b"\n")
                file.write(plan.data)
                file.flush()
                os.fsync(descriptor)
            os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)
    return path


def find(graph: bytes, size: int | None, version: str, gpu: Gpu) -> Plan | None:
    """The plan of a model on this machine for images of shorter edge `size`, or None."""
    own = load(key(graph, None, version, gpu))
    if size is None or (own is not None and own.spec.size == size):
        return own
    return load(key(graph, size, version, gpu))


def load(wanted: Key) -> Plan | None:
    """The plan under a key, or None: there is none, it is damaged, or others could have made it."""
    path = wanted.path
    try:
        if not (_is_ours(path.parent) and _is_ours(path)):
            return None
        with path.open("rb") as file:
            head: Any = json.loads(file.readline(HEAD))
            data = file.read()
        if head["key"] != asdict(wanted):
            return None
        if head["sha256"] != hashlib.sha256(data).hexdigest():
            return None
        spec = ModelSpec.from_metadata({KEY: head["spec"]}, path)
        return Plan(wanted, spec, data, dict(head["parity"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, BadData):
        return None


def _is_ours(path: Path) -> bool:
    """Whether it belongs to this user and nobody else can write it."""
    if not hasattr(os, "getuid"):  # Windows, where a user's caches are private
        return True
    found, others = path.stat(), stat.S_IWGRP | stat.S_IWOTH
    return found.st_uid == os.getuid() and not found.st_mode & others
