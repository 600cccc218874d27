from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.datasets.composites import choose_backgrounds, composite, cover, extend_foreground
from engines.measure.quality import cases


def cutout(height: int = 40, width: int = 30) -> np.ndarray:
    """A blue person whose soft left edge is still green from where it was cut."""
    rgba = np.zeros((height, width, 4), np.uint8)
    rgba[..., :3] = (0, 255, 0)
    rgba[..., 3] = np.clip(np.arange(width) * 20, 0, 255)
    rgba[rgba[..., 3] >= 230, :3] = (10, 20, 200)
    return rgba


def test_composites_follow_equation_1() -> None:
    rgba = cutout()
    background = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    image, alpha = composite(rgba, background)
    assert (alpha == rgba[..., 3]).all()
    a = alpha[..., None] / 255
    colour = np.array([10, 20, 200])  # everywhere: the green edge is not to be seen again
    assert (image == np.floor(a * colour + (1 - a) * background + 0.5)).all()


def test_extended_foreground_keeps_what_is_opaque() -> None:
    rgba = cutout()
    rgba[20, 20, :3] = (1, 2, 3)
    extended = extend_foreground(rgba)
    solid = rgba[..., 3] >= 230
    assert (extended[solid] == rgba[solid]).all()
    assert (extended[..., 3] == rgba[..., 3]).all()
    assert (extended[0, 0, :3] == (10, 20, 200)).all()
    nobody = np.zeros((3, 3, 4), np.uint8)
    assert (extend_foreground(nobody) == nobody).all()


@pytest.mark.parametrize("size", [(30, 40), (333, 77), (1000, 900), (5, 5), (30, 400)])
def test_backgrounds_cover_the_frame_from_their_middle(size: tuple[int, int]) -> None:
    h, w = size
    image = np.zeros((h, w, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, w)
    image[..., 1] = np.linspace(0, 255, h)[:, None]
    covered = cover(image, 30, 40).astype(int)
    assert covered.shape == (40, 30, 3)
    # Symmetric about the middle, and no border is made up.
    assert np.abs(covered[..., 0] + covered[:, ::-1, 0] - 255).max() <= 20
    assert np.abs(covered[..., 1] + covered[::-1, :, 1] - 255).max() <= 20


def test_shrinking_averages() -> None:
    squares = np.indices((400, 300)).sum(0) % 2 * 255
    covered = cover(np.dstack([squares] * 3).astype(np.uint8), 30, 40)
    assert np.abs(covered.astype(int) - 128).max() <= 1


def test_the_choice_of_backgrounds_is_fixed() -> None:
    backgrounds = [Path(f"{i}.jpg") for i in range(20)]
    chosen = choose_backgrounds("set/anna", backgrounds)
    # A change here makes all earlier figures incomparable.
    assert [p.name for p in chosen] == ["6.jpg", "11.jpg", "10.jpg"]
    assert choose_backgrounds("set/anna", backgrounds[::-1]) == chosen
    assert choose_backgrounds("set/bert", backgrounds) != chosen
    rest = [p for p in backgrounds if p != chosen[0]]
    assert choose_backgrounds("set/anna", rest)[:2] == chosen[1:]


def test_the_set_of_composites(tmp_path: Path) -> None:
    """Three of each val cut-out; photographs with alpha and the train split have no part in it."""
    rng = np.random.default_rng(0)
    for folder in ("matte/a/rgba", "matte/b/images", "matte/b/alphas", "background"):
        (tmp_path / folder).mkdir(parents=True)
    bgra = cv2.cvtColor(cutout(), cv2.COLOR_RGBA2BGRA)
    for name in ("anna", "bert"):
        cv2.imwrite(str(tmp_path / f"matte/a/rgba/{name}.png"), bgra)
    cv2.imwrite(str(tmp_path / "matte/b/images/1.png"), bgra[..., :3])
    cv2.imwrite(str(tmp_path / "matte/b/alphas/1.png"), bgra[..., 3])
    for i in range(5):
        image = rng.integers(0, 256, (50, 60, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"background/{i}.png"), image)
    val = [
        "matte/a/rgba/anna.png",
        "matte/b/images/1.png",
        *(f"background/{i}.png" for i in range(4)),
    ]
    (tmp_path / "val.txt").write_text("\n".join(val))

    found = cases.composites(tmp_path, "val")
    assert [(c.source, c.group) for c in found] == [("a", "anna")] * 3
    assert len({c.name for c in found}) == 3
    assert not any(c.name.endswith("+4") for c in found)  # a train background
    first, again = (found[0].read(), cases.composites(tmp_path, "val")[0].read())
    assert (first[0] == again[0]).all()
    assert (first[0][:, 20:] == (10, 20, 200)).all()
    assert (first[1] == cutout()[..., 3]).all()
    assert len(cases.mattes(tmp_path, "val")) == 1
    assert cases.masks(tmp_path, "val") == []
