"""Options that the steps of `wsshm train` share; hidden ones are under ``--help-all``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from train import config
from train.networks import describe_architectures

_data = partial(typer.Option, rich_help_panel="Data")
Data = Annotated[
    Path | None,
    _data(
        "--data",
        metavar="DIR",
        help="Folder of masks, mattes and backgrounds. [default: $WSSHM_DATA or ./data]",
    ),
]
Masks = Annotated[
    int | None,
    _data(
        "--masks",
        min=0,
        metavar="N",
        hidden=True,
        help="Use N masks, drawn at random over all sets; with one seed, fewer are among more. "
        "[default: all]",
    ),
]
Mattes = Annotated[
    int | None,
    _data(
        "--mattes",
        min=0,
        metavar="N",
        hidden=True,
        help="Use N mattes, drawn at random over all sets; with one seed, fewer are among more. "
        "[default: all]",
    ),
]
Workers = Annotated[
    int | None,
    _data("--workers", min=0, metavar="N", hidden=True, help="Processes that load data."),
]
CacheMB = Annotated[
    int | None,
    _data(
        "--cache-mb",
        min=0,
        metavar="N",
        hidden=True,
        help="Memory for decoded images, at most. [default: half of what is free]",
    ),
]

_network = partial(typer.Option, rich_help_panel="Network")
Arch = Annotated[
    str | None,
    _network(
        "--arch",
        metavar="NAME",
        help=f"{describe_architectures()}. [default: the recipe's]",
    ),
]
Init = Annotated[
    Path | None,
    _network(
        "--init",
        metavar="FILE|NAME",
        help="Start from these weights: a checkpoint of wsshm, a shipped model, or the float32 "
        "model file of a U-Net.",
    ),
]
Pretrain = Annotated[
    bool,
    _network(
        "--pretrain/--no-pretrain",
        hidden=True,
        help="Learn the masks first where there is no --init. [default: on]",
    ),
]
EncoderWeights = Annotated[
    str,
    _network(
        "--encoder-weights",
        metavar="auto|none|FILE",
        hidden=True,
        help="Where a new encoder starts: auto finds or downloads ImageNet weights, FILE is a copy "
        "of them (torchvision's, or with batch norm folded). A narrow ResNet starts from the "
        "full-width weights.",
    ),
]
TfEncoder = Annotated[
    bool,
    _network(
        "--tf-encoder",
        hidden=True,
        help="FILE of --encoder-weights expects RGB in [-1, 1], as TensorFlow's weights do.",
    ),
]

_training = partial(typer.Option, rich_help_panel="Training")
Recipe = Annotated[
    str,
    _training(
        "--recipe",
        metavar="NAME|FILE",
        help="paper, cpu (hours instead of weeks), finetune, or your own TOML file.",
    ),
]
Resume = Annotated[bool, _training("--resume", help="Continue a run that was stopped.")]
Lambda = Annotated[
    float | None,
    _training(
        "--lambda",
        min=0,
        metavar="F",
        hidden=True,
        help="Weight of the boundary loss. [default: the recipe's; 0.01 in the paper]",
    ),
]
Device = Annotated[
    str,
    _training("--device", metavar="auto|cpu|cuda[:N]", help="Where the network is trained."),
]
Precision = Annotated[
    config.Precision | None,
    _training(
        "--precision",
        metavar="|".join(config.PRECISIONS),
        hidden=True,
        help="Arithmetic of training; auto is bf16 where the device has it. [default: auto]",
    ),
]
Seed = Annotated[
    int | None,
    _training(
        "--seed",
        min=0,
        metavar="N",
        hidden=True,
        help="Seed of all random numbers. [default: the recipe's]",
    ),
]

_output = partial(typer.Option, rich_help_panel="Output")
Runs = Annotated[Path, _output("--runs", metavar="DIR", help="Folder of all runs.")]
Out = Annotated[
    Path | None,
    _output("--out", metavar="DIR", help="Folder of this run. [default: RUNS/STEP-ARCH]"),
]

# Of a student alone.
Teacher = Annotated[
    Path | None,
    _network(
        "--teacher",
        metavar="FILE|NAME",
        help="Weights of the teacher: a checkpoint, a shipped model or the float32 model file of a "
        "U-Net. [default: the newest finished in RUNS]",
    ),
]
Labels = Annotated[
    config.Labels | None,
    _training(
        "--labels",
        metavar="|".join(config.Labels),
        hidden=True,
        help="What is learnt of photographs: "
        f"{'; '.join(f'{labels.value}, {labels.words}' for labels in config.Labels)}. "
        "[default: the recipe's]",
    ),
]
StrongAug = Annotated[
    bool,
    _training(
        "--strong-aug/--no-strong-aug",
        hidden=True,
        help="Colour jitter, blur and JPEG on photographs. [default: on]",
    ),
]
Ema = Annotated[
    bool,
    _training(
        "--ema/--no-ema",
        hidden=True,
        help="Let a teacher of the same architecture track the student (EMA). [default: on]",
    ),
]
