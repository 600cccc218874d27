"""One training run: `train` reads top to bottom: processes, data, networks, resume, loop, release.

Under ``torchrun`` every process works on its share of each batch.
"""

from __future__ import annotations

import copy
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from engines.contract import ModelSpec
from engines.engine import open_engine
from engines.errors import BadData, Unavailable, UsageError, WsshmError
from engines.files import sha256
from engines.measure.quality.evaluate import mask_iou
from train.checkpoint import checkpoint
from train.config import Config
from train.data.samples import Batches, Samples, quiet_worker
from train.export.export import export
from train.log import Log, draw
from train.methods.method import step_losses
from train.networks.encoders.imagenet import start_encoder
from train.networks.unet import MattingNet
from train.process import World, signals
from train.run import MODEL, RELEASED, Run, claim, describe, version

LAST_CHECKPOINTS = 2
VAL_IMAGES = 12  # of each source, in the evaluations of a run


def train(run: Run, world: World, say: Callable[[str], None]) -> int:
    """Begin or resume a run; returns 0, or 130 or 143 when a signal ended it after a checkpoint.

    A finished run has left ``model.safetensors`` and ``model.onnx`` in its folder.

    Args:
        world: of `train.process.joined`.
        say: takes a line for the user.

    Raises:
        UsageError: the folder holds another run, or this one without `resume`.
        BadData, CannotOpen: the data or a weights file; also a loss that is not finite.
        WriteFailed: a full disk; the checkpoint before stays.
        Unavailable: the device, or a loading process that was killed.
    """
    config, out = run.config, run.out
    found = claim(run, say)
    if found is None:
        say(f"{out}: finished already")
        return 0
    state = found or None

    # Data.
    torch.manual_seed(config.seed)
    net = _network(config.arch)
    samples = Samples(run.data, config, world.size)
    if state is not None and state["files"] != samples.fingerprint:
        raise UsageError(
            f"{out}: was begun on other images than {run.data} holds now; give it those, or --out"
        )
    # Workers are the parallelism; threads of theirs would take the network's cores.
    cv2.setNumThreads(1)

    # Networks.
    if state is None:
        say(_start(run, net, samples))
        if world.first:
            describe(run, world)
    teacher = _teacher(run, net)
    teacher_sha = sha256(run.teacher) if run.teacher else ""
    follower = teacher if isinstance(teacher, AveragedModel) else None
    average = AveragedModel(net, multi_avg_fn=_averaging(config.average), use_buffers=True)
    if world.size > 1 and world.device.type == "cuda":
        net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    for module in (net, average, teacher):
        if module is not None:
            module.to(world.device, memory_format=torch.channels_last)
        if isinstance(module, AveragedModel):
            module.n_averaged = module.n_averaged.cpu()  # read at every step
    model = distribute(net, config, world)
    optimiser = torch.optim.AdamW(
        [
            {"params": list(net.encoder.parameters()), "base": config.encoder_lr or config.lr},
            {
                "params": [p for n, p in net.named_parameters() if n[:8] != "encoder."],
                "base": config.lr,
            },
        ],
        weight_decay=config.weight_decay,
    )
    dtype = _precision(config.precision, world.device)
    scaler = torch.amp.GradScaler(world.device.type, enabled=dtype == torch.float16)

    # Resume.
    step, sums, counted = 0, {}, 0
    if state is not None:
        checkpoint.match(net, state["net"], out)
        checkpoint.match(average, state["ema"], out)
        if follower:
            checkpoint.match(follower, state["teacher"], out)
        optimiser.load_state_dict(state["optimiser"])
        scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["rng"])
        if world.device.type == "cuda" and "cuda_rng" in state:
            torch.cuda.set_rng_state(state["cuda_rng"], world.device)
        step, sums, counted = state["step"], state["sums"], state["counted"]
        say(f"{out}: resumed at step {step} of {config.steps}")

    def save() -> None:
        if not world.first:
            return
        own = {
            "arch": config.arch,
            "config": config.plain(),
            "step": step,
            "net": net.state_dict(),
            "ema": average.state_dict(),
            "optimiser": optimiser.state_dict(),
            "scaler": scaler.state_dict(),
            "rng": torch.get_rng_state(),
            "sums": sums,
            "counted": counted,
            "teacher_sha": teacher_sha,
            "files": samples.fingerprint,
        }
        if world.device.type == "cuda":
            own["cuda_rng"] = torch.cuda.get_rng_state(world.device)
        if follower:
            own["teacher"] = follower.state_dict()
        checkpoint.save(out / f"step-{step:08d}.pt", own)
        checkpoint.keep(out, LAST_CHECKPOINTS)

    # Loop.
    workers = _workers(run.workers, world)
    loader = DataLoader(
        samples,
        batch_sampler=Batches(config, step, world.rank, world.size),
        num_workers=workers,
        worker_init_fn=quiet_worker,
        pin_memory=world.device.type == "cuda",
        prefetch_factor=4 if workers else None,
        multiprocessing_context="fork" if workers else None,  # the images are not copied
        generator=torch.Generator(),  # or starting it would move the state of torch's own
    )
    say(
        f"{config.kind} {config.arch}: {config.steps} steps on {world.device}"
        f"{f' x {world.size}' if world.size > 1 else ''}, "
        f"{str(dtype).removeprefix('torch.')}, crops of {_span(config.sizes)}, "
        f"{len(samples.photos)} masks, {len(samples.people)} mattes, "
        f"{len(samples.backgrounds)} backgrounds → {out}"
    )
    with (
        _faults(out),
        Log(out, step) if world.first else nullcontext() as log,
        signals() as caught,
        _progress(config.steps, step, world) as bar,
    ):
        net.train()
        since, images = time.monotonic(), 0
        for batch in loader:
            factor = rate(step, config)
            for group in optimiser.param_groups:
                group["lr"] = group["base"] * factor
            with torch.autocast(world.device.type, dtype, enabled=dtype != torch.float32):
                losses = step_losses(model, teacher, batch, config, world.device)
            optimiser.zero_grad(set_to_none=True)
            scaler.scale(losses["total"]).backward()
            scaler.unscale_(optimiser)
            norm = nn.utils.clip_grad_norm_(net.parameters(), config.clip)
            # One transfer from the device for all of them.
            *terms, norm = torch.stack([*losses.values(), norm]).tolist()
            values = dict(zip(losses, terms, strict=True))
            # The scaler leaves out a step whose gradient is too large for float16, and goes on.
            lost = not math.isfinite(values["total"] if scaler.is_enabled() else norm)
            if world.any(lost):
                here = f"the batch: {'; '.join(batch['name'])}" if lost else "in another process"
                raise BadData(
                    f"the loss is {values['total']}, its gradient {norm}, at step {step}; the "
                    f"checkpoint before stays in {out}; a lower lr may help; {here}"
                )
            scaler.step(optimiser)
            scaler.update()
            average.update_parameters(net)
            if follower:
                follower.update_parameters(net)
            step += 1

            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value
            counted += 1
            images += len(batch["fine"]) * world.size
            if step % config.log_every == 0 or step == config.steps:
                row = {name: round(v / counted, 6) for name, v in sums.items()}
                speed = round(images / (time.monotonic() - since), 2)
                if log:
                    row |= {"lr": config.lr * factor, "images_per_s": speed}
                    log.scalars(step, row)
                    bar.set_postfix_str(
                        f"loss {row['total']:.4f}, lr {row['lr']:.1e}, {speed:.1f} img/s",
                        refresh=False,
                    )
                since, images, sums, counted = time.monotonic(), 0, {}, 0
            bar.update()
            stop = world.any(bool(caught))
            if step % config.save_every == 0 or stop or step == config.steps:
                save()
            if stop:
                bar.close()
                say(f"{out}: stopped at step {step} of {config.steps}; --resume goes on")
                return 128 + (caught[0] if caught else signal.SIGINT)
            due = config.evaluate_every and step % config.evaluate_every == 0
            if due and log and step < config.steps:
                log.image(step, draw(average.module, teacher, samples, config, world.device))
                log.scalars(step, _evaluate(average.module, run, samples, say))

        # Release.
        if log:
            log.image(step, draw(average.module, teacher, samples, config, world.device))
            checkpoint.save_weights(
                out / RELEASED,
                config.arch,
                average.module.state_dict(),
                {"step": str(step), "version": version()},
            )
            scores = _evaluate(average.module, run, samples, say)
            log.scalars(step, scores)
            found_people = f", val IoU {scores['val_iou']:.3f}" if scores else ""
            say(f"{out / MODEL}: {config.kind} {config.arch}, {step} steps{found_people}")
    world.any(False)  # what comes next may need what the first process has just written
    return 0


