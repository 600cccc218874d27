"""Measure what refinement and decontamination do on a matte's outline.

``python benchmarks/outline.py MODEL… --data DIR [--sheet PNG]`` puts the ``val`` cut-outs of DIR
over its backgrounds, so that alpha and the person's colour are known, and prints

- the error of alpha at the image's size, bilinear and refined: of the true alpha after it was made
  2 to 4 times smaller, and of each model's alpha at these sizes;
- the error of a composite over another background, with and without decontamination: with the true
  alpha, and with a model's alpha, where only the person's colour is compared;
- the CPU time of every step in milliseconds per frame of 1920×1080, medians of alternating runs.

Means are over the sources. ``--sheet`` draws frames of the clips in DIR: the frame, and composites
over magenta, green and a photograph, each without and with both steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

from engines import models
from engines.arrays import Plane
from engines.datasets.composites import choose_backgrounds, composite, cover, extend_foreground
from engines.datasets.layout import list_backgrounds, list_cutouts
from engines.datasets.read import read_cutout, read_image
from engines.engine import MattingEngine, as_shipped, estimate_small_alpha, open_engine
from engines.measure.quality.clips import Part, read
from engines.measure.quality.metrics import boundary_region, gradient_error, mad, mse
from engines.preprocess import fit
from engines.video import frame as fr
from engines.video.blend import at_planes
from engines.video.compose import composite as compositing
from engines.video.frame import Frame, FrameFormat, RgbScaler
from engines.video.matte import outline
from engines.video.matte.decontaminate import decontaminate
from engines.video.matte.postprocess import Matted, full_size
from engines.video.matte.refine import refine
from engines.video.matte.shape import erode, feather, remove_islands
from engines.video.matte.smooth import Smoother

SIZE_RATIOS = 2, 3, 4
BACKGROUND_RGB = {"magenta": (255, 0, 255), "white": (255, 255, 255), "black": (0, 0, 0)}
SHEET_ROWS = (  # clip, frame, shorter edge for the network, and a crop: x, y, width, height
    ("liveportrait_s20_woman_portrait.mp4", 60, 384, (200, 110, 110, 80)),
    ("liveportrait_d13_phone_selfie_man.mp4", 100, 384, (150, 270, 110, 80)),
    ("liveportrait_s29_woman_sitting_portrait.mp4", 40, 384, (240, 180, 110, 80)),
    ("liveportrait_s13_studio_fullbody.mp4", 40, 384, (380, 120, 110, 80)),
    ("intel_asl_book.mkv", 50, 384, (240, 60, 110, 80)),
    ("liveportrait_s18_woman_halfbody.mp4", 60, 384, (560, 0, 110, 80)),
    ("pixabay_man_sitting_outdoor.mp4", 100, 256, (300, 40, 110, 80)),
)


@dataclass(frozen=True)
class Known:
    """A composite with its true alpha and the person's true colour, all uint8."""

    source: str
    name: str
    rgb: Plane
    alpha: Plane
    person: Plane


class Colour:
    """A background of one colour, or of one image."""

    def __init__(self, rgb: Plane | tuple[int, ...]):
        self._rgb = np.array(rgb, np.uint8)

    def of(self, fmt: FrameFormat) -> Plane:
        shape = (fmt.height, fmt.width, 3)
        if self._rgb.ndim == 1:
            return np.broadcast_to(self._rgb, shape)
        return np.ascontiguousarray(cover(self._rgb, fmt.width, fmt.height))

    def planes(self, frame: Frame, alphas: list[Plane]) -> list[Plane]:
        return fr.planes(fr.from_rgb(self.of(frame.format), frame.format))

    def close(self) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", help="shipped names or files")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sheet", type=Path, help="of the first model")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    engines = {name: as_shipped(open_engine(models.find(name)), name) for name in args.models}
    if args.sheet:
        sheet(next(iter(engines.values())), args.data, args.sheet)
    found = list(composites(args.data))
    for name, engine in {"true alpha": None, **engines}.items():
        refinement(name, engine, found)
    for name, engine in {"true alpha": None, **engines}.items():
        fringe(name, engine, found)
    speed(next(iter(engines.values())), found)


