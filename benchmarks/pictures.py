"""Make the pictures of README and docs: ``python -m benchmarks.pictures docs``.

Every photograph is scikit-image's, in the public domain or CC0; every matte is what ``wsshm run``
writes. The plot has the figures of the tables in ``FOLDER/models.md``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import matplotlib as mpl

mpl.use("agg")
import numpy as np
from matplotlib import pyplot as plt
from skimage import data

from engines.arrays import U8

MODELS = "fast", "default", "fine", "r18x0.5"
PHOTOS = "astronaut", "camera", "cat", "rocket"
GREEN = "#00b140"
LEFT, SIDE, GAP = 64, 384, 6  # pixels: the part of the portrait that is shown, and between panels
PANEL, QUALITY = 256, 88  # pixels, and JPEG's quality
NAME = re.compile(r"[\w.×]+")  # of a model, in the first cell of a table's row


def run(folder: Path, *args: object) -> None:
    """Run ``wsshm run`` on int8, for every processor to make the same."""
    command = [sys.executable, "-m", "wsshm_cli", "run", *map(str, args), "--precision", "int8"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603


def portrait(folder: Path) -> U8:
    """Return a portrait, its matte and its composite side by side, (H, W, 3) BGR."""
    run(folder, "astronaut.png", "--bg", "stars.png", "--save", "composite", "--save", "alpha")
    names = "astronaut", "astronaut_alpha", "astronaut_wsshm"
    images = [read(folder / f"{name}.png")[:SIDE, LEFT : LEFT + SIDE] for name in names]
    gap = np.full((SIDE, GAP, 3), 255, np.uint8)
    return np.hstack([images[0], gap, images[1], gap, images[2]])


def backgrounds(folder: Path) -> U8:
    """Return a portrait over an image, its own room out of focus, a colour and nothing, BGR."""
    images = []
    for i, background in enumerate(("stars.png", "blur:8", GREEN, "transparent")):
        run(folder, "astronaut.png", "--bg", background, "-o", f"over{i}.png")
        image = cv2.imread(str(folder / f"over{i}.png"), cv2.IMREAD_UNCHANGED)
        assert image is not None
        if image.shape[2] == 4:  # nothing is shown as squares, as in other programs
            alpha = image[..., 3:] / 255
            image = (alpha * image[..., :3] + (1 - alpha) * squares(image.shape[:2])).round()
        images += [image[:SIDE, LEFT : LEFT + SIDE], np.full((SIDE, GAP, 3), 255)]
    return np.hstack(images[:-1]).astype(np.uint8)


def squares(shape: tuple[int, ...]) -> U8:
    """Return grey and white squares, (H, W, 1)."""
    y, x = np.indices(shape) // 16
    return np.where((x + y) % 2, 255, 204).astype(np.uint8)[..., None]


def failures(folder: Path) -> U8:
    """Return each photograph, and what each model cuts out of it, (H, W, 3) BGR."""
    photos = [f"{name}.png" for name in PHOTOS]
    for model in MODELS:
        run(folder, *photos, "-o", f"{model}/", "--bg", GREEN, "--model", model)
    rows = []
    for name in photos:
        images = [read(folder / where / name) for where in ("", *MODELS)]
        size = PANEL, round(PANEL * images[0].shape[0] / images[0].shape[1])
        rows.append(np.hstack([cv2.resize(i, size, interpolation=cv2.INTER_AREA) for i in images]))
    return np.vstack(rows)


def plot(page: str, path: Path) -> None:
    """Draw speed against IoU and against the boundary's error, a dot for each model."""
    speeds, errors = table(page, 5), table(page, 6)
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.2))
    for name, (_, fps, iou, _) in speeds.items():
        if fps == "–":
            continue
        for panel, value in zip(panels, (iou, errors[name][-1].split()[0]), strict=True):
            at = float(fps), float(value)
            panel.scatter(*at, s=50)
            panel.annotate(name, at, (0, 7), textcoords="offset points", ha="center")
    titles = "IoU on photographs", "boundary MSE ×10³ on composites (less is better)"
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("FPS at 1080p, two cores")
        panel.margins(0.25)
        panel.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def table(page: str, width: int) -> dict[str, list[str]]:
    """Return the other cells of the tables of `width` columns, by the first word of their first."""
    rows: dict[str, list[str]] = {}
    for line in page.splitlines():
        first, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        if line[:1] == "|" and len(cells) == width - 1 and (name := NAME.search(first)):
            rows.setdefault(name[0], cells)
    return rows


def read(path: Path) -> U8:
    """Return an image, (H, W, 3) BGR."""
    image = cv2.imread(str(path))
    assert image is not None, path
    return image.astype(np.uint8, copy=False)


def write(path: Path, image: U8) -> None:
    """Write a JPEG."""
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of the docs")
    docs: Path = parser.parse_args().folder
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, image in [
            *((name, getattr(data, name)()) for name in PHOTOS),
            ("stars", data.hubble_deep_field()),
        ]:
            bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
            cv2.imwrite(str(folder / f"{name}.png"), bgr)
        write(docs / "portrait.jpg", portrait(folder))
        write(docs / "backgrounds.jpg", backgrounds(folder))
        write(docs / "models.jpg", failures(folder))
    plot((docs / "models.md").read_text(encoding="utf-8"), docs / "quality_speed.png")


if __name__ == "__main__":
    main()
