"""Measure what smoothing does to a matte: ``python benchmarks/motion.py MODEL… --data DIR``.

Each clip passes through each model once and is then smoothed with every strength. Printed are

- flicker of the frame-sized matte, bilinear and refined, on a clip with a still background, where
  the image does not change (as ``wsshm eval --static``);
- MAD and dtSSD on a clip with a green screen, against its key (as ``wsshm eval --green``);
- MAD on cut-outs that move over a background, and on cut-outs that a camera pans over with it, by
  the pixels they move per frame, against their true alpha;
- MAD on clips of fast hands, against the alpha of Robust Video Matting, since there is no truth;
- the effect of removing islands: IoU and MAD on the ``val`` masks, mean alpha where nobody is.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.outline import framed, refined
from engines import models
from engines.arrays import U8
from engines.datasets.composites import choose_backgrounds, cover, extend_foreground
from engines.datasets.layout import list_backgrounds, list_cutouts
from engines.datasets.read import read_cutout, read_image
from engines.engine import MattingEngine, as_shipped, estimate_small_alpha, open_engine
from engines.measure.estimators.open import open_estimator
from engines.measure.quality import cases, metrics
from engines.measure.quality.clips import Part, read
from engines.measure.quality.green_screen import read_keyed
from engines.video.matte.postprocess import full_size
from engines.video.matte.shape import remove_islands
from engines.video.matte.smooth import Smoother

STRENGTHS = 0.0, 0.6, 0.7, 0.8, 0.9
STILL_CLIP = "akiyo_cif.mp4"
GREEN_CLIP = "liveportrait_d0_greenscreen_man.mp4"
HANDS_CLIPS = "intel_asl_again.mkv", "intel_asl_book.mkv", "intel_asl_help.mkv"
EMPTY_CLIP = "intel_one_by_one_empty_and_walkers.mp4"
RVM_FILE = "peers/rvm/rvm_mobilenetv3_tfjs-u8_720x1280_ds0.375.onnx"
SPEEDS = 1, 4, 12  # pixels a frame, of images of about 400 lines
FRAMES = 16
SHARES = 0.0, 0.01, 0.05, 0.2


@dataclass
class Clip:
    """Frames as the network saw them, its mattes, and the true alphas, if known."""

    seen: list[U8]
    alphas: list[Any]
    truths: list[Any]
    images: list[U8]

    def smoothed(self, strength: float) -> list[Any]:
        smooth = Smoother(strength)
        return [smooth(rgb, alpha) for rgb, alpha in zip(self.seen, self.alphas, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", help="shipped names or files")
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    videos = args.data / "video" / "person"
    peer = open_estimator(args.data / RVM_FILE)
    for name in args.models:
        engine = as_shipped(open_engine(models.find(name)), name)
        print(f"\n{name}, weight of the past {', '.join(map(str, STRENGTHS))}", flush=True)
        flicker(matted(engine, ((rgb, None) for _, rgb in read(Part(videos / STILL_CLIP)))))
        keyed = ((rgb, alpha) for _, rgb, alpha in read_keyed(Part(videos / GREEN_CLIP)))
        error("green screen", [matted(engine, keyed)])
        for speed in SPEEDS:
            for pans in (False, True):
                clips = [matted(engine, w) for w in walks(args.data, speed, pans)]
                error(f"{'panned' if pans else 'walking'}, {speed} px", clips)
        hands = []
        for clip in HANDS_CLIPS:
            peer.reset()
            reference = ((rgb, peer(rgb)) for _, rgb in read(Part(videos / clip)))
            hands.append(matted(engine, reference))
        error("fast hands against RVM", hands)
        islands(engine, args.data)


def matted(engine: MattingEngine, images: Iterable[tuple[U8, Any]]) -> Clip:
    """Return the mattes of images (H, W, 3) with their truth, (H, W) in [0, 1] or None."""
    clip = Clip([], [], [], [])
    for rgb, truth in images:
        small, alpha = estimate_small_alpha(engine, rgb, engine.spec.size)
        clip.seen.append(small)
        clip.alphas.append(alpha)
        if truth is None:
            clip.images.append(rgb)
        else:
            size = alpha.shape[::-1]
            clip.truths.append(cv2.resize(truth, size, interpolation=cv2.INTER_AREA))
    return clip


def walks(data: Path, speed: int, pans: bool) -> Iterator[Iterator[tuple[U8, Any]]]:
    """Yield cut-outs that move over a background, or with it, each as images with their alpha."""
    backgrounds, sources = list_backgrounds(data, "val"), set()
    for pair in list_cutouts(data, "val"):
        if pair.source == "other_alphamatting" or pair.source in sources:
            continue
        sources.add(pair.source)
        cutout = read_cutout(pair)
        path = choose_backgrounds(f"{pair.source}/{pair.image.stem}", backgrounds, 1)[0]
        yield walk(cutout, read_image(path)[..., :3], speed, pans)


def walk(cutout: U8, background: U8, speed: int, pans: bool) -> Iterator[tuple[U8, Any]]:
    height, width = cutout.shape[:2]
    wide = max(2 * width, round(height * 16 / 9))
    wall = cover(background, wide, height).astype(np.int32)
    person = np.zeros((height, wide, 4), np.int32)
    left = (wide - width) // 2
    person[:, left : left + width] = np.dstack([extend_foreground(cutout)[..., :3], cutout[..., 3]])
    for t in range(FRAMES):
        shift = speed * (t - FRAMES // 2)
        moved = np.roll(person, shift, axis=1)
        behind = np.roll(wall, shift, axis=1) if pans else wall
        alpha = moved[..., 3:]
        rgb = (alpha * moved[..., :3] + (255 - alpha) * behind + 127) // 255
        yield rgb.astype(np.uint8), alpha[..., 0].astype(np.float32) / 255


def flicker(clip: Clip) -> None:
    still = [None, *(metrics.unchanged(a, b) for a, b in pairwise(clip.images))]
    for name, enlarge in (
        ("bilinear", lambda frame, alpha: full_size(alpha, frame.format)),
        ("refined", refined),
    ):
        found = []
        for strength in STRENGTHS:
            before, changes = None, []
            for rgb, alpha, where in zip(clip.images, clip.smoothed(strength), still, strict=True):
                now = enlarge(framed(rgb), alpha) / 255
                if before is not None:
                    changes.append(metrics.mad(now, before, where))
                before = now
            found.append(1e3 * float(np.mean(changes)))
        show(f"flicker×10³, {name}", found)


def error(name: str, clips: list[Clip]) -> None:
    mads, changes = [], []
    for strength in STRENGTHS:
        both = [(np.stack(c.smoothed(strength)), np.stack(c.truths)) for c in clips]
        mads.append(1e3 * float(np.mean([metrics.mad(a, t) for a, t in both])))
        changes.append(1e2 * float(np.mean([metrics.dtssd(a, t) for a, t in both])))
    show(f"{name}: MAD×10³", mads)
    show(f"{name}: dtSSD×10²", changes)


def islands(engine: MattingEngine, data: Path) -> None:
    """Print IoU and MAD as `wsshm eval` does on masks, and the mean alpha where nobody is."""
    sources: dict[str, list[Any]] = {}
    for case in cases.choose(cases.masks(data, "val"), limit=14):
        rgb, mask = case.read()
        alpha, far = small(engine, rgb), metrics.outside_band(mask)
        values = []
        for share in SHARES:
            full = cv2.resize(remove_islands(alpha, share), mask.shape[::-1])
            values.append([metrics.iou(full, mask), metrics.mad(full, mask / 255, far)])
        sources.setdefault(case.source, []).append(values)
    ious, mads = np.mean([np.mean(v, axis=0) for v in sources.values()], axis=0).T
    masses = []
    for case in cases.choose(cases.empty(data, "val"), limit=40):
        alpha = small(engine, case.read()[0])
        masses.append([remove_islands(alpha, share).mean() for share in SHARES])
    room = []
    for i, rgb in read(Part(data / "video" / "person" / EMPTY_CLIP, 0, 200)):
        if i % 10 == 0:
            alpha = small(engine, rgb)
            room.append([remove_islands(alpha, share).mean() for share in SHARES])
    print(f"  islands smaller than {', '.join(map(str, SHARES))} of the largest removed")
    show("masks: IoU×10³", 1e3 * ious)
    show("masks: MAD×10³", 1e3 * mads)
    show("empty photographs: mass×10³", 1e3 * np.mean(masses, axis=0))
    show("empty room: mass×10³", 1e3 * np.mean(room, axis=0))


def small(engine: MattingEngine, rgb: U8) -> Any:
    return matted(engine, [(rgb, None)]).alphas[0]


def show(name: str, values: Iterable[float]) -> None:
    first, *rest = values
    cells = "  ".join(f"{v:8.3f} {v / first - 1:+6.1%}" for v in rest)
    print(f"  {name:30} {first:8.3f}  {cells}", flush=True)


if __name__ == "__main__":
    main()
