"""The attention is the paper's: convolutions whose kernels are patches, one image at a time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from train.networks.guided_attention import GuidedContextualAttention, attend


def papers(query: Tensor, features: Tensor) -> Tensor:
    """Return `attend` of one image by torch's unfold, convolution and transposed convolution."""
    padded = F.pad(query, (1, 1, 1, 1), mode="reflect")
    keys = F.unfold(padded, 3)[0].T.reshape(-1, query.shape[1], 3, 3)
    lengths = keys.flatten(1).norm(dim=1).clamp_min(1e-4).view(-1, 1, 1, 1)
    scores = F.conv2d(padded, keys / lengths)
    scores -= 1e4 * torch.eye(len(keys)).view_as(scores)
    values = F.unfold(F.pad(features, (1, 1, 1, 1), mode="reflect"), 4, stride=2)[0].T
    values = values.reshape(-1, features.shape[1], 4, 4)
    return F.conv_transpose2d(scores.softmax(1), values, stride=2, padding=1) / 4


@pytest.mark.parametrize("size", [(2, 2), (4, 6), (9, 5)])
def test_it_is_the_papers(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    query, features = torch.randn(3, 8, *size), torch.randn(3, 5, 2 * size[0], 2 * size[1])
    query[0] = 0  # patches without a length
    expected = [papers(q[None], f[None]) for q, f in zip(query, features, strict=True)]
    torch.testing.assert_close(attend(query, features), torch.cat(expected), atol=5e-6, rtol=0)


def test_features_follow_the_guidance_and_not_their_place() -> None:
    """Two halves look alike; what one half holds appears in the other."""
    torch.manual_seed(0)
    query = torch.randn(1, 8, 6, 6).repeat(1, 1, 1, 2) * 10
    features = torch.rand(1, 1, 12, 24)
    features[..., 12:] += 5
    found = attend(query, features)
    assert found[..., 2:10].mean() > 5
    assert found[..., 14:22].mean() < 1


def test_it_starts_as_nearly_the_identity() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 128, 8, 12)
    found = GuidedContextualAttention()(features, torch.randn(2, 128, 8, 12))
    torch.testing.assert_close(found, features, atol=0.01, rtol=0)
