"""One training run: `train` reads top to bottom: data, networks, resume, loop, release.

Under ``torchrun`` every process works on its share of each batch.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Sequence
from contextlib import nullcontext
from fnmatch import fnmatchcase

import cv2
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from engines.arrays import U8
from engines.errors import BadData, Say, UsageError
from engines.files import sha256
from train import methods
from train.checkpoint import checkpoint
from train.config import STAGES, Config
from train.data.loader import batch_loader, loading_faults
from train.data.samples import Samples
from train.data.trimaps import TrimapSamples
from train.ema import averaged, to_device
from train.export.reread import is_model_file, reread
from train.log import Log, draw
from train.methods.method import Batch
from train.methods.teacher import open_teacher
from train.networks import build
from train.networks.encoders.imagenet import start_encoder
from train.networks.network import Network
from train.networks.norms import measure_norms
from train.objective import judged, step_losses
from train.process import World, choose_precision, memory_faults, signals
from train.release import SHOWN, write_model
from train.run import MODEL, RELEASED, Progress, Run, claim, describe, unseen, version

KEPT_CHECKPOINTS = 2
NORM_CROPS = 64  # that tell the statistics of batch norms, where a model file has none


def train(run: Run, world: World, say: Say, progress: Progress = unseen) -> int:
    """Begin or resume a run.

    A finished run leaves ``model.safetensors`` and ``model.onnx`` in its folder.

    Args:
        world: of `train.process.joined`.

    Returns:
        0, or 129, 130 or 143 when a signal ended the run after a checkpoint.

    Raises:
        UsageError: the folder holds another run, or this one without `resume`.
        BadData, CannotOpen: the data or a weights file; also a loss that is not finite.
        WriteFailed: a full disk; the checkpoint before stays.
        Unavailable: the device, or a loading process that was killed.
    """
    config, out, method = run.config, run.out, methods.find(run.config.method)
    found = claim(run, say)
    if found is None:
        say(f"{out}: finished already")
        return 0
    state = found or None

    # Data.
    torch.manual_seed(config.seed)
    net = build(config.network)
    if net.takes_trimap != (config.kind == "dim"):
        what = "takes a trimap" if net.takes_trimap else "takes no trimap"
        raise UsageError(
            f"--arch {config.arch}: {what}", "train it as dim" if net.takes_trimap else "use dim"
        )
    freeze(net, config.frozen)
    cache = None if run.cache_mb is None else run.cache_mb << 20
    kind = TrimapSamples if net.takes_trimap else Samples
    samples = kind(run.data, config, world.size, cache)
    if state is not None and state["files"] != samples.fingerprint:
        raise UsageError(
            f"{out}: was begun on other images or fine labels than {run.data} holds now",
            "use those, or keep this run elsewhere with --out",
        )
    # The workers are parallel as it is; threads in them would take the network's cores.
    cv2.setNumThreads(1)

    # Networks.
    if line := _learns_by(net, config):
        say(line)
    if state is None:
        say(_start(run, net, samples, say))
        if world.is_main:
            describe(run, world)
    teacher = open_teacher(run.teacher, net, method, config, run.init)
    teacher_sha = sha256(run.teacher) if run.teacher else ""
    follower = teacher if isinstance(teacher, AveragedModel) else None
    average = averaged(net, config.ema_decay)
    if world.size > 1 and world.device.type == "cuda":
        net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    for module in (net, average, teacher):
        if module is not None:
            to_device(module, world.device)
    model = distribute(net, config, world)
    encoder = list(net.encoder_parameters())
    encoder_ids = {id(p) for p in encoder}
    rest = [p for p in net.parameters() if id(p) not in encoder_ids]
    optimiser = torch.optim.AdamW(
        [
            {"params": encoder, "base": config.encoder_lr or config.lr},
            {"params": rest, "base": config.lr},
        ],
        weight_decay=config.weight_decay,
    )
    dtype = choose_precision(config.precision, world.device)
    scaler = torch.amp.GradScaler(world.device.type, enabled=dtype == torch.float16)

    # Resume.
    step, sums, counted, seconds = 0, {}, 0, 0.0
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
        seconds = state.get("seconds", 0.0)
        say(f"{out}: resumed at step {step} of {config.steps}")

    def save() -> None:
        if not world.is_main:
            return
        snapshot = {
            "arch": config.network,
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
        if config.max_minutes:
            snapshot["seconds"] = seconds + time.monotonic() - began
        if world.device.type == "cuda":
            snapshot["cuda_rng"] = torch.cuda.get_rng_state(world.device)
        if follower:
            snapshot["teacher"] = follower.state_dict()
        checkpoint.save(out / f"step-{step:08d}.pt", snapshot)
        checkpoint.keep(out, KEPT_CHECKPOINTS)

    def image_grid() -> U8:
        return draw(average.module, method, teacher, samples, config, world.device)

    # Loop.
    loader = batch_loader(samples, config, step, run.workers, world)
    limit = f" or {config.max_minutes:g} minutes" if config.max_minutes else ""
    say(
        f"{config.kind} {config.arch}: {config.steps} steps{limit} on {world.device}"
        f"{f' x {world.size}' if world.size > 1 else ''}, "
        f"{str(dtype).removeprefix('torch.')}, crops of {_span(config.sizes)}, "
        f"{samples.contents} → {out}"
    )
    with (
        loading_faults(out),
        Log(out, step) if world.is_main else nullcontext() as log,
        signals() as caught,
    ):
        net.train()
        if config.frozen_norms:
            keep_norms(net)
        progress(step, config.steps, "")
        began = time.monotonic()
        since, images = began, 0
        for items in loader:
            note = ""
            elapsed = 0.0  # share of the minutes, the same in all processes
            if config.max_minutes:
                spent = world.of_main(seconds + time.monotonic() - began)
                elapsed = spent / (60 * config.max_minutes)
            factor = rate(step, config, elapsed)
            for group in optimiser.param_groups:
                group["lr"] = group["base"] * factor
            with memory_faults(items["image"], out):
                batch = Batch.of(items, world.device)
                with torch.autocast(world.device.type, dtype, enabled=dtype != torch.float32):
                    losses = step_losses(model, net, method, teacher, batch, config)
                optimiser.zero_grad(set_to_none=True)
                scaler.scale(losses["total"]).backward()
                scaler.unscale_(optimiser)
                norm = nn.utils.clip_grad_norm_(net.parameters(), config.clip)
                # One transfer from the device for all values.
                *terms, norm = torch.stack([*losses.values(), norm]).tolist()
                values = dict(zip(losses, terms, strict=True))
                # The scaler skips a step whose gradient is too large for float16; training goes on.
                lost = not math.isfinite(values["total"] if scaler.is_enabled() else norm)
                if world.any(lost):
                    here = (
                        f"the batch: {'; '.join(items['name'])}" if lost else "in another process"
                    )
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
            is_last = step == config.steps or elapsed >= 1

            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value
            counted += 1
            images += len(batch.image) * world.size
            if step % config.log_every == 0 or is_last:
                row = {name: round(v / counted, 6) for name, v in sums.items()}
                speed = round(images / (time.monotonic() - since), 2)
                if log:
                    row |= {"lr": config.lr * factor, "images_per_s": speed}
                    log.scalars(step, row)
                    note = f"loss {row['total']:.4f}, lr {row['lr']:.1e}, {speed:.1f} img/s"
                since, images, sums, counted = time.monotonic(), 0, {}, 0
            progress(step, config.steps, note)
            stop = world.any(bool(caught))
            if step % config.save_every == 0 or stop or is_last:
                save()
            if stop:
                say(f"{out}: stopped at step {step} of {config.steps}; --resume goes on")
                return 128 + (caught[0] if caught else signal.SIGINT)
            if is_last:
                break
            due = config.evaluate_every and step % config.evaluate_every == 0
            if due and log:
                log.image(step, image_grid())
                log.scalars(step, write_model(average.module, run, samples, world.device, say))

        # Release.
        if log:
            log.image(step, image_grid())
            checkpoint.save_weights(
                out / RELEASED,
                config.network,
                average.module.state_dict(),
                {"step": str(step), "version": version()},
            )
            scores = write_model(average.module, run, samples, world.device, say)
            log.scalars(step, scores)
            reached = "".join(f", {SHOWN[name].format(x)}" for name, x in scores.items())
            say(f"{out / MODEL}: {config.kind} {config.arch}, {step} steps{reached}")
    world.any(False)  # the next run may need the files that the main process has just written
    return 0


def freeze(net: nn.Module, patterns: Sequence[str]) -> None:
    """Keep the weights whose names match one of some patterns from learning.

    Raises:
        UsageError: no name matches a pattern, or all do.
    """
    for pattern in patterns:
        matching = [p for name, p in net.named_parameters() if fnmatchcase(name, pattern)]
        if not matching:
            names = ", ".join(sorted({name.split(".")[0] for name, _ in net.named_parameters()}))
            raise UsageError(
                f"frozen: no weight of the network matches {pattern!r}; its parts are {names}",
                "change `frozen` in the recipe, or leave it out",
            )
        for parameter in matching:
            parameter.requires_grad_(False)
    if not any(p.requires_grad for p in net.parameters()):
        raise UsageError("frozen: no weight of the network is left to learn")


def keep_norms(net: nn.Module) -> None:
    """Let the batch norms of a network in training mode keep their mean and variance.

    Their weights and biases learn.
    """
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def rate(step: int, config: Config, elapsed: float = 0.0) -> float:
    """Return the factor on the learning rate: linear warm-up, then constant or cosine to zero.

    Args:
        elapsed: share of the run's `Config.max_minutes` that is over.
    """
    if step < config.warmup:
        return (step + 1) / config.warmup
    if config.schedule == "constant":
        return 1.0
    progress = max(elapsed, (step - config.warmup) / max(1, config.steps - config.warmup))
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def distribute(net: Network, config: Config, world: World) -> nn.Module:
    """Return the network as the processes of the run share it.

    Raises:
        UsageError: a batch cannot be shared evenly.
    """
    if world.size == 1:
        return net
    for stage in config.stages:
        if stage.batch % world.size:
            raise UsageError(
                f"a batch of {stage.batch} cannot be shared evenly by {world.size} processes"
            )
    devices = [world.device.index] if world.device.type == "cuda" else None
    # A head that no loss judges gets no gradient.
    unused = net.has_own_losses or "boundary" not in config.loss
    return DistributedDataParallel(net, device_ids=devices, find_unused_parameters=unused)


def _learns_by(net: Network, config: Config) -> str:
    """Return a line that says how the losses of a run differ from its recipe's, or nothing."""
    if config.own_losses and net.has_own_losses:
        other = "" if config.kind in STAGES else "; own_losses = false takes the recipe's"
        return f"losses: those of {net.arch}'s authors{other}"
    if judged(net, config) != config.loss:
        return f"losses: {', '.join(judged(net, config))}; {net.arch} predicts no boundary"
    return ""


