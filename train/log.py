"""The records of a run: ``metrics.jsonl``, TensorBoard and ``grid.png``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor, nn
from torch.utils.data import default_collate
from torch.utils.tensorboard import summary

from engines.errors import writing
from engines.files import replacing
from train.config import Config
from train.data.samples import Samples
from train.methods.method import Batch, Method


class Log:
    """The records of the run in a folder; one that resumes at `step` drops the rows after it."""

    def __init__(self, out: Path, step: int):
        self._rows, self._image = out / "metrics.jsonl", out / "grid.png"
        with writing(self._rows, begun=False):
            rows = self._rows.read_text().splitlines() if self._rows.exists() else []
        # A killed process can have left half a row.
        kept = [r for r in rows if r.endswith("}") and json.loads(r)["step"] <= step]
        with replacing(self._rows) as f:
            f.write("".join(f"{r}\n" for r in kept).encode())
        with writing(out, begun=False):
            # torch's SummaryWriter writes in a thread, where its errors are lost.
            events = out / f"events.out.tfevents.{time.time_ns()}"
            self._board = RecordWriter(events.open("wb", buffering=0))
        self._event(0, file_version="brain.Event:2")
        # TensorBoard hides the values of earlier files from this step on.
        self._event(step + 1, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Append a row of named values."""
        if not values:
            return
        with writing(self._rows, begun=True), self._rows.open("a") as f:
            print(json.dumps({"step": step} | values), file=f)
        for name, value in values.items():
            self._event(step, summary=summary.scalar(name, value))

    def image(self, step: int, rgb: NDArray[np.uint8]) -> None:
        """Replace ``grid.png`` by (H, W, 3) uint8 RGB, as of `grid`."""
        _, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        with replacing(self._image, durable=False) as f:
            f.write(data.tobytes())
        self._event(step, summary=summary.image("grid", rgb, dataformats="HWC"))

    def _event(self, step: int, **what: Any) -> None:
        with writing(self._rows.parent, begun=True):
            event = Event(step=step, wall_time=time.time(), **what)
            self._board.write(event.SerializeToString())

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._board.close()


def grid(columns: dict[str, Tensor], side: int = 160) -> NDArray[np.uint8]:
    """Draw named columns of images (N, 1 or 3, S, S) float in [0, 1], one sample a row.

    Returns:
        (H, W, 3) uint8 RGB, with the names at the top.
    """
    stacks = []
    for name, images in columns.items():
        rgb = images.detach().float().cpu().expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
        tiles = (rgb.clamp(0, 1) * 255).round().byte().numpy()
        head = np.full((24, side, 3), 255, np.uint8)
        cv2.putText(head, name, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        small = [cv2.resize(t, (side, side), interpolation=cv2.INTER_AREA) for t in tiles]
        stacks.append(np.concatenate([head, *small]))
    image: NDArray[np.uint8] = np.concatenate(stacks, axis=1)
    return image


def draw(
    net: nn.Module,
    method: Method,
    teacher: nn.Module | None,
    samples: Samples,
    config: Config,
    device: torch.device,
) -> NDArray[np.uint8]:
    """Draw fixed samples, their labels and the networks' predictions as a `grid`."""
    keys = [(10**12 + i, config.stages[-1].sizes[0]) for i in range(6)]
    batch = Batch.of(default_collate([samples[key] for key in keys]), device)
    was = net.training
    with torch.inference_mode():
        prediction = net.eval()(batch.seen[0])
        columns = {"input": batch.image}
        columns["alpha" if batch.has_alpha.all() else "mask"] = batch.label
        if batch.trimap is not None:
            columns["trimap"] = batch.trimap
        if teacher is not None and batch.weak is not None:
            columns["teacher"] = teacher(batch.weak).float().deployed_alpha
        columns |= method.targets(batch, teacher, config).shown
        columns["matte"] = prediction.deployed_alpha
        if prediction.boundary is not None:
            columns["its boundary"] = prediction.boundary.sigmoid()
    net.train(was)
    return grid(columns)
