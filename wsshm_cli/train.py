"""`wsshm train`: options → `train.chain.chain` → lines and an exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engines.errors import Unavailable, UsageError
from wsshm_cli import report
from wsshm_cli import train_options as options
from wsshm_cli.help import HelpAll

EXAMPLES = """
\b
Examples:
  wsshm train --check --data DATA
  wsshm train teacher --data DATA
  wsshm train student --data DATA --arch r18x0.5
  wsshm run clip.mp4 --model runs/student-r18x0.5/model.onnx
"""
PRETRAIN_EXAMPLE = "Example: wsshm train pretrain --data DATA --arch r18"
TEACHER_EXAMPLE = "Example: wsshm train teacher --data DATA"
STUDENT_EXAMPLES = """
\b
Examples:
  wsshm train student --data DATA --arch r18x0.5
  wsshm train student --data DATA --arch r18x0.5 --resume
  wsshm train student --recipe finetune --init default --teacher fine
"""
# Kinds of run whose architecture is that of a model file they start from.
FROM_FILES = ("pretrain", "teacher", "student", "context-aware")


def root(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Read every file of the data and list all faults.")
    ] = False,
    data: options.Data = None,
) -> None:
    """Train your own model: teacher, then student."""
    step = context.invoked_subcommand
    if step is not None:
        if check or data:
            raise UsageError(f"--check stands alone, and --data after {step}")
        return
    if not check:
        raise UsageError("wsshm train: name a step, such as teacher or student, or --check")
    require_torch()
    from engines.datasets.layout import find_data
    from train.data import check as reading

    root = find_data(data)
    found = reading.check(root, report.out)
    for line in reading.lacking(root):
        report.warning(line)
    report.out(found)


def pretrain(
    data: options.Data = None,
    masks: options.Masks = None,
    mattes: options.Mattes = None,
    workers: options.Workers = None,
    cache_mb: options.CacheMB = None,
    arch: options.Arch = None,
    init: options.Init = None,
    encoder_weights: options.EncoderWeights = "auto",
    tf_encoder: options.TfEncoder = False,
    recipe: options.Recipe = "paper",
    resume: options.Resume = False,
    device: options.Device = "auto",
    precision: options.Precision = None,
    seed: options.Seed = None,
    runs: options.Runs = Path("runs"),
    out: options.Out = None,
    help_all: HelpAll = False,
) -> None:
    """Step 0: learn from coarse masks.

    The other steps do this by themselves where they need it.
    """
    config: dict[str, Any] = {"arch": arch, "seed": seed, "masks": masks, "mattes": mattes}
    config |= {"precision": precision}
    start = {"cache_mb": cache_mb, "init": init, "encoder": encoder_weights, "tf_range": tf_encoder}
    train_step("pretrain", recipe, config, runs, out, data, device, workers, resume, **start)


def teacher(
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
    """Step 1: learn fine boundaries from mattes.

    The mattes' people are composited over the backgrounds.
    """
    config: dict[str, Any] = {"arch": arch, "seed": seed, "masks": masks, "mattes": mattes}
    config |= {"precision": precision, "loss": boundary(lambda_)}
    start = {"cache_mb": cache_mb, "init": init, "encoder": encoder_weights, "tf_range": tf_encoder}
    start["pretrain"] = pretrain
    train_step("teacher", recipe, config, runs, out, data, device, workers, resume, **start)


def student(
    data: options.Data = None,
    masks: options.Masks = None,
    mattes: options.Mattes = None,
    workers: options.Workers = None,
    cache_mb: options.CacheMB = None,
    arch: options.Arch = None,
    init: options.Init = None,
    pretrain: options.Pretrain = True,
    teacher: options.Teacher = None,
    encoder_weights: options.EncoderWeights = "auto",
    tf_encoder: options.TfEncoder = False,
    recipe: options.Recipe = "paper",
    resume: options.Resume = False,
    labels: options.Labels = None,
    strong_aug: options.StrongAug = True,
    ema: options.Ema = True,
    lambda_: options.Lambda = None,
    device: options.Device = "auto",
    precision: options.Precision = None,
    seed: options.Seed = None,
    runs: options.Runs = Path("runs"),
    out: options.Out = None,
    help_all: HelpAll = False,
) -> None:
    """Step 2: learn natural images from masks.

    The teacher refines the boundaries of the masks.
    """
    config: dict[str, Any] = {"arch": arch, "seed": seed, "masks": masks, "mattes": mattes}
    config |= {"precision": precision, "loss": boundary(lambda_), "labels": labels}
    config |= {"strong": None if strong_aug else False, "teacher_ema": None if ema else 0.0}
    start = {
        "cache_mb": cache_mb,
        "init": init,
        "pretrain": pretrain,
        "encoder": encoder_weights,
        "tf_range": tf_encoder,
        "teacher": teacher,
    }
    train_step("student", recipe, config, runs, out, data, device, workers, resume, **start)


def boundary(weight: float | None) -> dict[str, float] | None:
    """Return ``--lambda`` as a change of a recipe's losses."""
    return None if weight is None else {"boundary": weight}


def train_step(
    kind: str,
    recipe: str,
    fields: dict[str, Any],
    runs: Path,
    out: Path | None,
    data: Path | None,
    device: str,
    workers: int | None,
    resume: bool,
    **start: Any,
) -> None:
    """Run one step; `fields` of `train.config.Config` override the recipe where they are given."""
    require_torch()
    from engines.datasets.layout import find_data
    from engines.models import resolve_model
    from train import config as configs

    for name in ("init", "teacher"):
        if start.get(name) is not None:
            start[name] = resolve_model(str(start[name]), f"--{name} ")[1]
    if fields["arch"] is None and kind in FROM_FILES:
        from train.export.reread import arch_of, is_model_file

        if is_model_file(start["init"]):
            fields = fields | {"arch": arch_of(start["init"])}
    config, root = configs.load(recipe, kind, **fields), find_data(data)
    from train.chain import chain  # torch takes seconds: what is wrong before is said at once
    from train.run import Run

    folder = out or runs / f"{kind}-{config.arch}"
    run = Run(config, root, folder, workers=workers, resume=resume, **start)
    with report.bar(" steps", slow=True) as show:
        code = chain(run, recipe, runs, device, report.line, show)
    raise typer.Exit(code)


def require_torch() -> None:
    """Raise Unavailable where what training needs is not installed."""
    from importlib.util import find_spec

    for module in ("torch", "torchvision", "onnx", "safetensors", "tensorboard"):
        if find_spec(module) is None:
            raise Unavailable(f"training needs {module}", "run: pip install 'wsshm[train]'")
