"""The choice of an encoder for an output, a trial of it, and its stream in a container."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import av
from av.codec import Capabilities

from engines.errors import Unavailable, UsageError
from engines.machine import cores
from engines.video.config import Encoding
from engines.video.ffmpeg_log import logging_up_to
from engines.video.frame import LIMITED, TEN_BIT_SUFFIX, FrameFormat, default_matrix
from engines.video.write import codecs
from engines.video.write.codecs import Codec, Container

# Every encoder of 10 bits takes one of these.
TEN_BIT_FORMATS = "yuv422p10le", "yuv420p10le", "p010le"
# What RGB is encoded in, without a change, by an encoder that is lossless or takes nothing else.
RGB_FORMATS = "gbrp", "bgr0", "rgb0", "rgb24", "bgr24", "bgra"
RGB_ALPHA_FORMAT = "bgra"
YUV_FORMATS = "yuv420p", "yuvj420p", "yuv422p", "yuv444p", "nv12", "yuv422p10le"
# Hardware encoders by the last part of their name: what they call constant quality, and options.
# Those that have no constant quality get a bit rate.
HARDWARE_QUALITY_OPTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "nvenc": ("cq", {"rc": "vbr", "b": "0", "preset": "p4"}),
    "qsv": ("global_quality", {}),
}
HARDWARE = Capabilities.hardware | Capabilities.hybrid
HARDWARE_CRF, HARDWARE_CRF_MAX = 23.0, 51
BIT_RATE_ENCODERS = {"videotoolbox", "amf", "mf", "v4l2m2m", "mediacodec"}
BITS_PER_PIXEL = 0.1  # a good quality of talking people in H.264
MAX_ENCODER_THREADS = 8  # each encodes a slice, and slices cost bits
TRIAL_IMAGES = 3
MAX_KEY_FRAME_INTERVAL = 300  # frames; a kill loses at most this many, or one second


@dataclass(frozen=True)
class Encoder:
    """An encoder of FFmpeg with its options; `alpha` says whether it is given an alpha channel."""

    codec: Codec
    options: dict[str, str]
    alpha: bool = False
    threads: int | None = None  # at most; None means all cores
    large_options: dict[str, str] = field(default_factory=dict)  # added for large frames

    @property
    def name(self) -> str:
        """FFmpeg's name of it."""
        return self.codec.encoder

    def format(self, fmt: FrameFormat) -> FrameFormat:
        """Return the format in which frames of `fmt` are encoded: RGB becomes YUV where it must.

        See `pixels` for the pixel format, which may be another. Few players show 4:4:4 of the
        codecs that predict frames from others, such as H.264.
        """
        if fmt.was_rgb and not self.alpha:
            codec = av.Codec(self.name, "w")
            is_for_players = codec.lossy and not codec.intra_only
            return replace(fmt, pix_fmt="yuv420p10le") if is_for_players else fmt
        if not fmt.is_rgb or self._rgb_pixels():
            return fmt
        matrix = default_matrix(fmt.height)
        return replace(fmt, pix_fmt="yuv420p", matrix=matrix, range=LIMITED)

    def _rgb_pixels(self) -> str | None:
        """Return the pixel format in which RGB is encoded as it is; None if it is not."""
        taken, codec = _pixel_formats(self.name), av.Codec(self.name, "w")
        if self.alpha:
            return RGB_ALPHA_FORMAT if RGB_ALPHA_FORMAT in taken else None
        is_lossless = codec.lossless and not codec.lossy
        if taken and (is_lossless or taken.isdisjoint(YUV_FORMATS)):
            return next((pixels for pixels in RGB_FORMATS if pixels in taken), None)
        return None

    def pixels(self, fmt: FrameFormat) -> str:
        """Return FFmpeg's name of the pixel format that frames of `fmt` are encoded in.

        Args:
            fmt: as `format` returns it.

        Raises:
            Unavailable: it takes none that frames can be converted to.
        """
        if fmt.is_rgb and (pixels := self._rgb_pixels()):
            return pixels
        if self.alpha:
            return self.codec.alpha_pixels[fmt.bit_depth]
        taken, wanted = _pixel_formats(self.name), fmt.pix_fmt
        near = {"yuv420p": ["nv12"], "yuv420p10le": ["p010le"]}.get(wanted, [])
        others = f"{wanted}{TEN_BIT_SUFFIX}", "yuv420p", "nv12", "yuv422p10le"
        for pixels in (wanted, *near, *(others if fmt.bit_depth == 8 else TEN_BIT_FORMATS)):
            if not taken or pixels in taken:
                return pixels
        raise Unavailable(
            f"--codec {self.name}: takes none of wsshm's pixel formats", "use another --codec"
        )

    def size(self, fmt: FrameFormat) -> tuple[int, int]:
        """Return (width, height) in pixels as encoded: even where the encoder takes no odd ones."""
        width, height = fmt.width, fmt.height
        if self.codec.any_size:
            return width, height
        pixels = av.VideoFormat(self.pixels(fmt))
        h_step, v_step = 2 // pixels.chroma_width(2), 2 // pixels.chroma_height(2)
        return width + -width % h_step, height + -height % v_step


