"""From an image's size to the network's, and back."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.preprocess import fit

relaxed = settings(deadline=None, max_examples=100)


sides = st.integers(1, 10_000)


sizes = st.integers(64, 2160)


strides = st.sampled_from([1, 8, 16, 32, 64])


@relaxed
@given(sides, sides, sizes, strides)
def test_fit_keeps_aspect_within_a_pixel(width: int, height: int, size: int, stride: int) -> None:
    """One scale for both sides, to half a pixel; padded to the stride by less than a stride."""
    f = fit(width, height, size, stride)
    scale = min(size / min(width, height), 8 * size / max(width, height))
    assert abs(f.width - width * scale) <= 0.5 or f.width == 1
    assert abs(f.height - height * scale) <= 0.5 or f.height == 1
    assert f.padded_width % stride == f.padded_height % stride == 0
    assert 0 <= f.padded_width - f.width < stride
    assert 0 <= f.padded_height - f.height < stride
    if max(width, height) <= 8 * min(width, height):
        assert min(f.width, f.height) == size


@relaxed
@given(sides, sides, sizes, strides)
def test_fit_bounds_what_a_strip_can_ask_for(
    width: int, height: int, size: int, stride: int
) -> None:
    """However long and thin, the network never sees more than 8 × `size` along an edge."""
    f = fit(width, height, size, stride)
    assert max(f.width, f.height) <= 8 * size
    assert min(f.width, f.height) >= 1


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(64, 160), strides)
def test_padding_is_undone_exactly(width: int, height: int, size: int, stride: int) -> None:
    """unpad(pad(x)) is x; what is added repeats the last column and row."""
    f = fit(width, height, size, stride)
    rgb = np.random.default_rng(0).integers(0, 256, (f.height, f.width, 3), np.uint8)
    padded = f.pad(rgb)
    assert padded.shape == (f.padded_height, f.padded_width, 3)
    np.testing.assert_array_equal(f.unpad(padded), rgb)
    np.testing.assert_array_equal(
        padded[:, f.width :], padded[:, [f.width - 1]][:, :1].repeat(f.padded_width - f.width, 1)
    )
    np.testing.assert_array_equal(
        padded[f.height :], padded[[f.height - 1]].repeat(f.padded_height - f.height, 0)
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 500), st.integers(1, 500), st.integers(64, 160))
def test_shrink_gives_what_the_network_takes(width: int, height: int, size: int) -> None:
    """Any image becomes the padded size, with its mean colour."""
    f = fit(width, height, size, 32)
    rgb = np.full((height, width, 3), (10, 120, 250), np.uint8)
    small = f.shrink(rgb)
    assert small.shape == (f.padded_height, f.padded_width, 3)
    assert (small == (10, 120, 250)).all()
