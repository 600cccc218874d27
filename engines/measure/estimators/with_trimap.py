"""Models of this project that take a trimap: it is made of the truth, as their papers do."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort

from engines.arrays import F32, U8
from engines.checks import check_alpha, check_signature, first_line
from engines.contract import ModelSpec
from engines.datasets.trimap import comparison_radius, make_trimap
from engines.errors import BadData, UsageError
from engines.preprocess import fit


class TrimapModel:
    """A network that is told where alpha is not known.

    The trimap is made where the network sees it: of the truth at that size, unknown as far from an
    edge as `comparison_radius` says.

    Args:
        session: of `engines.onnx_engine.open_session`.
        path: the model file, for error messages.
        name: in results.
        size: shorter edge of what the network sees, in pixels; None for the model's own.

    Raises:
        BadData: the file's inputs and outputs are not those of its description.
    """

    needs_alpha = True

    def __init__(
        self, session: ort.InferenceSession, path: Path, name: str, size: int | None = None
    ):
        self._session, self._path = session, path
        self._spec = ModelSpec.from_metadata(session.get_modelmeta().custom_metadata_map, path)
        check_signature(session, self._spec, path, may_take_trimap=True)
        self.name, self.size = name, size or self._spec.size

    def __call__(self, rgb: U8) -> F32:
        raise UsageError(
            f"{self.name}: there is no truth to make a trimap of", "take another model"
        )

    def reset(self) -> None:
        """Do nothing: each image is seen by itself."""

    def with_truth(self, rgb: U8, truth: U8) -> F32:
        height, width = truth.shape
        f, spec = fit(width, height, self.size, self._spec.stride), self._spec
        trimap = make_trimap(f.shrink(truth), comparison_radius(self.size))
        frames = f.shrink(rgb)[np.newaxis]
        try:
            (alpha,) = self._session.run(
                [spec.output], {spec.input: frames, spec.trimap: trimap[np.newaxis]}
            )
        except Exception as e:  # onnxruntime's own classes share no base but Exception
            raise BadData(f"{self._path}: the model failed ({first_line(e)})") from e
        check_alpha(alpha, frames.shape, self._path)
        return cv2.resize(f.unpad(alpha[0]), (width, height), interpolation=cv2.INTER_LINEAR)
