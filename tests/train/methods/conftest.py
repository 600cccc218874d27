"""Fixtures for tests of methods."""

from __future__ import annotations

from typing import Any

import pytest
import torch


@pytest.fixture
def batch() -> dict[str, Any]:
    """A photograph with a coarse mask, and a composite with its alpha."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 2, 3, 32, 32), generator=generator, dtype=torch.uint8)
    label = torch.randint(0, 256, (2, 1, 32, 32), generator=generator, dtype=torch.uint8)
    label[0] = (label[0] > 127) * 255
    return {
        "image": images[0],
        "weak": images[1],
        "label": label,
        "has_alpha": torch.tensor([False, True]),
        "name": ["photo.jpg", "composite"],
    }
