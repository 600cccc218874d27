"""The trimap that networks with one learn from, made of any method's label.

    unknown  U = where 0.05 < label < 0.95, boundary > 0.5 or the label jumps, widened
    person       where label >= 0.95 outside U
    background   the rest

A network keeps its own losses: the label stands in for its alpha and this trimap for its trimap.
Terms inside U, and those of gradients and Laplacian pyramids anywhere, leave out samples whose
edges may not be judged, whose label is a coarse mask. All terms weigh pixels by what their label
may teach, and are means over a sample's pixels, then over samples. Terms that need the true
foreground and background (the loss of compositions) are left out, as photographs have none: on
composites too, so that one network learns by the same terms from both.

Laplacian pyramids are those of `train.losses`, of five levels that weigh alike: a level is what
is lost when the one below is enlarged again, and kernels are binomial. An author's may be built
otherwise.

The authors' trimaps are widened by numbers of pixels that are drawn anew for each image, or that
the size of its crop changes (P3M-Net: 15 to 30 pixels of a crop of 512 to 1024 that is shown at
512). Here it is always the same share of the crop's side, `WIDENING_SHARE`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from train.losses import laplacian_pyramid, mean, smooth_abs
from train.networks.network import Targets

# Diameter of the ellipse that widens U, as a share of the crop's side: 15 pixels of 512.
WIDENING_SHARE = 15 / 512
BACKGROUND, UNKNOWN, PERSON = 0, 1, 2  # the classes of a trimap


class Trimap(NamedTuple):
    """The trimaps of N crops of S×S pixels.

    Attributes:
        classes: (N, S, S) int64, of `BACKGROUND`, `UNKNOWN` and `PERSON`.
        unknown: (N, 1, S, S) float, 1 in U, else 0.
        judged: (N,) float, 1 where terms inside U count, else 0.
        weight: (N, 1, S, S) float, what the label of each pixel may teach.
    """

    classes: Tensor
    unknown: Tensor
    judged: Tensor
    weight: Tensor

    @classmethod
    def of(cls, targets: Targets) -> Trimap:
        """Make the trimaps of a method's targets."""
        label = targets.label
        lowest, highest = -F.max_pool2d(-label, 3, 1, 1), F.max_pool2d(label, 3, 1, 1)
        jumps = (lowest <= 0.05) & (highest >= 0.95)
        seed = jumps | ((label > 0.05) & (label < 0.95)) | (targets.boundary > 0.5)
        unknown = widened(seed.to(label.dtype), round(label.shape[-1] * WIDENING_SHARE))
        classes = torch.where(label >= 0.95, PERSON, BACKGROUND)
        classes = torch.where(unknown > 0, UNKNOWN, classes)[:, 0]
        weight = torch.ones_like(label) if targets.pixel_weight is None else targets.pixel_weight
        return cls(classes, unknown, targets.judge_edges.to(label.dtype), weight)

    def mean_inside(self, values: Tensor) -> Tensor:
        """Return the mean of values (N, 1, S, S) over each judged sample's U, averaged over N.

        The samples left out count as zero, so that the means of batches split among processes
        average to that of the whole.
        """
        return (self.judged * mean(values, self.unknown * self.weight)).mean()

    def edges(self, alpha: Tensor, label: Tensor) -> Tensor:
        """Return the even Laplacian pyramid's L1 over judged samples, averaged over N.

        The samples left out count as zero, as in `mean_inside`.
        """
        return (laplacian_pyramid(alpha, label, even=True, weight=self.weight) * self.judged).mean()

    def everywhere(self, alpha: Tensor, label: Tensor) -> Tensor:
        """Return the loss of an alpha over the whole image: by pixel, and by `edges`."""
        by_pixel = mean(smooth_abs(alpha - label), self.weight).mean()
        return by_pixel + self.edges(alpha, label)

    def inside(self, alpha: Tensor, label: Tensor) -> Tensor:
        """Return the loss of an alpha inside U: by pixel, and by `edges` of what U leaves of it."""
        return self.mean_inside(smooth_abs(alpha - label)) + self.edges(
            alpha * self.unknown, label * self.unknown
        )

    def reduced(self, label: Tensor, how: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Return a smaller label, of which pixels take part by weight, and its pixels' weights.

        Args:
            label: (N, 1, S, S).
            how: makes an image smaller by means over its pixels.
        """
        weight = how(self.weight)
        return how(label * self.weight) / weight.clamp_min(1e-6), weight

    def cross_entropies(self, logits: Tensor) -> Tensor:
        """Return the mean cross-entropy (N,) of logits (N, 3, S, S) and each crop's classes."""
        each = F.cross_entropy(logits, self.classes, reduction="none")
        return mean(each[:, None], self.weight)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Return the mean of `cross_entropies`."""
        return self.cross_entropies(logits).mean()


def fused(regions: Tensor, edge: Tensor) -> Tensor:
    """Return alpha (N, 1, H, W): `edge` where the likeliest class is `UNKNOWN`, else 0 or 1.

    Args:
        regions: (N, 3, H, W) logits of the classes.
        edge: (N, 1, H, W) logits of alpha.
    """
    seen, alpha = regions.argmax(1, keepdim=True), edge.float().sigmoid()
    return torch.where(seen == UNKNOWN, alpha, (seen == PERSON).to(alpha.dtype))


def widened(region: Tensor, diameter: int) -> Tensor:
    """Widen a region (N, 1, H, W), 1 inside and 0 outside, by an ellipse (OpenCV's, but odd)."""
    radius = diameter // 2
    d = torch.arange(-radius, radius + 1, device=region.device, dtype=region.dtype)
    disc = (d.square()[:, None] + d.square() <= radius**2).to(region.dtype)
    return (F.conv2d(region, disc[None, None], padding=radius) > 0.5).to(region.dtype)
