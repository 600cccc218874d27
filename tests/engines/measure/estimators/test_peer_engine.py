"""Peers' files in the place of ours in a run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h

from engines.errors import BadData
from engines.measure.estimators.peer_engine import PeerEngine
from engines.measure.speed.bench_clip import measure_run
from engines.video.config import Clip, RunConfig
from engines.video.frame import FrameFormat
from tests.engines.measure.estimators import peer_graphs


def test_frames_come_in_order_to_a_peer_that_starts_empty(
    portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice, as a clip is measured, and never two at once, for the next needs what one leaves."""
    remembered: list[float] = []
    threads: set[int] = set()
    call = PeerEngine.__call__

    def watched(self: PeerEngine, frames: np.ndarray) -> np.ndarray:
        alpha = call(self, frames)
        remembered.append(float((alpha - frames[..., 0] / np.float32(255)).max()))
        threads.add(threading.get_ident())
        return alpha

    monkeypatch.setattr(PeerEngine, "__call__", watched)
    config = RunConfig(
        input=portrait,
        output=tmp_path / "o.mp4",
        overwrite=True,
        clip=Clip(0, 0.2),
        model=str(peer_graphs.rvm(tmp_path / "rvm.onnx")),
        network_threads=2,
    )
    assert measure_run(config, is_ours=False).frames == 6
    once = [0, 0, 0.1, 0.2, 0.3, 0.4, 0.5]  # it is tried on a frame when it is opened
    assert remembered == pytest.approx(once * 2, abs=1e-5)
    assert len(threads - {threading.get_ident()}) == 1


@pytest.mark.parametrize(
    ("graph", "frame", "size"),
    [
        (peer_graphs.rvm, (1920, 1080), 72),  # into 72 lines of 128
        (peer_graphs.rvm, (1080, 1920), 40),
        (peer_graphs.meet, (640, 480), 144),
        (peer_graphs.sinet, (1920, 1080), 180),
        (peer_graphs.selfie, (9000, 2), 1),
    ],
)
def test_size_is_what_fits_the_files_input(
    graph: Callable[[Path], Path], frame: tuple[int, int], size: int, tmp_path: Path
) -> None:
    engine = PeerEngine(graph(tmp_path / "p.onnx"), FrameFormat(*frame, "yuv420p"), 1)
    assert (engine.spec.size, engine.spec.stride) == (size, 1)
    assert engine(np.zeros((2, 16, 24, 3), np.uint8)).shape == (2, 16, 24)


def test_faults_of_a_peer_are_named(tmp_path: Path) -> None:
    """Of its values when it is opened; on a frame that is too bright for it, of the run."""
    fmt, shapes = (
        FrameFormat(64, 64, "yuv420p"),
        ({"in": [1, 256, 256, 3]}, {"out": [1, 256, 256, 1]}),
    )
    nodes = [
        h.make_node("Gather", ["in", "first"], ["red"], axis=3),
        h.make_node("Div", ["red", "red"], ["out"]),
    ]
    nan = peer_graphs.save(tmp_path / "nan.onnx", nodes, *shapes, {"first": np.array([0])})
    with pytest.raises(BadData, match=r"nan\.onnx: the model gave values outside \[0, 1\]"):
        PeerEngine(nan, fmt, 1)
    nodes = [
        h.make_node("ReduceMax", ["in"], ["most"], axes=[0, 1, 2, 3], keepdims=0),
        h.make_node("Mul", ["most", "nine"], ["much"]),
        h.make_node("Cast", ["much"], ["index"], to=T.INT64),
        h.make_node("Unsqueeze", ["index", "first"], ["which"]),
        h.make_node("Gather", ["in", "which"], ["out"], axis=3),
    ]
    values = {"first": np.array([0]), "nine": np.array(9, np.float32)}
    bright = PeerEngine(peer_graphs.save(tmp_path / "b.onnx", nodes, *shapes, values), fmt, 1)
    with pytest.raises(BadData, match=r"b\.onnx: the model failed \(.*Gather") as e:
        bright(np.full((1, 64, 64, 3), 255, np.uint8))
    assert "\n" not in str(e.value)
