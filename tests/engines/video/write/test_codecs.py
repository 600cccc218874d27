"""The table of codecs and containers, and what follows from it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from engines.video.config import PIPES
from engines.video.write import codecs
from engines.video.write.codecs import CODECS, CONTAINERS, Codec


def test_defaults() -> None:
    """The codec of each kind of file, opaque, with alpha and with 10 bits."""
    opaque = {suffix: codecs.default_codec(suffix).name for suffix in CONTAINERS}
    assert opaque == {
        ".mp4": "h264",
        ".m4v": "h264",
        ".webm": "vp9",
        ".mov": "h264",
        ".mkv": "h264",
        ".y4m": "rawvideo",
    }
    alpha = {
        bit_depth: [
            (suffix, [c.name for c in codecs.codecs_with_alpha(suffix, bit_depth)])
            for suffix in codecs.suffixes_with_alpha(bit_depth)
        ]
        for bit_depth in (8, 10)
    }
    assert alpha == {
        8: [(".webm", ["vp9"]), (".mov", ["prores"]), (".mkv", ["vp9", "ffv1", "prores"])],
        10: [(".mov", ["prores"]), (".mkv", ["ffv1", "prores"])],
    }
    ten_bits = {s: [c.name for c in codecs.codecs_with_ten_bits(s)] for s in CONTAINERS}
    assert ten_bits[".mp4"] == ten_bits[".m4v"] == ["h264", "hevc", "vp9", "av1"]
    assert ten_bits[".mov"] == ["h264", "hevc", "prores"]
    assert ten_bits[".mkv"] == ["h264", "hevc", "vp9", "av1", "ffv1", "prores"]
    assert ten_bits[".webm"] == ["vp9", "av1"]
    assert ten_bits[".y4m"] == ["rawvideo"]


def test_a_row_cannot_be_half_added() -> None:
    """Names are unique, kinds of file are known, and alpha has pixels and files or neither."""
    names = [name for codec in CODECS for name in {codec.name, codec.encoder}]
    assert len(names) == len(set(names))
    assert {f".{pipe}" for pipe in PIPES} <= set(CONTAINERS)
    for codec in CODECS:
        assert {*codec.containers, *codec.containers_with_alpha} <= set(CONTAINERS)
        assert bool(codec.containers_with_alpha) == bool(codec.alpha_pixels)
        assert codec.crf is None or codec.crf_max is not None
        assert set(codec.crf_zero_options) <= set(codec.options)


@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("h264", "libx264"),
        ("libx264", "libx264"),
        ("prores", "prores_ks"),
        ("prores_ks", "prores_ks"),
        ("h264_nvenc", "h264_nvenc"),
    ],
)
def test_a_codec_has_two_names(name: str, encoder: str) -> None:
    """Its own and FFmpeg's; an encoder that has no row is called what it is."""
    assert codecs.find_codec(name).encoder == encoder


def test_help() -> None:
    assert codecs.codec_help() == (
        "h264, hevc, vp9, av1, ffv1, prores or an encoder of FFmpeg, such as h264_nvenc. "
        "[default: h264; vp9 for .webm; with alpha, prores for .mov and vp9 for .mkv]"
    )
    assert codecs.crf_help() == (
        "0 to 51 for h264 and hevc, 0 to 63 for vp9 and av1; lower is better. "
        "[default: h264 20, hevc 23, vp9 30 (24 with alpha), av1 32]"
    )
    assert codecs.ten_bits_help() == "h264, hevc, vp9, av1, ffv1 and prores"


def test_help_and_choice_follow_a_new_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """One row is all that a codec takes."""
    row = Codec("vvc", "libvvenc", crf=32, crf_max=63, containers=(".mp4",), ten_bits=True)
    monkeypatch.setattr(codecs, "CODECS", (*CODECS, row))
    assert codecs.find_codec("vvc") is codecs.find_codec("libvvenc") is row
    assert "prores, vvc or" in codecs.codec_help()
    assert "for vp9, av1 and vvc" in codecs.crf_help()
    assert "av1 32, vvc 32]" in codecs.crf_help()
    assert codecs.ten_bits_help().endswith("prores and vvc")
    assert codecs.codecs_with_ten_bits(".mp4")[-1] is row
    assert codecs.default_codec(".mp4").name == "h264"


def test_the_table_needs_the_standard_library_only() -> None:
    """So that ``--help`` can be printed from it."""
    code = (
        "import sys; before = set(sys.modules); import engines.video.write.codecs; "
        "print({m.partition('.')[0] for m in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "{'engines'}", result.stderr
