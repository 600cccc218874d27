"""The codecs and containers of video, one row each; help, defaults and choices follow from them.

A new codec is one row of `CODECS`, a new container one row of `CONTAINERS`. Where several rows fit,
the first one is the default. Standard library only, so that ``--help`` can be printed from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

LARGE_PIXELS = 4 << 20  # of a frame from which on memory counts: each has tens of MB


@dataclass(frozen=True)
class Codec:
    """A codec with its encoder, the encoder's options, and the files that it goes into.

    Attributes:
        name: what a user writes after ``--codec``.
        encoder: FFmpeg's name of the encoder.
        crf: the default constant rate factor; None leaves it to the encoder.
        crf_max: the worst quality that ``--crf`` may ask for, 0 being the best; None where the
            encoder has no constant quality.
        options: what the encoder is always told, suited to a laptop.
        tuning: what is changed of its preset; left out where another preset is asked for.
        large_tuning: replaces `tuning` of the same name for frames of over `LARGE_PIXELS`.
        crf_zero_options: replaces `options` of the same name where ``--crf`` is below 1.
        containers: suffixes of the files for which it is a default or a suggestion. FFmpeg knows
            which others can hold it.
        containers_with_alpha: likewise, with an alpha channel; its alpha is lost in any other.
        alpha_pixels: FFmpeg's pixel format with straight alpha, by bit depth.
        alpha_crf: replaces `crf` with alpha.
        alpha_options: added to `options` with alpha.
        ten_bits: whether it is suggested for 10 bits; FFmpeg may be built without.
        any_size: whether odd widths and heights are encoded as they are.
        limited_range_only: whether the stream cannot say that its samples have full range.
        loses_times: whether its packets, which are in the order of the frames, have wrong times
            after a long pause.
        dts_delay: frames of the longest clip to whose packets, then in the order of the frames, it
            gives decoding times that it has never set.
        tag: the codec tag (FourCC) in the file; empty for the muxer's choice.
        in_help: whether help and messages name it.
    """

    name: str
    encoder: str
    crf: float | None = None
    crf_max: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    tuning: Mapping[str, str] = field(default_factory=dict)
    large_tuning: Mapping[str, str] = field(default_factory=dict)
    crf_zero_options: Mapping[str, str] = field(default_factory=dict)
    containers: tuple[str, ...] = ()
    containers_with_alpha: tuple[str, ...] = ()
    alpha_pixels: Mapping[int, str] = field(default_factory=dict)
    alpha_crf: float | None = None
    alpha_options: Mapping[str, str] = field(default_factory=dict)
    ten_bits: bool = False
    any_size: bool = False
    limited_range_only: bool = False
    loses_times: bool = False
    dts_delay: int = 0
    tag: str = ""
    in_help: bool = True

    def has_alpha(self, suffix: str, bit_depth: int) -> bool:
        """Return whether it keeps alpha in files of this suffix at 8 or 10 bits a sample."""
        return suffix in self.containers_with_alpha and bit_depth in self.alpha_pixels


CODECS = (
    Codec(
        name="h264",
        encoder="libx264",
        crf=20,
        crf_max=51,
        options={"preset": "veryfast"},
        # A fifth less work at equal quality and bits: benchmarks/x264.py. The search that is left
        # out finds little, and looking further ahead makes up for it.
        tuning={"partitions": "i8x8", "motion-est": "dia", "rc-lookahead": "15"},
        # It holds 25 MB of a 4K frame that it looks ahead to, and 40 MB of one it predicts from.
        large_tuning={"rc-lookahead": "5", "bf": "1"},
        containers=(".mp4", ".m4v", ".mov", ".mkv"),
        ten_bits=True,
    ),
    Codec(
        name="hevc",
        encoder="libx265",
        crf=23,
        crf_max=51,
        # Without a note of its own options, headers do not depend on the number of threads.
        options={"preset": "veryfast", "x265-params": "log-level=error:info=0"},
        containers=(".mp4", ".m4v", ".mov", ".mkv"),
        dts_delay=2,  # after which it knows by how much it reorders
        ten_bits=True,
    ),
    Codec(
        name="vp9",
        encoder="libvpx-vp9",
        crf=30,
        crf_max=63,
        options={"b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"},
        containers=(".mp4", ".m4v", ".mkv", ".webm"),
        containers_with_alpha=(".webm", ".mkv"),
        alpha_pixels={8: "yuva420p"},
        alpha_crf=24,  # at 30, soft edges of alpha are off by 7 of 255
        alpha_options={"auto-alt-ref": "0"},  # the encoder refuses such frames with alpha
        ten_bits=True,
        any_size=True,
    ),
    Codec(
        name="av1",
        encoder="libsvtav1",
        crf=32,
        crf_max=63,
        options={"preset": "10", "svtav1-params": "lookahead=0"},
        crf_zero_options={"svtav1-params": "lookahead=0:crf=0"},  # FFmpeg takes 0 for "not given"
        containers=(".mp4", ".m4v", ".mkv", ".webm"),
        ten_bits=True,
        loses_times=True,
    ),
    Codec(
        name="ffv1",
        encoder="ffv1",
        containers=(".mkv",),
        containers_with_alpha=(".mkv",),
        alpha_pixels={8: "yuva444p", 10: "yuva444p10le"},
        ten_bits=True,
        any_size=True,
    ),
    Codec(
        name="prores",
        encoder="prores_ks",  # the encoder that FFmpeg calls prores has no alpha
        containers=(".mov", ".mkv"),
        containers_with_alpha=(".mov", ".mkv"),
        alpha_pixels={8: "yuva444p10le", 10: "yuva444p10le"},
        # Editing programs look for this vendor.
        alpha_options={"profile": "4444", "alpha_bits": "16", "vendor": "apl0"},
        ten_bits=True,
        any_size=True,
        limited_range_only=True,
        tag="ap4h",
    ),
    Codec(
        name="rawvideo",
        encoder="rawvideo",
        containers=(".y4m",),
        ten_bits=True,
        any_size=True,
        in_help=False,
    ),
    Codec(
        name="mjpeg",
        encoder="mjpeg",
        options={"strict": "-1"},  # without, it takes full range alone
        in_help=False,
    ),
    Codec(name="libvpx", encoder="libvpx", crf_max=63, in_help=False),
    Codec(name="libaom-av1", encoder="libaom-av1", crf_max=63, in_help=False),
)

# Write each packet at once, without waiting for a full buffer or long for a stream that has no
# packet at the moment: what a kill loses is then only what the encoder still holds.
_PROMPT = {"flush_packets": "1", "max_interleave_delta": "1"}  # microseconds
# A fragmented mp4 can be played up to its last fragment after a kill; "hybrid" turns it into an
# ordinary one when it is finished. FFmpeg writes the first fragment when every stream has begun, so
# a kill before the first audio packet of a clip leaves nothing. Without "delay_moov" edit lists are
# lost, and all times move by the encoder's reordering delay.
_MP4 = {"movflags": "hybrid_fragmented+delay_moov", **_PROMPT}
_MATROSKA = {"cluster_time_limit": "1000", **_PROMPT}


@dataclass(frozen=True)
class Container:
    """A kind of video file.

    Attributes:
        suffix: of its files, as in ``.mp4``.
        format: FFmpeg's name of the muxer.
        options: what the muxer is told.
        audio: the encoder for audio that it cannot hold as it is.
        subtitles: likewise for subtitles.
        is_raw: whether it holds video frames alone, at one constant rate.
    """

    suffix: str
    format: str
    options: Mapping[str, str]
    audio: str = ""
    subtitles: str = ""
    is_raw: bool = False

    @property
    def is_mp4(self) -> bool:
        """Whether FFmpeg's mp4 muxer writes it, as it does QuickTime files."""
        return self.format in ("mp4", "mov")


