"""Tables 1 to 7 of the paper as data: rows of trainings, with what was published beside.

Published figures are of the paper's validation set P3M: MSE×10³ of the whole image and of the
boundary, and of Table 7 SAD÷10³ too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.papers.scales import Scale
from benchmarks.papers.training import Training, blended, fine_tuned, pretrained

LABELS = {
    "r101": "U-Net R101",
    "r18": "U-Net R18",
    "r18x0.5": "U-Net R18×0.5",
    "mbv2": "U-Net MobileNetV2",
    "modnet": "MODNet",
    "lfm": "LFM",
    "gfm": "GFM",
    "p3mnet": "P3MNet",
    "indexnet": "IndexNet",
    "gca": "GCA",
    "shm": "SHM",
}
# Whole and boundary MSE×10³ after fine-tuning on composites and after Matte Label Blending.
TABLE_6 = {
    "r101": ((6.991, 32.553), (4.472, 28.837)),
    "r18": ((9.868, 44.735), (7.090, 30.303)),
    "r18x0.5": ((11.388, 55.745), (8.335, 31.059)),
    "modnet": ((9.692, 42.270), (5.655, 34.335)),
    "lfm": ((9.611, 42.737), (6.103, 29.633)),
    "gfm": ((10.770, 43.055), (6.425, 32.098)),
    "p3mnet": ((13.586, 50.146), (7.381, 35.092)),
    "indexnet": ((12.484, 46.936), (7.554, 34.596)),
    "gca": ((22.176, 65.232), (8.875, 36.712)),
    "shm": ((40.966, 106.338), (19.073, 46.899)),
}
# Whole MSE×10³ of Table 1: rivals fine-tuned, ours with Matte Label Blending.
TABLE_1 = {
    "shm": 40.966,
    "gca": 22.176,
    "p3mnet": 13.586,
    "indexnet": 12.484,
    "gfm": 10.770,
    "lfm": 9.611,
    "modnet": 9.692,
    "r101": 4.391,
    "r18": 7.007,
    "r18x0.5": 8.307,
}
TABLE_2 = {
    "bshm": {(2000, 50): (20.012, 87.186), (10_000, 200): (15.779, 80.787)}
    | {(50_000, 2000): (13.287, 75.600)},
    "context-aware": {(2000, 50): (19.837, 52.943), (10_000, 200): (16.844, 46.361)}
    | {(50_000, 2000): (14.092, 42.006)},
    "ours": {(2000, 50): (4.901, 32.435), (10_000, 200): (4.391, 28.776)}
    | {(50_000, 2000): (3.512, 22.728)},
}
TABLE_4 = {"0.1": (4.442, 28.911), "0.01": (4.391, 28.776), "0.001": (4.421, 28.838)}
# By (weak-strong augmentation, EMA); of its second and third row, the text lost which has which.
TABLE_5 = {
    (True, True): (4.391, 28.776),
    (True, False): (4.419, 28.793),
    (False, True): (4.437, 28.804),
    (False, False): (4.472, 28.815),
}
# Of P3M, by (masks, mattes): whole MSE and SAD, boundary MSE and SAD.
TABLE_7_COUNTS = (None, 2000, 5000, 10_000, 20_000, 50_000), (None, 50, 200, 500, 1000, 2000)
TABLE_7 = """
-                           6.907 29.991 50.727 15.329  6.771 29.534 50.401 14.347
6.676 28.158 48.088 14.077  6.539 26.152 45.760 13.822  6.493 26.113 43.031 13.577
50.220 137.725 93.092 21.302  4.994 21.080 32.558 10.867  4.764 20.824 31.519 10.723
4.629 19.768 30.698 10.578  4.593 19.132 29.871 10.499  4.512 18.764 28.368 10.141
38.322 125.955 71.315 19.607  4.743 19.943 30.573 10.423  4.569 18.909 29.781 10.208
4.472 18.392 28.837 10.168  4.408 18.114 28.016 10.079  4.303 17.755 27.900 10.027
36.656 97.700 69.166 16.868  4.466 17.443 27.981 10.128  4.260 16.975 27.691 9.991
4.198 16.766 27.136 9.703  4.073 16.681 25.541 9.635  3.965 16.287 25.880 9.629
36.123 92.371 62.685 15.423  4.316 16.402 27.052 9.967  4.074 16.371 26.943 9.836
3.979 16.002 25.837 9.517  3.766 15.974 24.663 9.511  3.695 15.562 24.556 9.455
33.823 86.223 57.339 14.822  4.076 16.283 25.130 9.840  3.949 15.836 24.030 9.654
3.760 15.823 23.906 9.412  3.634 14.757 22.853 9.404  3.594 14.516 22.831 9.301
"""
# What a table of another scale has beside its own counts: the paper's, in the same places.
METRICS = ("mse", "sad", "mse_boundary", "sad_boundary")


@dataclass(frozen=True)
class Row:
    """A row: what it is called, the training that it measures, and the published figures.

    Attributes:
        training: None where this scale does not train it, and only its speed is known.
        paper: by key of `engines.measure.quality.metrics.METRICS`, ×10³ and ÷10³ as published.
        against: the training that it is compared with.
        arch: of its speed.
    """

    label: str
    training: Training | None
    paper: dict[str, float] = field(default_factory=dict)
    against: Training | None = None
    arch: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the paper."""

    title: str
    rows: Callable[[Scale], list[Row]]
    has_speed: bool = False


