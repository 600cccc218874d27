"""Configs for a few small steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from train import config
from train.config import Config, Stage

STAGES = (Stage(3, 4, (64,)), Stage(4, 2, (64, 96, 128)))


def recipe(kind: str = "pretrain", **more: Any) -> Config:
    return replace(config.load("paper", kind), stages=STAGES, **more)