def choose(encoding: Encoding, suffix: str, alpha: bool, bit_depth: int = 8) -> Encoder:
    """Return the encoder of a file.

    Args:
        suffix: of the file, one of `codecs.CONTAINERS`.
        alpha: whether the output has an alpha channel; `suffix` then is one of
            `codecs.suffixes_with_alpha`.
        bit_depth: bits a sample, 8 or 10.

    Raises:
        UsageError: the codec cannot hold alpha in such a file, or 10 bits, or does not take that
            quality.
        Unavailable: this FFmpeg does not have the encoder.
    """
    default = codecs.default_codec(suffix)
    able = [default]
    if alpha:
        able = codecs.codecs_with_alpha(suffix, bit_depth)
    elif bit_depth > 8:
        able = [c for c in codecs.codecs_with_ten_bits(suffix) if _takes_ten_bits(c.encoder)]
    codec = codecs.find_codec(encoding.codec) if encoding.codec else [*able, default][0]
    capabilities = _capabilities(codec.encoder)
    has_bits = bit_depth == 8 or _takes_ten_bits(codec.encoder)
    if not (codec in able if alpha else has_bits):
        what = " in ".join(["transparency"] * alpha + [f"{bit_depth} bits"] * (bit_depth > 8))
        raise UsageError(
            f"--codec {encoding.codec or codec.encoder}: no {what} in a {suffix} file",
            f"use {', '.join(c.name for c in able) or 'another kind of file'}",
        )
    if capabilities & HARDWARE:
        return Encoder(codec, _hardware_options(codec, encoding.crf))
    large = {} if encoding.preset else dict(codec.large_tuning)
    return Encoder(codec, _options(codec, encoding, alpha), alpha, encoding.threads, large)


def for_alpha(encoding: Encoding, suffix: str, bit_depth: int) -> Encoding:
    """Return what an output with alpha can take of a request that is for several outputs.

    Args:
        suffix: of a file that holds alpha, or any other where nothing is encoded.
        bit_depth: bits a sample, 8 or 10.
    """
    if encoding.codec and not codecs.find_codec(encoding.codec).alpha_pixels:
        encoding = replace(encoding, codec=None, crf=None)
    if encoding.codec is None and not any(
        codec.crf_max for codec in codecs.codecs_with_alpha(suffix, bit_depth)[:1]
    ):
        encoding = replace(encoding, crf=None)
    return encoding


def _capabilities(name: str) -> Any:
    """Return FFmpeg's capabilities of a video encoder."""
    try:
        codec = av.Codec(name, "w")
        if codec.type != "video":
            raise ValueError(name)
    except ValueError as e:
        names = ", ".join(codec.name for codec in codecs.listed_codecs())
        raise Unavailable(
            f"--codec {name}: FFmpeg has no such video encoder here",
            f"use {names}, or one that wsshm doctor lists",
        ) from e
    return codec.capabilities


def _pixel_formats(name: str) -> set[str]:
    """Return the pixel formats that an encoder takes; an empty set where it takes all."""
    return {f.name for f in av.Codec(name, "w").video_formats or ()}


def _takes_ten_bits(name: str) -> bool:
    """Return whether this FFmpeg has an encoder, and with 10 bits."""
    try:
        taken = _pixel_formats(name)
    except ValueError:
        return False
    return not taken or not taken.isdisjoint(TEN_BIT_FORMATS)


def _options(codec: Codec, encoding: Encoding, alpha: bool) -> dict[str, str]:
    """Return the options of an encoder in software."""
    options, crf = dict(codec.options), codec.crf
    if encoding.preset is None:
        options |= codec.tuning
    if alpha:
        options |= codec.alpha_options
        crf = codec.crf if codec.alpha_crf is None else codec.alpha_crf
    if encoding.preset is not None and "preset" in options:
        options["preset"] = encoding.preset
    if encoding.crf is not None:
        crf = encoding.crf
        _check_crf(codec, crf, codec.crf_max)
        if crf < 1:
            options |= codec.crf_zero_options
    if crf is not None:
        options["crf"] = f"{crf:g}"
    return options


def _hardware_options(codec: Codec, crf: float | None) -> dict[str, str]:
    """Return the options of an encoder in hardware."""
    quality, options = HARDWARE_QUALITY_OPTIONS.get(_family(codec.encoder), (None, {}))
    if crf is not None:
        _check_crf(codec, crf, HARDWARE_CRF_MAX if quality else None)
    if quality is None:
        return {}
    return options | {quality: f"{HARDWARE_CRF if crf is None else crf:g}"}


def _family(name: str) -> str:
    """Return the maker's part of an encoder's name: ``nvenc`` of ``h264_nvenc``."""
    return name.rpartition("_")[2]


