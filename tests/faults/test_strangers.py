"""Files that name other files and addresses: nothing of them is opened, whatever their suffix."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engines.errors import BadData
from engines.video.read.open import open_source
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


@pytest.fixture
def asked() -> Iterator[list[str]]:
    """What a web server was asked for; the first item is its address."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        paths.append(f"http://127.0.0.1:{server.server_port}/secret.ts")
        yield paths
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", LISTS)
def test_what_a_file_names_is_not_opened(name: str, asked: list[str], tmp_path: Path) -> None:
    noise_clip(tmp_path / "secret.ts", frames=3)
    for inner in (asked[0], "secret.ts"):
        (tmp_path / name).write_text(LISTS[name].format(inner))
        with pytest.raises(BadData, match=name):
            open_source(tmp_path / name)
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
