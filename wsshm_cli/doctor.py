"""`wsshm doctor`: check this machine, and say how to fix each fault."""

from __future__ import annotations

import typer

from engines.errors import Unavailable, WsshmError
from wsshm_cli import report

ANYWHERE = "  anywhere: --model fast, or --realtime; wsshm bench says how fast each model is here"
EXAMPLE = "Example: wsshm doctor"
INSTALL = "pip install --force-reinstall . (in the folder wsshm was installed from)"
REINSTALL = f"run: {INSTALL}"
REQUIRED = ("av", "numpy", "opencv-python", "pillow", "tqdm", "typer", "platformdirs")


# The thing, whether it works (None: it is missing and not needed), the finding, and the remedy, or
# what to make of it.
Row = tuple[str, bool | None, str, str]
MARKS = {True: "ok   ", None: "none ", False: "FAULT"}


FASTER = {"GPU", "TensorRT", "hardware encoders", "processor"}  # the others only bring something


def doctor() -> None:
    """Check this machine and say how to fix faults.

    Tries the shipped models, the GPU and the encoders, and looks for cameras; it changes nothing.
    Each line begins with ok, with none (missing, and only needed for what the line says) or with
    FAULT and what to do about it. What would complete this machine or make it faster comes last.
    The exit code is 69 where there is a FAULT.
    """
    rows = _checks()
    for name, good, text, remedy in rows:
        report.out(f"{MARKS[good]}  {name}: {text}")
        if remedy and good is False:
            report.out(f"       → {remedy}")
    faults = sum(good is False for _, good, _, _ in rows)
    report.out(f"{faults} to fix" if faults else "All that wsshm run needs works.")
    advice = [(name, remedy) for name, good, _, remedy in rows if remedy and good is not False]
    if rest := [f"  {name}: {text}" for name, text in advice if name not in FASTER]:
        report.out("\n".join(["", "To complete this machine:", *rest]))
    faster = [f"  {name}: {text}" for name, text in advice if name in FASTER]
    report.out("\n".join(["", "To make it faster:", *faster, ANYWHERE]))
    raise typer.Exit(69 if faults else 0)


