"""The networks by name. A new one is a file in this package and a row here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from engines.errors import UsageError
from train.networks.gca import GCA
from train.networks.gfm import GFM
from train.networks.indexnet import IndexNet
from train.networks.lfm import LFM
from train.networks.modnet import MODNet
from train.networks.network import Network
from train.networks.p3mnet import P3MNet
from train.networks.shm import light as light_shm
from train.networks.shm_psp import published as published_shm
from train.networks.unet import lite_unet, mobilenet_v2_unet, resnet_unet

# Name → constructor, which is given the name.
NETWORKS: dict[str, Callable[[str], Network]] = {
    "r101": partial(resnet_unet, depth=101),
    "r50": partial(resnet_unet, depth=50),
    "r34": partial(resnet_unet, depth=34),
    "r18": partial(resnet_unet, depth=18),
    "r18x0.5": partial(resnet_unet, depth=18, width=0.5),
    "r18x0.25": partial(resnet_unet, depth=18, width=0.25),
    "mbv2": mobilenet_v2_unet,
    "lite0": partial(lite_unet, number=0),
    "lite1": partial(lite_unet, number=1),
    "lite2": partial(lite_unet, number=2),
    "modnet": MODNet,
    "shm": light_shm,
    "shm-psp": published_shm,
    "gfm": GFM,
    "indexnet": IndexNet,
    "lfm": LFM,
    "p3mnet": P3MNet,
    "gca": GCA,
}
architectures = tuple(NETWORKS)


def build(arch: str) -> Network:
    """Return a network with random weights.

    Raises:
        UsageError: there is no network of that name.
    """
    if arch not in NETWORKS:
        raise UsageError(f"unknown architecture {arch!r}", f"use one of {', '.join(architectures)}")
    return NETWORKS[arch](arch)
