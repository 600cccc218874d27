"""Several inputs on a Ray cluster: machines are lost, the command is killed, works stay whole.

The machines are Ray's own test cluster, of one core each, on this one.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import av
import pytest

from tests.conftest import REPOSITORY
from tests.faults.helpers import Running, command, decode, disk, moving_clip, parts
from tests.faults.test_batch import descendants, finished, gone, open_files, shared_memory, states

FRAMES = {"short": 60, "long": 900}
LENGTHS = dict(zip("abcdef", ("short", "long", "short", "long", "short", "long"), strict=True))

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
]


@pytest.fixture(scope="module")
def takes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short clips and three that are long enough to be met half-way."""
    folder = tmp_path_factory.mktemp("takes")
    for name, length in LENGTHS.items():
        moving_clip(folder / f"{name}.mp4", FRAMES[length])
    return folder


def asked(takes: Path, model: Path, *more: object) -> list[object]:
    files = sorted(takes.glob("*.mp4"))
    given = ["--bg", "#204060", "--codec", "ffv1", "--model", model, "--json"]
    return ["run", *files, "-o", "out", *given, *more]


class Nodes:
    """The machines of a cluster, in a process of their own."""

    def __init__(self, count: int, folder: Path, env: Mapping[str, str], prefix: Sequence[str]):
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tests.faults.nodes", str(count), str(folder)],
            cwd=REPOSITORY,
            env={**os.environ, **env},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.address = self.process.stdout.readline().strip()
        assert self.address, "no cluster"

    def __call__(self, line: str) -> None:
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def working(self) -> list[int]:
        """The processes of workers: those that have imported wsshm."""
        return [p for p in descendants(self.process.pid) if "_Remote" in title(p)]


def title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@contextmanager
def nodes(
    count: int, folder: Path, env: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
) -> Iterator[Nodes]:
    """A cluster; nothing of it is left in the end."""
    (folder / "ray").mkdir(parents=True, exist_ok=True)
    before = shared_memory()
    cluster = Nodes(count, folder / "ray", env or {}, prefix)
    try:
        yield cluster
    finally:
        started = descendants(cluster.process.pid)
        cluster.process.stdin.close()
        cluster.process.wait(30)
        cluster.process.stdout.close()
        if not gone(started):
            for pid in started:
                os.kill(pid, signal.SIGKILL)
            pytest.fail("a process outlives the cluster")
    assert shared_memory() <= before


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a name short enough for Ray's sockets."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="wsshm", dir="/tmp") as folder:
        yield Path(folder)


def whole(folder: Path) -> None:
    """Every output has every frame, and nothing is beside them."""
    for name, length in LENGTHS.items():
        assert decode(folder / "out" / f"{name}.mkv").frames == FRAMES[length], name
    assert not parts(folder)
    assert len(list((folder / "out").iterdir())) == len(LENGTHS) + 1


def begun(folder: Path) -> Counter[str]:
    """How many times each clip was begun, of the newest call, by its manifest."""
    lines = (folder / "out" / "wsshm_manifest.jsonl").read_text().splitlines()[1:]
    found: Counter[str] = Counter()
    for line in lines:
        for name, record in json.loads(line).items():
            found[Path(name).stem] += record["state"] == "begun"
    return found


def call(args: list[object], folder: Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args), cwd=folder, capture_output=True, text=True, timeout=timeout
    )


