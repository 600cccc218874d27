"""A network is read back from the float32 file that it was exported to."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from engines.contract import KEY, ModelSpec
from engines.errors import BadData, CannotOpen, UsageError
from engines.models import shipped
from train.export.export import export
from train.export.parity import synthetic
from train.export.reread import reread
from train.networks import build
from train.networks.network import Network
from train.networks.norms import measure_norms

pytestmark = pytest.mark.timeout(150)


def made(arch: str) -> Network:
    """Return a network whose batch norms do something."""
    torch.manual_seed(0)
    net = build(arch).eval()
    for m in net.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            assert m.running_mean is not None
            assert m.running_var is not None
            m.running_mean.normal_(0, 0.1)
            m.running_var.uniform_(0.5, 1.5)
            m.weight.data.uniform_(0.5, 1.5)
            m.bias.data.normal_(0, 0.1)
    return net


def exported(net: Network, out: Path) -> Path:
    export(net, out, ModelSpec("test", net.arch, net.stride, 64, (64,)))
    return out


@pytest.mark.parametrize("arch", ["r18x0.25", "mbv2", "lite0", "lite0-half"])
def test_it_computes_the_same_alpha(arch: str, tmp_path: Path) -> None:
    net = made(arch)
    again = reread(exported(net, tmp_path / "m.onnx"))
    assert again.arch == arch
    for frames in synthetic(net.stride):
        x = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255
        with torch.inference_mode():
            off = (again(x).deployed_alpha - net(x).deployed_alpha).abs()
        assert np.percentile(off, 99) < 1e-3  # kernels are stored in 16 bits


def test_measured_norms_compute_the_same_and_normalise_what_they_see(tmp_path: Path) -> None:
    net = reread(exported(made("lite0-half"), tmp_path / "m.onnx"))
    torch.manual_seed(1)
    images = torch.rand(6, 3, 96, 64)
    with torch.inference_mode():
        before = net(images).deployed_alpha
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    measure_norms(net, norms, images.split(2))
    with torch.inference_mode():
        torch.testing.assert_close(net(images).deployed_alpha, before, rtol=0, atol=1e-5)
        net.train()
        torch.testing.assert_close(net(images).deployed_alpha, before, rtol=0, atol=1e-3)


def test_every_shipped_model_is_read() -> None:
    for path in {model.path for model in shipped()}:
        reread(path)


def test_a_file_in_another_precision_is_refused() -> None:
    with pytest.raises(UsageError, match="is in int8, too coarse to train further; take the fp32"):
        reread(shipped()[0].files["int8"].path)


def test_a_network_in_another_form_is_refused(tmp_path: Path) -> None:
    path = exported(made("modnet"), tmp_path / "m.onnx")
    with pytest.raises(BadData, match=r"cannot be trained further: .* of modnet has no weights"):
        reread(path)


def test_a_file_whose_weights_do_something_else_is_refused(tmp_path: Path) -> None:
    """The head here is turned, which no name or shape tells."""
    model = onnx.load(exported(made("r18x0.25"), tmp_path / "m.onnx"))
    (head,) = (n for n in model.graph.node if n.name == "/net/matte/matte.0/Conv")
    (kernel,) = (w for w in model.graph.initializer if w.name == head.input[1])
    values = onnx.numpy_helper.to_array(kernel)
    kernel.CopyFrom(onnx.numpy_helper.from_array(values[:, ::-1].copy(), kernel.name))
    onnx.save(model, tmp_path / "turned.onnx")
    reread(tmp_path / "turned.onnx")  # turned alike in all blocks of pixels: another network
    values = values.copy()
    values[1:] = values[1:, ::-1]
    kernel.CopyFrom(onnx.numpy_helper.from_array(values, kernel.name))
    onnx.save(model, tmp_path / "turned.onnx")
    with pytest.raises(BadData, match=r"r18x0\.25 read from it differs in alpha by"):
        reread(tmp_path / "turned.onnx")


def test_a_network_that_takes_a_trimap_is_refused(tmp_path: Path) -> None:
    path = exported(made("dim"), tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="takes a trimap"):
        reread(path)


def test_what_is_no_model_of_wsshm_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(CannotOpen, match="no such file"):
        reread(path)
    path.write_bytes(b"not a graph")
    with pytest.raises(BadData, match="not an ONNX file"):
        reread(path)
    shutil.copy(shipped()[0].path, path)
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    with pytest.raises(BadData, match=f"not a wsshm model .*{KEY!r}"):
        reread(path)
