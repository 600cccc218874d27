"""Scales of the experiments: how large networks, data and runs are, from a minute to the paper's.

A scale has a recipe of `wsshm train` of the same name in ``recipes/``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("recipes")
ALL = 0  # of masks or mattes, as `wsshm train` has it


@dataclass(frozen=True)
class Scale:
    """How large the experiments are.

    Attributes:
        ours: architecture of the teacher and of the student in Tables 2 to 5 and 7.
        students: architectures of Tables 1 and 6.
        masks, mattes: how many labels there are, but in Tables 2 and 7; `ALL` for all.
        rivals: pairs of such counts in Table 2.
        grid_masks, grid_mattes: of Table 7; None for none.
        size: shorter edge of what a network sees when it is measured, in pixels.
        limit: the most images of a source that are measured; None for all.
        seeds: unless ``--seeds`` says otherwise.
        bench_seconds: how long each network runs in a round of Table 1.
        small: side of the images of the second paper, in pixels.
    """

    ours: str
    students: tuple[str, ...]
    masks: int
    mattes: int
    rivals: tuple[tuple[int, int], ...]
    grid_masks: tuple[int | None, ...]
    grid_mattes: tuple[int | None, ...]
    size: int
    limit: int | None
    seeds: int
    bench_seconds: float
    small: int = 28


OTHERS = ("modnet", "lfm", "gfm", "p3mnet", "indexnet", "gca", "shm")
SCALES = {
    "smoke": Scale(
        ours="mbv2",
        students=("mbv2", "modnet"),
        masks=ALL,
        mattes=ALL,
        rivals=((ALL, ALL),),
        grid_masks=(None, ALL),
        grid_mattes=(None, ALL),
        size=64,
        limit=2,
        seeds=1,
        bench_seconds=0.1,
    ),
    "cpu": Scale(
        ours="mbv2",
        students=("mbv2", "r18x0.5", "modnet"),
        masks=2000,
        mattes=200,
        rivals=((2000, 200),),
        grid_masks=(None, 500, 2000, ALL),
        grid_mattes=(None, 20, 60, ALL),
        size=160,
        limit=9,
        seeds=3,
        bench_seconds=3,
    ),
    "paper": Scale(
        ours="r101",
        students=("r101", "r18", "r18x0.5", *OTHERS),
        masks=10_000,
        mattes=200,
        rivals=((2000, 50), (10_000, 200), (50_000, 2000)),
        grid_masks=(None, 2000, 5000, 10_000, 20_000, 50_000),
        grid_mattes=(None, 50, 200, 500, 1000, 2000),
        size=512,
        limit=None,
        seeds=1,
        bench_seconds=3,
    ),
}
