"""Open the teacher of a run: frozen, or a moving average that follows its student."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from engines.errors import UsageError
from train.checkpoint import checkpoint
from train.config import Config
from train.ema import following
from train.methods.method import Method
from train.networks import build
from train.networks.network import Network


def open_teacher(
    path: Path | None, student: Network, method: Method, config: Config
) -> nn.Module | None:
    """Return a teacher in eval mode on the CPU, or None where the method needs none.

    It is an ``AveragedModel``, to be updated after each step, where it follows the student.

    Raises:
        UsageError: the method needs a teacher and `path` is None, or the loss ``context`` cannot
            compare its features.
        CannotOpen, BadData: the file.
    """
    if not method.needs_teacher:
        return None
    if path is None:
        raise UsageError("a student needs a teacher", "train one first, or use --labels masks")
    arch, weights = checkpoint.weights(path)
    teacher = build(arch)
    checkpoint.match(teacher, weights, path)
    teacher.eval().requires_grad_(False)
    own, theirs = student.feature_channels, teacher.feature_channels
    if "context" in config.loss and own != theirs:
        raise UsageError(
            f"{path}: has {theirs} features where a {student.arch} has {own}",
            "take another teacher, or the loss `context` out of the recipe",
        )
    if method.teacher_follows and config.teacher_ema and arch == student.arch:
        return following(teacher, config.teacher_ema)
    return teacher
