"""Which encoder an output takes, what it is told, and the pixels it is given."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
from av.codec import Capabilities

from engines.errors import Unavailable, UsageError
from engines.machine import cores
from engines.video.config import Encoding
from engines.video.frame import TEN_BIT_SUFFIX, FrameFormat

# Encoder, constant rate factor and options that suit a laptop.
ENCODERS: dict[str, tuple[str, float, dict[str, str]]] = {
    "h264": ("libx264", 20, {"preset": "veryfast"}),
    "hevc": ("libx265", 23, {"preset": "veryfast", "x265-params": "log-level=error"}),
    "vp9": ("libvpx-vp9", 30, {"b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"}),
    "av1": ("libsvtav1", 32, {"preset": "10", "svtav1-params": "lookahead=0"}),
}
# The worst quality of each encoder that takes a constant rate factor; the best is 0.
CRF_UP_TO = {
    "libx264": 51,
    "libx265": 51,
    "libvpx": 63,
    "libvpx-vp9": 63,
    "libsvtav1": 63,
    "libaom-av1": 63,
}
PRORES = {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"}  # editors look for the vendor
# Encoders of straight alpha: the pixels they are given for 8 and for 10 bits, and what they are
# told beside the above. VP9 has no alternate reference frames with alpha; at its usual 30, soft
# edges are off by 7 codes.
ALPHA: dict[str, tuple[dict[int, str], dict[str, str]]] = {
    "libvpx-vp9": ({8: "yuva420p"}, {"auto-alt-ref": "0", "crf": "24"}),
    "prores_ks": ({8: "yuva444p10le", 10: "yuva444p10le"}, PRORES),
    "ffv1": ({8: "yuva444p", 10: "yuva444p10le"}, {}),
}
# For each ending that can hold alpha, the encoders of it; the first is the default.
HOLDS_ALPHA = {
    ".webm": ("libvpx-vp9",),
    ".mov": ("prores_ks",),
    ".mkv": ("libvpx-vp9", "ffv1", "prores_ks"),
}
# ... and those of opaque video in 10 bits, where FFmpeg is built with them.
HOLDS_TEN_BITS = {
    ".mp4": ("libx264", "libx265", "libvpx-vp9", "libsvtav1"),
    ".m4v": ("libx264", "libx265", "libvpx-vp9", "libsvtav1"),
    ".mov": ("libx264", "libx265", "prores_ks"),
    ".mkv": ("libx264", "libx265", "libvpx-vp9", "libsvtav1", "ffv1", "prores_ks"),
    ".webm": ("libvpx-vp9", "libsvtav1"),
    ".y4m": ("rawvideo",),
}
TEN_BITS = "yuv422p10le", "yuv420p10le", "p010le"  # whoever takes 10 bits takes one of them
# What constant quality is called by encoders in hardware; others of them get a bit rate.
HARDWARE: dict[str, tuple[str, dict[str, str]]] = {
    "nvenc": ("cq", {"rc": "vbr", "b": "0", "preset": "p4"}),
    "qsv": ("global_quality", {}),
}
HARDWARE_KINDS = Capabilities.hardware | Capabilities.hybrid
HARDWARE_QUALITY, HARDWARE_WORST = 23.0, 51
BY_BIT_RATE = {"videotoolbox", "amf", "mf", "v4l2m2m", "mediacodec"}
BITS_PER_PIXEL = 0.1  # a good quality of talking people in H.264
MOST_THREADS = 8  # of an encoder: each cuts a slice, and slices cost bits
ANY_SIZE = {"libvpx-vp9", "ffv1", "prores_ks", "rawvideo"}  # take odd widths and heights too


@dataclass(frozen=True)
class Encoder:
    """An encoder of FFmpeg by its `name`, what it is told, and whether it is given alpha."""

    name: str
    options: dict[str, str]
    alpha: bool = False

    def pixels(self, fmt: FrameFormat) -> str:
        """FFmpeg's name of the pixel format it is given for images of `fmt`.

        Raises:
            Unavailable: it takes none that can be made here.
        """
        if self.alpha:
            return ALPHA[self.name][0][fmt.bit_depth]
        taken, wanted = _taken(self.name), fmt.pix_fmt
        near = {"yuv420p": ["nv12"], "yuv420p10le": ["p010le"]}.get(wanted, [])
        others = f"{wanted}{TEN_BIT_SUFFIX}", "yuv420p", "nv12", "yuv422p10le"
        for pixels in (wanted, *near, *(others if fmt.bit_depth == 8 else TEN_BITS)):
            if not taken or pixels in taken:
                return pixels
        raise Unavailable(f"--codec {self.name}: takes none of wsshm's pixel formats; use another")

    def size(self, fmt: FrameFormat) -> tuple[int, int]:
        """(width, height) as they are encoded: even where they must be."""
        width, height = fmt.width, fmt.height
        if self.name in ANY_SIZE:
            return width, height
        pixels = av.VideoFormat(self.pixels(fmt))
        h_step, v_step = 2 // pixels.chroma_width(2), 2 // pixels.chroma_height(2)
        return width + -width % h_step, height + -height % v_step


def choose(
    encoding: Encoding, ending: str, default: str, alpha: bool, bit_depth: int = 8
) -> Encoder:
    """The encoder of a file of this `ending`.

    Args:
        default: FFmpeg's name of the container's own encoder, for opaque video.
        alpha: whether the output has an alpha channel; `ending` then `holds_alpha`.
        bit_depth: of a code of its images, 8 or 10.

    Raises:
        UsageError: it cannot hold alpha in such a file, or 10 bits, or does not take that quality.
        Unavailable: FFmpeg does not have it here, or not in working order.
    """
    able = [default]
    if alpha:
        able = _with_alpha(ending, bit_depth)
    elif bit_depth > 8:
        able = [n for n in HOLDS_TEN_BITS[ending] if _takes_ten_bits(n)]
    name = _in_ffmpeg(encoding.codec or (able or [default])[0])
    try:
        codec = av.Codec(name, "w")
        if codec.type != "video":
            raise ValueError(name)
    except ValueError as e:
        raise Unavailable(
            f"--codec {name}: FFmpeg has no such video encoder here; use "
            f"{', '.join(ENCODERS)}, prores, or one that wsshm doctor lists"
        ) from e
    if (alpha and name not in able) or (bit_depth > 8 and not alpha and not _takes_ten_bits(name)):
        what = " in ".join(["transparency"] * alpha + [f"{bit_depth} bits"] * (bit_depth > 8))
        use = ", ".join(_by_hand(n) for n in able) or "another kind of file"
        raise UsageError(
            f"--codec {encoding.codec or name}: no {what} in a {ending} file; use {use}"
        )
    if codec.capabilities & HARDWARE_KINDS:
        return Encoder(name, _hardware_options(name, encoding.crf))
    crf, options = {n: (crf, o) for n, crf, o in ENCODERS.values()}.get(name, (None, {}))
    if crf is not None:
        options = options | {"crf": f"{crf:g}"}
    if alpha:
        options = options | ALPHA[name][1]
    if encoding.preset is not None and "preset" in options:
        options = options | {"preset": encoding.preset}
    if encoding.crf is not None:
        _check_crf(name, encoding.crf, CRF_UP_TO.get(name))
        options = options | {"crf": f"{encoding.crf:g}"}
        if name == "libsvtav1" and encoding.crf < 1:  # which FFmpeg takes for "not given"
            options["svtav1-params"] += ":crf=0"
    return Encoder(name, options, alpha)


def holds_alpha(bit_depth: int) -> list[str]:
    """Endings of files that hold alpha, with colours of so many bits; the default first."""
    return [ending for ending in HOLDS_ALPHA if _with_alpha(ending, bit_depth)]


def _with_alpha(ending: str, bit_depth: int) -> list[str]:
    return [n for n in HOLDS_ALPHA.get(ending, ()) if bit_depth in ALPHA[n][0]]


def meant_for_alpha(encoding: Encoding, ending: str, bit_depth: int) -> Encoding:
    """What of a request for several outputs an output with alpha can take.

    Args:
        ending: one that `holds_alpha`, or any other where nothing is encoded.
        bit_depth: of a code of its images, 8 or 10.
    """
    if encoding.codec and _in_ffmpeg(encoding.codec) not in ALPHA:
        encoding = replace(encoding, codec=None, crf=None)
    default, *_ = [*_with_alpha(ending, bit_depth), ""]
    if not encoding.codec and default not in CRF_UP_TO:
        encoding = replace(encoding, crf=None)
    return encoding


def _taken(name: str) -> set[str]:
    """The pixel formats an encoder takes; none where it takes all."""
    return {f.name for f in av.Codec(name, "w").video_formats or ()}


def _takes_ten_bits(name: str) -> bool:
    try:
        taken = _taken(name)
    except ValueError:  # not in this FFmpeg
        return False
    return not taken or not taken.isdisjoint(TEN_BITS)


def _in_ffmpeg(codec: str) -> str:
    if codec == "prores":
        return "prores_ks"  # FFmpeg's encoder of that name has no alpha
    return ENCODERS[codec][0] if codec in ENCODERS else codec


def _by_hand(name: str) -> str:
    """What a person writes after ``--codec``."""
    short = {n: codec for codec, (n, _, _) in ENCODERS.items()} | {"prores_ks": "prores"}
    return short.get(name, name)


def _check_crf(name: str, crf: float, most: int | None) -> None:
    if most is None:
        raise UsageError(f"--crf: {_by_hand(name)} has no constant quality; leave --crf out")
    if not 0 <= crf <= most:
        raise UsageError(f"--crf {crf:g}: {_by_hand(name)} takes 0 to {most}, lower is better")


def _hardware_options(name: str, crf: float | None) -> dict[str, str]:
    quality, options = HARDWARE.get(name.rpartition("_")[2], (None, {}))
    if crf is not None:
        _check_crf(name, crf, HARDWARE_WORST if quality else None)
    if quality is None:
        return {}
    return options | {quality: f"{HARDWARE_QUALITY if crf is None else crf:g}"}


def check_starts(
    encoder: Encoder,
    fmt: FrameFormat,
    rate: Fraction,
    time_base: Fraction,
    container: str,
    file: str,
    options: dict[str, str] | None = None,
    instead: str = "-o NAME.mkv",
) -> None:
    """See that an encoder works here and that a container holds what it writes.

    Args:
        fmt: of the images, as encoded.
        container: FFmpeg's name of it, and `options` what it is told.
        file: what that is called in messages, and `instead` what holds more.

    Raises:
        UsageError: the container cannot hold it.
        Unavailable: the encoder does not start.
    """
    stream: Any = None
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    trial = av.open(io.BytesIO(), "w", format=container, container_options=options)
    try:
        with av.logging.Capture() as said:
            stream = add_stream(trial, encoder, fmt, rate, time_base)
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError) as e:
        name = _by_hand(encoder.name)
        if stream is None or stream.codec_context.is_open:  # the container is what refuses
            better = f", or {instead}" * (container != "matroska")
            raise UsageError(f"{file} cannot hold {name} video; use another --codec{better}") from e
        why = next((text.strip().rstrip(".") for _, _, text in said), "no reason is given")
        if not stream.codec_context.codec.capabilities & HARDWARE_KINDS:
            size = f"{fmt.width}x{fmt.height}"
            raise Unavailable(
                f"--codec {name}: does not start for {size} at {float(rate):.4g} a second ({why}); "
                "use another --codec"
            ) from e
        plain = name.partition("_")[0]
        plain = plain if plain in ENCODERS else "h264"
        raise Unavailable(
            f"--codec {name}: does not work on this machine ({why}); use --codec {plain}"
        ) from e
    finally:
        trial.close()
        av.logging.set_level(level)


def add_stream(
    container: Any, encoder: Encoder, fmt: FrameFormat, rate: Fraction, time_base: Fraction
) -> Any:
    """A stream of an unopened encoder that knows all about the images to come.

    Raises:
        ValueError: the container cannot hold it.
    """
    stream = container.add_stream(encoder.name, rate=rate)
    context = stream.codec_context
    context.width, context.height = fmt.width, fmt.height
    context.pix_fmt = encoder.pixels(fmt)
    context.framerate, context.time_base = rate, time_base
    context.gop_size = max(1, min(300, round(rate)))  # a kill loses at most this many
    context.options = encoder.options
    context.thread_count = min(cores(), MOST_THREADS)
    if encoder.name.rpartition("_")[2] in BY_BIT_RATE:
        context.bit_rate = int(BITS_PER_PIXEL * fmt.width * fmt.height * rate)
    if encoder.name == "prores_ks":
        context.codec_tag = "ap4h"
    fmt.tag(context)
    stream.time_base = time_base
    return stream
