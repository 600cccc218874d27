"""The table of networks. A new one is a file in this package and a row here.

Importing this module imports no network and no torch, because help prints the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from engines.errors import UsageError

if TYPE_CHECKING:
    from train.networks.network import Network


@dataclass(frozen=True)
class Entry:
    """A row of the table of networks.

    Attributes:
        constructor: ``module:name`` in this package, called with the network's name.
        options: further arguments of the constructor.
        is_peer: whether it is the network of another paper than Matte Label Blending's.
    """

    constructor: str
    options: Mapping[str, Any] = field(default_factory=dict)
    is_peer: bool = False


NETWORKS = {
    "r101": Entry("unet:resnet_unet", {"depth": 101}),
    "r50": Entry("unet:resnet_unet", {"depth": 50}),
    "r34": Entry("unet:resnet_unet", {"depth": 34}),
    "r18": Entry("unet:resnet_unet", {"depth": 18}),
    "r18x0.5": Entry("unet:resnet_unet", {"depth": 18, "width": 0.5}),
    "r18x0.25": Entry("unet:resnet_unet", {"depth": 18, "width": 0.25}),
    "mbv2": Entry("unet:mobilenet_v2_unet"),
    "lite0": Entry("unet:lite_unet", {"number": 0}),
    "lite1": Entry("unet:lite_unet", {"number": 1}),
    "lite2": Entry("unet:lite_unet", {"number": 2}),
    "modnet": Entry("modnet:MODNet", is_peer=True),
    "shm": Entry("shm:light", is_peer=True),
    "shm-psp": Entry("shm_psp:published", is_peer=True),
    "gfm": Entry("gfm:GFM", is_peer=True),
    "indexnet": Entry("indexnet:IndexNet", is_peer=True),
    "lfm": Entry("lfm:LFM", is_peer=True),
    "p3mnet": Entry("p3mnet:P3MNet", is_peer=True),
    "gca": Entry("gca:GCA", is_peer=True),
}
architectures = tuple(NETWORKS)


def build(arch: str) -> Network:
    """Return a network with random weights.

    Raises:
        UsageError: there is no network of that name.
    """
    if arch not in NETWORKS:
        raise UsageError(f"unknown architecture {arch!r}", f"use one of {', '.join(architectures)}")
    entry = NETWORKS[arch]
    module, _, name = entry.constructor.partition(":")
    make: Any = getattr(import_module(f"train.networks.{module}"), name)
    return make(arch, **entry.options)


def describe_architectures() -> str:
    """Return the names that `build` takes, as a phrase for help."""
    ours, peers = (
        ", ".join(name for name, entry in NETWORKS.items() if entry.is_peer is is_peer)
        for is_peer in (False, True)
    )
    return f"{ours}, or of other papers: {peers}"
