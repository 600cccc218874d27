"""Compare settings of x264 at equal quality: their work and their bits.

``python -m benchmarks.x264 CLIP… --settings veryfast 'veryfast bframes=1' superfast`` composites
each CLIP as `wsshm run` does and encodes the composites with each setting, a preset and what is
changed of it, at five rates around ``--crf``. The settings take turns. Over the quality that the
first setting has at these rates, in dB of SSIM and of PSNR, the mean difference in bits is printed
as a multiple of the first setting's (Bjøntegaard's, with straight lines); so is the work.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import av
import numpy as np

from engines.machine import cores
from engines.measure.speed.bench_clip import settled
from engines.video.config import Clip, RunConfig
from engines.video.run import run

RATE = Fraction(30)
CRF_STEPS = 0, 2, -2, 4, -4
MEASURES = "SSIM", "PSNR"


@dataclass(frozen=True)
class Encoded:
    """A clip in one setting by rate: core-ms and bytes a frame, and dB of each measure."""

    core_ms: list[float]
    size: list[float]
    quality: dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--settings", nargs="+", default=["veryfast", "superfast"])
    parser.add_argument("--bg", default="blur", help="as in wsshm run")
    parser.add_argument("--crf", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=cores())
    args = parser.parse_args()
    all_ratios: dict[str, list[list[float]]] = {s: [] for s in args.settings}
    for clip in args.clips:
        images = composites(clip, args.bg, args.seconds)
        rates = [args.crf + step for step in CRF_STEPS]
        found = compare(images, args.settings, rates, args.runs, args.threads)
        first = found[args.settings[0]]
        at_crf = f"{first.quality['SSIM'][0]:.2f} dB SSIM, {first.quality['PSNR'][0]:.2f} dB PSNR"
        rate = first.size[0] * 8 * float(RATE) / 1e6
        print(f"{clip.name}, --bg {args.bg}: {at_crf}, {rate:.1f} Mbit/s at crf {args.crf:g}")
        for setting, encoded in found.items():
            all_ratios[setting].append(ratios(encoded, first))
            print(line(setting, all_ratios[setting][-1], encoded), flush=True)
    print(f"{len(args.clips)} clips, geometric means")
    for setting, of_clips in all_ratios.items():
        print(line(setting, [geometric_mean(values) for values in zip(*of_clips, strict=True)]))


def line(setting: str, found: Sequence[float], encoded: Encoded | None = None) -> str:
    work, *bits = found
    by_measure = ", ".join(f"{b:.3f} by {m}" for b, m in zip(bits, MEASURES, strict=True))
    core_ms = f"{encoded.core_ms[0]:.2f} core-ms, " if encoded else ""
    return f"  {setting}: {core_ms}work {work:.3f}, bits {by_measure}"


def composites(clip: Path, background: str, seconds: float) -> list[Any]:
    """Return the frames of a clip over a background."""
    with tempfile.TemporaryDirectory(prefix="wsshm") as folder:
        out = Path(folder) / "out.y4m"
        summary = run(RunConfig(clip, out, background, clip=Clip(0, seconds)))
        if summary.error:
            raise summary.error
        with av.open(str(out)) as container:
            return list(container.decode(video=0))


def compare(
    images: list[Any], settings: Sequence[str], rates: Sequence[float], runs: int, threads: int
) -> dict[str, Encoded]:
    """Encode images in each setting at each rate factor."""
    quality: dict[tuple[str, float], tuple[float, dict[str, float]]] = {}
    spent: dict[tuple[str, float], list[float]] = {}
    for _ in range(runs):
        for rate in rates:
            for setting in settings:
                before = settled()
                packets, header = encode(images, setting, rate, threads)
                spent.setdefault((setting, rate), []).append(settled() - before)
                if (setting, rate) not in quality:
                    size = sum(p.size for p in packets) / len(images)
                    quality[setting, rate] = size, similarity(images, packets, header)
    return {
        setting: Encoded(
            [1000 * median(spent[setting, rate]) / len(images) for rate in rates],
            [quality[setting, rate][0] for rate in rates],
            {m: [quality[setting, rate][1][m] for rate in rates] for m in MEASURES},
        )
        for setting in settings
    }


def encode(images: list[Any], setting: str, crf: float, threads: int) -> tuple[list[Any], bytes]:
    """Return the packets of the images, and the headers that a decoder needs."""
    preset, *changes = setting.split()
    options = {"preset": preset, "crf": f"{crf:g}"}
    if changes:
        options["x264-params"] = ":".join(changes)
    context: Any = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = images[0].width, images[0].height, "yuv420p"
    context.framerate, context.time_base = RATE, 1 / RATE
    context.gop_size, context.options, context.thread_count = round(RATE), options, threads
    packets = []
    for n, image in enumerate(images):
        image.pts, image.time_base, image.pict_type = n, 1 / RATE, 0
        packets += context.encode(image)
    return [*packets, *context.encode(None)], context.extradata


def similarity(images: list[Any], packets: list[Any], header: bytes) -> dict[str, float]:
    """Return the similarity of decoded images to the originals, luma and chroma, in dB."""
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.extradata = header
    decoded = [image for packet in [*packets, None] for image in decoder.decode(packet)]
    graph = av.filter.Graph()
    shape = {"width": images[0].width, "height": images[0].height, "format": "yuv420p"}
    sources = [graph.add_buffer(**shape, time_base=1 / RATE) for _ in range(2)]
    copies = [graph.add("split") for _ in sources]
    joined = graph.add("psnr"), graph.add("ssim")
    for side, (source, copy) in enumerate(zip(sources, copies, strict=True)):
        source.link_to(copy)
        for pad, measure in enumerate(joined):
            copy.link_to(measure, pad, side)
    sinks = [graph.add("buffersink") for _ in joined]
    for measure, sink in zip(joined, sinks, strict=True):
        measure.link_to(sink)
    graph.configure()
    errors, ssims = [], []
    for n, pair in enumerate(zip(images, decoded, strict=True)):
        for image, source in zip(pair, sources, strict=True):
            image.pts, image.time_base = n, 1 / RATE
            source.push(image)
        by_psnr, by_ssim = (sink.pull().metadata for sink in sinks)
        errors.append(float(by_psnr["lavfi.psnr.mse_avg"]) / 255**2)
        ssims.append(float(by_ssim["lavfi.ssim.All"]))
    return {
        "SSIM": -10 * math.log10(1 - float(np.mean(ssims))),
        "PSNR": -10 * math.log10(float(np.mean(errors))),
    }


def ratios(encoded: Encoded, first: Encoded) -> list[float]:
    """Return work and, by each measure, bits as multiples of the first's at its qualities."""
    work = at(first.quality["SSIM"], encoded.quality["SSIM"], encoded.core_ms)
    found = [work / float(np.mean(first.core_ms))]
    for measure in MEASURES:
        logs = np.log(encoded.size)
        mean = at(first.quality[measure], encoded.quality[measure], logs.tolist())
        found.append(math.exp(mean - float(np.mean(np.log(first.size)))))
    return found


def at(wanted: Sequence[float], quality: Sequence[float], values: Sequence[float]) -> float:
    """Return the mean of values, a straight line over quality, at wanted qualities."""
    slope, offset = np.polyfit(quality, values, 1)
    return float(np.mean(slope * np.array(wanted) + offset))


if __name__ == "__main__":
    main()
