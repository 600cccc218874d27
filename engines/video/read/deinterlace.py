"""Interlaced images made whole: one for the two fields of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
from av.filter import Graph

# Where only one of the two fields was recorded at a time, the other is made up from its neighbours
# (Weston 3-field, as the BBC describes it in WHP 182).
HOW = "mode=send_frame:deint=interlaced"
LEAST = 3  # pixels each way that the filter needs


class Deinterlacer:
    """Images of a stream; from the first interlaced one on through FFmpeg's bwdif.

    An image then comes with the next one, and the last with None. Those that are not interlaced
    come out as they are.
    """

    def __init__(self, stream: Any, warnings: list[str]):
        self._stream, self._warnings = stream, warnings
        self._graph: Graph | None = None
        self._size = 0, 0

    def __call__(self, image: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        if image is not None and not self._wanted(image):
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

    def _wanted(self, image: av.VideoFrame) -> bool:
        if self._graph is not None:
            return True
        return image.interlaced_frame and min(image.width, image.height) >= LEAST

    def _begin(self, image: av.VideoFrame) -> None:
        self._size = image.width, image.height
        self._graph = graph = Graph()
        buffer = graph.add_buffer(
            width=image.width,
            height=image.height,
            format=image.format,
            time_base=self._stream.time_base,
        )
        graph.link_nodes(buffer, graph.add("bwdif", HOW), graph.add("buffersink")).configure()
        text = "the video is interlaced: each two fields become one image"
        if text not in self._warnings:
            self._warnings.append(text)

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
