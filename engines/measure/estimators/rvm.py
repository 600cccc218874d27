"""Other people's ONNX files, to be measured beside ours: known by their inputs and outputs.

Each takes one RGB image of any size and gives alpha at that size; what lies between is the
peer's own convention. `wsshm run` takes none of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from engines.arrays import U8
from engines.errors import BadData

Alpha = NDArray[np.float32]


class Estimator(Protocol):
    """What is measured. Images between two calls of `reset` are frames of one sequence."""

    name: str

    def __call__(self, rgb: U8) -> Alpha:
        """(H, W, 3) uint8 RGB to alpha (H, W) float32 in [0, 1]."""

    def reset(self) -> None:
        """What comes next has nothing to do with what came before."""


def peer(session: ort.InferenceSession, path: Path, settles: bool = True) -> Estimator:
    """The adapter that fits a loaded file.

    Args:
        path: for messages.
        settles: whether RVM sees the first image several times; not where frames are timed.

    Raises:
        BadData: its inputs and outputs are those of no known peer.
    """
    inputs = {n.name: n.shape for n in session.get_inputs()}
    outputs = {n.name: n.shape for n in session.get_outputs()}
    if [*inputs] == ["src", *STATES_IN] and {"pha", *STATES_OUT} <= {*outputs}:
        return Rvm(session, settles)
    match [*inputs.values()], [*outputs.values()]:
        case [[1, 256, 256, 3]], [[1, 256, 256, 1]]:
            return Selfie(session)
        case [[1, 144, 256, 3]], [[1, 144, 256, 2]]:
            return Meet(session)
        case [[1, 3, 320, 320]], [[1, 2, 320, 320]]:
            return Sinet(session)
    raise BadData(
        f"{path}: neither a model of wsshm nor one of RVM, MediaPipe selfie, Google Meet, SINet "
        f"(its inputs are {inputs}, its outputs {outputs})"
    )


STATES_IN = [f"r{i}i" for i in (1, 2, 3, 4)]
STATES_OUT = [f"r{i}o" for i in (1, 2, 3, 4)]


class Rvm:
    """Robust Video Matting: recurrent, RGB in [0, 1], alpha as output ``pha``.

    The image keeps its aspect and lies in the upper left of the file's fixed input, the rest is
    black: it does better with this than with repeated edges or bars on both sides. The first
    image of a sequence, and so every photograph, is seen `SETTLE` times unless told otherwise:
    from the empty state the network has not settled.
    """

    SETTLE = 3

    def __init__(self, session: ort.InferenceSession, settles: bool = True):
        self._session, self._settle = session, self.SETTLE if settles else 1
        shapes = {n.name: n.shape for n in session.get_inputs()}
        self._height, self._width = shapes.pop("src")[2:]
        self._zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        self.name = f"RVM {self._height}x{self._width}"
        self.reset()

    def reset(self) -> None:
        self._states, self._is_first = self._zeros, True

    def __call__(self, rgb: U8) -> Alpha:
        height, width = rgb.shape[:2]
        scale = min(self._width / width, self._height / height)
        w, h = max(1, round(width * scale)), max(1, round(height * scale))
        framed = np.zeros((self._height, self._width, 3), np.uint8)
        framed[:h, :w] = _resize(rgb, w, h)
        src = framed.transpose(2, 0, 1)[None].astype(np.float32, order="C")
        src /= 255
        for _ in range(self._settle if self._is_first else 1):
            pha, *states = self._session.run(["pha", *STATES_OUT], {"src": src, **self._states})
            self._states = dict(zip(STATES_IN, states, strict=True))
        self._is_first = False
        return _full_size(pha[0, 0, :h, :w], width, height)


class _Still:
    """A peer without memory that sees the whole image stretched to its fixed size."""

    name: str

    def __init__(self, session: ort.InferenceSession):
        self._session = session
        self._input = session.get_inputs()[0].name

    def reset(self) -> None:
        """Nothing is remembered."""

    def _run(self, values: Any) -> Any:
        (result,) = self._session.run(None, {self._input: values.astype(np.float32)})
        return result


class Selfie(_Still):
    """MediaPipe selfie segmentation, general: RGB in [0, 1] to a probability."""

    name = "MediaPipe selfie"

    def __call__(self, rgb: U8) -> Alpha:
        seen = self._run(_resize(rgb, 256, 256)[None] / 255)
        return _full_size(seen[0, ..., 0], rgb.shape[1], rgb.shape[0])


class Meet(_Still):
    """Google Meet segmentation, full: RGB in [0, 1] to two logits, the second is the person."""

    name = "Google Meet"

    def __call__(self, rgb: U8) -> Alpha:
        logits = self._run(_resize(rgb, 256, 144)[None] / 255)[0]
        person = np.exp(logits[..., 1] - np.logaddexp(*np.moveaxis(logits, 2, 0)))  # softmax
        return _full_size(person, rgb.shape[1], rgb.shape[0])


class Sinet(_Still):
    """SINet: BGR, normalised, to two probabilities, the second is the person."""

    name = "SINet"
    MEAN = np.array([102.890434, 111.25247, 126.91212])  # of BGR values in 0…255
    STD = np.array([62.93292, 62.82138, 66.355705])

    def __call__(self, rgb: U8) -> Alpha:
        bgr = _resize(rgb, 320, 320)[..., ::-1]
        values = ((bgr - self.MEAN) / self.STD / 255).transpose(2, 0, 1)
        return _full_size(self._run(values[None])[0, 1], rgb.shape[1], rgb.shape[0])


def _resize(image: Any, width: int, height: int) -> Any:
    """Without aliasing: area average to shrink, linear to enlarge."""
    shrinks = width * height < image.shape[0] * image.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=how)


def _full_size(alpha: Any, width: int, height: int) -> Alpha:
    full = cv2.resize(np.ascontiguousarray(alpha, np.float32), (width, height))
    return np.clip(full, 0, 1)
