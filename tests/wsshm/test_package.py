"""What is installed: how much a user has to download for it."""

from __future__ import annotations

import zlib
from importlib.util import find_spec
from pathlib import Path

PACKAGES = "wsshm", "wsshm_cli", "train", "engines"  # of pyproject.toml
MAX_WHEEL_BYTES = 40_000_000


def test_a_wheel_is_small() -> None:
    """All files of the packages, compressed as a wheel compresses them."""
    folders = [Path(find_spec(name).submodule_search_locations[0]) for name in PACKAGES]
    paths = [p for f in folders for p in f.rglob("*") if p.is_file() and p.suffix != ".pyc"]
    assert len(paths) > 200
    assert sum(len(zlib.compress(p.read_bytes())) for p in paths) < MAX_WHEEL_BYTES
