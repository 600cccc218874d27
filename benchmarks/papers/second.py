"""Table 2 of the second paper: clusters, and Deep Image Matting's stage 1, on small images.

The loss of its table is `mean(sqrt(d² + ε²))` over all pixels, with an ε that changes no digit
shown here: the mean absolute difference. Clusters see the image alone, the network its trimap too.
The training loss is that of the finished network, on pictures that are not augmented; the paper
does not say when it takes its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.papers.report import Scores, figure, markdown
from benchmarks.papers.training import Command, Place, Training, carry_out

SPLITS = {"train": "training", "val": "test"}
PICTURES = 34_427  # of the paper's data set, AISegment: four fifths to train on, a fifth to test
TITLE = "Table 2 of the second paper: clusters and Deep Image Matting, stage 1"


@dataclass(frozen=True)
class Row:
    """A row: an estimator's name or a training, and the published losses by split."""

    label: str
    model: str | Training
    paper: dict[str, float]


def rows(mattes: int) -> list[Row]:
    """Return the rows; the paper gives no figures of clusters."""
    dim = Training("dim", "dim-bn", None, mattes)
    turned = Training("dim", "dim-bn", None, mattes, ("--augment",))
    return [
        Row("K-means", "kmeans", {}),
        Row("GMM", "gmm", {}),
        Row("K-means, the truth chooses the clusters", "kmeans:oracle", {}),
        Row("GMM, the truth chooses the clusters", "gmm:oracle", {}),
        Row("VGG-16", dim, {"train": 0.169581, "val": 0.301838}),
        Row("VGG-16, augmented", turned, {"train": 0.146492, "val": 0.296174}),
    ]


def commands(place: Place, row: Row, seed: int) -> Iterator[Command]:
    """Yield what is left to do for a row, as `Place.commands` does."""
    model: str | Path
    if isinstance(row.model, Training):
        yield from place.train_commands(row.model, seed)
        model = place.model(row.model, seed)
    else:
        model = row.model
    for split in SPLITS:
        if not (out := scores(place, row, seed, split)).exists():
            how = ["--split", split, "--square", str(place.scale.small)]
            yield place.eval_command(model, place.alphas, *how), out


def scores(place: Place, row: Row, seed: int, split: str) -> Path:
    """Return the file of a row's scores; clusters know no seeds, so theirs stand once."""
    if isinstance(row.model, Training):
        return place.out / f"s{seed}" / f"{row.model.name}-{split}.json"
    return place.out / f"{row.model.replace(':', '-')}-{split}.json"


def table(place: Place, seeds: range, only_report: bool) -> list[str]:
    """Train and measure what the table needs; return its lines, and draw it."""
    from benchmarks.papers import plots

    side, kind = place.scale.small, place.alphas[0]
    found: dict[tuple[str, str], Scores] = {}
    images: dict[str, int] = {}
    for row in rows(place.scale.mattes):
        for seed in seeds if not only_report else ():
            for command, out in commands(place, row, seed):
                carry_out(command, out)
        for split in SPLITS:
            files = dict.fromkeys(scores(place, row, seed, split) for seed in seeds)
            if measured := Scores.read([*files]):
                found[row.label, split] = measured
                images[split] = measured.seeds[0][kind]["images"]
    body = []
    for row in rows(place.scale.mattes):
        cells = [_loss(found.get((row.label, s)), kind, "mad", 4) for s in SPLITS]
        cells += [_loss(found.get((row.label, "val")), kind, "mse", 4)]
        body.append([row.label, *cells, *(f"{row.paper.get(s, '–')}" for s in SPLITS)])
    heads = ["", *(f"{name} loss" for name in SPLITS.values()), "test MSE"]
    heads += [f"paper: {name} loss" for name in SPLITS.values()]
    plots.pairs(
        place.out / "second.png",
        TITLE,
        {r.label: [_mean(found.get((r.label, s)), kind) for s in SPLITS] for r in rows(0)},
        [*SPLITS.values()],
    )
    seen = " and ".join(f"{n} {SPLITS[s]}" for s, n in images.items())
    about = (
        f"Scale `{place.name}`: {kind} stretched to {side}×{side}, {seen} images; the loss is the "
        f"mean absolute difference of alpha. The paper's are of {PICTURES:,} portraits of "
        "AISegment, of which a fifth were for the test."
    )
    return [f"# {TITLE}", "", about, "", *markdown(heads, body)]


def _loss(measured: Scores | None, kind: str, key: str, digits: int) -> str:
    return figure(_values(measured, kind, key), digits) if measured else "–"


def _mean(measured: Scores | None, kind: str) -> float:
    values = _values(measured, kind, "mad") if measured else []
    return sum(values) / len(values) if values else 0.0


def _values(measured: Scores, kind: str, key: str) -> list[float]:
    means = [next(iter(s[kind]["mean_over_sources"].values())) for s in measured.seeds]
    return [m[key] for m in means]
