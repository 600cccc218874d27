"""The description that a model file carries: `train` writes it, every engine checks it.

An ONNX file has one metadata entry, `KEY`, whose value is a `ModelSpec` as JSON. A file without it,
or whose inputs and outputs differ from it, is refused. Standard library only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from engines.errors import BadData

KEY = "wsshm"
MAX_SIZE = 8192  # pixels of the shorter edge that a network sees
FORMAT = 1
Precision = Literal["fp32", "fp16", "int8"]  # of a model file's weights and arithmetic
PAPER_SIZE = 512  # pixels: shorter edge of the images on which the paper tests


@dataclass(frozen=True)
class ModelSpec:
    """The contract of one model file.

    The graph takes the tensor `input`, uint8 (N, H, W, 3), sRGB-encoded RGB, H and W multiples of
    `stride`, and returns the tensor `output`, float32 (N, H, W), alpha in [0, 1]. Normalisation and
    the change of layout are part of the graph.

    A model with a `trimap` takes that as well, uint8 (N, H, W): 0 is background, 255 person, any
    other value unknown. Alpha is 0 and 1 where the trimap says so.
    """

    name: str
    arch: str
    stride: int
    size: int  # default shorter edge of the images, in pixels
    trained_sizes: tuple[int, ...]  # sides of the training crops, in pixels
    precision: str = "fp32"
    input: str = "frames"
    output: str = "alpha"
    trimap: str = ""  # name of a second input; empty: there is none
    format: int = FORMAT
    licence: str = "unstated"
    trained_on: str = "unstated"
    metrics: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the value of the metadata entry `KEY`."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], path: object) -> ModelSpec:
        """Read the spec from the metadata of an ONNX file; `path` is for error messages.

        Raises:
            BadData: no spec, another format, or a field that is missing or has the wrong type.
        """
        if KEY not in metadata:
            raise BadData(
                f"{path}: not a wsshm model (its metadata holds no {KEY!r} entry)",
                "export one with wsshm export",
            )
        try:
            data: dict[str, Any] = json.loads(metadata[KEY])
            version = data["format"]
            if version != FORMAT:
                raise BadData(
                    f"{path}: model format {version}, this version reads format {FORMAT}",
                    "update wsshm or export the model again",
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
            if not (0 < spec.stride <= 256 and 0 < spec.size <= MAX_SIZE):
                raise ValueError(f"stride {spec.stride}, size {spec.size}")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            if isinstance(e, BadData):
                raise
            raise BadData(f"{path}: its model description cannot be read ({e})") from e
        return spec