@pytest.fixture(scope="module")
def plain(takes: Path, ones: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a call without a cluster writes."""
    folder = tmp_path_factory.mktemp("plain")
    result = call(asked(takes, ones), folder)
    assert result.returncode == 0, result.stderr
    return written(folder)


def written(folder: Path) -> dict[str, str]:
    """The images of all outputs, and the packets of their sound, as hashes."""
    found = {}
    for name in LENGTHS:
        hashed = hashlib.sha256()
        path = str(folder / "out" / f"{name}.mkv")
        with av.open(path) as container:
            for frame in container.decode(video=0):
                hashed.update(f"{frame.pts}".encode() + frame.to_ndarray().tobytes())
        with av.open(path) as container:
            for packet in container.demux(audio=0):
                hashed.update(f"{packet.pts}".encode() + bytes(packet))
        found[name] = hashed.hexdigest()
    return found


def test_this_machine(takes: Path, ones: Path, plain: dict[str, str], tmp_path: Path) -> None:
    """Outputs are those of a plain run; nothing is left, and a second call does nothing."""
    before, temporary = shared_memory(), set(Path("/tmp").iterdir())
    args = asked(takes, ones, "--cluster", "local")
    with Running(args, tmp_path) as run:
        started: set[int] = set()
        while run.process.poll() is None:
            started |= set(descendants(run.process.pid))
            time.sleep(0.05)
        ended = run.finish()
    assert ended.returncode == 0, ended.stderr
    assert written(tmp_path) == plain
    whole(tmp_path)
    assert gone([*started])
    assert shared_memory() <= before
    assert not [p for p in set(Path("/tmp").iterdir()) - temporary if "ray" in p.name]
    again = call(args, tmp_path)
    assert set(states(json.loads(again.stdout)).values()) == {"finished"}


@pytest.mark.parametrize("count", [2, 3])
def test_machines(
    count: int, takes: Path, ones: Path, plain: dict[str, str], tmp_path: Path, short: Path
) -> None:
    """Two and three machines write what one does, and each clip is begun once."""
    with nodes(count, short) as cluster:
        result = call(asked(takes, ones, "--cluster", cluster.address), tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"{count} machines with {count} cores" in result.stderr
    assert written(tmp_path) == plain
    assert begun(tmp_path) == dict.fromkeys(LENGTHS, 1)
    whole(tmp_path)


def test_segments(takes: Path, ones: Path, tmp_path: Path, short: Path) -> None:
    """Two machines write one clip, of the same images as one run does."""
    given = ["--bg", "#204060", "--codec", "ffv1", "--model", ones]
    clip, frames = takes / "b.mp4", []
    with nodes(2, short) as cluster:
        for name, more in (("a", []), ("b", ["--segments", 5, "--cluster", cluster.address])):
            result = call(["run", clip, "-o", f"{name}.mkv", *given, *more], tmp_path)
            assert result.returncode == 0, result.stderr
            with av.open(str(tmp_path / f"{name}.mkv")) as container:
                frames.append([(f.pts, f.to_ndarray().sum()) for f in container.decode(video=0)])
    assert "b.mp4: 6 segments" in result.stderr
    assert len(frames[0]) == FRAMES["long"]
    assert frames[1] == frames[0]
    assert {p.name for p in tmp_path.iterdir()} == {"a.mkv", "b.mkv"}


@pytest.mark.timeout(1800)
def test_machines_are_lost_at_random_moments(
    takes: Path, ones: Path, plain: dict[str, str], tmp_path: Path, short: Path
) -> None:
    """20 times: every output is whole, and only lost clips are done twice."""
    moments = random.Random(18)
    lost = 0
    out = tmp_path / "out"

    def begin(run: Running) -> None:
        while not any(out.glob("*.part.mkv")):
            assert run.process.poll() is None, run.finish()
            time.sleep(0.002)

    with nodes(3, short) as cluster:
        args = asked(takes, ones, "--cluster", cluster.address)
        with Running(args, tmp_path) as run:
            begin(run)
            ended = run.finish()
        assert ended.returncode == 0, ended
        for i in range(20):
            shutil.rmtree(out)
            with Running(args, tmp_path) as run:
                begin(run)
                time.sleep(moments.uniform(0, 0.8 * ended.seconds))
                cluster(f"kill {moments.choice([1, 2])}")
                result = run.finish(90)
            assert result.returncode == 0, (i, result)
            assert "Traceback" not in result.stderr
            assert set(states(result.summary).values()) == {"done"}
            said = [x for x in result.stderr.splitlines() if x.endswith("it is done once more")]
            assert sum(begun(tmp_path).values()) == len(LENGTHS) + len(said), result.stderr
            lost += len(said)
            assert written(tmp_path) == plain
            whole(tmp_path)
            cluster("mend")
    assert lost > 5, "the moments did not meet the works"


def test_the_command_is_killed(takes: Path, ones: Path, tmp_path: Path, short: Path) -> None:
    """What it has on the cluster ends, and the same command goes on."""
    with nodes(2, short) as cluster:
        args = asked(takes, ones, "--cluster", cluster.address)
        part = tmp_path / "out" / "b.part.mkv"
        with Running(args, tmp_path) as run:
            while not part.exists():
                assert run.process.poll() is None, run.finish()
                time.sleep(0.002)
            working = cluster.working()
            run.process.kill()
            run.process.wait()
        done = finished(tmp_path)
        result = call(args, tmp_path)
        assert gone(working)
    assert result.returncode == 0, result.stderr
    found = states(json.loads(result.stdout))
    assert {name for name, state in found.items() if state == "finished"} == done
    whole(tmp_path)


@pytest.mark.parametrize("where", ["local", "cluster"])
def test_interrupted(where: str, takes: Path, ones: Path, tmp_path: Path, short: Path) -> None:
    """Ctrl-C finishes early what is being done, leaves nothing there, and the next call goes on."""
    with nodes(2, short) as cluster:
        args = asked(takes, ones, "--cluster", cluster.address if where == "cluster" else where)
        part = tmp_path / "out" / "b.part.mkv"
        process = subprocess.Popen(
            command(*args),
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        while not part.exists() or part.stat().st_size < 5_000:
            assert process.poll() is None
            time.sleep(0.002)
        started = descendants(process.pid)
        os.killpg(process.pid, signal.SIGINT)  # all of the terminal's processes, as Ctrl-C does
        stdout, stderr = process.communicate(timeout=30)
        assert process.returncode == 130, stderr
        assert "Traceback" not in stderr
        assert gone(started)
        assert gone(cluster.working())
        assert states(json.loads(stdout))["b"] == "stopped"
        assert 0 < decode(tmp_path / "out" / "b.mkv").frames < FRAMES["long"]
        assert not parts(tmp_path)
        result = call(args, tmp_path)
    assert result.returncode == 0, result.stderr
    whole(tmp_path)


def test_a_process_is_killed(takes: Path, ones: Path, tmp_path: Path, short: Path) -> None:
    """That is said of its machine, and its clip is done once more."""
    part = str(tmp_path / "out" / "b.part.mkv")
    with (
        nodes(2, short) as cluster,
        Running(asked(takes, ones, "--cluster", cluster.address), tmp_path) as run,
    ):
        victims: list[int] = []
        while not victims:
            assert run.process.poll() is None, run.finish()
            victims = [p for p in cluster.working() if part in open_files(p)]
        os.kill(victims[0], signal.SIGKILL)
        ended = run.finish()
    assert ended.returncode == 0, ended.stderr
    assert "b.mp4: its process on " in ended.stderr
    assert begun(tmp_path) == {**dict.fromkeys(LENGTHS, 1), "b": 2}
    whole(tmp_path)


def test_another_version(takes: Path, ones: Path, tmp_path: Path, short: Path) -> None:
    """It is named with its machine, and nothing is begun."""
    info = short / "old" / "wsshm-0.0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wsshm\nVersion: 0.0.1\n")
    with nodes(1, short, {"PYTHONPATH": str(info.parent)}) as cluster:
        result = call(asked(takes, ones, "--cluster", cluster.address), tmp_path)
    assert result.returncode == 69, result.stderr
    assert "no machine of the cluster can do the work" in one_line(result.stderr)
    assert result.stderr.count("is left out: it has 0.0.1 of wsshm, and this machine ") == 1
    assert set(states(json.loads(result.stdout)).values()) == {"left"}


def one_line(stderr: str) -> str:
    assert "Traceback" not in stderr, stderr
    (line,) = [x for x in stderr.splitlines() if x.startswith("wsshm: error: ")]
    return line


@pytest.mark.parametrize("unseen", ["takes", "out"])
def test_a_folder_that_a_machine_does_not_see(
    unseen: str, takes: Path, ones: Path, short: Path
) -> None:
    """Machine and folder are named, and nothing is begun."""
    if os.geteuid() or shutil.which("unshare") is None:
        pytest.skip("hiding a folder from a process needs root")
    shutil.copytree(takes, short / "takes")
    (short / "out").mkdir()
    script = 'mount -t tmpfs tmpfs "$0" && exec "$@"'
    hide = ["unshare", "--mount", "sh", "-c", script, str(short / unseen)]
    with nodes(1, short, prefix=hide) as cluster:
        args = asked(short / "takes", ones, "--cluster", cluster.address)
        result = call(args, short)
    assert result.returncode == 69, result.stderr
    one_line(result.stderr)
    what = rf"\S+ \(\S+\) is left out: it does not see \S*{unseen}/\S+; put it in a folder"
    assert re.search(what, result.stderr), result.stderr
    assert not list((short / "out").glob("*.mkv"))


def test_full_disk(takes: Path, ones: Path, tmp_path: Path, short: Path) -> None:
    """It ends the batch; what was finished is, and stays."""
    with disk(tmp_path / "out", 8000) as folder, nodes(2, short) as cluster:
        result = call(asked(takes, ones, "--cluster", cluster.address), tmp_path)
        assert result.returncode == 74, result.stderr
        assert "No space left" in result.stderr
        found = states(json.loads(result.stdout))
        for name in [name for name, state in found.items() if state == "done"]:
            assert decode(folder / f"{name}.mkv").frames == FRAMES[LENGTHS[name]]
