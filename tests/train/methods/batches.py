"""Networks that predict the same for every image, and what methods make of a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from train.config import Config, Stage
from train.methods import find
from train.methods.method import Batch, Teacher
from train.networks.network import Network, Prediction, Targets
from train.objective import step_losses

CPU = torch.device("cpu")


class Constant(Network):
    """A network that predicts the same for every image: logits of what it is given."""

    predicts_boundary = True

    def __init__(self, matte: float, boundary: float):
        super().__init__("constant", 1)
        self.said = nn.Parameter(torch.logit(torch.tensor([matte, boundary])))

    def forward(self, frames: Tensor) -> Prediction:
        self.seen = frames
        matte, boundary = (x.expand(len(frames), 1, *frames.shape[2:]) for x in self.said)
        return Prediction(matte, boundary, 2 * matte.expand(-1, 4, -1, -1))


def config(method: str = "mlb") -> Config:
    loss = {"l1": 1.0, "boundary": 0.01}
    return Config("student", "r18x0.25", (Stage(1, 2, (32,)),), loss, 1e-4, method=method)


def targets(teacher: Teacher | None, batch: dict[str, Any], config: Config) -> Targets:
    return find(config.method).targets(Batch.of(batch, CPU), teacher, config)


def losses_of(
    student: Network, teacher: Teacher, batch: dict[str, Any], config: Config
) -> dict[str, Tensor]:
    method = find(config.method)
    return step_losses(student, student, method, teacher, Batch.of(batch, CPU), config)
