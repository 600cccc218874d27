"""The table of networks. A new one is a file in this package and a row here.

Importing this module imports no network and no torch, because help prints the table.

Those of other papers have their layers and losses; each file says in its head where it differs.
Trimaps and Laplacian pyramids are as `train.networks.transition` says. Optimiser, rates, batches,
crops and augmentation are the recipe's, alike for all and not their authors', so that networks can
be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from engines.errors import UsageError
from train.config import STAGES as STAGE_KINDS
from train.config import Config

if TYPE_CHECKING:
    from train.networks.network import Network


@dataclass(frozen=True)
class Entry:
    """A row of the table of networks.

    Attributes:
        constructor: ``module:name`` in this package, called with the network's name.
        options: further arguments of the constructor.
        is_peer: whether it is the network of another paper than Matte Label Blending's.
        takes_trimap: of `train.networks.network.Network`.
    """

    constructor: str
    options: Mapping[str, Any] = field(default_factory=dict)
    is_peer: bool = False
    takes_trimap: bool = False


NETWORKS = {
    "r101": Entry("unet:resnet_unet", {"depth": 101}),
    "r50": Entry("unet:resnet_unet", {"depth": 50}),
    "r34": Entry("unet:resnet_unet", {"depth": 34}),
    "r18": Entry("unet:resnet_unet", {"depth": 18}),
    "r18x0.5": Entry("unet:resnet_unet", {"depth": 18, "width": 0.5}),
    "r18x0.25": Entry("unet:resnet_unet", {"depth": 18, "width": 0.25}),
    "mbv2": Entry("unet:mobilenet_v2_unet"),
    "lite0": Entry("unet:lite_unet", {"number": 0}),
    "lite0-half": Entry("unet:lite_unet", {"number": 0, "half": True}),
    "lite1": Entry("unet:lite_unet", {"number": 1}),
    "lite2": Entry("unet:lite_unet", {"number": 2}),
    "lite2w": Entry("unet:lite_unet", {"number": 2, "wide": True}),
    "modnet": Entry("modnet:MODNet", is_peer=True),
    "shm": Entry("shm:light", is_peer=True),
    "shm-psp": Entry("shm_psp:published", is_peer=True),
    "gfm": Entry("gfm:GFM", is_peer=True),
    "indexnet": Entry("indexnet:IndexNet", is_peer=True),
    "lfm": Entry("lfm:LFM", is_peer=True),
    "p3mnet": Entry("p3mnet:P3MNet", is_peer=True),
    "gca": Entry("gca:GCA", is_peer=True),
    "dim": Entry("dim:DIM", is_peer=True, takes_trimap=True),
    "dim-bn": Entry("dim:DIM", {"norm": True}, is_peer=True, takes_trimap=True),
}
architectures = tuple(NETWORKS)
UNETS = tuple(  # that take a mask beside the image
    name
    for name, entry in NETWORKS.items()
    if entry.constructor.startswith("unet:") and not entry.options.get("half")
)
# Of BSHM, each made of U-Nets, which no other command trains.
STAGES = {
    f"{stage}-{unet}": Entry(f"bshm:{stage.upper()}", is_peer=True)
    for stage in STAGE_KINDS
    for unet in UNETS
}


def build(arch: str, **options: Any) -> Network:
    """Return a network with random weights.

    Args:
        arch: a name in `NETWORKS` or `STAGES`.
        options: further arguments of its constructor.

    Raises:
        UsageError: there is no network of that name.
    """
    entry = (NETWORKS | STAGES).get(arch)
    if entry is None:
        raise _unknown(arch)
    module, _, name = entry.constructor.partition(":")
    make: Any = getattr(import_module(f"train.networks.{module}"), name)
    network: Network = make(arch, **entry.options, **options)
    return network


def check_arch(config: Config) -> None:
    """Raise UsageError if there is no network for a run."""
    if config.kind in STAGE_KINDS and config.arch not in UNETS:
        raise UsageError(
            f"--arch {config.arch}: {config.kind} is made of U-Nets", f"use {', '.join(UNETS)}"
        )
    if config.arch not in NETWORKS:
        raise _unknown(config.arch)


def _unknown(arch: str) -> UsageError:
    return UsageError(f"unknown architecture {arch!r}", f"use one of {', '.join(architectures)}")


def describe_architectures(takes_trimap: bool = False) -> str:
    """Return the names that `build` takes, as a phrase for help.

    Args:
        takes_trimap: those that take a trimap.
    """
    ours, peers = (
        ", ".join(
            name
            for name, entry in NETWORKS.items()
            if entry.is_peer is is_peer and entry.takes_trimap is takes_trimap
        )
        for is_peer in (False, True)
    )
    return f"{ours}, or of other papers: {peers}" if ours else peers