def _paper(*figures: float) -> dict[str, float]:
    """Return two figures as whole and boundary MSE, one as whole MSE, or four of Table 7."""
    keys = METRICS if len(figures) == 4 else ("mse", "mse_boundary")
    return dict(zip(keys, figures, strict=False))


def _ours(scale: Scale, *switches: str) -> Training:
    return blended(scale.ours, scale.masks, scale.mattes, scale.ours, (), *switches)


def table_1(scale: Scale) -> list[Row]:
    """Students side by side: rivals fine-tuned as their authors do, ours by blending."""
    rows = []
    for arch in dict.fromkeys([*TABLE_1, *scale.students]):
        is_rival = not (arch.startswith("r") or arch == "mbv2")
        training = None
        if arch in scale.students:
            training = (
                fine_tuned(arch, scale.masks, scale.mattes)
                if is_rival
                else blended(arch, scale.masks, scale.mattes, scale.ours)
            )
        how = "fine-tuned" if is_rival else "ours"
        figures = _paper(TABLE_1[arch]) if arch in TABLE_1 else {}
        rows.append(Row(f"{LABELS[arch]}, {how}", training, figures, arch=arch))
    return rows


def table_2(scale: Scale) -> list[Row]:
    """Rival training methods at the same labels."""
    rows = []
    for i, (masks, mattes) in enumerate(scale.rivals):
        place = i if len(scale.rivals) > 1 else 1  # the paper's middle counts, where there is one
        published = list(TABLE_2["ours"])[place]
        ours = blended(scale.ours, masks, mattes, scale.ours)
        start = pretrained(scale.ours, masks)
        rivals = {
            "bshm": Training("bshm", scale.ours, masks, mattes),
            "context-aware": Training("context-aware", scale.ours, masks, mattes, init=start),
        }
        counts = f"{_count(masks)} masks, {_count(mattes)} mattes"
        for method, training in {**rivals, "ours": ours}.items():
            figures = _paper(*TABLE_2[method][published])
            against = None if training is ours else ours
            rows.append(Row(f"{counts}: {method}", training, figures, against))
    return rows


