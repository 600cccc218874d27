"""The options of `wsshm run`, in the order of its help; hidden ones are under ``--help-all``."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal, get_args

import typer

from engines.video.compose.kinds import describe as describe_backgrounds
from engines.video.config import PIPES, BackgroundFit, Pipe, PrecisionChoice, Save
from engines.video.write.codecs import codec_help, crf_help, ten_bits_help
from wsshm_cli.parse import SIZES

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        rich_help_panel="Input",
        metavar="INPUT",
        help="A video, an image, a folder of images, 'folder/*.png', an address (rtsp://… "
        "udp://… http://…), or - for stdin. Of several files, or a folder with videos in it, "
        "each has an output of its own in -o FOLDER/.",
    ),
]
_input = partial(typer.Option, rich_help_panel="Input")
Recursive = Annotated[
    bool,
    _input(
        "-r",
        "--recursive",
        hidden=True,
        help="Take the videos and images of sub-folders too; OUT gets the same sub-folders.",
    ),
]
Start = Annotated[
    str, _input("--start", metavar="T", help="Begin at this time: seconds or [h:]mm:ss.")
]
Duration = Annotated[
    str | None, _input("--duration", metavar="T", help="Process this much of the clip.")
]
Fps = Annotated[
    str | None,
    _input(
        "--fps",
        metavar="N|N/D",
        hidden=True,
        help="Frames per second of a video made of a folder of images: 25 or 30000/1001.",
    ),
]

_output = partial(typer.Option, rich_help_panel="Output")
Output = Annotated[
    str | None,
    _output(
        "-o",
        "--output",
        metavar="OUT",
        help="A .mp4, .mkv, .mov or .webm file, an image, a folder/ for PNG files, or - for "
        "stdout. With several inputs a folder/ for all their outputs. [default: "
        "INPUT_wsshm.mp4; .webm if transparent, .png for an image]",
    ),
]
Saves = Annotated[
    list[Save] | None,
    _output(
        "--save",
        metavar="|".join(Save),
        help="What to write; repeat it for several outputs in one pass. alpha is the matte, "
        "foreground the person with straight alpha. [default: composite]",
    ),
]
Overwrite = Annotated[
    bool,
    _output(
        "--overwrite",
        help="Replace OUT if it exists. With several inputs this makes those outputs again that "
        "other options or other inputs made; finished ones stay.",
    ),
]
NoAudio = Annotated[bool, _output("--no-audio", hidden=True, help="Leave out the sound.")]
Format = Annotated[
    Pipe | None,
    _output(
        "--format",
        metavar="|".join(PIPES),
        hidden=True,
        help="Container when writing to stdout (-o -), a pipe or a device. [default: mkv]",
    ),
]
AsJson = Annotated[
    bool, _output("--json", hidden=True, help="Print the result as one JSON object on stdout.")
]

_background = partial(typer.Option, rich_help_panel="Background")
Background = Annotated[
    str,
    _background(
        "--bg",
        metavar="BACKGROUND",
        help=f"Put behind the person {describe_backgrounds(with_notes=True)}.",
    ),
]
Fit = Annotated[
    BackgroundFit,
    _background(
        "--bg-fit",
        metavar="|".join(BackgroundFit),
        hidden=True,
        help="How a background of another aspect ratio fills the frame: cropped, with bars, or "
        "distorted.",
    ),
]
BackgroundColour = Annotated[
    str | None,
    _background(
        "--bg-color",
        metavar="'#rrggbb'",
        hidden=True,
        help="What shows through a background with transparency, and where it does not reach. "
        "[default: black]",
    ),
]

_matte = partial(typer.Option, rich_help_panel="Matte")
Smooth = Annotated[
    float,
    _matte(
        "--smooth",
        min=0,
        max=0.95,
        metavar="0..0.95",
        help="Temporal smoothing of the matte where the frame is still; 0 is off.",
    ),
]
NoRefine = Annotated[
    bool,
    _matte(
        "--no-refine", hidden=True, help="Do not fit the matte's edges to the edges of the frame."
    ),
]
NoDecontaminate = Annotated[
    bool,
    _matte(
        "--no-decontaminate",
        hidden=True,
        help="Do not remove the old background's colour from the person's edges.",
    ),
]
Islands = Annotated[
    float,
    _matte(
        "--islands",
        min=0,
        max=1,
        metavar="0..1",
        hidden=True,
        help="Remove parts smaller than this share of the largest part.",
    ),
]
Erode = Annotated[
    int,
    _matte(
        "--erode",
        min=-64,
        max=64,
        metavar="PIXELS",
        hidden=True,
        help="Shrink the person by this much on every side, or grow it if negative (-64 to 64).",
    ),
]
Feather = Annotated[
    float,
    _matte(
        "--feather",
        min=0,
        max=64,
        metavar="PIXELS",
        hidden=True,
        help="Fade the edges over this much on either side (0 to 64).",
    ),
]

_network = partial(typer.Option, rich_help_panel="Network")
Model = Annotated[
    str | None,
    _network(
        "--model",
        metavar="NAME|FILE",
        help="A shipped model (see wsshm models) or an ONNX file. [default: default]",
    ),
]
Size = Annotated[
    str | None,
    _network(
        "--size",
        metavar="PIXELS|auto",
        help=f"Shorter edge of the network's input ({SIZES}); auto is the largest that keeps "
        "up with the clip. [default: the model's]",
    ),
]
Realtime = Annotated[
    bool, _network("--realtime", help="Choose model and size to keep up with the clip.")
]
Device = Annotated[
    str,
    _network("--device", metavar="auto|cpu|cuda[:N]", hidden=True, help="Where the network runs."),
]
Engine = Annotated[
    str,
    _network(
        "--engine",
        metavar="auto|onnx|tensorrt",
        hidden=True,
        help="tensorrt needs a plan: wsshm export MODEL --to tensorrt.",
    ),
]
Precision = Annotated[
    PrecisionChoice,
    _network(
        "--precision",
        metavar="|".join(get_args(PrecisionChoice)),
        hidden=True,
        help="Precision of the network. auto is fp16 on a GPU if there is such a file; on a CPU it "
        "times int8 against fp32 once per machine.",
    ),
]

Jobs = Annotated[
    int | None,
    _network(
        "--jobs",
        min=1,
        max=256,
        metavar="N",
        hidden=True,
        help="Of several inputs or segments, do this many at once; they share the cores. It helps "
        "with short clips: a long one keeps two cores busy by itself. [default: 1]",
    ),
]

Segments = Annotated[
    str | None,
    _network(
        "--segments",
        metavar="T",
        hidden=True,
        help="Cut a long video at key frames into segments of about this time (60 or 1:30), which "
        "--jobs N does at once, and join them without encoding again. A run that was ended goes "
        "on with those that are missing.",
    ),
]
Cluster = Annotated[
    str | None,
    _network(
        "--cluster",
        metavar="local|ADDRESS",
        hidden=True,
        help="Do as many of several inputs, or of the segments of one, at once as a Ray cluster "
        "has room for, or --jobs: HOST:PORT, auto for the cluster of this machine, or local for "
        "this machine alone. Files lie where every machine sees them; see docs/cluster.md.",
    ),
]

_live = partial(typer.Option, rich_help_panel="Live")
Webcam = Annotated[bool, _live("--webcam", help="Read from a camera.")]
Camera = Annotated[
    str | None,
    _live(
        "--camera",
        metavar="N|PATH",
        hidden=True,
        help="Which camera (see wsshm doctor). [default: the first]",
    ),
]
Reconnect = Annotated[
    bool,
    _live(
        "--reconnect",
        hidden=True,
        help="When a camera or a network stream stops, wait for it to come back.",
    ),
]
VirtualCam = Annotated[
    bool,
    _live(
        "--virtual-cam",
        help="Offer the result to other programs as a camera; add -o to write a file too.",
    ),
]
VirtualDevice = Annotated[
    str | None,
    _live(
        "--virtual-device",
        metavar="PATH",
        hidden=True,
        help="Which virtual camera (see wsshm doctor). [default: the first]",
    ),
]
Preview = Annotated[
    bool,
    _live(
        "--preview",
        help="Show the result in a window (q quit, b next background, s snapshot); add -o to "
        "write a file too.",
    ),
]

_encoding = partial(typer.Option, rich_help_panel="Encoding")
Codec = Annotated[str | None, _encoding("--codec", metavar="NAME", hidden=True, help=codec_help())]
Crf = Annotated[
    float | None,
    _encoding("--crf", metavar="N", hidden=True, help=f"Constant rate factor: {crf_help()}"),
]
Bits = Annotated[
    Literal["8", "10"],
    _encoding(
        "--bits",
        metavar="8|10",
        hidden=True,
        help="Bit depth of the video from decoding to encoding; the matte has 8. 10 works with "
        f"{ten_bits_help()}.",
    ),
]
