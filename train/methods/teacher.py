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
        UsageError: the method needs a teacher and `path` is None, it predicts no boundary, or the
            loss ``context`` cannot compare its features.
        CannotOpen, BadData: the file.
    """
    if not method.needs_teacher:
        return None
    if path is None:
        raise UsageError("a student needs a teacher", "train one first, or use --labels masks")
    teacher = load_teacher(path)
    own, theirs = student.feature_channels, teacher.feature_channels
    learns_by_loss = not (config.own_losses and student.has_own_losses)
    if "context" in config.loss and learns_by_loss and own != theirs:
        raise UsageError(
            f"{path}: has {theirs} features where a {student.arch} has {own}",
            "take another teacher, or the loss `context` out of the recipe",
        )
    if method.teacher_follows and config.teacher_ema and teacher.arch == student.arch:
        return following(teacher, config.teacher_ema)
    return teacher


def load_teacher(path: Path) -> Network:
    """Load released weights as a frozen network in eval mode that predicts boundaries.

    Raises:
        UsageError: it predicts none.
        CannotOpen, BadData: the file.
    """
    arch, weights = checkpoint.weights(path)
    teacher = build(arch)
    if not teacher.predicts_boundary:
        raise UsageError(
            f"{path}: is a {arch}, which predicts no boundary",
            "give one that does with --teacher, such as r101, or use --labels masks",
        )
    checkpoint.match(teacher, weights, path)
    return teacher.eval().requires_grad_(False)
