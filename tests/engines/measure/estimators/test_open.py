"""Every kind of estimator is known by its file."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from skimage import data

from engines.errors import BadData, CannotOpen
from engines.measure.estimators import open as opening
from engines.measure.estimators.open import describe_estimators, describe_files, open_estimator
from tests import graphs
from tests.conftest import REPOSITORY
from tests.engines.measure.estimators.images import halves, image

FILES = [
    "obs/selfie_segmentation.onnx",
    "obs/mediapipe.onnx",
    "obs/SINet_Softmax_simple.onnx",
    "rvm/rvm_mobilenetv3_tfjs-u8_288x512_ds1.onnx",
    "rvm/rvm_mobilenetv3_tfjs-u8_720x1280_ds0.375.onnx",
]


def test_ours_is_known_by_its_description(brightness: Path) -> None:
    estimator = open_estimator(brightness, "mine")
    assert estimator.name == "mine"
    assert halves(estimator(image(64, 64, (255, 255, 255)))) == pytest.approx((0, 1), abs=0.05)
    estimator.reset()


def test_a_method_without_a_file_is_opened_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of the table is all that it takes, the help of the commands included."""

    class Threshold:
        name = "Threshold"

        def __init__(self, options: str):
            self.options = options

    monkeypatch.setitem(
        sys.modules, "engines.measure.estimators.threshold", SimpleNamespace(Threshold=Threshold)
    )
    row, before = opening.Entry("threshold", "threshold:Threshold"), describe_estimators()
    monkeypatch.setattr(opening, "ESTIMATORS", (*opening.ESTIMATORS, row))
    for typed, options in (("threshold", ""), ("threshold:at=0.5,soft", "at=0.5,soft")):
        made = open_estimator(typed)
        assert isinstance(made, Threshold)
        assert made.options == options
    assert describe_files().endswith("SINet or ISNet")
    assert describe_estimators() == f"{before}, threshold"


def test_the_skeleton_of_the_docs_is_an_estimator(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the row that it names: a file that gives a channel of its input back."""
    page = (REPOSITORY / "docs/measuring.md").read_text(encoding="utf-8")
    section = page.partition("### Another project's model")[2]
    code, row = (
        re.search(p, section, re.DOTALL)[1] for p in (r"```python\n(.*?)```", r"`(Entry.*?)`")
    )
    mine: dict[str, Any] = {}
    exec(code, mine)
    monkeypatch.setitem(sys.modules, "engines.measure.estimators.mine", SimpleNamespace(**mine))
    monkeypatch.setattr(opening, "ESTIMATORS", (eval(row, vars(opening)),))
    session = SimpleNamespace(
        get_inputs=lambda: [SimpleNamespace(name="in", shape=[1, 3, 512, 512])],
        get_outputs=lambda: [SimpleNamespace(name="out", shape=[1, 1, 512, 512])],
        run=lambda names, given: [given["in"][:, :1]],
    )
    estimator: Any = opening.open_peer(session, Path("mine.onnx"))
    rgb = np.zeros((300, 400, 3), np.uint8)
    rgb[:, 200:, 0] = 255
    alpha = estimator(rgb)
    assert (estimator.name, alpha.shape, alpha.dtype) == ("Mine", (300, 400), np.float32)
    assert alpha[:, :190].max() == 0
    assert alpha[:, 210:].min() == 1


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    other = graphs.brightness(tmp_path / "b.onnx")
    nameless = graphs.build(
        tmp_path / "n.onnx",
        [*__import__("onnx").load(other).graph.node],
        {"white": np.array([255], np.float32)},
        spec=None,
    )
    with pytest.raises(BadData, match=r"n\.onnx: neither a model of wsshm nor one of RVM") as e:
        open_estimator(nameless, "x")
    assert "\n" not in str(e.value)
    assert "docs/measuring.md shows how to add" in str(e.value)
    (tmp_path / "junk.onnx").write_bytes(b"junk" * 100)
    with pytest.raises(BadData, match=r"junk\.onnx: not a model ONNX .*; .*wsshm export"):
        open_estimator(tmp_path / "junk.onnx", "x")
    with pytest.raises(CannotOpen, match="no such file"):
        open_estimator(tmp_path / "nothing.onnx", "x")


@pytest.mark.parametrize("file", FILES)
def test_real_peers_find_the_astronaut(file: str, shared_data: Path) -> None:
    alpha = open_estimator(shared_data / "peers" / file, "x")(data.astronaut())
    assert alpha.shape == (512, 512)
    assert alpha[90:170, 190:250].mean() > 0.95, "the face"
    assert alpha[:100, 20:110].mean() < 0.1, "the flag beside her"