def composites(data: Path) -> Iterator[Known]:
    """Yield the people of the ``val`` cut-outs on the same backgrounds as in `wsshm eval`."""
    backgrounds = list_backgrounds(data, "val")
    for pair in list_cutouts(data, "val"):
        if pair.source == "other_alphamatting":  # dolls and objects
            continue
        cutout = read_cutout(pair)
        for path in choose_backgrounds(f"{pair.source}/{pair.image.stem}", backgrounds):
            rgb, alpha = composite(cutout, read_image(path)[..., :3])
            person = extend_foreground(cutout)[..., :3]
            yield Known(pair.source, f"{pair.image.stem}+{path.stem}", rgb, alpha, person)


def small_alpha(known: Known, engine: MattingEngine | None, ratio: float | None) -> Any:
    """Return the matte at the image's size divided by `ratio`; None for the model's own size."""
    height, width = known.alpha.shape
    if engine is None:
        size = (round(width / (ratio or 1)), round(height / (ratio or 1)))
        return cv2.resize(known.alpha, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return seen(engine, known.rgb, round(min(height, width) / ratio) if ratio else engine.spec.size)


def seen(engine: MattingEngine, rgb: Plane, size: int) -> Any:
    """Return a model's alpha (h, w) of an image that it sees with a shorter edge of `size`."""
    return np.ascontiguousarray(estimate_small_alpha(engine, rgb, size)[1])


def framed(rgb: Plane) -> Frame:
    fmt = FrameFormat(rgb.shape[1], rgb.shape[0], "yuv420p", fr.BT709, fr.LIMITED)
    return Frame(fr.from_rgb(rgb, fmt), fmt, 0, Fraction(1, 30))


def refined(frame: Frame, alpha: Any) -> Plane:
    planes, full = fr.planes(frame.image), full_size(alpha, frame.format)
    refine(full, outline.find(planes, alpha), frame.format)
    return full


def cleaned(frame: Frame, small: Any, alpha: Plane) -> Frame:
    found = outline.find(fr.planes(frame.image), small)
    image = decontaminate(frame, at_planes(alpha, frame.format), found)
    return Frame(image, frame.format, 0, frame.time_base)


def over_sources(found: list[Known], values: list[list[float]]) -> Any:
    by_source: dict[str, list[list[float]]] = {}
    for known, value in zip(found, values, strict=True):
        by_source.setdefault(known.source, []).append(value)
    return np.mean([np.mean(v, axis=0) for v in by_source.values()], axis=0)


def refinement(name: str, engine: MattingEngine | None, found: list[Known]) -> None:
    print(f"\n{name}: alpha at the image's size, bilinear → refined, {len(found)} composites")
    print("        whole MSE×10³       boundary MSE×10³    Grad÷10³            MAD×10³")
    for ratio in (*SIZE_RATIOS, None) if engine else SIZE_RATIOS:
        values: list[list[list[float]]] = [[], []]
        for known in found:
            frame, small = framed(known.rgb), small_alpha(known, engine, ratio)
            true = known.alpha / 255
            edge = boundary_region(true)
            for errors, samples in zip(
                values, (full_size(small, frame.format), refined(frame, small)), strict=True
            ):
                a = samples / 255
                errors.append(
                    [
                        1e3 * mse(a, true),
                        1e3 * mse(a, true, edge),
                        gradient_error(a, true) / 1e3,
                        1e3 * mad(a, true),
                    ]
                )
        before, after = (over_sources(found, v) for v in values)
        cells = [
            f"{b:6.2f} →{a:6.2f} {a / b - 1:+5.0%}" for b, a in zip(before, after, strict=True)
        ]
        print(f"  {f'1/{ratio}' if ratio else engine.spec.size:>4}  {'  '.join(cells)}")


def fringe(name: str, engine: MattingEngine | None, found: list[Known]) -> None:
    print(
        f"\n{name}: composites against those of the person's true colour, of 255, on "
        "0.02 < alpha < 0.98: mean and root mean square, before → after; and the mean where "
        "the true alpha is under a half"
    )
    for colour, value in BACKGROUND_RGB.items():
        values: list[list[list[float]]] = [[], []]
        for known in found:
            frame = framed(known.rgb)
            small = small_alpha(known, engine, None if engine else 2)
            alpha = refined(frame, small) if engine else known.alpha
            background = Colour(value)
            a = alpha[..., np.newaxis].astype(np.int32)
            ideal = (a * known.person + (255 - a) * background.of(frame.format) + 127) // 255
            edge = (alpha > 5) & (alpha < 250)
            outside = edge & (known.alpha < 128)
            for errors, shown in zip(values, (frame, cleaned(frame, small, alpha)), strict=True):
                error = np.abs(rgb_over(shown, alpha, background) - ideal).mean(axis=2)
                errors.append(
                    [error[edge].mean(), np.sqrt((error[edge] ** 2).mean()), error[outside].mean()]
                )
        before, after = (over_sources(found, v) for v in values)
        cells = [
            f"{b:6.2f} →{a:6.2f} {a / b - 1:+5.0%}" for b, a in zip(before, after, strict=True)
        ]
        print(f"  {colour:8} {'   '.join(cells)}")


def matted(frame: Frame, alpha: Plane) -> Matted:
    return Matted(frame, at_planes(alpha, frame.format), frame.image)


def rgb_over(frame: Frame, alpha: Plane, background: Colour) -> Any:
    made = compositing.composite(matted(frame, alpha), background).composite
    fmt = frame.format
    return RgbScaler(fmt)(made, fmt.width, fmt.height).astype(np.int32)


def speed(engine: MattingEngine, found: list[Known]) -> None:
    known = max(found, key=lambda k: k.alpha.size)
    rgb = np.ascontiguousarray(cover(known.rgb, 1920, 1080))
    other = np.roll(rgb, 1, axis=1)
    small = seen(engine, rgb, engine.spec.size)
    frame, smooth = framed(rgb), Smoother(0.8)
    f = fit(1920, 1080, engine.spec.size, engine.spec.stride)
    small_rgb = [f.unpad(f.shrink(p)) for p in (rgb, other)]
    planes, fmt = fr.planes(frame.image), frame.format
    background = Colour((255, 0, 255))
    behind = background.planes(frame, [])
    background.planes = lambda *_: behind  # type: ignore[method-assign]
    alpha = refined(frame, small)
    alphas = at_planes(alpha, fmt)
    lines = outline.find(planes, small)
    bilinear = full_size(small, fmt)
    share = len(lines.points(alpha.shape)) / alpha.size

    def fresh() -> outline.Outline:
        return outline.Outline(planes, lines.mask, lines.bounds, lines.person, lines.background)

    turn = iter(range(1 << 30))
    steps: dict[str, Callable[[], Any]] = {
        "smooth": lambda: smooth(small_rgb[next(turn) % 2], small),
        "bilinear (full_size)": lambda: full_size(small, fmt),
        "outline.find": lambda: outline.find(planes, small),
        "refine": lambda: refine(bilinear, fresh(), fmt),
        "decontaminate": lambda: decontaminate(frame, alphas, lines),
        "remove_islands": lambda: remove_islands(small, 0.01),
        "erode 2": lambda: erode(alpha, 2),
        "feather 3": lambda: feather(alpha, 3),
        "composite, for comparison": lambda: compositing.composite(
            matted(frame, alpha), background
        ),
    }
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(41):
        for name, step in steps.items():
            begun = time.thread_time()
            step()
            spent[name].append(time.thread_time() - begun)
    print(
        f"\ncore-ms a frame at 1920×1080, matte of {small.shape[1]}×{small.shape[0]}, outline "
        f"{share:.1%} of the frame"
    )
    for name, times in spent.items():
        print(f"  {name:26} {1e3 * median(times):6.2f}")


def sheet(engine: MattingEngine, data: Path, path: Path) -> None:
    photograph = read_image(list_backgrounds(data, "val")[7])[..., :3]
    rows = []
    for clip, number, size, (x, y, w, h) in SHEET_ROWS:
        rgb = next(read(Part(data / "video" / "person" / clip, number, number)))[1]
        frame, small = framed(rgb), seen(engine, rgb, size)
        plain, fine = full_size(small, frame.format), refined(frame, small)
        better = cleaned(frame, small, fine)
        images = [rgb]
        backgrounds = Colour(BACKGROUND_RGB["magenta"]), Colour((0, 177, 64)), Colour(photograph)
        for background in backgrounds:
            images += [rgb_over(frame, plain, background), rgb_over(better, fine, background)]
        crops = [p[y : y + h, x : x + w].astype(np.uint8) for p in images]
        rows.append(np.hstack([cv2.resize(c, None, fx=3, fy=3, interpolation=0) for c in crops]))
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
