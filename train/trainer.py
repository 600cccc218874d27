"""Train a student from masks and composites: ``python -m train.trainer RECIPE --data … --out …``.

Reads top to bottom: data, network, optimiser, resume, loop, save.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from engines.errors import guarded
from train import checkpoint
from train.config import Recipe
from train.datasets import Batches, Samples
from train.export import load_net
from train.losses import matting_losses
from train.model import IMAGENET_MEAN, IMAGENET_STD, MattingNet, load_encoder

# Mean and standard deviation of RGB in [0, 1] that encoder weights expect.
IMAGENET_NORMALISATION = IMAGENET_MEAN, IMAGENET_STD
TF_NORMALISATION = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then cosine to zero; a factor on every group's rate."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    encoder_weights: Path | None,
    init: Path | None = None,
    normalisation: Any = IMAGENET_NORMALISATION,
) -> int:
    """Run or resume the run in `out`; returns the exit code (0, or 130 when interrupted).

    Args:
        encoder_weights: folded ImageNet weights to start the encoder from.
        normalisation: mean and standard deviation of RGB that those weights expect.
        init: a finished run's checkpoint to start the whole network from instead.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    samples = Samples(data, recipe)
    net = MattingNet(recipe.arch)
    groups = [
        {"params": net.encoder.parameters(), "lr": recipe.encoder_lr},
        {
            "params": [p for n, p in net.named_parameters() if not n.startswith("encoder.")],
            "lr": recipe.lr,
        },
    ]
    ema = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
    last, step = out / "last.pt", 0
    state = checkpoint.load(last) if last.exists() else None
    if state is None and init is not None:
        net.load_state_dict(load_net(init).state_dict())
        ema.module.load_state_dict(net.state_dict())
        print(f"network from {init}")
    elif state is None and encoder_weights is not None:
        images = torch.stack([samples[(i, 192)][0] for i in range(192)]).float() / 255
        mean, std = normalisation
        missing = load_encoder(net, checkpoint.load(encoder_weights), mean, std, images)
        print(f"encoder from {encoder_weights.name}; not in it: {missing or 'nothing'}")
        ema.module.load_state_dict(net.state_dict())
    net.to(device, memory_format=torch.channels_last)
    ema.to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda s: learning_rate(s, recipe))
    if state is not None:
        net.load_state_dict(state["net"])
        ema.load_state_dict(state["ema"])
        optimiser.load_state_dict(state["optimiser"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["rng"])
        step = state["step"]
        print(f"resumed at step {step} of {recipe.steps}")

    stop: list[int] = []
    signal.signal(signal.SIGINT, lambda *_: stop.append(1) if not stop else sys.exit(130))
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))

    def save() -> None:
        checkpoint.save(last, {
            "arch": recipe.arch, "step": step, "net": net.state_dict(), "ema": ema.state_dict(),
            "optimiser": optimiser.state_dict(), "scheduler": scheduler.state_dict(),
            "rng": torch.get_rng_state(),
        })  # fmt: skip

    # Workers are the parallelism; threads of theirs would take the network's cores.
    cv2.setNumThreads(1)
    loader = DataLoader(
        samples, batch_sampler=Batches(recipe, step), num_workers=1 if device == "cpu" else 12
    )
    log, since = (out / "metrics.jsonl").open("a"), time.monotonic()
    sums: dict[str, float] = {}
    counted = 0
    net.train()
    for image, label, fine in loader:
        x = image.to(device, memory_format=torch.channels_last).float() / 255
        y = label.to(device).float() / 255
        with torch.autocast(device, torch.bfloat16):
            matte, boundary = net(x)
        terms = matting_losses(
            matte.float(), boundary.float(), y, fine.to(device), recipe.boundary_weight
        )
        if not torch.isfinite(terms["total"]):
            raise FloatingPointError(f"loss is {terms['total'].item()} at step {step}")
        optimiser.zero_grad(set_to_none=True)
        terms["total"].backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        scheduler.step()
        ema.update_parameters(net)
        step += 1

        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + value.item()
        counted += 1
        if step % 50 == 0 or step == recipe.steps:
            now = time.monotonic()
            row = {k: round(v / counted, 5) for k, v in sums.items()}
            row |= {
                "step": step, "size": x.shape[-1], "lr": scheduler.get_last_lr()[1],
                "s_per_step": round((now - since) / counted, 3),
            }  # fmt: skip
            print(json.dumps(row), file=log, flush=True)
            since, sums, counted = now, {}, 0
        if step % 250 == 0 or stop:
            save()
        if stop:
            return 130
    save()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoder-weights", type=Path, help="ImageNet, batch norm folded")
    parser.add_argument(
        "--tf-encoder", action="store_true", help="they expect RGB in [-1, 1], as TensorFlow's do"
    )
    parser.add_argument("--init", type=Path, help="checkpoint of a finished run to start from")
    args = parser.parse_args()
    recipe = Recipe.load(args.recipe)
    normalisation = TF_NORMALISATION if args.tf_encoder else IMAGENET_NORMALISATION
    return train(recipe, args.data, args.out, args.encoder_weights, args.init, normalisation)


if __name__ == "__main__":
    sys.exit(guarded(main))
