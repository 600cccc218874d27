"""Short names of array types; shapes, ranges and units are in the docstring of what takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Plane = NDArray[np.unsignedinteger[Any]]  # (H, W) of a frame: uint8, or uint16 with 10 bits
