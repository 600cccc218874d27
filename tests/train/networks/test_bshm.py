"""BSHM's three networks: their size, what each learns, and the file that has all three."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from engines.contract import ModelSpec
from engines.engine import open_engine
from tests.train.networks.costs import parameters
from tests.train.overfit import overfits
from train import config as configs
from train.config import Config, Stage
from train.data.spoil import spoilt
from train.export.export import export
from train.export.graph import Deployed, trace, upstream
from train.methods import find
from train.methods.method import Batch
from train.networks import STAGES, UNETS, build
from train.networks.bshm import light
from train.networks.network import Network
from train.objective import step_losses

pytestmark = pytest.mark.timeout(600)

SIDE = 128
FIXED = configs.FIXED
KINDS = configs.STAGES
OVERFIT_STEPS = 400


def test_it_costs_as_much_as_its_parts_and_what_joins_them() -> None:
    """r18x0.5 twice and r101: a channel more where a mask joins, a head less where none is."""
    with torch.device("meta"):
        alone, whole = build("r18x0.5"), build("r101")
        net = build("bshm-r101")
        assert parameters(build("mpn-r18x0.5")) == parameters(alone) == 3_781_394
    stem, d0, head = 32 * 7 * 7, 16 * 9, 16 * 9 + 1
    assert parameters(net.get_submodule("qun")) == parameters(alone) + stem + d0 - head
    d3, head = 128 * 9, 32 * 9 + 1
    assert parameters(net.get_submodule("mrn")) == parameters(whole) + d3 - head
    assert parameters(net) == 62_212_036


@pytest.mark.parametrize(("arch", "billions"), [("mpn-r18x0.5", 2.0), ("bshm-r101", 416.2)])
def test_it_multiplies_as_often_as_is_told(arch: str, billions: float) -> None:
    """At the paper's size of 768×640, of which the first two see 192×160."""
    with torch.device("meta"), FlopCounterMode(display=False) as counted:
        build(arch).eval()(torch.empty(1, 3, 768, 640))
    assert counted.get_total_flops() / 2e9 == pytest.approx(billions, rel=0.01)


