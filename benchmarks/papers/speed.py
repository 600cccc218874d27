"""Parameters, MACs and frames a second of the networks of Table 1, with random weights."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.papers.training import WSSHM
from engines.contract import PAPER_SIZE, ModelSpec
from engines.engine import open_engine
from engines.errors import Unavailable
from engines.files import replacing
from engines.measure.speed.bench import PAPER_FPS, WARM_UP_RUNS

# Frames a second in Table 1, at 512×512: Tesla V100, Xeon Gold 5120.
PUBLISHED = {
    "shm": (97.0, 6.6),
    "gca": (95.1, 5.0),
    "p3mnet": (94.6, 11.8),
    "indexnet": (52.9, 1.9),
    "gfm": (100.3, 13.3),
    "lfm": (26.3, 2.0),
    "modnet": (101.7, 8.9),
    **PAPER_FPS,
}


def measure(out: Path, archs: list[str], seconds: float) -> None:
    """Time the networks alone at 512×512 and write `out`; they cost what trained ones do.

    On the CPU by `wsshm bench`; on the GPU too, where ONNX Runtime has one.

    Raises:
        SystemExit: `wsshm bench` failed, and has said why.
        Unavailable: it was killed.
    """
    import torch

    from train.export.export import export
    from train.networks import build

    torch.manual_seed(0)
    trainable, gpu = {}, {}
    with tempfile.TemporaryDirectory(prefix="wsshm") as folder:
        files = []
        for arch in archs:
            net, path = build(arch).eval(), Path(folder) / f"{arch}.onnx"
            trainable[arch] = sum(p.numel() for p in net.parameters() if p.requires_grad)
            export(net, path, ModelSpec(arch, arch, net.stride, PAPER_SIZE, ()))
            files.append(path)
            gpu[arch] = frames_per_second(path, "cuda", seconds)
        frames = f"{PAPER_SIZE}x{PAPER_SIZE}"
        how = ["--size", str(PAPER_SIZE), "--frames-size", frames, "--seconds", str(seconds)]
        command = [*WSSHM, "bench", *map(str, files), "--model-only", *how, "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)  # noqa: S603
    if done.returncode < 0:
        raise Unavailable("wsshm bench was killed; memory may have run out", "free some")
    if done.returncode:
        raise SystemExit(done.returncode)
    found = json.loads(done.stdout) | {"trainable": trainable, "gpu": gpu}
    with replacing(out) as f:
        f.write(json.dumps(found, indent=1).encode())


def frames_per_second(model: Path, device: str, seconds: float) -> float | None:
    """Return how many frames of 512×512 a second a model estimates; None without that device."""
    try:
        engine = open_engine(model, device)
    except Unavailable:
        return None
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (1, PAPER_SIZE, PAPER_SIZE, 3), np.uint8)
    for _ in range(WARM_UP_RUNS):
        engine(frame)
    count, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        engine(frame)
        count += 1
    return count / spent


def speeds(path: Path) -> dict[str, list[str]]:
    """Return cells of Table 1 by architecture; those of "" are their heads.

    Without a file, the published figures alone.
    """
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    where = f"{found['cpu']}, {found['threads']} threads" if found else "CPU"
    has_gpu = any(found.get("gpu", {}).values())
    heads = ["parameters", "GMACs", "core-ms", f"FPS: {where}"]
    heads += ["FPS: GPU"] if has_gpu else []
    heads += ["paper: Xeon 5120", "paper: V100"]
    timed = {m["name"]: m for m in found["model_only"]["models"]} if found else {}
    macs = {m["name"]: m["macs"] for m in found.get("models", ())}
    cells = {"": heads}
    for arch in {**PUBLISHED, **timed}:
        own = ["–"] * 4
        if arch in timed:
            work, fps = timed[arch]["core_ms"], timed[arch]["fps"]
            own = [f"{found['trainable'][arch]:,}", f"{macs[arch] / 1e9:.1f}"]
            own += [f"{work:.0f}", f"{fps:.2f}"]
        if has_gpu:
            own.append(f"{found['gpu'].get(arch) or np.nan:.1f}")
        gpu, cpu = PUBLISHED.get(arch, ("–", "–"))
        cells[arch] = [*own, str(cpu), str(gpu)]
    return cells
