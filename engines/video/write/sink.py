"""The interface of an output: it takes composited frames in order.

Files are written under a temporary name and renamed when complete, so that a name never stands for
half a file and an earlier complete file is never lost. However a run ends, `close` keeps what
exists.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import av

from engines.video.compose.composite import Composited


class FrameSink(ABC):
    """An output of a run.

    Attributes:
        path: where the result is or will be; for a device or a window, what it is called.
        frames: how many complete frames the output has once it is closed.
        warnings: what the output could not hold, a line each.
        left_at: the unfinished file, where the result could not be moved to `path`.
    """

    path: Path
    frames: int = 0
    warnings: list[str]
    left_at: Path | None = None

    @abstractmethod
    def write(self, item: Composited) -> None:
        """Add a frame.

        Raises:
            CannotCreate: the output cannot be begun.
            WriteFailed: the output cannot be continued.
        """

    def packet(self, packet: av.Packet) -> None:  # noqa: B027 - most sinks have no use for them
        """Add a packet of a stream that is copied from the source."""

    @abstractmethod
    def close(self, whole: bool) -> None:
        """Finish the output.

        Args:
            whole: False when the run was cut short.

        Raises:
            WriteFailed: it cannot be finished; what exists stays on disk all the same.
        """
