"""The model file of a run: write it, and measure how good the network is."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.utils.data import default_collate

from engines.contract import ModelSpec
from engines.engine import open_engine
from engines.errors import BadData, Say
from engines.measure.quality.evaluate import mask_iou
from train import methods
from train.data.samples import Samples
from train.data.trimaps import TrimapSamples
from train.export.export import export
from train.methods.method import Batch
from train.networks.network import Network
from train.objective import step_losses
from train.run import MODEL, Run

VAL_IMAGES = 12  # of each source, of which the masks are compared
MEASURED_PIXELS = 5_000_000  # of the pictures that a trimap network is measured on, at most
# What is measured, in words.
SHOWN = {
    "val_iou": "val IoU {:.3f}",
    "train_loss": "loss {:.4f} on its images",
    "test_loss": "{:.4f} on those left out",
}


def write_model(
    average: nn.Module,
    run: Run,
    samples: Samples | TrimapSamples,
    device: torch.device,
    say: Say,
) -> dict[str, float]:
    """Write ``model.onnx``; return what is measured, by the names of `SHOWN`.

    A network is measured on some ``val`` masks, if there are any, and one that takes a trimap by
    the run's loss.

    Args:
        average: the network whose weights are released.
    """
    config, path = run.config, run.out / MODEL
    net = copy.deepcopy(average).cpu().eval()
    spec = ModelSpec(
        f"{config.kind}-{config.arch}",
        config.network,
        net.stride,
        max(config.sizes),
        config.sizes,
        trained_on=", ".join(samples.sets)[:200] or "unstated",
    )
    export(net, path, spec)
    if isinstance(samples, TrimapSamples):
        scores = _losses(average, run, samples, device)
    else:
        try:
            each = mask_iou(open_engine(path), run.data, limit=VAL_IMAGES)
        except BadData as e:
            say(f"not measured: {e}")
            return {}
        scores = {"val_iou": float(np.mean(list(each.values())))} if each else {}
    if scores:
        export(net, path, replace(spec, metrics={k: round(v, 4) for k, v in scores.items()}))
    return scores


def _losses(
    net: Network, run: Run, samples: TrimapSamples, device: torch.device
) -> dict[str, float]:
    """Return the run's loss on its own images and on those left out, none of them augmented."""
    config, scores = run.config, {}
    method, size = methods.find(config.method), max(config.sizes)
    was = net.training
    net.eval()
    for name, part in (("train_loss", samples), ("test_loss", samples.left_out)):
        count = max(1, MEASURED_PIXELS // size**2)
        places = range(0, len(part), -(-len(part) // count))
        total = 0.0
        for i in range(0, len(places), config.stages[-1].batch):
            items = [part.plain(place, size) for place in places[i : i + config.stages[-1].batch]]
            batch = Batch.of(default_collate(items), device)
            with torch.inference_mode():
                losses = step_losses(net, net, method, None, batch, config)
            total += losses["total"].item() * len(items)
        scores[name] = total / len(places)
    net.train(was)
    return scores
