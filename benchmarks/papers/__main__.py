"""Repeat the papers' tables: ``python -m benchmarks.papers table6 --data DIR --scale cpu``.

Trains what a table needs, measures the exported files by `wsshm eval` and writes
``OUT/SCALE/table6.md`` and ``.png``. What is finished is not done again, so a run that was stopped
goes on with the same command, and tables share their trainings. Each score is a JSON file in
``OUT/SCALE/s<seed>``. ``table1 --only-speed`` times the networks of Table 1 anew, without data or
training. Needs ``wsshm[train]`` and ``wsshm[dev]``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.papers import report, second
from benchmarks.papers.report import Column, Scores, change, digits, figure, markdown
from benchmarks.papers.scales import FOLDER, SCALES
from benchmarks.papers.speed import measure, speeds
from benchmarks.papers.tables import LABELS, TABLES, Row, Table
from benchmarks.papers.training import Place, carry_out
from engines.datasets.layout import find_data
from engines.errors import UsageError, WsshmError
from engines.files import replacing
from engines.measure.quality.cases import SETS

KEPT = ("mse", "mse_boundary")  # the columns that plots and changes show, with IoU


def main() -> int:
    """Do what the command line asks for; return the exit code."""
    args = parse()
    try:
        if args.only_speed:
            print(f"{time_again(args.tables, args.scale, args.out)}", flush=True)
            return 0
        place = prepare(args)
        seeds = range(args.seeds or place.scale.seeds)
        for name in args.tables:
            if name == "second":
                lines = second.table(place, seeds, args.only_report)
            else:
                lines = make(TABLES[name], name, place, seeds, args.only_report)
            path = place.out / f"{name}.md"
            with replacing(path) as f:
                f.write("\n".join([*lines, ""]).encode())
            print(f"{path}", flush=True)
    except WsshmError as e:
        print(f"benchmarks.papers: error: {e}", file=sys.stderr)
        return e.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.papers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "tables",
        nargs="+",
        choices=[*TABLES, "second"],
        metavar="TABLE",
        help="table1 to table7; second: Table 2 of the second paper",
    )
    parser.add_argument("--data", type=Path, help="default: $WSSHM_DATA or ./data")
    parser.add_argument("--scale", choices=SCALES, default="cpu", help="default: cpu")
    parser.add_argument("--seeds", type=int, metavar="N", help="default: the scale's")
    parser.add_argument("--out", type=Path, default=Path("runs/papers"))
    parser.add_argument("--device", default="auto", help="as of wsshm train")
    parser.add_argument("--workers", type=int, help="as of wsshm train")
    parser.add_argument(
        "--encoder-weights",
        action="append",
        default=[],
        metavar="ARCH=FILE",
        help="ImageNet weights for the encoder of an architecture",
    )
    parser.add_argument(
        "--tf-encoder",
        action="append",
        default=[],
        metavar="ARCH",
        help="its FILE expects RGB in [-1, 1]",
    )
    parser.add_argument(
        "--only-report",
        action="store_true",
        help="write the tables from what is finished, train nothing",
    )
    parser.add_argument(
        "--only-speed",
        action="store_true",
        help="time the networks of table1 anew into speed.md, train nothing; needs no --data",
    )
    return parser.parse_args()


def time_again(names: list[str], scale: str, out: Path) -> Path:
    """Time the networks of a table, in place of what was timed before; return the file of speeds.

    Raises:
        UsageError: a table has no speeds.
    """
    if other := [n for n in names if n not in TABLES or not TABLES[n].has_speed]:
        raise UsageError(f"{other[0]}: has no speeds to measure", "--only-speed takes table1")
    rows = TABLES[names[0]].rows(SCALES[scale])
    folder = out / scale
    folder.mkdir(parents=True, exist_ok=True)
    measure(folder / "speed.json", [r.arch for r in rows], SCALES[scale].bench_seconds)
    cells = speeds(folder / "speed.json")
    lines = markdown(["", *cells[""]], [[LABELS[r.arch], *cells[r.arch]] for r in rows])
    with replacing(folder / "speed.md") as f:
        f.write("\n".join([*lines, ""]).encode())
    return folder / "speed.md"


def prepare(args: argparse.Namespace) -> Place:
    """Return the place of the runs, after a check that what it holds was made alike.

    Raises:
        UsageError: it holds runs of another recipe, other data or another measurement.
    """
    scale, data = SCALES[args.scale], find_data(args.data).absolute()
    files = dict(text.split("=", 1) for text in args.encoder_weights if "=" in text)
    if len(files) < len(args.encoder_weights):
        raise UsageError("--encoder-weights: write ARCH=FILE")
    out = args.out / args.scale
    sets = tuple(k.value for k in SETS if k.value in report.SHOWN and SETS[k](data, "val"))
    if not sets:
        raise UsageError(f"{data}: no val images to measure on", "list some in val.txt")
    recipe = (FOLDER / f"{args.scale}.toml").read_bytes()
    about = {
        "data": str(data),
        "recipe": sha256(recipe).hexdigest(),
        "size": scale.size,
        "limit": scale.limit,
        "sets": list(sets),
    }
    known = out / "about.json"
    if known.exists():
        theirs = json.loads(known.read_text())
        if other := [k for k, v in about.items() if theirs.get(k) != v]:
            raise UsageError(
                f"{out}: holds results of another {', '.join(other)}", "take another --out"
            )
    else:
        out.mkdir(parents=True, exist_ok=True)
        with replacing(known) as f:
            f.write(json.dumps(about, indent=2).encode())
    encoders = {arch: Path(file) for arch, file in files.items()}
    return Place(
        out,
        data,
        args.scale,
        scale,
        sets,
        args.device,
        encoders,
        tuple(args.tf_encoder),
        args.workers,
    )


def make(table: Table, name: str, place: Place, seeds: range, only_report: bool) -> list[str]:
    """Train and measure what a table needs; return its lines, and draw it."""
    from benchmarks.papers import plots

    rows = table.rows(place.scale)
    trainings = [r.training for r in rows if r.training]
    trainings += [r.against for r in rows if r.against]
    for seed in seeds if not only_report else ():
        for training in trainings:
            for command, out in place.commands(training, seed):
                carry_out(command, out)
    speed = place.out / "speed.json"
    if table.has_speed and not only_report and not speed.exists():
        measure(speed, [r.arch for r in rows], place.scale.bench_seconds)
    found = {r.label: s for r in rows if (s := scores(place, r.training, seeds))}
    columns = next(iter(found.values())).columns() if found else []
    main_set = columns[0].set if columns else ""
    kept = [c for c in columns if c.key == "iou" or (c.set == main_set and c.key in KEPT)]
    if found and name == "table7":
        cells = {_counts(label): s for label, s in found.items()}
        plots.lines(place.out / f"{name}.png", table.title, cells, kept)
    elif found:
        plots.bars(place.out / f"{name}.png", table.title, found, kept)
    lines = [f"# {table.title}", "", *about(place, seeds), ""]
    lines += values(rows, found, columns, speeds(speed) if table.has_speed else None)
    if differences := list(changes(rows, found, place, seeds, kept)):
        head = "Change, its 95 % interval over images (each seed's)"
        lines += ["", *markdown([head, *(c.head for c in kept)], differences)]
    return lines


def scores(place: Place, training: Any, seeds: range) -> Scores | None:
    """Read what was measured of a training; None if nothing was."""
    return training and Scores.read([place.scores(training, seed) for seed in seeds])


def about(place: Place, seeds: range) -> Iterator[str]:
    """Yield lines that say how the figures were made."""
    scale = place.scale
    limit = "all images" if scale.limit is None else f"at most {scale.limit} images of a source"
    counts = f"{_many(scale.masks)} masks and {_many(scale.mattes)} mattes"
    over = f"{len(seeds)} seeds, ± is the 95 % t interval over them"
    yield (
        f"Scale `{place.name}`: {counts} where the table does not say, measured at {scale.size} "
        f"lines on {limit} of `val`, means over the sources; "
        f"{over if len(seeds) > 1 else 'one seed'}. The paper's figures are of its own data, P3M."
    )


def values(
    rows: list[Row],
    found: dict[str, Scores],
    columns: list[Column],
    speed: dict[str, list[str]] | None,
) -> Iterator[str]:
    """Yield the table of scores, with the paper's beside."""
    papers = [
        k for k in ("mse", "sad", "mse_boundary", "sad_boundary") if any(k in r.paper for r in rows)
    ]
    shown = [Column("paper", k).head for k in papers]
    heads = ["", *(c.head for c in columns), *shown, *(speed[""] if speed else ())]
    body = []
    for row in rows:
        own = found.get(row.label)
        cells = [figure(own.values(c), digits(c)) if own else "–" for c in columns]
        cells += [f"{row.paper[k]:.3f}" if k in row.paper else "–" for k in papers]
        cells += speed.get(row.arch, ["–"] * len(speed[""])) if speed else []
        body.append([row.label, *cells])
    yield from markdown(heads, body)


def changes(
    rows: list[Row], found: dict[str, Scores], place: Place, seeds: range, columns: list[Column]
) -> Iterator[list[str]]:
    """Yield a row for each training that is compared with another."""
    for row in rows:
        against = scores(place, row.against, seeds)
        if row.label in found and against:
            yield [row.label, *(change(found[row.label], against, c) for c in columns)]


def _many(number: int) -> str:
    return f"{number:,}" if number else "all"


def _counts(label: str) -> tuple[str, str]:
    masks, mattes = label.split(", ")
    return masks.removesuffix(" masks"), mattes.removesuffix(" mattes")


if __name__ == "__main__":
    sys.exit(main())
