"""Read a U-Net back from a float32 file that `train.export.export` wrote, to train it further.

The graph has batch norms folded into the convolutions before them. Here a convolution gets the
folded kernel, and its norm the folded bias, with a mean of 0 and a variance of 1: the same function
as long as the norm keeps them (`Config.frozen_norms`), or until `train.networks.norms` gives it
those of images. The file has no boundary head; the network's is random.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import NodeProto, numpy_helper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from engines.checks import read_graph
from engines.contract import ModelSpec
from engines.errors import BadData, UsageError
from train.export.graph import Deployed
from train.export.parity import differences, synthetic
from train.export.rounding import widen_kernels
from train.networks import build
from train.networks.network import Network

NOT_EXPORTED = "boundary"  # the head that no file has
USE_WEIGHTS = "give the model.safetensors of the run instead"
TOLERANCE = 1e-3  # of alpha, between the file and the network that is read from it


def is_model_file(path: Path | None) -> bool:
    """Return whether a file of weights is a model file, by its suffix, not a checkpoint."""
    return path is not None and path.suffix.lower() == ".onnx"


def arch_of(path: Path) -> str:
    """Return the architecture of a float32 model file.

    Raises:
        UsageError, BadData, CannotOpen: of `reread`.
    """
    return _read(path)[1].arch


def reread(path: Path) -> Network:
    """Return the network of a float32 model file of wsshm, in eval mode.

    Raises:
        UsageError: the file is in another precision, takes a trimap, or its network is not known
            here.
        BadData: it is no file of wsshm, or its network is in a form that cannot be read back.
        CannotOpen: there is no such file.
    """
    model, spec = _read(path)
    net = build(spec.arch).eval()
    widen_kernels(model)
    values = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    for name in ("mean", "std"):
        if f"net.{name}" in values:
            given = torch.from_numpy(np.array(values[f"net.{name}"], np.float32))
            getattr(net, name).copy_(given.expand(1, 3, 1, 1))
    unread = _fill(net, model, values)
    if unread := {name for name in unread if name.split(".")[0] != NOT_EXPORTED}:
        raise BadData(
            f"{path}: cannot be trained further: {min(unread)} of {spec.arch} has no weights in it",
            USE_WEIGHTS,
        )
    frames = synthetic(spec.stride)
    with torch.inference_mode():
        alphas = [Deployed(net)(torch.from_numpy(f)).numpy() for f in frames]
    if (off := float(np.percentile(differences(model, frames, alphas), 99))) > TOLERANCE:
        raise BadData(
            f"{path}: cannot be trained further: {spec.arch} read from it differs in alpha by "
            f"{off:.2g}",
            USE_WEIGHTS,
        )
    return net


def _read(path: Path) -> tuple[onnx.ModelProto, ModelSpec]:
    data = read_graph(path)
    try:
        model = onnx.load_from_string(data)
    except Exception as e:  # protobuf's own, whose class is not public
        raise BadData(f"{path}: not an ONNX file") from e
    spec = ModelSpec.from_metadata({p.key: p.value for p in model.metadata_props}, path)
    if spec.precision != "fp32":
        raise UsageError(
            f"{path}: is in {spec.precision}, too coarse to train further", "take the fp32 file"
        )
    if spec.trimap:
        raise UsageError(f"{path}: takes a trimap; such a network is not trained from its file")
    return model, spec


def _fill(net: Network, model: onnx.ModelProto, values: dict[str, np.ndarray]) -> set[str]:
    """Copy the weights of a graph into a network; return the modules that it has none of."""
    modules = dict(net.named_modules())
    unread = {n for n, m in modules.items() if isinstance(m, nn.Conv2d | _BatchNorm)}
    norms = _norms_behind(net)
    for node in model.graph.node:
        given = [torch.from_numpy(values[i].copy()) for i in node.input[1:] if i in values]
        name = _module_name(node)
        norm = modules.get(name)
        if node.op_type == "BatchNormalization" and isinstance(norm, _BatchNorm):
            for tensor, value in zip(_of_norm(norm), given, strict=True):
                tensor.copy_(value)
            unread.discard(name)
        if node.op_type != "Conv" or not given:
            continue
        name, (kernel, *bias) = net.undeployed(name, given)
        conv = modules.get(name)
        if not isinstance(conv, nn.Conv2d) or conv.weight.shape != kernel.shape:
            continue
        unread.discard(name)
        conv.weight.data.copy_(kernel)
        if conv.bias is not None and bias:
            conv.bias.data.copy_(bias[0])
        elif bias and name in norms:
            behind = modules[norms[name]]
            assert isinstance(behind, _BatchNorm)
            weight, shift, mean, variance = _of_norm(behind)
            weight.fill_(1)
            shift.copy_(bias[0])
            mean.zero_()
            variance.fill_(1 - behind.eps)
            unread.discard(norms[name])
    return unread


def _of_norm(norm: _BatchNorm) -> list[Tensor]:
    """Return the weight, bias, mean and variance of a batch norm."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return [norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var]


def _module_name(node: NodeProto) -> str:
    """Return the name in the network of the module that a node of `Deployed` comes from.

    ``/net/d4/d4.0/Conv`` comes from ``d4.0``.
    """
    parts: list[str] = []
    for part in node.name.split("/")[2:-1]:
        if parts and part.startswith(f"{parts[-1]}."):
            parts.pop()
        parts.append(part)
    return ".".join(parts)


def _norms_behind(net: Network) -> dict[str, str]:
    """Return the batch norm that takes the output of each convolution, by the names of both."""
    made_by: dict[int, str] = {}
    kept: list[Tensor] = []  # so that no id is used twice
    found: dict[str, str] = {}
    hooks = []
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):

            def note(_: nn.Module, __: object, out: Tensor, name: str = name) -> None:
                made_by[id(out)] = name
                kept.append(out)

            hooks.append(module.register_forward_hook(note))
        elif isinstance(module, _BatchNorm):

            def look(_: nn.Module, taken: tuple[Tensor, ...], name: str = name) -> None:
                if (conv := made_by.get(id(taken[0]))) is not None:
                    found[conv] = name

            hooks.append(module.register_forward_pre_hook(look))
    with torch.inference_mode():
        net(torch.zeros(1, 3, 2 * net.stride, 2 * net.stride))
    for hook in hooks:
        hook.remove()
    return found
