"""Repair a video file whose writing failed, and count its frames."""

from __future__ import annotations

from pathlib import Path

import av


def cut_torn_end(path: Path) -> None:
    """Cut an unfinished fragmented mp4 to its last complete fragment (ISO/IEC 14496-12 boxes)."""
    size, position, whole = path.stat().st_size, 0, 0
    with path.open("r+b") as file:
        while len(head := file.read(16)) >= 8:
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if length == 1:
                length = int.from_bytes(head[8:], "big")
            position += length
            if length < 8 or position > size:
                break
            if kind == b"mdat":
                whole = position
            file.seek(position)
        file.truncate(whole)


def count_frames(path: Path) -> int:
    """Return how many video packets can be read from a file that may end anywhere."""
    frames = 0
    try:
        with av.open(f"file:{path}") as container:
            for packet in container.demux(video=0):
                frames += packet.size > 0
    except (av.error.FFmpegError, OSError, IndexError):
        pass  # the packets before the end have been counted
    return frames