def _start(run: Run, net: Network, samples: Samples | TrimapSamples, say: Say) -> str:
    """Give a fresh network its weights; return a line that says which.

    Raises:
        UsageError: they are of another architecture.
        CannotOpen, BadData: the file.
    """

    def crops(size: int, count: int) -> Tensor:
        return torch.stack([samples[(i, size)]["image"] for i in range(count)]).float() / 255

    if run.init is not None:
        given = reread(run.init) if is_model_file(run.init) else None
        arch, weights = (given.arch, given.state_dict()) if given else checkpoint.weights(run.init)
        if arch not in (net.arch, net.begins_with):
            raise UsageError(f"--init {run.init}: is a {arch}, not a {net.arch}")
        if given and not run.config.frozen_norms:
            say(f"batch norms: statistics of {NORM_CROPS} crops")
            norms = [m for m in given.modules() if isinstance(m, _BatchNorm)]
            size = run.config.sizes[-1]
            measure_norms(given, norms, crops(size, NORM_CROPS).split(1))  # `weights` are its own
        if arch == net.arch:
            checkpoint.match(net, weights, run.init)
            return f"network: from {run.init}"
        earlier = build(arch)
        checkpoint.match(earlier, weights, run.init)
        net.load_state_dict(net.state_dict() | earlier.state_dict())
        say(f"frozen parts: from {run.init}")

    return start_encoder(net.learner, run.encoder, run.tf_range, lambda: crops(192, 192))


def _span(sizes: tuple[int, ...]) -> str:
    return f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