# For video with alpha, .webm comes before .mov and .mov before .mkv.
CONTAINERS = {
    container.suffix: container
    for container in (
        Container(".mp4", "mp4", _MP4, "aac", "mov_text"),
        Container(".m4v", "mp4", _MP4, "aac", "mov_text"),
        Container(".webm", "webm", _MATROSKA, "libopus", "webvtt"),
        Container(".mov", "mov", _MP4, "aac", "mov_text"),
        Container(".mkv", "matroska", _MATROSKA, "libopus", "subrip"),
        # Its muxer has 10 bits as an extension only, which "strict" allows.
        Container(".y4m", "yuv4mpegpipe", {"strict": "-1"}, is_raw=True),
    )
}


def find_codec(name: str) -> Codec:
    """Return the codec with this name or this encoder; for any other, a row with the name alone."""
    rows = (codec for codec in CODECS if name in (codec.name, codec.encoder))
    return next(rows, Codec(name, name, in_help=False))


def default_codec(suffix: str) -> Codec:
    """Return the codec of opaque 8-bit video in files of this suffix, one of `CONTAINERS`."""
    return next(codec for codec in CODECS if suffix in codec.containers)


def codecs_with_alpha(suffix: str, bit_depth: int) -> list[Codec]:
    """Return the codecs that keep alpha in files of this suffix; the default comes first."""
    return [codec for codec in CODECS if codec.has_alpha(suffix, bit_depth)]


