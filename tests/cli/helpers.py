"""What tests of several commands share."""

from __future__ import annotations

import re
import subprocess

# `wsshm` where nothing of training can be imported but the names that help lists.
WITHOUT_TRAINING = """
import sys

BLOCKED = {"torch", "torchvision", "onnx", "safetensors", "skimage"}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        of_training = name.startswith("train.") and name not in ("train.config", "train.networks")
        if name.split(".")[0] in BLOCKED or of_training:
            raise ModuleNotFoundError(f"{name} is not part of a run", name=name)

sys.meta_path.insert(0, Refuse())
from wsshm_cli.__main__ import main
main()
"""


def says(result: subprocess.CompletedProcess[str], pattern: str) -> None:
    """Check that a command ended well and answered on stdout, with nothing on stderr."""
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(pattern, result.stdout, re.MULTILINE), result.stdout
    assert result.stderr == ""


def refuses(result: subprocess.CompletedProcess[str], *needles: str) -> None:
    """Check that a command refused its arguments on stderr alone, with each needle."""
    assert result.returncode == 2, result.stderr
    assert all(needle in result.stderr for needle in needles), result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
