"""`wsshm train`: options → `train.chain.chain` → lines and an exit code."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from wsshm_cli import report
from wsshm_cli.app import app, ending

train = typer.Typer(
    name="train",
    help="Train a model of your own: a teacher from mattes, a student from masks.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(train)


class Labels(str, Enum):
    """What a student learns; of `train.config.LABELS`."""

    blended = "blended"
    masks = "masks"
    teacher = "teacher"


class Precision(str, Enum):
    """As `train.config.Config.precision`."""

    auto = "auto"
    bf16 = "bf16"
    fp16 = "fp16"
    fp32 = "fp32"


Data = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Masks, mattes, backgrounds. [default: $WSSHM_DATA or ./data]"
    ),
]
Arch = Annotated[
    str | None,
    typer.Option(
        "--arch",
        metavar="NAME",
        help="r101, r50, r34, r18, r18x0.5, r18x0.25, mbv2 or lite0 to lite2. "
        "[default: the recipe's]",
    ),
]
Recipe = Annotated[
    str,
    typer.Option(
        "--recipe",
        metavar="NAME|FILE",
        help="paper, cpu (hours instead of weeks), or a TOML file of your own.",
    ),
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Where runs are kept.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Folder of this run. [default: RUNS/KIND-ARCH]"),
]
Init = Annotated[
    Path | None,
    typer.Option("--init", metavar="FILE", help="Weights to start from: a checkpoint of wsshm."),
]
Encoder = Annotated[
    str,
    typer.Option(
        "--encoder-weights",
        metavar="auto|none|FILE",
        help="Where a fresh encoder starts: auto finds or downloads ImageNet's, FILE is a copy of "
        "them (torchvision's, or with batch norm folded); a narrow ResNet takes the whole one's.",
    ),
]
TfRange = Annotated[
    bool,
    typer.Option("--tf-encoder", help="That FILE expects RGB in [-1, 1], as TensorFlow's do."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where the run was stopped.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, metavar="N")]
Masks = Annotated[
    int | None, typer.Option("--masks", min=0, metavar="N", help="Use N masks. [default: all]")
]
Mattes = Annotated[
    int | None, typer.Option("--mattes", min=0, metavar="N", help="Use N mattes. [default: all]")
]
Lambda = Annotated[
    float | None,
    typer.Option("--lambda", min=0, metavar="F", help="Weight of the boundary loss. [paper: 0.01]"),
]
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda[:N]")]
Precisions = Annotated[Precision | None, typer.Option("--precision", help="[default: auto]")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=0, metavar="N", help="Processes that load data.")
]


@train.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    check: Annotated[
        bool,
        typer.Option("--check", help="Read every file of DATA and name all faults; no training."),
    ] = False,
    data: Data = None,
) -> None:
    """Train a model of your own: a teacher from mattes, a student from masks."""
    with ending():
        from engines.errors import UsageError

        step = context.invoked_subcommand
        if step is not None:
            if check or data:
                raise UsageError(f"--check stands alone, and --data after {step}")
            return
        if not check:
            raise UsageError("wsshm train: name a step (pretrain, teacher or student), or --check")
        _need_torch()
        from engines.datasets.layout import find_data
        from train.data.check import check as read_all

        report.out(read_all(find_data(data), report.out))


@train.command()
def pretrain(
    arch: Arch = None,
    data: Data = None,
    recipe: Recipe = "paper",
    runs: Runs = Path("runs"),
    out: Out = None,
    init: Init = None,
    encoder_weights: Encoder = "auto",
    tf_encoder: TfRange = False,
    resume: Resume = False,
    seed: Seed = None,
    masks: Masks = None,
    mattes: Mattes = None,
    device: Device = "auto",
    precision: Precisions = None,
    workers: Workers = None,
) -> None:
    """Step 0: learn from masks alone. The other steps do it by themselves."""
    options = {"arch": arch, "seed": seed, "masks": masks, "mattes": mattes}
    _train(
        "pretrain",
        recipe,
        options,
        precision,
        runs,
        out,
        data,
        device,
        init=init,
        encoder=encoder_weights,
        tf_range=tf_encoder,
        resume=resume,
        workers=workers,
    )


@train.command()
def teacher(
    arch: Arch = None,
    data: Data = None,
    recipe: Recipe = "paper",
    runs: Runs = Path("runs"),
    out: Out = None,
    init: Init = None,
    encoder_weights: Encoder = "auto",
    tf_encoder: TfRange = False,
    resume: Resume = False,
    seed: Seed = None,
    masks: Masks = None,
    mattes: Mattes = None,
    lambda_: Lambda = None,
    device: Device = "auto",
    precision: Precisions = None,
    workers: Workers = None,
) -> None:
    """Step 1: learn fine boundaries from mattes, composited over backgrounds."""
    options = {"arch": arch, "seed": seed, "masks": masks, "mattes": mattes}
    _train(
        "teacher",
        recipe,
        options | _boundary(lambda_),
        precision,
        runs,
        out,
        data,
        device,
        init=init,
        encoder=encoder_weights,
        tf_range=tf_encoder,
        resume=resume,
        workers=workers,
    )


@train.command()
def student(
    arch: Arch = None,
    data: Data = None,
    recipe: Recipe = "paper",
    runs: Runs = Path("runs"),
    out: Out = None,
    init: Init = None,
    teacher: Annotated[
        Path | None,
        typer.Option("--teacher", metavar="FILE", help="[default: the newest finished in RUNS]"),
    ] = None,
    labels: Annotated[
        Labels | None,
        typer.Option(
            "--labels",
            help="blended: the teacher's matte at its boundary, the mask elsewhere; "
            "the others are for comparison. [default: blended]",
        ),
    ] = None,
    strong_aug: Annotated[
        bool, typer.Option("--strong-aug/--no-strong-aug", help="Colour jitter, blur, JPEG.")
    ] = True,
    ema: Annotated[
        bool,
        typer.Option("--ema/--no-ema", help="A teacher of the same architecture follows."),
    ] = True,
    encoder_weights: Encoder = "auto",
    tf_encoder: TfRange = False,
    resume: Resume = False,
    seed: Seed = None,
    masks: Masks = None,
    mattes: Mattes = None,
    lambda_: Lambda = None,
    device: Device = "auto",
    precision: Precisions = None,
    workers: Workers = None,
) -> None:
    """Step 2: learn natural images from masks whose boundaries a teacher refines."""
    options: dict[str, Any] = {
        "arch": arch,
        "seed": seed,
        "masks": masks,
        "mattes": mattes,
        "labels": labels.value if labels else None,
        "strong": None if strong_aug else False,
        "teacher_ema": None if ema else 0.0,
    }
    _train(
        "student",
        recipe,
        options | _boundary(lambda_),
        precision,
        runs,
        out,
        data,
        device,
        init=init,
        teacher=teacher,
        encoder=encoder_weights,
        tf_range=tf_encoder,
        resume=resume,
        workers=workers,
    )


def _boundary(weight: float | None) -> dict[str, Any]:
    return {"loss": None if weight is None else {"boundary": weight}}


def _train(
    kind: str,
    recipe: str,
    options: dict[str, Any],
    precision: Precision | None,
    runs: Path,
    out: Path | None,
    data: Path | None,
    device: str,
    **rest: Any,
) -> None:
    with ending():
        _need_torch()
        from engines.datasets.layout import find_data
        from train import chain as chained
        from train import config as configs
        from train.run import Run

        options["precision"] = precision.value if precision else None
        config = configs.load(recipe, kind, **options)
        folder = out or runs / f"{kind}-{config.arch}"
        run = Run(config, find_data(data), folder, **rest)
        code = chained.chain(run, recipe, runs, device, report.line)
    raise typer.Exit(code)


def _need_torch() -> None:
    """Raises: Unavailable, when what training needs is not installed."""
    from importlib.util import find_spec

    from engines.errors import Unavailable

    for module in ("torch", "torchvision", "onnx", "safetensors", "tensorboard"):
        if find_spec(module) is None:
            raise Unavailable(f"training needs {module}: pip install 'wsshm[train]'")
