"""Blend a coarse mask with a finer alpha of the same photograph, and say what may be learnt of it.

Matte Label Blending with a teacher's alpha that lies in a file: ``M* = B'·M' + (1 - B')·S``. The
alpha M' has fine edges but may take other things for the person; the mask S knows the person but is
coarse at the edges. So M' counts near the edge of S, and only where both agree on what is inside
and outside of that edge. Where they do not, the label is S and has no weight.

Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.arrays import F32, U8
from train.config import Config

MIN_RADIUS = 3.0  # pixels
MAX_HEIGHT = 2800 / 3  # pixels of a person, above which edges get no wider
MIN_LEVEL = 128  # of 255, at which a pixel of a mask is a person
ALPHA_RANGE = (0.03, 0.97)  # of a teacher's alpha, which is seldom quite 0 or 1; becomes [0, 1]
DIFFERENCE = 0.25  # of M' and S, above which they mean different things away from the edge
LENIENCE = 0.15  # on the agreement where a person, or a gap, is too thin to have an inside


@dataclass(frozen=True)
class BlendRule:
    """What is trusted of a fine alpha: ``fine_radius`` and so on of `train.config.Config`.

    Attributes:
        radius: distance from the mask's edge within which the alpha counts, as a share of the
            height of the largest person.
        agreement: mean of the alpha that is asked for inside the mask's edge; outside at most 1
            minus this. 0 asks for nothing.
        doubt: weight of pixels on which mask and alpha disagree.
    """

    radius: float
    agreement: float
    doubt: float

    @classmethod
    def of(cls, config: Config) -> BlendRule:
        """Return the rule of a run."""
        return cls(config.fine_radius, config.fine_agreement, config.fine_doubt)


def blend(mask: U8, fine: U8, rule: BlendRule) -> tuple[U8, U8]:
    """Return the blended label and what each of its pixels may teach.

    Args:
        mask: (H, W) uint8, the coarse label S; `MIN_LEVEL` and above is a person.
        fine: (H, W) uint8, a finer alpha M'.

    Returns:
        label (H, W) uint8, 255 = person, and weight (H, W) uint8, 255 = everything.
    """
    person = mask >= MIN_LEVEL
    nothing_to_blend = not person.any() or person.all()
    if nothing_to_blend:
        return np.where(person, 255, 0).astype(np.uint8), np.full_like(mask, 255)
    solid = person.astype(np.float32)
    low, high = ALPHA_RANGE
    alpha: F32 = np.clip((fine.astype(np.float32) / 255 - low) / (high - low), 0, 1)
    radius, distance = _radius(person, rule), _distance(person)

    agrees = _agrees(person, alpha, distance, radius, rule.agreement)
    share = np.clip((1.4 * radius - distance) / (0.4 * radius), 0, 1) * agrees
    label = solid + share * (alpha - solid)
    near = distance <= radius
    differs = ~near & (distance <= 3 * radius) & (np.abs(alpha - solid) > DIFFERENCE)
    doubted = (near & ~agrees) | (differs & (share < 0.5))
    weight = np.where(doubted, np.float32(rule.doubt), np.float32(1))
    return np.rint(label * 255).astype(np.uint8), np.rint(weight * 255).astype(np.uint8)


def near_edge(mask: U8, pixels: float = 3.0) -> NDArray[np.bool_]:
    """Return where (H, W) the edge of a mask is at most `pixels` away."""
    return _distance(mask >= MIN_LEVEL) <= pixels


def _radius(person: NDArray[np.bool_], rule: BlendRule) -> float:
    """Return the trusted distance from the mask's edge in pixels."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(person.astype(np.uint8), connectivity=8)
    height = float(stats[1:, cv2.CC_STAT_HEIGHT].max())
    return max(MIN_RADIUS, rule.radius * min(height, MAX_HEIGHT))


def _distance(person: NDArray[np.bool_]) -> F32:
    """Return the distance to the mask's edge, inside and outside alike: (H, W) pixels."""
    inside, outside = (
        cv2.distanceTransform(p.astype(np.uint8), cv2.DIST_L2, 5) for p in (person, ~person)
    )
    distance: F32 = np.maximum(inside, outside) - np.float32(0.5)
    return distance


def _agrees(
    person: NDArray[np.bool_], alpha: F32, distance: F32, radius: float, agreement: float
) -> NDArray[np.bool_]:
    """Return where (H, W) mask and alpha agree on what is inside and outside of the edge.

    Asked for by the mean of the alpha around a pixel, over what is 1 to 3 radii inside of the edge
    and over what is as far outside. Where there is too little of it, all that is inside, or
    outside, takes its place.
    """
    if not agreement:
        return np.ones_like(person)
    side = 2 * round(3 * radius) + 1  # of what counts as around a pixel

    def total(x: NDArray[Any]) -> F32:
        return cv2.boxFilter(
            x.astype(np.float32),
            -1,
            (side, side),
            normalize=False,
            borderType=cv2.BORDER_CONSTANT,
        )

    def mean(region: NDArray[np.bool_]) -> tuple[Any, F32]:
        count = total(region)
        return total(alpha * region) / np.maximum(count, 1), count

    ring = (distance > radius) & (distance <= 3 * radius)
    (within, n_within), (inside, _) = mean(person & ring), mean(person)
    (beyond, n_beyond), (outside, n_outside) = mean(~person & ring), mean(~person)
    few, thin = radius * radius, agreement - LENIENCE
    solid = np.where(n_within > few, within > agreement, inside > thin)
    empty = np.where(n_beyond > few, beyond < 1 - agreement, outside < 1 - thin)
    agrees: NDArray[np.bool_] = solid & (empty | (n_outside < 1))
    return agrees
