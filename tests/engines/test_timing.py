"""What a model costs is measured once, remembered in a file, and decides between precisions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines import models, timing
from engines.engine import MattingEngine, open_engine
from engines.errors import UsageError
from engines.video import run as job
from engines.video.config import NETWORK_WORKERS, Clip, RunConfig
from engines.video.frame import FrameFormat
from engines.video.matte.network import open_network
from engines.video.summary import Started
from tests import graphs

SIZE = 64, 96


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of its own; gives the file that timings are kept in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "wsshm" / "timings.json"


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    return graphs.constant(tmp_path / "quick.onnx", 1.0)


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    return graphs.hungry(tmp_path / "slow.onnx", 100)


def opened_by(files: list[Path]) -> Callable[[Path], MattingEngine]:
    """`open_engine`, which also writes down what it opened."""

    def opened(file: Path) -> MattingEngine:
        files.append(file)
        return open_engine(file, threads=1)

    return opened


def test_work_is_measured_once_and_remembered(cache: Path, quick: Path, slow: Path) -> None:
    """The second answer comes from the file: what was written there is what is said."""
    engines = {f: open_engine(f, threads=1) for f in (quick, slow)}
    measured = timing.work(engines, *SIZE)
    assert 0 < measured[quick] < measured[slow]
    kept = json.loads(cache.read_text())
    assert sorted(kept.values()) == sorted(measured.values())
    cache.write_text(json.dumps({key: 7.0 for key in kept}))
    assert timing.work(engines, *SIZE) == {quick: 7.0, slow: 7.0}
    assert [p.name for p in cache.parent.iterdir()] == [cache.name]


def test_another_size_or_another_file_is_measured_anew(
    cache: Path, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Size, bytes of the model, version of ONNX Runtime and machine each make another entry."""

    def entries() -> int:
        timing.work({quick: open_engine(quick)}, *SIZE)
        return len(json.loads(cache.read_text()))

    assert entries() == entries() == 1
    timing.work({quick: open_engine(quick)}, 128, 96)
    assert entries() == 2
    graphs.constant(quick, 0.5)
    assert entries() == 3
    monkeypatch.setattr("onnxruntime.__version__", "0.0")
    assert entries() == 4
    monkeypatch.setattr(timing, "cpu", lambda: "another")
    assert entries() == 5


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[1, 2]",
        b"null",
        b"{}",
        b'{"a": "b"}',
        b'{"a": null}',
        b"[" * 100_000,
    ],
)
def test_damaged_memory_is_measured_over(cache: Path, quick: Path, damage: bytes) -> None:
    """Whatever stands in the file, a number comes back and the file is good afterwards."""
    cache.parent.mkdir(parents=True)
    cache.write_bytes(damage)
    (time,) = timing.work({quick: open_engine(quick)}, *SIZE).values()
    assert time > 0
    assert time in json.loads(cache.read_text()).values()


@pytest.mark.parametrize("wrong", ["NaN", "Infinity", "-1", "0", '"seven"', "[]", "1e999"])
def test_numbers_that_no_time_has_are_not_believed(cache: Path, quick: Path, wrong: str) -> None:
    """An entry that is not a time over 0 is as good as none."""
    engines = {quick: open_engine(quick)}
    timing.work(engines, *SIZE)
    (key,) = json.loads(cache.read_text())
    cache.write_text(f'{{"{key}": {wrong}}}')
    (time,) = timing.work(engines, *SIZE).values()
    assert 0 < time < 1000


def test_memory_that_cannot_be_written_is_no_error(cache: Path, quick: Path) -> None:
    """A file where the folder should be: measured all the same."""
    cache.parent.parent.mkdir()
    cache.parent.write_text("in the way")
    assert timing.work({quick: open_engine(quick)}, *SIZE)[quick] > 0
    assert cache.parent.read_text() == "in the way"


