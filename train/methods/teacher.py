"""Open the teacher of a run: frozen, or a moving average that follows its student.

A model file has no boundary head; as a teacher its boundary is computed from its matte.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from engines.errors import UsageError
from train.checkpoint import checkpoint
from train.config import Config
from train.ema import following
from train.export.reread import is_model_file, reread
from train.methods.method import Method, boundary_label
from train.networks import build
from train.networks.network import Network, Prediction

SURE_LOGIT = 8.0  # where there is a boundary; its negative elsewhere


def open_teacher(
    path: Path | None,
    student: Network,
    method: Method,
    config: Config,
    init: Path | None = None,
) -> nn.Module | None:
    """Return a teacher in eval mode on the CPU, or None where the method needs none.

    It is an ``AveragedModel``, to be updated after each step, where it follows the student. It does
    not where either began as a model file: norms are folded in such weights, and the mean of those
    and others is no network.

    Args:
        path: weights of the teacher.
        init: weights that the student began with.

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
    is_folded = is_model_file(path) or is_model_file(init)
    may_follow = method.teacher_follows and not is_folded
    if may_follow and config.teacher_ema and teacher.arch == student.arch:
        return following(teacher, config.teacher_ema)
    return teacher


def load_teacher(path: Path) -> Network:
    """Load weights as a frozen network in eval mode that predicts boundaries.

    Args:
        path: released weights, a checkpoint, or a float32 model file.

    Raises:
        UsageError: it predicts none.
        CannotOpen, BadData: the file.
    """
    if is_model_file(path):
        return SeenBoundary(reread(path)).eval().requires_grad_(False)
    arch, weights = checkpoint.weights(path)
    teacher = build(arch)
    if not teacher.predicts_boundary:
        raise UsageError(
            f"{path}: is a {arch}, which predicts no boundary",
            "give one that does with --teacher, such as r101, or use --labels masks",
        )
    checkpoint.match(teacher, weights, path)
    return teacher.eval().requires_grad_(False)


class SeenBoundary(Network):
    """A network whose boundary is where its own matte is neither 0 nor 1."""

    predicts_boundary = True

    def __init__(self, net: Network):
        super().__init__(net.arch, net.stride)
        self.net = net
        self.feature_channels = net.feature_channels

    def forward(self, frames: Tensor) -> Prediction:
        """Predict the matte, its `boundary_label` as logits, and the features of the network."""
        seen = self.net(frames)
        boundary = (boundary_label(seen.deployed_alpha) * 2 - 1) * SURE_LOGIT
        return seen._replace(boundary=boundary)
