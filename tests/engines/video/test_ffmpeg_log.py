"""A decoder that logs in its own threads while the level of the log is set in another one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.faults.helpers import moving_clip

# Decodes a damaged clip in one thread, and reads the descriptions of clips in another.
RACE = """
import sys, threading, av
from engines.video.ffmpeg_log import logging_up_to
over = threading.Event()
def switch():
    while not over.is_set():
        with logging_up_to(av.logging.ERROR):
            pass
thread = threading.Thread(target=switch)
thread.start()
for _ in range(3):
    with av.open(sys.argv[1]) as container:
        container.streams.video[0].thread_type = "AUTO"
        for packet in container.demux(video=0):
            try:
                packet.decode()
            except av.error.FFmpegError:
                pass
over.set()
thread.join()
"""


def test_messages_of_other_threads_do_no_harm(tmp_path: Path) -> None:
    clip = moving_clip(tmp_path / "in.ts", 120, 320, 240, audio=False)
    data = bytearray(clip.read_bytes())
    for at in range(2000, len(data), 997):
        data[at] ^= 0x55
    clip.write_bytes(data)
    command = [sys.executable, "-c", RACE, str(clip)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert result.returncode == 0
    assert "Traceback" not in result.stderr