def _check_crf(codec: Codec, crf: float, worst: int | None) -> None:
    if worst is None:
        raise UsageError(f"--crf: {codec.name} has no constant quality", "leave --crf out")
    if not 0 <= crf <= worst:
        raise UsageError(f"--crf {crf:g}: {codec.name} takes 0 to {worst}, lower is better")


def check_starts(
    encoder: Encoder,
    fmt: FrameFormat,
    rate: Fraction,
    time_base: Fraction,
    container: Container,
    file: str,
    instead: str = "-o NAME.mkv",
) -> None:
    """Check that an encoder works on this machine and that a container holds what it writes.

    Where our table does not name the container for the codec, a few images are written and read.

    Args:
        fmt: of the frames, as encoded.
        rate: frames a second.
        time_base: seconds a tick of the frames' times.
        file: what to call the output in messages.
        instead: the option for an output that holds any video.

    Raises:
        UsageError: the container cannot hold it.
        Unavailable: the encoder does not start.
    """
    stream: Any = None
    is_encoding = False
    name, better = encoder.codec.name, f", or {instead}" * (container.format != "matroska")
    refusal = UsageError(f"{file} cannot hold {name} video", f"use another --codec{better}")
    options, made = dict(container.options), io.BytesIO()
    trial = av.open(made, "w", format=container.format, container_options=options)
    try:
        with logging_up_to(av.logging.ERROR), av.logging.Capture() as messages:
            stream = add_stream(trial, encoder, fmt, rate, time_base)
            trial.start_encoding()
            if container.suffix not in (
                *encoder.codec.containers,
                *encoder.codec.containers_with_alpha,
            ):
                is_encoding = True
                packets = _encode_trial(stream, fmt.width, fmt.height)
                is_encoding = False
                trial.mux(packets)
                trial.close()
                if not _can_be_read(made):
                    raise refusal
    except (av.error.FFmpegError, ValueError) as e:
        if isinstance(e, UsageError):
            raise
        is_open = stream is None or stream.codec_context.is_open
        if is_open and not is_encoding:  # the container is what refuses
            raise refusal from e
        said = [" ".join(text.split()) for _, _, text in messages if "(repeated" not in text]
        reason = next((text.rstrip(".:") for text in said if text), "no reason is given")
        if not stream.codec_context.codec.capabilities & HARDWARE:
            size = f"{fmt.width}x{fmt.height}"
            raise Unavailable(
                f"--codec {name}: does not start for {size} at {float(rate):.4g} a second "
                f"({reason})",
                "use another --codec",
            ) from e
        same = name.partition("_")[0]  # h264_nvenc writes what h264 does
        listed = [codec.name for codec in codecs.listed_codecs()]
        raise Unavailable(
            f"--codec {name}: does not work on this machine ({reason})",
            f"use --codec {same if same in listed else listed[0]}",
        ) from e
    finally:
        with suppress(av.error.FFmpegError):
            trial.close()


def _encode_trial(stream: Any, width: int, height: int) -> list[Any]:
    """Return the packets of a few black images."""
    context, packets = stream.codec_context, []
    for i in range(TRIAL_IMAGES):
        image = av.VideoFrame(width, height, context.pix_fmt)
        for plane in image.planes:
            plane.update(bytes(plane.buffer_size))
        image.pts = max(i, round(i / context.framerate / context.time_base))
        image.time_base = context.time_base
        packets += stream.encode(image)
    return [*packets, *stream.encode(None)]


def _can_be_read(file: io.BytesIO) -> bool:
    """Return whether a trial's images come back from a file that FFmpeg has written."""
    file.seek(0)
    try:
        with av.open(file, "r") as container:
            return len(list(container.decode(video=0))) == TRIAL_IMAGES
    except (av.error.FFmpegError, IndexError, ValueError):
        return False


def add_stream(
    container: Any, encoder: Encoder, fmt: FrameFormat, rate: Fraction, time_base: Fraction
) -> Any:
    """Return a new video stream of an output container, its encoder set up but not yet open.

    Args:
        container: an `av.container.OutputContainer`.
        fmt: of the frames, as encoded.
        rate: frames a second.
        time_base: seconds a tick of the frames' times.

    Raises:
        ValueError: the container cannot hold it.
    """
    stream = container.add_stream(encoder.name, rate=rate)
    context = stream.codec_context
    context.width, context.height = fmt.width, fmt.height
    context.pix_fmt = encoder.pixels(fmt)
    context.framerate, context.time_base = rate, time_base
    context.gop_size = max(1, min(MAX_KEY_FRAME_INTERVAL, round(rate)))
    is_large = fmt.width * fmt.height > codecs.LARGE_PIXELS
    context.options = encoder.options | (encoder.large_options if is_large else {})
    context.thread_count = min(encoder.threads or cores(), MAX_ENCODER_THREADS)
    if _family(encoder.name) in BIT_RATE_ENCODERS:
        context.bit_rate = int(BITS_PER_PIXEL * fmt.width * fmt.height * rate)
    if encoder.codec.tag:
        context.codec_tag = encoder.codec.tag
    fmt.tag(context)
    stream.time_base = time_base
    return stream
