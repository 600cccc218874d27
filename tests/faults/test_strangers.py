"""What files and streams name: no file of it is opened, and of a file's no address either."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from engines.errors import BadData, UsageError, WsshmError
from engines.video.frame import is_frame
from engines.video.read.open import open_source
from engines.video.read.stream import parse_input
from tests.conftest import one_error_line
from tests.faults.helpers import command
from tests.media import noise_clip

PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"
MANIFEST = (
    '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S">'
    '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">'
    "<BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>"
)
DRAWING = '<svg xmlns="http://www.w3.org/2000/svg"><image href="{}" width="64" height="64"/></svg>'
SESSION = (
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns={}\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)
# By the name of the file: what is in it, but for what it names.
LISTS = {
    "list.m3u8": PLAYLIST,
    "list.mp4": "ffconcat version 1.0\nfile {}\n",
    "list.mkv": "ffconcat version 1.0\nfile {}\n",
    "list.mpd": MANIFEST,
    "list.sdp": SESSION,
    "list.svg": DRAWING,
    "list.png": DRAWING,
}


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a web server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def asked() -> Iterator[list[str]]:
    """What a web server was asked for; the first item is its address."""
    paths: list[str] = []

    class Handler(_Quiet):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

    with serving(Handler) as address:
        paths.append(f"{address}/secret.ts")
        yield paths


@pytest.mark.parametrize("name", LISTS)
def test_what_a_file_names_is_not_opened(name: str, asked: list[str], tmp_path: Path) -> None:
    noise_clip(tmp_path / "secret.ts", frames=3)
    for inner in (asked[0], "secret.ts"):
        (tmp_path / name).write_text(LISTS[name].format(inner))
        for given in (tmp_path / name, parse_input((tmp_path / name).as_uri())):
            with pytest.raises(BadData, match=name):
                open_source(given)
    assert len(asked) == 1


def test_nor_from_standard_input(asked: list[str], ones: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        command("run", "-", "--model", ones, "-o", tmp_path / "out.mkv"),
        input=PLAYLIST.format(asked[0]),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert result.returncode == 65, result.stderr
    one_error_line(result, "-: not a readable video")
    assert not (tmp_path / "out.mkv").exists()
    assert len(asked) == 1


def test_a_file_may_be_named_by_a_url(tmp_path: Path) -> None:
    clip = tmp_path / "my clip%.ts"
    assert parse_input(clip.as_uri()) == clip
    with pytest.raises(UsageError, match="another machine"):
        parse_input("file://clip.ts")


@pytest.mark.parametrize("scheme", ["concat", "cache", "async", "crypto+file", "hls+file", "unix"])
def test_addresses_that_lead_to_files(scheme: str) -> None:
    with pytest.raises(UsageError, match=f"{re.escape(scheme)}://"):
        parse_input(f"{scheme}:///clip.ts")


def test_a_playlist_by_http_names_addresses(tmp_path: Path) -> None:
    noise_clip(tmp_path / "part.ts", frames=3)
    (tmp_path / "list.m3u8").write_text(PLAYLIST.format("part.ts"))
    with (
        serving(partial(_Quiet, directory=str(tmp_path))) as address,
        closing(open_source(parse_input(f"{address}/list.m3u8"))) as source,
    ):
        assert sum(is_frame(item) for item in source.items()) == 3


def test_but_no_files(tmp_path: Path) -> None:
    """Not by tcp either, to which FFmpeg itself gives no such limit."""
    secret = noise_clip(tmp_path / "secret.ts", frames=3)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(PLAYLIST.format(secret.as_uri()).encode())

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(WsshmError, match="tcp://"):
            open_source(parse_input(f"tcp://127.0.0.1:{server.getsockname()[1]}/list.m3u8"))
        thread.join()


@pytest.mark.parametrize("name", ["%d.dpx", "%03d.tga", "*.dpx", "[0-9].dpx"])
def test_the_name_of_a_file_is_no_pattern(name: str, tmp_path: Path) -> None:
    """FFmpeg takes it for one of numbered pictures."""
    image = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 200, np.uint8), "rgb24")
    kind, pixels = {"dpx": ("dpx", "rgb24"), "tga": ("targa", "bgr24")}[name[-3:]]
    codec: Any = av.CodecContext.create(kind, "w")
    codec.width, codec.height, codec.pix_fmt = 64, 48, pixels
    codec.time_base = Fraction(1, 25)
    data = b"".join(bytes(p) for p in [*codec.encode(image), *codec.encode(None)])
    for sibling in (f"1{name[-4:]}", f"001{name[-4:]}"):
        (tmp_path / sibling).write_bytes(data)
    stranger = tmp_path / name
    stranger.write_bytes(b"junk")
    with pytest.raises(BadData, match=re.escape(name)):
        open_source(stranger)
    stranger.write_bytes(data)
    source = open_source(stranger)
    assert (source.format.width, source.format.height) == (64, 48)