def table_3(scale: Scale) -> list[Row]:
    """Teacher of masks alone, teacher fine-tuned on composites, student."""
    first = pretrained(scale.ours, scale.masks)
    teacher = fine_tuned(scale.ours, scale.masks, scale.mattes)
    return [
        Row("teacher, masks alone", first, _paper(6.676, 48.088)),
        Row("teacher, fine-tuned", teacher, _paper(6.991, 32.553), first),
        Row("student, ours", _ours(scale), _paper(4.391, 28.776), teacher),
    ]


def table_4(scale: Scale) -> list[Row]:
    """Weights λ of the boundary loss, of teacher and student."""
    rows = []
    for weight, figures in TABLE_4.items():
        loss = () if weight == "0.01" else ("--lambda", weight)
        training = blended(scale.ours, scale.masks, scale.mattes, scale.ours, loss)
        against = None if weight == "0.01" else _ours(scale)
        rows.append(Row(f"λ = {weight}", training, _paper(*figures), against))
    return rows


def table_5(scale: Scale) -> list[Row]:
    """Weak-strong augmentation and EMA of the teacher, each on and off."""
    rows = []
    for (strong, ema), figures in TABLE_5.items():
        switches = [s for s, on in (("--no-strong-aug", strong), ("--no-ema", ema)) if not on]
        label = f"weak-strong {'yes' if strong else 'no'}, EMA {'yes' if ema else 'no'}"
        against = None if strong and ema else _ours(scale)
        rows.append(Row(label, _ours(scale, *switches), _paper(*figures), against))
    return rows


def table_6(scale: Scale) -> list[Row]:
    """Each network, fine-tuned on composites and by blending.

    With strong augmentation, and EMA where the teacher is of the same architecture. The paper does
    not say, and its R101 has here the error of the row of Table 5 that has neither.
    """
    rows = []
    for arch in scale.students:
        before, after = TABLE_6.get(arch, ((), ()))
        tuned = fine_tuned(arch, scale.masks, scale.mattes)
        ours = blended(arch, scale.masks, scale.mattes, scale.ours)
        rows += [
            Row(f"{LABELS[arch]}, fine-tuned", tuned, _paper(*before)),
            Row(f"{LABELS[arch]}, ours", ours, _paper(*after), tuned),
        ]
    return rows


def table_7(scale: Scale) -> list[Row]:
    """The grid of label counts: masks by mattes, in rows of equally many mattes."""
    masks_there, mattes_there = TABLE_7_COUNTS
    figures = _table_7()
    rows = []
    for mattes in scale.grid_mattes:
        for masks in scale.grid_masks:
            if masks is None and mattes is None:
                continue
            if mattes is None:
                training = pretrained(scale.ours, masks or 0)
            elif masks is None:
                training = fine_tuned(scale.ours, None, mattes)
            else:
                training = blended(scale.ours, masks, mattes, scale.ours)
            is_paper = masks in masks_there and mattes in mattes_there
            found = figures.get((masks, mattes), {}) if is_paper else {}
            rows.append(Row(f"{_count(masks)} masks, {_count(mattes)} mattes", training, found))
    return rows


def _table_7() -> dict[tuple[int | None, int | None], dict[str, float]]:
    masks, mattes = TABLE_7_COUNTS
    cells = [(a, m) for a in mattes for m in masks]
    values = iter(TABLE_7.replace("-", " ").split())
    return {
        (m, a): _paper(*(float(next(values)) for _ in METRICS))
        for a, m in cells
        if (a, m) != (None, None)
    }


def _count(labels: int | None) -> str:
    return "no" if labels is None else f"{labels:,}" if labels else "all"


TABLES = {
    "table1": Table("Table 1: students side by side", table_1, has_speed=True),
    "table2": Table("Table 2: rival training methods", table_2),
    "table3": Table("Table 3: teacher and student", table_3),
    "table4": Table("Table 4: weight λ of the boundary loss", table_4),
    "table5": Table("Table 5: weak-strong augmentation and EMA", table_5),
    "table6": Table("Table 6: Matte Label Blending for other networks", table_6),
    "table7": Table("Table 7: numbers of masks and mattes", table_7),
}
