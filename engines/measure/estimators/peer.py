"""Steps that the adapters of other people's ONNX files share.

Each adapter takes an RGB image of any size and returns alpha at that size; in between it follows
the conventions of its model.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import onnxruntime as ort

from engines.arrays import F32, U8


class StillPeer:
    """A model without memory that sees the whole image, stretched to its fixed input size.

    Of several outputs, the first is what it says.

    Args:
        session: the loaded file.
        settle: has no effect on a model without memory.
    """

    name: str

    def __init__(self, session: ort.InferenceSession, settle: bool = True):
        self._session = session
        self._input, self._output = session.get_inputs()[0].name, session.get_outputs()[0].name

    def reset(self) -> None:
        """Do nothing: each image is seen by itself."""

    def _run(self, values: Any) -> Any:
        values = np.ascontiguousarray(values, np.float32)
        return self._session.run([self._output], {self._input: values})[0]


def resize(image: U8, width: int, height: int) -> Any:
    """Resize an image without aliasing: area average to shrink, linear to enlarge."""
    shrinks = width * height < image.shape[0] * image.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=how)


def resize_alpha(alpha: Any, width: int, height: int) -> F32:
    """Resize an alpha (h, w) linearly to (height, width) float32, and clip it to [0, 1]."""
    full = cv2.resize(np.ascontiguousarray(alpha, np.float32), (width, height))
    return np.clip(full, 0, 1)
