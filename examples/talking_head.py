"""Put a talking person in the corner of slides, with their sound.

    python examples/talking_head.py TALK.mp4 OUT.mp4 SLIDE.png [SLIDE.png ...] --seconds 30

Each slide is shown for so many seconds, the last one to the end of the talk. Frames keep their
times.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

import wsshm

WIDTH, HEIGHT = 1280, 720  # of the result
SHARE = 0.45  # of its height that the person's frame has
TICKS = 90_000  # a second


def slide(path: str) -> NDArray[np.uint8]:
    """A slide in RGB, fitted into the frame on black."""
    image = cv2.imread(path)
    if image is None:
        raise SystemExit(f"{path}: not a readable image")
    scale = min(WIDTH / image.shape[1], HEIGHT / image.shape[0])
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    page = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    x, y = (WIDTH - size[0]) // 2, (HEIGHT - size[1]) // 2
    page[y : y + size[1], x : x + size[0]] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return page


def with_person(page: NDArray[np.uint8], frame: wsshm.Frame) -> NDArray[np.uint8]:
    """A slide with the person of a frame at its lower right: αF + (1 - α)B."""
    height = round(HEIGHT * SHARE)
    size = min(WIDTH, round(frame.rgb.shape[1] * height / frame.rgb.shape[0])), height
    rgb = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(frame.alpha, size, interpolation=cv2.INTER_AREA)[..., None] / 255
    result = page.copy()
    corner = result[-size[1] :, -size[0] :]
    corner[:] = np.round(alpha * rgb + (1 - alpha) * corner)
    return result


def clock(path: str) -> float:
    """Seconds at which the first frame is shown by the file's own clock."""
    with av.open(path) as talk:
        frame: Any = next(talk.decode(talk.streams.best("video")))
        return float(frame.time)


def sounds(talk: Any, source: Any, late: float) -> Iterator[Any]:
    """Packets of sound, at `late` seconds before their times in the file."""
    for packet in talk.demux(source):
        if packet.dts is not None:  # one without a time only says that there are no more
            ticks = round(late / packet.time_base)
            packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
            yield packet


def copy(packet: Any, sound: Any, out: Any, packets: Iterator[Any]) -> Any:
    """Write a packet of sound, and return the next one; None at the end."""
    packet.stream = sound
    out.mux(packet)
    return next(packets, None)


def main() -> None:
    parser = argparse.ArgumentParser(description="Put a talking person in the corner of slides.")
    parser.add_argument("talk")
    parser.add_argument("out")
    parser.add_argument("slides", nargs="+")
    parser.add_argument("--seconds", type=float, default=30.0, help="for which a slide is shown")
    parser.add_argument("--model", help="a shipped model or a file")
    given = parser.parse_args()
    pages = [slide(path) for path in given.slides]
    with (
        wsshm.frames(given.talk, foreground=True, model=given.model) as frames,
        av.open(given.talk) as talk,
        av.open(given.out, "w") as out,
    ):
        video = out.add_stream("libx264", rate=round(frames.rate or 25), options={"crf": "20"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, TICKS)
        source = talk.streams.best("audio")
        sound = out.add_stream_from_template(source) if source else None
        first = next(frames)
        late = clock(given.talk) - first.time  # in MPEG-TS times begin anywhere
        packets = sounds(talk, source, late) if source else iter(())
        packet = next(packets, None)
        for frame in chain([first], frames):
            while packet is not None and packet.dts * packet.time_base <= frame.time:
                packet = copy(packet, sound, out, packets)
            page = pages[min(int(frame.time / given.seconds), len(pages) - 1)]
            image = av.VideoFrame.from_ndarray(with_person(page, frame), "rgb24")
            image.pts, image.time_base = round(frame.time * TICKS), Fraction(1, TICKS)
            out.mux(video.encode(image))
        out.mux(video.encode(None))
        while packet is not None:
            packet = copy(packet, sound, out, packets)


if __name__ == "__main__":
    main()
