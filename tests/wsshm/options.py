"""The network that these tests use, in Python and on the command line."""

from __future__ import annotations

from typing import Any

FAST: dict[str, Any] = {  # enough lines to find the portrait
    "model": "fast",
    "precision": "fp32",
    "size": 96,
}
FAST_OPTIONS = [text for name, value in FAST.items() for text in (f"--{name}", value)]