def rate(step: int, config: Config) -> float:
    """Factor on the learning rate: linear warm-up, then constant or cosine to zero."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    if config.schedule == "constant":
        return 1.0
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def distribute(net: MattingNet, config: Config, world: World) -> nn.Module:
    """The network as its processes share it."""
    if world.size == 1:
        return net
    for stage in config.stages:
        if stage.batch % world.size:
            raise UsageError(
                f"a batch of {stage.batch} cannot be shared evenly by {world.size} processes"
            )
    devices = [world.device.index] if world.device.type == "cuda" else None
    unused = "boundary" not in config.loss  # its head gets no gradient then
    return DistributedDataParallel(net, device_ids=devices, find_unused_parameters=unused)


def _network(arch: str) -> MattingNet:
    try:
        return MattingNet(arch)
    except ValueError as e:
        raise UsageError(f"--arch: {e}") from e


def _start(run: Run, net: MattingNet, samples: Samples) -> str:
    """Give a fresh network its weights; returns a line that says which."""
    if run.init is not None:
        arch, weights = checkpoint.weights(run.init)
        if arch != run.config.arch:
            raise UsageError(f"--init {run.init}: is a {arch}, not a {run.config.arch}")
        checkpoint.match(net, weights, run.init)
        return f"network: from {run.init}"

    def images() -> Tensor:
        return torch.stack([samples[(i, 192)]["image"] for i in range(192)]).float() / 255

    return start_encoder(net, run.encoder, run.tf_range, images)


def _teacher(run: Run, net: MattingNet) -> nn.Module | None:
    """The teacher of a student that has one, frozen or as an average that follows it."""
    if not run.config.has_teacher:
        return None
    if run.teacher is None:
        raise UsageError("a student needs a teacher: train one first, or --labels masks")
    arch, weights = checkpoint.weights(run.teacher)
    teacher = MattingNet(arch)
    checkpoint.match(teacher, weights, run.teacher)
    teacher.eval().requires_grad_(False)
    own, theirs = (n.aspp.bn.num_features for n in (net, teacher))
    if "context" in run.config.loss and own != theirs:
        raise UsageError(
            f"{run.teacher}: has {theirs} features where a {net.arch} has {own}; take another "
            "teacher, or the loss `context` out of the recipe"
        )
    if arch != run.config.arch or not run.config.teacher_ema:
        return teacher
    decay = get_ema_multi_avg_fn(run.config.teacher_ema)
    follower = AveragedModel(teacher, multi_avg_fn=decay, use_buffers=True)
    follower.n_averaged.fill_(1)  # or the first update would copy the student
    return follower.eval()


def _averaging(decay: float) -> Callable[[Any, Any, Any], None]:
    """A running average that forgets its start: its decay grows from 0.1 to `decay`."""

    def update(averaged: Any, current: Any, count: Any) -> None:
        n = int(count)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, count)

    return update


def _precision(wanted: str, device: torch.device) -> torch.dtype:
    if wanted == "auto":
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        if device.type == "cuda":
            wanted = "bf16" if torch.cuda.is_bf16_supported(False) else "fp16"
        else:
            wanted = "bf16" if native() else "fp32"
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[wanted]


def _workers(wanted: int | None, world: World) -> int:
    if sys.platform != "linux":  # no fork there that torch bears
        return 0
    if wanted is not None:
        return wanted
    cores = os.cpu_count() or 1
    if world.device.type == "cpu":  # the network needs the cores
        return max(1, cores // 8)
    return max(1, min(16, cores // world.size - 1))


@contextmanager
def _faults(out: Path) -> Iterator[None]:
    """What goes wrong in loading processes and on the device as one of our errors."""
    try:
        yield
    except WsshmError as e:  # a loading process adds its traceback
        if "Traceback" not in str(e):
            raise
        raise type(e)(str(e).strip().splitlines()[-1].split(": ", 1)[-1]) from e
    except torch.OutOfMemoryError as e:
        raise Unavailable(
            f"{str(e).splitlines()[0]} Take smaller batches or crops in a --recipe"
        ) from e
    except (RuntimeError, EOFError, OSError) as e:
        # One that dies while it hands a batch over breaks the connection instead.
        modules = {Path(f.filename).parent.name for f in traceback.extract_tb(e.__traceback__)}
        if "DataLoader worker" not in str(e) and "multiprocessing" not in modules:
            raise
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or torch raises once more, anywhere
        why = (str(e).splitlines() or [repr(e)])[0]
        raise Unavailable(
            f"a loading process died ({why}); memory may have run out: free some or use fewer "
            f"--workers, then --resume goes on from {out}"
        ) from e


def _evaluate(
    net: nn.Module, run: Run, samples: Samples, say: Callable[[str], None]
) -> dict[str, float]:
    """Write ``model.onnx`` and measure it on some ``val`` masks, where there are any."""
    config, path = run.config, run.out / MODEL
    own = copy.deepcopy(net).cpu().eval()
    assert isinstance(own, MattingNet)
    sets = sorted({p.source for p in (*samples.photos, *samples.people)})
    spec = ModelSpec(
        f"{config.kind}-{config.arch}",
        config.arch,
        own.stride,
        max(config.sizes),
        config.sizes,
        trained_on=", ".join(sets)[:200] or "unstated",
    )
    export(own, path, spec)
    try:
        scores = mask_iou(open_engine(path), run.data, limit=VAL_IMAGES)
    except BadData as e:
        say(f"not measured: {e}")
        return {}
    if not scores:
        return {}
    score = float(np.mean(list(scores.values())))
    export(own, path, replace(spec, metrics={"val_iou": round(score, 4)}))
    return {"val_iou": score}


@contextmanager
def _progress(total: int, step: int, world: World) -> Iterator[Any]:
    pause = 0.5 if sys.stderr.isatty() else 60.0
    with tqdm(
        total=total,
        initial=step,
        unit=" steps",
        dynamic_ncols=True,
        mininterval=pause,
        disable=not world.first,
    ) as bar:
        yield bar


def _span(sizes: tuple[int, ...]) -> str:
    return f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
