"""Make a clip to time runs on: ``python benchmarks/grain_clip.py IN.mp4 OUT.mp4 [--lines N]``.

IN is scaled and cropped to 16:9, repeated to the length, and given the noise of a camera, which
makes an encoder work: on each pixel's luma, with a standard deviation of 2 of 255, different in
each frame; ``--noise 0`` leaves it out. The clip is H.264 with a tone as sound; its bit rate is
printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np

FPS, SAMPLE_RATE, SEED = 30, 48_000, 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--lines", type=int, default=1080)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--crf", type=int, default=20)
    parser.add_argument("--noise", type=float, default=2.0, help="standard deviation, of 255")
    args = parser.parse_args()
    height, width = args.lines, round(args.lines * 16 / 18) * 2
    noise = np.random.default_rng(SEED).normal(0, args.noise, (height + 64, width + 64))
    noise = np.rint(noise).astype(np.int16)
    rng = np.random.default_rng(SEED)
    with av.open(str(args.target), "w") as out:
        video = out.add_stream("libx264", FPS, options={"preset": "fast", "crf": str(args.crf)})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = out.add_stream("aac", SAMPLE_RATE, layout="mono")
        frames = repeat(args.source, width, height)
        for n, luma_chroma in enumerate(islice(frames, FPS * args.seconds)):
            y, x = rng.integers(0, 64, 2)
            luma = luma_chroma[:height]
            luma[:] = np.clip(luma + noise[y : y + height, x : x + width], 16, 235)
            frame = av.VideoFrame.from_ndarray(luma_chroma, "yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            out.mux(video.encode(frame))
        out.mux(video.encode())
        tone = np.sin(
            np.arange(SAMPLE_RATE * args.seconds, dtype=np.float32) * 440 * 2 * np.pi / SAMPLE_RATE
        )
        sound = av.AudioFrame.from_ndarray(0.1 * tone[None], "fltp", "mono")
        sound.sample_rate, sound.pts = SAMPLE_RATE, 0
        out.mux(audio.encode(sound))
        out.mux(audio.encode())
    rate = args.target.stat().st_size * 8 / args.seconds / 1e6
    print(f"{args.target}: {width}x{height}, {args.seconds} s, {rate:.1f} Mbit/s")


def repeat(source: Path, width: int, height: int) -> Iterator[np.ndarray]:
    """Yield its frames as (3·height/2, width) uint8 YUV 4:2:0, over and over."""
    while True:
        with av.open(str(source)) as clip:
            for frame in clip.decode(video=0):
                rgb = frame.to_ndarray(format="rgb24")
                h, w = rgb.shape[:2]
                scale = max(width / w, height / h)
                big = cv2.resize(rgb, (round(w * scale), round(h * scale)))
                y, x = (big.shape[0] - height) // 2, (big.shape[1] - width) // 2
                cut = np.ascontiguousarray(big[y : y + height, x : x + width])
                yield cv2.cvtColor(cut, cv2.COLOR_RGB2YUV_I420)


if __name__ == "__main__":
    main()
