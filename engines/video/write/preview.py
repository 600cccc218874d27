"""A window as an output: it shows the result as it is made, and takes keys."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import cv2

from engines.arrays import Plane
from engines.errors import Say, Unavailable, WsshmError
from engines.video import frame as fr
from engines.video.compose.composite import Composited
from engines.video.frame import FrameFormat
from engines.video.pipeline import Stop
from engines.video.write.pictures import write_image
from engines.video.write.sink import FrameSink

TITLE = "wsshm: q quits, b next background, s snapshot"
MAX_WINDOW_SIZE = 1280, 720  # pixels, width before height; a larger frame is scaled down
QUIT_KEYS = {ord("q"), ord("Q"), 27}  # 27 is Escape
RATE_FRAMES = 30  # over which the shown rate is measured


def check_display() -> None:
    """Check in another process that a window can be opened: where not, OpenCV ends the process.

    Raises:
        Unavailable: it cannot; the error says why.
    """
    code = "import cv2; cv2.namedWindow('wsshm'); cv2.destroyAllWindows()"
    trial = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code], capture_output=True, text=True, errors="replace"
    )
    if trial.returncode == 0:
        return
    if "not implemented" in trial.stderr:
        raise Unavailable(
            "--preview: this OpenCV cannot open windows",
            "run: pip uninstall -y opencv-python-headless && "
            "pip install --force-reinstall opencv-python",
        )
    lines = [x for x in trial.stderr.splitlines() if "display" in x] or ["no window can be opened"]
    raise Unavailable(
        f"--preview: {lines[0].rpartition(': ')[2].strip()}",
        "run it in a desktop session, or over ssh -X from another machine",
    )


class Preview(FrameSink):
    """A window with the result and its rate; a snapshot goes into the current folder.

    Args:
        stop: requested by the key q, and when the window is closed.
        next_background: called by the key b.
        say: told where a snapshot went.

    Raises:
        Unavailable: no window can be opened.
    """

    def __init__(self, stop: Stop, next_background: Callable[[], None], say: Say):
        check_display()
        cv2.namedWindow(TITLE, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
        self.path, self.warnings = Path("the window"), []
        self._stop, self._next_background, self._say = stop, next_background, say
        self._scalers: dict[FrameFormat, fr.RgbScaler] = {}
        self._times: deque[float] = deque(maxlen=RATE_FRAMES)

    def write(self, item: Composited) -> None:
        fmt = item.frame.format
        scale = min(1.0, MAX_WINDOW_SIZE[0] / fmt.width, MAX_WINDOW_SIZE[1] / fmt.height)
        width, height = (max(1, int(edge * scale)) for edge in (fmt.width, fmt.height))
        rgb = self._rgb(item, width, height)
        self._times.append(time.perf_counter())
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        cv2.imshow(TITLE, with_rate(bgr, self._times))
        self.frames += 1
        key = cv2.waitKey(1) & 0xFF
        if key in QUIT_KEYS or cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1:
            self._stop.requested = True
        elif key == ord("b"):
            self._next_background()
        elif key == ord("s"):
            try:
                self._say(f"snapshot: {self._snapshot(item)}")
            except WsshmError as e:  # the run goes on without it
                self._say(str(e))

    def _rgb(self, item: Composited, width: int, height: int) -> Plane:
        """Return the composite as (height, width, 3) uint8 RGB."""
        fmt = item.frame.format
        scaler = self._scalers.setdefault(fmt, fr.RgbScaler(fmt))
        assert item.composite is not None
        return scaler(item.composite, width, height)

    def _snapshot(self, item: Composited) -> Path:
        """Write the composite under the next free name, and return the name."""
        number = 1
        while (path := Path(f"wsshm_snapshot_{number}.png")).exists():
            number += 1
        write_image(path, self._rgb(item, item.frame.format.width, item.frame.format.height))
        return path

    def close(self, whole: bool) -> None:
        cv2.destroyAllWindows()


def with_rate(bgr: Plane, times: deque[float]) -> Plane:
    """Write the frame rate into the top left corner of an image, and return the image.

    Args:
        bgr: (H, W, 3) uint8; it is changed.
        times: in seconds, at which the latest frames were shown.
    """
    if len(times) > 1:
        text = f"{(len(times) - 1) / max(1e-6, times[-1] - times[0]):.0f} FPS"
        for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 1)):
            cv2.putText(bgr, text, (10, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.7, colour, width)
    return bgr
