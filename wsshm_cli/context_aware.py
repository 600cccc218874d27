"""`wsshm train context-aware`: a rival of the method, as its paper compares itself with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsshm_cli import train_options as options
from wsshm_cli.help import HelpAll
from wsshm_cli.train import boundary, train_step

EXAMPLE = "Example: wsshm train context-aware --data DATA"


def context_aware(
    data: options.Data = None,
    masks: options.Masks = None,
    mattes: options.Mattes = None,
    workers: options.Workers = None,
    cache_mb: options.CacheMB = None,
    arch: options.Arch = None,
    init: options.Init = None,
    pretrain: options.Pretrain = True,
    encoder_weights: options.EncoderWeights = "auto",
    tf_encoder: options.TfEncoder = False,
    recipe: options.Recipe = "paper",
    resume: options.Resume = False,
    lambda_: options.Lambda = None,
    device: options.Device = "auto",
    precision: options.Precision = None,
    seed: options.Seed = None,
    runs: options.Runs = Path("runs"),
    out: options.Out = None,
    help_all: HelpAll = False,
) -> None:
    """A rival: learn disguised composites.

    JPEG and blur make them like photographs (Context-aware matting, 2019). Otherwise it trains as
    a teacher does, after the same pre-training.
    """
    config: dict[str, Any] = {"arch": arch, "seed": seed, "masks": masks, "mattes": mattes}
    config |= {"precision": precision, "loss": boundary(lambda_)}
    start = {"cache_mb": cache_mb, "init": init, "encoder": encoder_weights, "tf_range": tf_encoder}
    start["pretrain"] = pretrain
    train_step("context-aware", recipe, config, runs, out, data, device, workers, resume, **start)
