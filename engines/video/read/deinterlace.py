"""Deinterlacing: one progressive image for the two fields of each interlaced one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
from av.filter import Graph

from engines.errors import Say

# Of an image only one of the two fields is kept, the other is interpolated from its neighbours in
# space and time (Weston 3-field, as the BBC describes it in WHP 182).
BWDIF_OPTIONS = "mode=send_frame:deint=interlaced"
MIN_EDGE_PIXELS = 3  # of an image that the filter takes


class Deinterlacer:
    """Filters the images of a stream through FFmpeg's bwdif, from the first interlaced one on.

    Each image then comes out with the next one, and the last with None. Images that are not
    interlaced come out unchanged.

    Args:
        stream: the `av.VideoStream` that the images are decoded from.
        warn: told that the video is interlaced.
    """

    def __init__(self, stream: Any, warn: Say):
        self._stream, self._warn = stream, warn
        self._graph: Graph | None = None
        self._size = 0, 0

    def __call__(self, image: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """Take the next image, or None at the end; yield those that are ready."""
        if image is not None and not self._is_for_filter(image):
            yield image
            return
        if image is None or self._size != (image.width, image.height):
            yield from self._rest()
        if image is None:
            return
        if self._graph is None:
            self._begin(image)
        assert self._graph is not None
        self._graph.push(image)
        yield from self._finished()

    def _is_for_filter(self, image: av.VideoFrame) -> bool:
        if self._graph is not None:
            return True
        return image.interlaced_frame and min(image.width, image.height) >= MIN_EDGE_PIXELS

    def _begin(self, image: av.VideoFrame) -> None:
        self._size = image.width, image.height
        self._graph = graph = Graph()
        buffer = graph.add_buffer(
            width=image.width,
            height=image.height,
            format=image.format,
            time_base=self._stream.time_base,
        )
        graph.link_nodes(
            buffer, graph.add("bwdif", BWDIF_OPTIONS), graph.add("buffersink")
        ).configure()
        self._warn("the video is interlaced: each two fields become one image")

    def _rest(self) -> Iterator[av.VideoFrame]:
        if self._graph is not None:
            self._graph.push(None)
            yield from self._finished()
            self._graph = None

    def _finished(self) -> Iterator[av.VideoFrame]:
        assert self._graph is not None
        while True:
            try:
                image: Any = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            if image.pts is not None:  # bwdif counts in half ticks
                image.pts //= 2
                image.duration //= 2
                image.time_base = self._stream.time_base
            yield image
