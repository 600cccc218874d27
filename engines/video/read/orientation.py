"""The orientation of a decoded image: a display matrix, from the container or from the stream.

A phone that is held upright or upside down, and a camera that looks at its user, store the image
as the sensor has it, with a matrix that says how to show it.
"""

from __future__ import annotations

import math
import struct
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type

from engines.arrays import Plane
from engines.errors import Say


def _unlisted(cls: type[Type], value: int) -> Any:
    """Return a member for a kind of side data that PyAV does not list.

    Without it, an image that has one, such as the EXIF data of a JPEG, gives no side data at all.
    """
    kind: Any = object.__new__(cls)
    kind._name_, kind._value_ = f"UNLISTED_{value}", value
    return kind


Type._missing_ = classmethod(_unlisted)  # type: ignore[assignment]

MAX_SKEW = math.sin(math.radians(1))  # of a matrix that still counts as a right angle


class Orientation(NamedTuple):
    """What makes a stored image upright: first transposed, then mirrored, then flipped.

    `transposed` swaps rows and columns, `mirrored` left and right, `flipped` top and bottom.
    """

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) of an upright image from that of a stored one, or back."""
        return (height, width) if self.transposed else (width, height)

    def upright(self, plane: Plane) -> Plane:
        """Return a stored (H, W) plane, upright."""
        turned: Plane = np.asarray(cv2.transpose(plane)) if self.transposed else plane
        if self.mirrored or self.flipped:
            axis = -1 if self.mirrored and self.flipped else int(self.mirrored)
            turned = np.asarray(cv2.flip(turned, axis))
        return turned


class OrientationReader:
    """Reads the orientation of the consecutive images of a video.

    Args:
        warn: told of a matrix that is no turn by right angles: players differ on those.
    """

    def __init__(self, warn: Say):
        self._warn, self._last = warn, Orientation()
        self._angle: int | None = None  # in degrees, of the image whose matrix was read last

    def __call__(self, image: av.VideoFrame) -> Orientation:
        """Return the orientation of the next image, or once more of the same."""
        # An image whose side data is read lives on until the garbage collector finds it: in 4K that
        # is 12 MB. The angle alone says whether there is another matrix. In H.264 and HEVC a matrix
        # comes with a key frame, and holds until the next one.
        angle = image.rotation
        if angle != self._angle and (angle or image.key_frame or self._angle is None):
            self._angle = angle
            side_data: Any = image.side_data  # PyAV's stubs know names only
            data = side_data.get(Type.DISPLAYMATRIX)
            self._last = Orientation()
            if data is not None:
                self._last = self._orientation(*struct.unpack("=5i", bytes(data)[:20]))
        return self._last

    def _orientation(self, a: int, b: int, _: int, c: int, d: int) -> Orientation:
        """Return the orientation of ISO/IEC 14496-12: x' = ax + cy, y' = bx + dy, y downwards."""
        if a * d == b * c:
            self._warn("the display matrix of the video maps it to nothing: shown as it is stored")
            return Orientation()
        straight, crosswise = math.hypot(a, d), math.hypot(b, c)
        transposed = crosswise > straight
        if min(straight, crosswise) > MAX_SKEW * max(straight, crosswise):
            degrees = round(math.degrees(math.atan2(b, a)))
            self._warn(
                f"the video is to be shown turned by {degrees}°: shown at the nearest right angle"
            )
        return Orientation(transposed, (c if transposed else a) < 0, (b if transposed else d) < 0)
