"""The matte of an image: a file, an array or a Pillow image."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from engines import images
from engines.arrays import U8
from engines.engine import MattingEngine
from engines.errors import UsageError, silent
from engines.files import MAX_PIXELS
from engines.video.compose.composite import composite
from engines.video.config import MatteOptions, PrecisionChoice, RunConfig, Save
from engines.video.frame import Frame, FrameFormat
from engines.video.matte.network import Network, open_network
from engines.video.matte.postprocess import MattePostprocessor
from engines.video.matte.watch import Watch
from engines.video.read.open import open_image
from engines.video.read.pictures import FrameImage, frame_image
from engines.video.write.pictures import ImageConverter
from wsshm._request import PathLike, known_errors, logger, network, path_of

ImageLike = PathLike | U8 | Image.Image

MAX_ENGINES = 2  # that stay open for the next image
ORIENTATION = 0x0112  # the tag of EXIF
# What puts an upright image back to how Pillow had it, by its orientation in EXIF.
BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

_engines: dict[Hashable, MattingEngine] = {}
_lock = threading.Lock()  # one image at a time: the network takes all cores, and a GPU's one caller


def matte(
    image: ImageLike,
    *,
    model: PathLike | None = None,
    size: int | None = None,
    device: str = "auto",
    precision: PrecisionChoice = "auto",
) -> U8:
    """Return the matte of an image: how much of each pixel is person.

    It is what ``wsshm run IMAGE --save alpha`` writes. The model stays open for the next call;
    several threads may call at once and take turns.

    Args:
        image: the path of a file of any format that ``wsshm run`` reads; (H, W, 3) uint8 RGB, or
            (H, W, 4) RGBA; or an image of Pillow. Alpha of its own multiplies the matte. OpenCV's
            images are BGR: give ``cv2.cvtColor(image, cv2.COLOR_BGR2RGB)``.
        model: a shipped model's name (see ``wsshm models``), or the path of a model's ONNX file;
            None for the default.
        size: shorter edge that the network sees, in pixels, 64 to 2160; None for the model's own.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32``, ``fp16`` or ``int8``.

    Returns:
        (H, W) uint8, 255 = person; as the image lies. A file is turned upright by its EXIF data,
        an image of Pillow only for the network.

    Raises:
        CannotOpen: the file or the model is missing or cannot be read.
        BadData: the file holds no image, or is damaged.
        UsageError: an argument that is none of the above.
        Unavailable: the device cannot be used, or memory runs out.
    """
    return _pixels(image, Save.alpha, model, size, device, precision)


def cutout(
    image: ImageLike,
    *,
    model: PathLike | None = None,
    size: int | None = None,
    device: str = "auto",
    precision: PrecisionChoice = "auto",
) -> U8:
    """Return the person of an image with straight alpha, for any background.

    It is what ``wsshm run IMAGE --save foreground`` writes: the old background's colour is taken
    out of the person's edges, and nothing of the room is left where alpha is 0.

    Args, errors: see `matte`.

    Returns:
        (H, W, 4) uint8 RGBA; as the image lies.
    """
    return _pixels(image, Save.foreground, model, size, device, precision)


def _pixels(
    image: ImageLike,
    save: Save,
    model: PathLike | None,
    size: int | None,
    device: str,
    precision: PrecisionChoice,
) -> U8:
    """Return of an image what `save` says, by the steps of a run."""
    with known_errors():
        fields = network(model, size, device, precision)
        shown, orientation = _shown(image)
        frame = Frame(shown.image, shown.format, 0, Fraction(1), alpha=shown.alpha)
        with _lock:
            engine = _engine(RunConfig(Path(), max_workers=1, **fields), shown.format)
            matting = Network(engine, fields["size"] or engine.spec.size)
            inferred = matting.infer(matting.scale(frame))
        watch = Watch(silent, "")
        watch(inferred.rgb, inferred.alpha)
        if watch.nobody is not None:
            logger.warning(watch.nobody)
        with_colours = save is Save.foreground
        options = MatteOptions(smooth=0, decontaminate=with_colours)
        matted = MattePostprocessor(options)(*inferred)
        pixels: Any = ImageConverter(save)(composite(matted, None, keep_foreground=with_colours))
        if orientation in BACK:
            pixels = np.array(Image.fromarray(pixels).transpose(BACK[orientation]))
        return pixels


def _shown(image: ImageLike) -> tuple[FrameImage, int]:
    """Return an image upright, and its orientation in EXIF if that is to be put back."""
    if isinstance(image, Image.Image):
        orientation = image.getexif().get(ORIENTATION, 1)
        return frame_image(images.from_pillow(image, logger.warning)), orientation
    if isinstance(image, str | os.PathLike):
        return open_image(Path(path_of(image, "image")), logger.warning), 1
    if not isinstance(image, np.ndarray):
        raise UsageError(f"image: a {type(image).__name__} is no path, array or image of Pillow")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
        raise UsageError(
            f"image: an array of {image.dtype} {image.shape}", "give (H, W, 3) uint8 RGB"
        )
    if not 0 < image.shape[0] * image.shape[1] <= MAX_PIXELS:
        count = image.shape[0] * image.shape[1]
        raise UsageError(f"image: has {count} pixels", "give 1 to 64 Mi pixels")
    alpha = np.ascontiguousarray(image[..., 3]) if image.shape[2] == 4 else None
    return frame_image(images.Picture(image[..., :3], alpha)), 1


def _engine(config: RunConfig, fmt: FrameFormat) -> MattingEngine:
    """Return the engine of a config, opened for an image of this format or an earlier one."""
    file = None  # a model that is trained on is written again and again
    if config.model is not None and os.path.isfile(config.model):
        stat = os.stat(config.model)
        file = os.path.abspath(config.model), stat.st_mtime_ns, stat.st_size
    key = config.model, file, config.size, config.device, config.precision
    if (engine := _engines.pop(key, None)) is None:
        engine, _ = open_network(config, fmt, logger.warning)
    _engines[key] = engine  # the newest is the last
    if len(_engines) > MAX_ENGINES:
        del _engines[next(iter(_engines))]
    return engine
