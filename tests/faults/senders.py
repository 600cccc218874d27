"""Real live sources on loopback: MPEG-TS at the pace of its clip, until something goes wrong."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

import av

FAULTS = "close", "reset", "stall", "garbage", "sparse"


class Sender(threading.Thread):
    """A sender of a clip to each that connects, one after the other, from its beginning.

    Args:
        fault: what happens after `seconds` of the clip; "sparse" is sound without an image, of
            which the next would come after ten seconds.
        times: how many connections are served; the listening socket is closed after them.
        pause: seconds in which nobody can connect, between two connections.
    """

    def __init__(
        self, clip: Path, fault: str, seconds: float = 1.5, times: int = 1, pause: float = 0.0
    ):
        super().__init__(name="sender")
        self._clip, self._fault, self._seconds = clip, fault, seconds
        self._times, self._pause = times, pause
        self._over = threading.Event()
        self.sent = 0  # frames
        self.failed_at = 0.0  # `time.perf_counter()` of the fault
        self._listening = self._listen(0)
        self.port = self._listening.getsockname()[1]

    @staticmethod
    def _listen(port: int) -> socket.socket:
        listening = socket.create_server(("127.0.0.1", port))
        listening.settimeout(0.1)
        return listening

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def __enter__(self) -> Sender:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        self._listening.close()

    def run(self) -> None:
        for n in range(self._times):
            if n and self._pause:
                self._listening.close()
                self._over.wait(self._pause)
                self._listening = self._listen(self.port)
            connection = self._accept()
            if connection is None:
                return
            with connection:
                try:
                    self._send(connection)
                    self._fail(connection)
                except OSError:  # the other side has left
                    continue

    def _accept(self) -> socket.socket | None:
        while not self._over.is_set():
            try:
                connection = self._listening.accept()[0]
            except TimeoutError:
                continue
            connection.settimeout(1)
            return connection
        return None

    def _send(self, connection: socket.socket) -> None:
        class Out:
            def write(self, data: Any) -> int:
                connection.sendall(data)
                return len(data)

        options = {"flush_packets": "1"}
        with av.open(str(self._clip)) as clip:
            out = av.open(Out(), "w", format="mpegts", options=options)
            streams = {s.index: out.add_stream_from_template(s) for s in clip.streams}
            began = time.perf_counter()
            for packet in clip.demux():
                if packet.dts is None:
                    continue
                moment = float(packet.dts * packet.time_base)
                late = moment > self._seconds
                if self._over.is_set() or (late and self._fault != "sparse"):
                    break
                if late and packet.stream.type == "video":
                    self.failed_at = self.failed_at or time.perf_counter()
                    continue
                self._over.wait(max(0.0, began + moment - time.perf_counter()))
                self.sent += packet.stream.type == "video"
                packet.stream = streams[packet.stream_index]
                out.mux(packet)

    def _fail(self, connection: socket.socket) -> None:
        self.failed_at = self.failed_at or time.perf_counter()
        if self._fault == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif self._fault == "stall":
            self._over.wait(20)
        elif self._fault == "garbage":
            while not self._over.wait(0.02):
                connection.sendall(os.urandom(20_000))
