"""Images as outputs: one file, or a folder of PNG files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from engines.arrays import Plane
from engines.errors import WriteFailed, writing
from engines.files import LockedFolder, replacing
from engines.video import frame as fr
from engines.video.compose.composite import Composited
from engines.video.config import Save
from engines.video.frame import FrameFormat
from engines.video.write.sink import FrameSink

WRITABLE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
SUFFIXES_WITH_ALPHA = {".png", ".webp"}
PNG_COMPRESSION_LEVEL = 2  # of 9


def write_image(path: Path, pixels: Plane) -> None:
    """Write an image completely or not at all; as PNG where the name has no ending of an image.

    Args:
        pixels: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, uint8.

    Raises:
        CannotCreate: the folder is missing or not writable.
        WriteFailed: the image cannot be encoded, or the disk is full.
    """
    swap = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, swap[pixels.shape[2]])
    try:
        options = [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION_LEVEL]
        suffix = path.suffix if path.suffix.lower() in WRITABLE_SUFFIXES else ".png"
        _, data = cv2.imencode(suffix, pixels, options)
    except cv2.error as e:
        raise WriteFailed(f"{path}: cannot be encoded ({e.err})") from e
    with replacing(path, durable=False) as file:
        file.write(data.tobytes())


class ImageConverter:
    """A converter from composited frames to the pixels of an image, for one kind of output."""

    def __init__(self, save: Save):
        self._save = save
        self._scalers: dict[FrameFormat, fr.RgbScaler] = {}

    def __call__(self, item: Composited) -> Plane:
        """Return (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, uint8."""
        colours, alpha = item.of(self._save)
        if colours is None:
            return item.alpha
        fmt = item.frame.format
        scaler = self._scalers.setdefault(fmt, fr.RgbScaler(fmt))
        rgb = scaler(colours, fmt.width, fmt.height)
        return rgb if alpha is None else np.dstack([rgb, alpha])


class ImageSink(FrameSink):
    """One image file."""

    def __init__(self, path: Path, save: Save):
        self.path, self.warnings = path, []
        self._convert = ImageConverter(save)

    def write(self, item: Composited) -> None:
        with writing(self.path, begun=False):
            self.path.parent.mkdir(exist_ok=True)
        write_image(self.path, self._convert(item))
        self.frames += 1

    def close(self, whole: bool) -> None:
        pass


class ImageFolderSink(FrameSink):
    """A folder of PNG files, numbered from 000001 or named after the images that they show."""

    def __init__(self, path: Path, save: Save):
        self.path, self.warnings = path, []
        self._convert = ImageConverter(save)
        self._folder = LockedFolder(path)

    def write(self, item: Composited) -> None:
        name = item.frame.name or f"{self.frames + 1:06d}"
        write_image(self.path / f"{name}.png", self._convert(item))
        self.frames += 1

    def close(self, whole: bool) -> None:
        self._folder.release()