def _checks() -> list[Row]:
    """Return every finding, in the order in which a run needs the parts."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from wsshm_cli import __version__

    def found(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    rows: list[Row] = []
    python = f"Python {platform.python_version()}, {platform.platform()}"
    rows.append(("wsshm", True, f"{__version__}, {python}", ""))
    for package in REQUIRED:
        have = found(package)
        remedy = "" if have else f"run: pip install '{package}'"
        rows.append((package, bool(have), have or "not installed", remedy))
    heif = found("pi-heif")
    text = heif or "not installed; only photographs in HEIC need it"
    rows.append(("pi-heif", bool(heif) or None, text, "" if heif else "run: pip install pi-heif"))
    runtimes = [p for p in ("onnxruntime", "onnxruntime-gpu") if found(p)]
    rows.append(
        (
            "ONNX Runtime",
            len(runtimes) == 1,
            ", ".join(f"{p} {found(p)}" for p in runtimes) or "not installed",
            ""
            if len(runtimes) == 1
            else f"run: pip uninstall -y onnxruntime onnxruntime-gpu && {INSTALL}",
        )
    )
    for name, more in (
        ("models", _model_rows),
        ("processor", _processor_rows),
        ("GPU", _gpu_rows),
        ("codecs", _codec_rows),
        ("cameras", _camera_rows),
        ("virtual camera", _virtual_camera_rows),
    ):
        try:
            rows.extend(more())
        except ImportError as e:  # also for a system library that a package needs
            rows.append((name, False, str(e), REINSTALL))
    return rows


def _model_rows() -> list[Row]:
    from engines.engine import open_engine
    from engines.models import shipped, verify

    rows: list[Row] = []
    for model in shipped():
        name = f"model {model.name}"
        try:
            verify(model)
            engine = open_engine(model.path, "cpu")
            rows.append((name, True, f"runs on {engine.name}, {engine.device}", ""))
        except WsshmError as e:
            rows.append((name, False, e.message, e.remedy or REINSTALL))
        except ImportError as e:
            rows.append((name, False, str(e), REINSTALL))
    return rows


def _processor_rows() -> list[Row]:
    from engines.machine import cores, facts, has_int8_instructions

    advice, about = [], facts()
    if (about["load"] or 0) >= cores() / 2:
        advice.append(f"the load is {about['load']:.1f} on {cores()} cores; end other programs")
    if has_int8_instructions() is False:
        advice.append(
            "it has no instructions for int8 (VNNI): use --model fast, or another machine"
        )
    text = f"{about['cpu']}, {cores()} cores"
    return [("processor", True, text, "; ".join(advice))]


def _gpu_rows() -> list[Row]:
    from engines.cuda import find_gpu, has_driver
    from engines.machine import has_nvidia_hardware
    from engines.models import find

    if not has_driver():
        text, remedy = "no NVIDIA driver; the network runs on the CPU", ""
        if has_nvidia_hardware():
            text = "an NVIDIA GPU is here, but no driver; the network runs on the CPU"
            remedy = "install NVIDIA's driver, then run: pip install 'wsshm[gpu]'"
        return [("GPU", None, text, remedy)]
    try:
        gpu = find_gpu()
        from engines.cuda_engine import CudaEngine

        CudaEngine(find(None))
    except Unavailable as e:
        return [("GPU", False, e.message, e.remedy)]
    rows: list[Row] = [
        ("GPU", True, f"{gpu.name}, {gpu.device}, compute capability {gpu.capability}", "")
    ]
    try:
        from engines.tensorrt.engine import import_tensorrt
        from engines.tensorrt.plan import is_empty

        version, remedy = import_tensorrt().__version__, ""
        if is_empty():
            remedy = "build a plan for this GPU, run: wsshm export default --to tensorrt"
        return [*rows, ("TensorRT", True, f"{version}", remedy)]
    except Unavailable as e:
        text = f"only --engine tensorrt needs it ({e.message})"
        return [*rows, ("TensorRT", None, text, e.remedy)]


def _codec_rows() -> list[Row]:
    reinstall = "run: pip install --force-reinstall 'av>=18,<19'"
    try:
        import av

        from engines.video.write.codecs import listed_codecs
    except ImportError as e:
        return [("codecs", False, str(e), reinstall)]
    rows: list[Row] = []
    for codec in listed_codecs():
        name, encoder = codec.name, codec.encoder
        if encoder in av.codecs_available:
            rows.append((f"encoder {name}", True, encoder, ""))
        else:
            good = False if name == "h264" else None  # the only one that is needed
            text = f"this FFmpeg has no {encoder}, which --codec {name} needs"
            rows.append((f"encoder {name}", good, text, reinstall))
    working = _hardware_encoders()
    none = "no hardware encoder works here; --codec h264 and the others need none"
    use = f"leave encoding to it: wsshm run clip.mp4 --codec {working[0]}" if working else ""
    rows.append(("hardware encoders", bool(working) or None, ", ".join(working) or none, use))
    return rows


def _hardware_encoders() -> list[str]:
    """Return the hardware encoders that ``--codec`` may name on this machine."""
    from fractions import Fraction

    import av

    from engines.video.config import Encoding
    from engines.video.frame import FrameFormat
    from engines.video.write import codecs, encoders

    working = []
    for name in sorted(av.codecs_available):
        plain, _, maker = name.rpartition("_")
        if plain in ("h264", "hevc", "av1") and maker in ("nvenc", "videotoolbox", "qsv", "amf"):
            try:
                encoder = encoders.choose(Encoding(name), ".mp4", alpha=False)
                rate, mp4 = Fraction(25), codecs.CONTAINERS[".mp4"]
                encoders.check_starts(encoder, FrameFormat(640, 360), rate, 1 / rate, mp4, ".mp4")
                working.append(name)
            except WsshmError:
                continue
    return working


def _camera_rows() -> list[Row]:
    from engines.video.read.camera import cameras, no_camera

    try:
        found = cameras()
    except (Unavailable, OSError, ValueError) as e:
        return [("cameras", None, f"cannot be listed ({e}); only --webcam needs one", "")]
    if not found:
        what, remedy = no_camera()
        return [("cameras", None, f"{what}; only --webcam needs one", remedy)]
    return [
        (f"camera {n}", not c.fault, f"{c.url} ({c.name}){': ' * bool(c.fault)}{c.fault}", c.remedy)
        for n, c in enumerate(found)
    ]


def _virtual_camera_rows() -> list[Row]:
    import sys
    from importlib.util import find_spec

    from engines.video.write.virtual_camera import (
        INSTALL_OBS,
        INSTALL_PACKAGE,
        loopbacks,
        why_no_loopback,
    )

    name, only = "virtual camera", "only --virtual-cam needs it"
    rows: list[Row] = []
    if find_spec("pyvirtualcam") is None:
        rows.append((name, None, f"pyvirtualcam is not installed; {only}", INSTALL_PACKAGE))
    if sys.platform != "linux":
        return [*rows, (name, None, f"{only}, and with it OBS", INSTALL_OBS)]
    found = loopbacks()
    if not found:
        what, remedy = why_no_loopback()
        return [*rows, (name, None, f"{what}; {only}", remedy)]
    for x in found:
        notes = "; ".join(n for n in (x.fault, x.warning) if n)
        text = f"{x.url} ({x.name}){': ' * bool(notes)}{notes}"
        rows.append((name, not x.fault, text, x.remedy))
    return rows
