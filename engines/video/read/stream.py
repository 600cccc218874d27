"""Open inputs other than files with FFmpeg: standard input, network addresses, cameras.

A stream cannot be rewound, and may fall silent: every wait for it ends, by itself or by a stop.
"""

from __future__ import annotations

import errno
import io
import os
import re
import select
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import av

from engines.errors import CannotOpen, Unavailable, UsageError
from engines.video.config import OPENING_SECONDS, Stream
from engines.video.pipeline import TICK, Stop
from engines.video.read.video_stream import open_film

# Protocols whose senders wait for nobody. What comes by http may be a file as well.
PACED_SCHEMES = {"rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp"}
PROBE_OPTIONS = {"analyzeduration": "2000000"}  # μs to look at before the first image
RTSP_OPTIONS = {"rtsp_transport": "tcp"}  # over UDP many cameras lose packets
SCHEMES = PACED_SCHEMES | {"http", "https"}  # FFmpeg has others, which open files
# What an address may lead to, such as the parts of a playlist: never a file of this machine.
PROTOCOLS = SCHEMES | {"crypto", "data", "ffrtmpcrypt", "ffrtmphttp", "httpproxy", "srtp", "tls"}
PROTOCOL_OPTIONS = {"protocol_whitelist": ",".join(sorted(PROTOCOLS))}


def open_container(
    stream: Stream, limit: Mapping[str, str], stop: Stop, wait: float = OPENING_SECONDS
) -> Any:
    """Open a stream as an `av.container.InputContainer`.

    Args:
        limit: options for the demuxer and its decoders.
        stop: ends a wait for standard input.
        wait: seconds, for anything else.

    Raises:
        CannotOpen: nothing comes.
        Unavailable: a camera that does not start.
        Exception: what PyAV raises.
    """
    if stream.url == "-":
        return open_film(_standard_input(stop), stream, limit)
    how: dict[str, Any] = {"timeout": (wait, stream.silence), "metadata_errors": "replace"}
    must = {**PROBE_OPTIONS, **limit, **({} if stream.is_camera else PROTOCOL_OPTIONS)}
    wishes = must | dict(stream.options)
    try:
        # A camera may refuse the options: they are only a preference.
        with suppress(*(ValueError, OSError) if stream.is_camera else ()):
            return av.open(stream.url, format=stream.format, options=wishes, **how)
        return av.open(stream.url, format=stream.format, options=must, **how)
    except av.error.ExitError as e:
        raise CannotOpen(
            f"{stream}: nothing came for {wait:g} s", "is it running, and reachable from here?"
        ) from e
    except OSError as e:
        if not stream.is_camera:
            raise
        remedy = "plug it in again, then see: wsshm doctor"
        if e.errno == errno.EBUSY:
            remedy = f"close the program that has it: fuser -v {stream.url}"
        why = os.strerror(e.errno or errno.EIO)
        raise Unavailable(f"{stream}: the camera does not start ({why})", remedy) from e


def parse_input(text: str) -> Path | Stream:
    """Return what INPUT means: ``-`` is standard input, ``scheme://…`` an address, else a path.

    Raises:
        UsageError: an address of another machine's file, or that wsshm does not open.
    """
    if text == "-":
        return Stream("-", "stdin", paced=False)
    scheme, colon, _ = text.partition("://")
    if not colon or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        return Path(text)
    try:
        parts = urlsplit(text)
        stem = Path(parts.path).stem or (parts.hostname or scheme).replace(":", "_")
    except ValueError as e:
        raise UsageError(f"{text}: not an address ({e})") from e
    if scheme == "file":
        return _named_by_url(parts)
    if scheme not in SCHEMES:
        raise UsageError(
            f"{scheme}://: not an address that is opened",
            f"use one of {', '.join(sorted(SCHEMES))}",
        )
    paced = True if scheme in PACED_SCHEMES else None
    return Stream(text, stem, paced, options=RTSP_OPTIONS if scheme.startswith("rtsp") else {})


def _named_by_url(parts: SplitResult) -> Path:
    """Return the path of a file of this machine that an address names."""
    from urllib.request import url2pathname  # slow to import, and seldom needed

    if parts.netloc not in ("", "localhost"):
        raise UsageError(
            f"{parts.geturl()}: names a file of another machine", "for one of this: file:///…"
        )
    return Path(url2pathname(parts.path))


def _standard_input(stop: Stop) -> Any:
    """Return standard input as PyAV reads it; if it is a file, it can be rewound."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(
            "-: standard input is a terminal", "pipe a video into it: cat clip.ts | wsshm run -"
        )
    number = sys.stdin.fileno()
    if stat.S_ISREG(os.fstat(number).st_mode):
        return io.FileIO(number, closefd=False)
    return Pipe(number, stop)


class Pipe:
    """A pipe whose reader can be stopped.

    Args:
        number: its file descriptor.
        stop: ends the wait for bytes.
    """

    def __init__(self, number: int, stop: Stop):
        self._number, self._stop = number, stop

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end, and none after a stop."""
        while not self._stop.ended:
            # Windows cannot wait for a pipe: there a stop waits for the next bytes.
            if sys.platform == "win32" or select.select([self._number], [], [], TICK)[0]:
                return os.read(self._number, size)
        return b""