def codecs_with_ten_bits(suffix: str) -> list[Codec]:
    """Return the codecs of opaque 10-bit video in files of this suffix; the default comes first."""
    return [codec for codec in CODECS if codec.ten_bits and suffix in codec.containers]


def suffixes_with_alpha(bit_depth: int) -> list[str]:
    """Return the suffixes of files that hold alpha at 8 or 10 bits; the default comes first."""
    return [suffix for suffix in CONTAINERS if codecs_with_alpha(suffix, bit_depth)]


def listed_codecs() -> list[Codec]:
    """Return the codecs that help and messages name."""
    return [codec for codec in CODECS if codec.in_help]


def codec_help() -> str:
    """Return the names that ``--codec`` takes and its defaults, for help."""
    usual, *containers = CONTAINERS
    opaque = {suffix: default_codec(suffix) for suffix in CONTAINERS}
    others = [
        f"{opaque[suffix].name} for {suffix}"
        for suffix in containers
        if opaque[suffix] is not opaque[usual] and opaque[suffix].in_help
    ]
    alpha = {suffix: codecs_with_alpha(suffix, 8)[0] for suffix in suffixes_with_alpha(8)}
    with_alpha = [f"{c.name} for {s}" for s, c in alpha.items() if c is not opaque[s]]
    defaults = [opaque[usual].name, *others, f"with alpha, {_listing(with_alpha)}"]
    names = ", ".join(codec.name for codec in listed_codecs())
    return f"{names} or an encoder of FFmpeg, such as h264_nvenc. [default: {'; '.join(defaults)}]"


def crf_help() -> str:
    """Return the scales of ``--crf`` and its defaults, for help."""
    rows = [codec for codec in listed_codecs() if codec.crf_max is not None]
    scales: dict[int | None, list[str]] = {}
    for codec in rows:
        scales.setdefault(codec.crf_max, []).append(codec.name)
    ranges = ", ".join(f"0 to {worst} for {_listing(names)}" for worst, names in scales.items())
    defaults = ", ".join(
        f"{codec.name} {codec.crf:g}"
        + (f" ({codec.alpha_crf:g} with alpha)" if codec.alpha_crf is not None else "")
        for codec in rows
        if codec.crf is not None
    )
    return f"{ranges}; lower is better. [default: {defaults}]"


def ten_bits_help() -> str:
    """Return the codecs that hold 10 bits a sample, for help."""
    return _listing([codec.name for codec in listed_codecs() if codec.ten_bits])


def _listing(words: Iterable[str]) -> str:
    """Return the words as an enumeration: ``a, b and c``."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
