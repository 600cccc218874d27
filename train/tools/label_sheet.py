"""Draw what is learnt of fine labels: ``wsshm train label --sheet``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engines.arrays import U8
from engines.datasets.layout import Pair
from engines.datasets.read import read_fine, read_pair
from engines.errors import BadData, Say
from engines.measure.drawing import fitted, panel, save, stacked, text
from train.data.blend import BlendRule, blend, near_edge

PANEL_SIDE = 320  # pixels
MAX_PER_SET = 60  # photographs of a set that are looked at
RED = np.array([220, 40, 40])  # of pixels that teach nothing


def draw(path: Path, pairs: list[Pair], rule: BlendRule, say: Say) -> None:
    """Save three photographs of each set: of those looked at, least, median and most is trusted.

    Each is drawn as image, mask, fine label, and blended label with what teaches nothing in red.

    Args:
        path: with one of `engines.measure.drawing.SUFFIXES`.
        pairs: photographs; those without a fine label are left out.

    Raises:
        BadData: none has a fine label that can be read.
        CannotCreate, WriteFailed: the file cannot be written.
    """
    strips: list[str | list[U8]] = []
    for source in dict.fromkeys(pair.source for pair in pairs):
        having = [p for p in pairs if p.source == source and p.fine]
        chosen = having[:: -(-len(having) // MAX_PER_SET) or 1]
        ranked: list[tuple[float, Pair]] = []
        for pair in chosen:
            try:
                ranked.append((trusted_share(pair, rule), pair))
            except BadData as e:
                say(str(e))
        if not ranked:
            continue
        ranked.sort(key=lambda found: found[0])
        mean = np.mean([share for share, _ in ranked])
        strips.append(
            f"{source}: image, mask, fine label, what is learnt (red: nothing); within 3 pixels of "
            f"the mask's edge {mean:.0%} is trusted, mean of {len(ranked)} of {len(having)}"
        )
        of = zip(("least", "median", "most"), (0, len(ranked) // 2, -1), strict=True)
        strips.append([_block(what, *ranked[i], rule) for what, i in of])
    if not strips:
        raise BadData("no fine label to draw")
    save(path, stacked(strips))


def trusted_share(pair: Pair, rule: BlendRule) -> float:
    """Return how much of the pixels near the mask's edge may teach, in [0, 1].

    Raises:
        BadData: a file cannot be read, or has another size.
    """
    rgb, mask = read_pair(pair)
    _, weight = blend(mask, read_fine(pair, rgb), rule)
    edge = near_edge(mask)
    return float(weight[edge].mean() / 255) if edge.any() else 1.0


def _block(what: str, share: float, pair: Pair, rule: BlendRule) -> U8:
    rgb, mask = read_pair(pair)
    fine = read_fine(pair, rgb)
    label, weight = blend(mask, fine, rule)
    trust: Any = weight[..., None] / 255
    shown = np.rint(trust * label[..., None] + (1 - trust) * RED).astype(np.uint8)
    panels = [panel(fitted(x, PANEL_SIDE), PANEL_SIDE) for x in (rgb, mask, fine, shown)]
    head = text(f"{what}: {share:.0%}  {pair.image.name}", PANEL_SIDE * len(panels))
    return np.vstack([head, np.hstack(panels)])
