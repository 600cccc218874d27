"""Mean IoU and dtSSD on videos with masks: ``python -m benchmarks.sequences MODEL…``.

Each sequence is a folder with ``images`` and ``masks`` of the same names; the frames pass in order
through each model, ours as ``wsshm run`` writes them. A mask is no alpha: dtSSD against it says how
much more or less a matte changes from frame to frame than an outline does.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.papers.report import markdown
from engines.datasets.layout import list_images
from engines.datasets.read import read_image, read_label
from engines.measure.estimators.estimator import Estimator
from engines.measure.estimators.open import open_estimator
from engines.measure.quality import metrics
from engines.models import resolve_model


def main() -> None:
    """Print a table of each measure, with a row for each sequence and their mean."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="a shipped model or a file")
    parser.add_argument("--data", type=Path, required=True, help="the sequences' folder")
    args = parser.parse_args()
    folders = sorted(masks.parent for masks in args.data.glob("*/masks"))
    if not folders:
        parser.error(f"{args.data}: no folder in it has masks")
    names, columns = [], []
    for text in args.models:
        name, _ = resolve_model(text)
        names.append(name)
        estimator = open_estimator(text, name, as_run=True)
        columns.append([measured(estimator, folder) for folder in folders])
    for i, head in enumerate(("IoU", "dtSSD ×10²")):
        rows = [[f.name, *(c[n][i] for c in columns)] for n, f in enumerate(folders)]
        rows.append(["mean", *(np.mean([values[i] for values in c]) for c in columns)])
        cells = [[str(row[0]), *(f"{value:.3f}" for value in row[1:])] for row in rows]
        print("\n".join(["", *markdown([head, *names], cells)]))


def measured(estimator: Estimator, folder: Path) -> tuple[float, float]:
    """Return the mean IoU, and dtSSD ×10², of a model on the sequence in `folder`."""
    estimator.reset()
    alphas, masks = [], []
    for path in list_images(folder / "images"):
        alphas.append(estimator(read_image(path)[..., :3]))
        masks.append(read_label(folder / "masks" / f"{path.stem}.png"))
    iou = np.mean([metrics.iou(a, m) for a, m in zip(alphas, masks, strict=True)])
    return float(iou), 100 * metrics.dtssd(np.stack(alphas), np.stack(masks) / np.float32(255))


if __name__ == "__main__":
    main()
