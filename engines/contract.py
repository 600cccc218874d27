"""What a model file says about itself: written by `train.export.export`, checked by every engine.

The metadata of an ONNX file carries one entry, `KEY`, whose value is a `ModelSpec` as JSON. A file
without it, or with other inputs and outputs than it says, is refused. Standard library only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from engines.errors import BadData

KEY = "wsshm"
FORMAT = 1
PAPER_SIZE = 512  # pixels: the shorter edge at which the paper tests


@dataclass(frozen=True)
class ModelSpec:
    """The contract of one model file.

    The graph takes `input`, uint8 (N, H, W, 3), sRGB-encoded RGB, H and W multiples of `stride`,
    and gives `output`, float32 (N, H, W), alpha in [0, 1]. Normalisation and format are inside.
    """

    name: str
    arch: str
    stride: int
    size: int  # shorter edge, in pixels, that it is run at unless told otherwise
    trained_sizes: tuple[int, ...]  # sides of the training crops, in pixels
    precision: str = "fp32"
    input: str = "frames"
    output: str = "alpha"
    format: int = FORMAT
    licence: str = "unstated"
    trained_on: str = "unstated"
    metrics: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], path: object) -> ModelSpec:
        """Read the spec out of an ONNX file's metadata; `path` is for messages.

        Raises:
            BadData: no spec, a newer format, or a field that is missing or of another type.
        """
        if KEY not in metadata:
            raise BadData(
                f"{path}: not a wsshm model (its metadata holds no {KEY!r} entry); "
                "export one with wsshm export"
            )
        try:
            data: dict[str, Any] = json.loads(metadata[KEY])
            version = data["format"]
            if version != FORMAT:
                raise BadData(
                    f"{path}: model format {version}, this version reads format {FORMAT}; "
                    "update wsshm or export the model again"
                )
            known = {f.name for f in fields(cls)}
            data = {k: v for k, v in data.items() if k in known}
            data["trained_sizes"] = tuple(data["trained_sizes"])
            spec = cls(**data)
            kinds = {"metrics": dict, "trained_sizes": tuple, "stride": int, "size": int}
            for name in known - {"format"}:
                if not isinstance(value := getattr(spec, name), kinds.get(name, str)):
                    raise TypeError(f"{name} is {value!r}")
            if not all(isinstance(s, int) for s in spec.trained_sizes):
                raise TypeError(f"trained_sizes is {spec.trained_sizes}")
            if not (0 < spec.stride <= 256 and 0 < spec.size <= 8192):
                raise ValueError(f"stride {spec.stride}, size {spec.size}")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            if isinstance(e, BadData):
                raise
            raise BadData(f"{path}: its model description cannot be read ({e})") from e
        return spec