def batch(kind: str, side: int = SIDE) -> Batch:
    """Two crops of a photograph with soft-edged alphas, as the method of a kind gives them."""
    photo = cv2.resize(data.astronaut(), (2 * side, side), interpolation=cv2.INTER_AREA)
    label = np.zeros((side, 2 * side), np.uint8)
    cv2.ellipse(label, (side // 2, side // 2), (side // 4, side // 3), 0, 0, 360, 255, -1)
    label[side // 3 :, side + side // 4 :] = 255
    label = cv2.GaussianBlur(label, (0, 0), side / 40)
    items = {
        "image": torch.from_numpy(photo).permute(2, 0, 1),
        "label": torch.from_numpy(label)[None],
        "has_alpha": torch.tensor([True, True]),
    }
    items = {k: torch.stack(v.split(side, -1)) if v.ndim == 3 else v for k, v in items.items()}
    method = find(FIXED[kind]["method"])
    if method.spoils_masks:
        rng, small = np.random.default_rng(0), cv2.resize(label, (side // 2, side // 4))
        twins = [np.stack([x, spoilt(rng, x)]) for x in np.split(small, 2, 1)]
        items["masks"] = torch.from_numpy(np.stack(twins))
    if method.needs_contrast:
        items["contrast"] = torch.full_like(items["label"], 100)
    return Batch.of(items, torch.device("cpu"))


def recipe(kind: str, arch: str = "r18x0.25") -> Config:
    return Config(kind, arch, (Stage(1, 2, (SIDE,)),), {"l1": 1.0}, 1e-3, **FIXED[kind])


def losses(net: Network, kind: str, given: Batch) -> dict[str, Tensor]:
    config = recipe(kind)
    return step_losses(net, net, find(config.method), None, given, config)


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_stage_the_last_part_learns_and_the_others_rest(kind: str) -> None:
    torch.manual_seed(0)
    net, given = build(f"{kind}-r18x0.25").train(), batch(kind)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    learns = {"mpn": "mpn", "qun": "qun", "bshm": "mrn"}[kind]
    encoder = {id(p) for p in net.encoder_parameters()}
    assert encoder == {id(p) for p in net.get_submodule(f"{learns}.encoder").parameters()}
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.1)
    total = losses(net, kind, given)["total"]
    total.backward()
    optimiser.step()
    with torch.no_grad():
        assert losses(net, kind, given)["total"] < total
    for name, value in net.named_parameters():
        assert (value.grad is not None) == name.startswith(f"{learns}."), name
        assert value.requires_grad == name.startswith(f"{learns}."), name
    moved = {n for n, v in net.state_dict().items() if not torch.equal(v, before[n])}
    assert {name.split(".")[0] for name in moved} == {learns}
    assert f"{learns}.encoder.bn1.running_mean" in moved


@pytest.mark.parametrize("arch", ["r101", "r18x0.25", "mbv2"])
def test_a_stage_begins_with_that_before_it(arch: str) -> None:
    with torch.device("meta"):
        low = light(arch)
        last, middle, first = (build(x) for x in (f"bshm-{arch}", f"qun-{low}", f"mpn-{low}"))
    assert last.begins_with == middle.arch
    assert middle.begins_with == first.arch
    assert first.begins_with == ""
    for net, before in ((last, middle), (middle, first)):
        shapes = {name: value.shape for name, value in net.state_dict().items()}
        assert {n: v.shape for n, v in before.state_dict().items()}.items() <= shapes.items()


def test_there_is_each_stage_of_each_unet() -> None:
    assert set(STAGES) == {f"{kind}-{unet}" for kind in KINDS for unet in UNETS}
    with torch.device("meta"):
        assert build("mpn-lite0").arch == "mpn-lite0"


def test_losses_by_hand() -> None:
    """Of predictions that are 0.5 everywhere, on a label of ones on the left half."""
    label = torch.zeros(1, 1, 64, 64)
    label[..., :32] = 1
    image, has_alpha = torch.rand(1, 3, 64, 64), torch.tensor([True])
    masks = torch.cat([label, torch.ones_like(label)], 1)[..., ::4, ::4]
    contrast = torch.full_like(label, 0.25)
    wanted = {
        "mpn": {"person": 0.5, "background": 0.5},
        "qun": {"identity": 0.25 * (0.5 + 0.5), "consistency": 0.0},
        "bshm": {"alpha": 0.5, "composition": 0.125},
    }
    for kind, values in wanted.items():
        net = build(f"{kind}-r18x0.25").eval()
        for name, value in net.named_parameters():
            if name.split(".")[1] in ("matte", "boundary"):
                torch.nn.init.zeros_(value)
        given = Batch(image, label, has_alpha)
        given = given._replace(masks=masks) if kind == "qun" else given
        given = given._replace(contrast=contrast) if kind == "bshm" else given
        found = {name: value.item() for name, value in losses(net, kind, given).items()}
        assert found == pytest.approx(values | {"total": sum(values.values())})


def test_consistency_is_between_what_is_made_of_either_mask() -> None:
    torch.manual_seed(0)
    net, given = build("qun-r18x0.25").eval(), batch("qun")
    torch.nn.init.normal_(net.get_submodule("qun.encoder.conv1").weight)
    assert losses(net, "qun", given)["consistency"] > 0
    assert given.masks is not None
    same = given._replace(masks=given.masks[:, :1].repeat(1, 2, 1, 1))
    assert losses(net, "qun", same)["consistency"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_without_weight_teach_nothing(kind: str) -> None:
    torch.manual_seed(0)
    net, given = build(f"{kind}-r18x0.25").eval(), batch(kind)
    weight = torch.ones_like(given.label)
    weight[..., SIDE // 2 :] = 0
    other = given.label.clone()
    other[..., SIDE // 2 :] = 1 - other[..., SIDE // 2 :]
    with torch.inference_mode():
        one = losses(net, kind, given._replace(weight=weight))
        two = losses(net, kind, given._replace(weight=weight, label=other))
        full = losses(net, kind, given._replace(weight=torch.ones_like(weight)))
        plain = losses(net, kind, given)
    assert one == two
    assert full["total"].item() == pytest.approx(plain["total"].item())
    if kind != "qun":  # which learns the masks it is given
        assert losses(net, kind, given._replace(label=other))["total"] != plain["total"]


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_it_overfits_a_batch(kind: str) -> None:
    torch.manual_seed(0)
    net, given = build(f"{kind}-r18x0.25").train(), batch(kind)

    def total() -> Tensor:
        return losses(net, kind, given)["total"]

    overfits(net, total, 2e-3, OVERFIT_STEPS)


def settled(arch: str) -> Network:
    """Return a network all of whose norms have seen an image, so that alpha varies over it."""
    torch.manual_seed(0)
    net = build(arch)
    for module in net.modules():
        module.training = True
    with torch.no_grad():
        for _ in range(3):
            net(batch("mpn").image)
    return net.eval()


def image(width: int, height: int) -> np.ndarray:
    """Return a photograph (1, H, W, 3) uint8 RGB."""
    return cv2.resize(data.astronaut(), (width, height), interpolation=cv2.INTER_AREA)[np.newaxis]


@pytest.mark.parametrize(
    "arch",
    [
        pytest.param("mpn-r18x0.25", marks=pytest.mark.long),
        pytest.param("qun-r18x0.25", marks=pytest.mark.long),
        "bshm-r18x0.25",
        pytest.param("bshm-mbv2", marks=pytest.mark.long),
    ],
)
def test_its_file_agrees_with_torch_at_any_size(arch: str, tmp_path: Path) -> None:
    """Also where a quarter of a side is no multiple of the first networks' stride."""
    net, path = settled(arch), tmp_path / "net.onnx"
    export(net, path, ModelSpec("test", arch, net.stride, SIDE, (SIDE,)))
    engine = open_engine(path)
    for width, height in ((8, 4), (5, 7), (3, 1)):  # in strides
        frame = image(width * net.stride, height * net.stride)
        with torch.inference_mode():
            expected = Deployed(net)(torch.from_numpy(frame)).numpy()
        found = engine(frame)
        assert found.std() > 1e-3
        assert np.percentile(np.abs(found - expected), 99) <= 1e-3


@pytest.mark.long
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_other_precisions_are_within_tolerance(precision: str, tmp_path: Path) -> None:
    net, path = settled("bshm-r18x0.5"), tmp_path / "net.onnx"
    rng = np.random.default_rng(0)
    whole = data.astronaut()
    frames = [
        np.ascontiguousarray(whole[None, y : y + 192, x : x + 256])
        for y, x in rng.integers(0, 256, (15, 2))
    ]
    spec = ModelSpec("test", net.arch, net.stride, 192, (192,), precision=precision)
    export(net, path, spec, frames)
    assert open_engine(path)(frames[0]).shape == (1, 192, 256)


def test_its_taps_follow_the_mask() -> None:
    net = settled("bshm-r18x0.25")
    model = trace(net, ModelSpec("test", net.arch, net.stride, SIDE, (SIDE,)))
    before = [upstream(model, tensor) for tensor in net.taps(model).values()]
    assert all(a < b for a, b in pairwise(before))
    assert {name.split("/")[2] for name in before[0] if "/Conv" in name} == {"mpn", "qun"}
    assert any(name.startswith("/net/mrn/encoder/") for name in before[1])


def test_the_last_network_sees_the_mask() -> None:
    torch.manual_seed(0)
    net, frames = settled("bshm-r18x0.25"), batch("mpn").image
    mrn = net.get_submodule("mrn")
    with torch.inference_mode():
        small = SIDE // 4
        empty, full = (mrn(frames, torch.full((2, 1, small, small), x)).matte for x in (0.0, 1.0))
    assert (empty - full).abs().mean() > 1e-5
