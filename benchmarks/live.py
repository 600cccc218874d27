"""Measure the latency of a live source: ``python -m benchmarks.live CLIP [--seconds 10]``.

CLIP is encoded without B-frames and sent to `wsshm run` over TCP, frame by frame at its own rate,
as a camera in the net does. The time from sending a frame until it is written is printed: network,
decoding, matting, and the output's `write`, but not what an encoder holds back. Frames that are
dropped are counted. In ``--format mpegts`` a frame is known to be whole only when the next but one
begins: that alone takes two frame times.
"""

from __future__ import annotations

import argparse
import io
import socket
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from engines.video.compose.composite import Composited
from engines.video.config import Clip, RunConfig
from engines.video.pipeline import Pipeline
from engines.video.read.stream import parse_input
from engines.video.run import run

OPENING_SECONDS = 2  # that are not counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--format", default="nut", help="FFmpeg's name of what is sent")
    parser.add_argument("--model")
    parser.add_argument("--size", type=int)
    parser.add_argument("--bg", default="blur")
    args = parser.parse_args()
    chunks, rate = chunked(args.clip, args.seconds, args.format)
    sent: list[float] = []
    written: dict[int, float] = {}
    kinds: list[Pipeline] = []

    def pipeline(source: Any, stages: Any, sink: Any, **how: Any) -> Pipeline:
        name, write = sink

        def timed(item: Composited) -> None:
            write(item)
            frame = item.frame
            written[round(frame.pts * frame.time_base * rate)] = time.perf_counter()

        kinds.append(Pipeline(source, stages, (name, timed), **how))
        return kinds[-1]

    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = threading.Thread(target=send, args=(server, chunks, rate, sent))
        sender.start()
        with tempfile.TemporaryDirectory(prefix="wsshm") as folder:
            config = RunConfig(
                parse_input(f"tcp://127.0.0.1:{server.getsockname()[1]}"),
                Path(folder) / "out.mp4",
                args.bg,
                model=args.model,
                size=args.size,
                clip=Clip(0, args.seconds),
            )
            summary = run(config, pipeline=pipeline)
        sender.join()
    # While the run begins, frames wait.
    late = [at - sent[n] for n, at in written.items() if OPENING_SECONDS * rate <= n < len(sent)]
    p50, p95 = np.percentile(late, [50, 95])
    network = 1000 * summary.busy["network"] / summary.frames
    print(f"{len(late)} frames, {summary.dropped} dropped; network {network:.1f} ms a frame")
    print(f"p50 {1000 * p50:.1f} ms, p95 {1000 * p95:.1f} ms = {p95 * float(rate):.2f} frame times")


def chunked(clip: Path, seconds: float, container: str) -> tuple[list[bytes], Fraction]:
    """Return the bytes of each frame of a clip as it is sent, and its rate."""
    chunks, made = [], io.BytesIO()
    options = {"preset": "superfast", "tune": "zerolatency"}
    with av.open(str(clip)) as source, av.open(made, "w", format=container) as out:
        given = source.streams.video[0]
        rate = Fraction(given.average_rate or 30)
        video = out.add_stream("libx264", rate, options=options | {"crf": "18", "g": "15"})
        video.width, video.height, video.pix_fmt = given.width, given.height, "yuv420p"
        for n, frame in enumerate(source.decode(given)):
            if n >= seconds * rate:
                break
            frame.pts, frame.time_base, frame.pict_type = n, 1 / rate, 0
            out.mux(video.encode(frame))
            chunks.append(made.getvalue())
            made.seek(0)
            made.truncate()
    return chunks, rate


def send(server: socket.socket, chunks: list[bytes], rate: Fraction, sent: list[float]) -> None:
    """Send a frame at a time to the first who connects, and note when."""
    connection, _ = server.accept()
    with connection:
        began = time.perf_counter()
        for n, chunk in enumerate(chunks):
            time.sleep(max(0.0, began + n / float(rate) - time.perf_counter()))
            sent.append(time.perf_counter())
            try:
                connection.sendall(chunk)
            except OSError:
                return


if __name__ == "__main__":
    main()
