"""A small data set of real photographs, in the documented layout."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One portrait as photograph with mask and as cut-out, and two backgrounds."""
    root = tmp_path_factory.mktemp("data")
    portrait = cv2.resize(data.astronaut(), (128, 128), interpolation=cv2.INTER_AREA)
    y, x = np.mgrid[:128, :128]
    person = ((x - 56) ** 2 / 30**2 + (y - 40) ** 2 / 40**2 < 1) | (y > 90)
    for folder in ("seg/a/images", "seg/a/masks", "matte/b/rgba", "background"):
        (root / folder).mkdir(parents=True)
    bgr, mask = cv2.cvtColor(portrait, cv2.COLOR_RGB2BGR), person.astype(np.uint8) * 255
    for name in ("1", "2", "10"):
        cv2.imwrite(str(root / f"seg/a/images/{name}.jpg"), bgr)
        cv2.imwrite(str(root / f"seg/a/masks/{name}.png"), mask)
    alpha = cv2.GaussianBlur(mask, (0, 0), 2)
    cv2.imwrite(str(root / "matte/b/rgba/1.png"), np.dstack([bgr, alpha]))
    for name, picture in (("coffee", data.coffee()), ("stars", data.hubble_deep_field())):
        small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), (160, 120))
        cv2.imwrite(str(root / f"background/{name}.jpg"), small)
    return root