def test_memory_does_not_grow_for_ever(
    cache: Path, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest go first."""
    monkeypatch.setattr(timing, "MAX_ENTRIES", 3)
    engines = {quick: open_engine(quick)}
    for width in (32, 64, 96, 128, 160):
        timing.work(engines, 32, width)
    assert [key.split()[-1] for key in json.loads(cache.read_text())] == [
        "96x32",
        "128x32",
        "160x32",
    ]


@pytest.mark.parametrize("low_is_quick", [True, False])
def test_lower_precision_has_to_be_worth_it(quick: Path, slow: Path, low_is_quick: bool) -> None:
    """The lower where it is faster, the higher where it is not; the second time without trying."""
    low, high = (quick, slow) if low_is_quick else (slow, quick)
    files = {"int8": low, "fp32": high}
    tried: list[Path] = []
    for expected in ({quick, slow}, {low} if low_is_quick else {quick, slow}):
        engine, why = timing.open_faster(files, opened_by(tried), lambda spec: SIZE)
        assert engine(np.zeros((1, *SIZE, 3), np.uint8)).min() == 1  # the quick one's alpha
        assert ("times as fast as fp32 here" in why) == low_is_quick
        assert ("int8 is 0." in why) == (not low_is_quick)
        assert set(tried) == expected
        tried.clear()


def test_a_model_alone_is_not_timed(cache: Path, slow: Path) -> None:
    """No choice, no measurement, nothing to say."""
    tried: list[Path] = []
    _, why = timing.open_faster({"fp32": slow}, opened_by(tried), lambda spec: SIZE)
    assert (why, tried) == ("", [slow])
    assert not cache.parent.exists()


def test_run_takes_the_faster_file(
    tmp_path: Path, portrait: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From `RunConfig` to `Started`: auto times, a precision that is named is taken as it is."""
    graphs.hungry(tmp_path / "fp32.onnx", 100)
    source = graphs.constant(tmp_path / "source.onnx", 1.0)
    text = graphs.SPEC.to_json(), replace(graphs.SPEC, precision="int8").to_json()
    (tmp_path / "int8.onnx").write_bytes(relabelled(source, *text))
    shipped = {p: models.File(tmp_path / f"{p}.onnx", "") for p in ("fp32", "int8")}
    monkeypatch.setattr(models, "shipped", lambda: [models.Model("both", shipped, "", True)])
    started: list[Started] = []
    for precision in ("auto", "fp32", "int8"):
        config = RunConfig(
            portrait,
            tmp_path / "o.mp4",
            overwrite=True,
            precision=precision,
            clip=Clip(0, 0.1),
        )
        assert job.run(config, on_start=started.append).exit_code == 0
    assert [s.precision for s in started] == ["int8", "fp32", "int8"]
    assert ["times as fast" in s.precision_reason for s in started] == [True, False, False]
    with pytest.raises(UsageError, match="fp16: both is shipped in fp32, int8"):
        open_network(RunConfig(portrait, precision="fp16"), FrameFormat(64, 64))
    path = str(tmp_path / "int8.onnx")
    with pytest.raises(UsageError, match=r"--precision fp32: .*int8\.onnx is int8"):
        open_network(RunConfig(portrait, model=path, precision="fp32"), FrameFormat(64, 64))


def relabelled(model: Path, old: str, new: str) -> bytes:
    """The bytes of a model with another description."""
    import onnx

    loaded = onnx.load(model)
    for entry in loaded.metadata_props:
        entry.value = entry.value.replace(old, new)
    return loaded.SerializeToString()


def test_threads_are_shared_among_frames() -> None:
    """As many lanes as make sense, never more than threads; a number of threads is for all."""
    assert RunConfig(Path("in.mp4"), network_threads=1).workers == 1
    assert RunConfig(Path("in.mp4"), network_threads=8).workers == NETWORK_WORKERS
    assert RunConfig(Path("in.mp4")).workers == min(NETWORK_WORKERS, len(os.sched_getaffinity(0)))
