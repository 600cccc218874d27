"""`wsshm doctor`: what works on this machine, and for each fault the command that mends it."""

from __future__ import annotations

import typer

from wsshm_cli import report
from wsshm_cli.app import app, ending

REINSTALL = "pip install --force-reinstall . (in the folder wsshm was installed from)"
REQUIRED = ("av", "numpy", "opencv-python", "tqdm", "typer", "platformdirs")


@app.command()
def doctor() -> None:
    """Check models, engine and codecs on this machine.

    Exits 69 when something that is needed does not work.
    """
    with ending():
        faults = 0
        for name, good, text, remedy in _checks():
            report.out(f"{'ok   ' if good else 'FAULT'}  {name}: {text}")
            if not good:
                faults += 1
                report.out(f"       mend it with: {remedy}")
    raise typer.Exit(69 if faults else 0)


def _checks() -> list[tuple[str, bool, str, str]]:
    """(what, whether it works, finding, remedy), in the order a run needs them."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from wsshm_cli import __version__

    def found(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    rows: list[tuple[str, bool, str, str]] = []
    python = f"Python {platform.python_version()}, {platform.platform()}"
    rows.append(("wsshm", True, f"{__version__}, {python}", ""))
    for package in REQUIRED:
        have = found(package)
        rows.append((package, bool(have), have or "not installed", f"pip install '{package}'"))
    runtimes = [p for p in ("onnxruntime", "onnxruntime-gpu") if found(p)]
    rows.append(
        (
            "ONNX Runtime",
            len(runtimes) == 1,
            ", ".join(f"{p} {found(p)}" for p in runtimes) or "not installed",
            f"pip uninstall -y onnxruntime onnxruntime-gpu && {REINSTALL}",
        )
    )
    rows.extend(_model_rows())
    rows.extend(_gpu_rows())
    rows.extend(_codec_rows())
    rows.extend(_camera_rows())
    rows.extend(_virtual_camera_rows())
    return rows


def _model_rows() -> list[tuple[str, bool, str, str]]:
    from engines.engine import open_engine
    from engines.errors import WsshmError
    from engines.models import shipped, verify

    rows = []
    for model in shipped():
        name = f"model {model.name}"
        try:
            verify(model)
            engine = open_engine(model.path, "cpu")
            rows.append((name, True, f"runs on {engine.name}, {engine.device}", ""))
        except (WsshmError, ImportError) as e:
            rows.append((name, False, str(e), REINSTALL))
    return rows


def _gpu_rows() -> list[tuple[str, bool, str, str]]:
    from engines.cuda import LIBRARIES, find_gpu, has_driver
    from engines.errors import Unavailable
    from engines.models import find

    if not has_driver():
        return [("GPU", True, "no NVIDIA driver; the network runs on the CPU", "")]
    try:
        gpu = find_gpu()
        from engines.cuda_engine import CudaEngine

        CudaEngine(find(None))
    except Unavailable as e:
        text, _, remedy = str(e).partition("; mend it with: ")
        return [("GPU", False, text, remedy or LIBRARIES)]
    rows = [("GPU", True, f"{gpu.name}, {gpu.device}, compute capability {gpu.capability}", "")]
    try:
        from engines.tensorrt_engine import import_tensorrt

        text = f"{import_tensorrt().__version__}; plans: wsshm export MODEL --to tensorrt"
    except Unavailable as e:
        text = f"not usable, and not needed ({e})"
    return [*rows, ("TensorRT", True, text, "")]


def _codec_rows() -> list[tuple[str, bool, str, str]]:
    try:
        import av

        from engines.video.encoders import ENCODERS
    except ImportError as e:
        return [("codecs", False, str(e), "pip install --force-reinstall 'av>=18,<19'")]
    rows = []
    for name, (encoder, _, _) in ENCODERS.items():
        have = encoder in av.codecs_available
        text = encoder if have else f"this FFmpeg has no {encoder}; --codec {name} will not work"
        have = have or name != "h264"  # the only one that is needed
        rows.append((f"encoder {name}", have, text, "pip install --force-reinstall 'av>=18,<19'"))
    hardware = [c for c in sorted(av.codecs_available) if c.startswith(("h264_", "hevc_"))]
    listed = [c for c in hardware if c.endswith(("nvenc", "videotoolbox", "qsv", "amf"))]
    rows.append(
        (
            "hardware encoders",
            True,
            f"{', '.join(listed)} (if the driver is there)" if listed else "none",
            "",
        )
    )
    return rows


def _camera_rows() -> list[tuple[str, bool, str, str]]:
    from engines.errors import Unavailable
    from engines.video.camera import cameras, no_camera

    try:
        found = cameras()
    except (Unavailable, OSError, ValueError) as e:
        return [("cameras", True, f"cannot be listed ({e})", "")]
    if not found:
        return [("cameras", True, f"none; {no_camera()}", "")]
    return [
        (f"camera {n}", not c.fault, f"{c.url} ({c.name}){': ' * bool(c.fault)}{c.fault}", c.remedy)
        for n, c in enumerate(found)
    ]


def _virtual_camera_rows() -> list[tuple[str, bool, str, str]]:
    import sys
    from importlib.util import find_spec

    from engines.video.virtual_camera import OBS, PACKAGE, loopbacks, why_no_loopback

    name = "virtual camera"
    rows = []
    if find_spec("pyvirtualcam") is None:
        rows.append((name, True, f"pyvirtualcam is not there; --virtual-cam needs: {PACKAGE}", ""))
    if sys.platform != "linux":
        return [*rows, (name, True, f"--virtual-cam needs OBS: {OBS}", "")]
    found = loopbacks()
    if not found:
        what, remedy = why_no_loopback()
        return [*rows, (name, True, f"{what}; --virtual-cam needs: {remedy}", "")]
    for x in found:
        notes = "; ".join(n for n in (x.fault, x.warning) if n)
        text = f"{x.url} ({x.name}){': ' * bool(notes)}{notes}"
        rows.append((name, not x.fault, text, x.remedy))
    return rows
