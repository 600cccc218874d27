"""Shipped models, and files by their path."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines import models
from engines.engine import as_shipped, open_engine
from engines.errors import BadData, CannotOpen, UsageError
from engines.files import sha256
from engines.models import own_size, own_spec, resolve_model
from tests import graphs


def test_unknown_model_names_the_known() -> None:
    """A name that is neither shipped nor a file: 66, with what there is."""
    with pytest.raises(CannotOpen, match=r"nothing.*default, fast"):
        models.find("nothing")


def test_shipped_models_are_whole_and_say_what_they_are() -> None:
    """Every shipped file has its SHA-256, card and summary, loads, and is what it says."""
    shipped = models.shipped()
    assert [m.default for m in shipped].count(True) == 1
    assert models.find(None) == shipped[0].path
    for model in shipped:
        models.verify(model)
        assert model.card.is_file()
        assert model.summary
        for precision, file in model.files.items():
            spec = as_shipped(open_engine(file.path), model.name).spec
            assert (spec.name, spec.precision) == (model.name, precision)
            assert spec.size == (model.size or spec.size)
            assert spec.licence != "unstated"
            assert spec.trained_on != "unstated"


def test_changed_model_is_not_the_shipped_one(tmp_path: Path) -> None:
    """One bit of difference in one file is seen by `verify`; a missing file as well."""
    shipped = models.shipped()[0]
    data = bytearray(shipped.path.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "m.onnx").write_bytes(data)
    for name, error, says in (
        ("m.onnx", BadData, "SHA-256"),
        ("none.onnx", CannotOpen, "missing"),
    ):
        changed = replace(shipped.files["fp32"], path=tmp_path / name)
        with pytest.raises(error, match=says):
            models.verify(replace(shipped, files=shipped.files | {"int8": changed}))


@pytest.fixture
def two_precisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights: `one` in fp32, `two`, the default, in fp32 and int8.

    `small` has the fp32 file of `two` at a size of its own.
    """
    for name in ("one", "two", "two_int8"):
        graphs.constant(tmp_path / f"{name}.onnx", 1.0)
    given = {
        "one": {"fp32": "one"},
        "two": {"fp32": "two", "int8": "two_int8"},
        "small": {"fp32": "two"},
    }
    index = {
        "default": "two",
        "models": {
            name: {
                "summary": name,
                **({"size": 32} if name == "small" else {}),
                "files": {
                    p: {"file": f"{f}.onnx", "sha256": sha256(tmp_path / f"{f}.onnx")}
                    for p, f in files.items()
                },
            }
            for name, files in given.items()
        },
    }
    (tmp_path / "index.json").write_text(json.dumps(index))
    monkeypatch.setattr(models, "WEIGHTS", tmp_path)
    return tmp_path


def test_files_are_found_by_name_and_precision(two_precisions: Path, ones: Path) -> None:
    """In the order asked for, as far as the model has them; a path stands alone."""
    folder = two_precisions
    assert models.find("two") == models.find(None) == folder / "two.onnx"
    both = models.files(None, ["int8", "fp32"])
    assert [*both.items()] == [("int8", folder / "two_int8.onnx"), ("fp32", folder / "two.onnx")]
    assert models.files("two", ["int8"]) == {"int8": folder / "two_int8.onnx"}
    assert models.files("one", ["int8", "fp32"]) == {"fp32": folder / "one.onnx"}
    assert [*models.files(str(ones), ["int8"]).values()] == [ones]
    with pytest.raises(UsageError, match=r"--precision int8: one is shipped in fp32$"):
        models.files("one", ["int8"])
    with pytest.raises(UsageError, match=r"--precision fp16: two is shipped in fp32, int8; make "):
        models.files("two", ["fp16"])
    with pytest.raises(CannotOpen, match=r"three.*one"):
        models.files("three", ["fp32"])
    for model in models.shipped():
        models.verify(model)


def test_models_that_share_a_file_differ_in_name_and_size(two_precisions: Path) -> None:
    """Whatever a file says of itself; files by their path stay what they say."""
    spec = graphs.SPEC
    assert models.find("small") == models.find("two")
    assert [own_size(n) for n in ("small", "small-fp32", "two", None)] == [32, 32, None, None]
    for typed in ("small", "small-fp32"):
        assert own_spec(typed, spec) == replace(spec, name="small", size=32)
    for typed in ("two", "two-int8", None, str(models.find("small"))):
        assert own_spec(typed, spec) == spec
    engine = open_engine(models.find("small"))
    small, frames = as_shipped(engine, "small"), np.zeros((1, 32, 64, 3), np.uint8)
    assert (small.spec.size, engine.spec) == (32, spec)  # another model may use the engine, too
    np.testing.assert_array_equal(small(frames), engine(frames))
    assert as_shipped(engine, "two") is engine


def test_a_precision_is_named_with_its_model() -> None:
    called, path = resolve_model("fast-fp32")
    assert (called, path) == ("fast-fp32", resolve_model("fast")[1])


def test_what_is_not_shipped_in_float16_is_said_how_to_make() -> None:
    with pytest.raises(CannotOpen) as e:
        resolve_model("fast-fp16")
    assert e.value.remedy == (
        "make fast-fp16.onnx: wsshm export fast --precision fp16; then --model takes it"
    )
    with pytest.raises(CannotOpen) as e:
        resolve_model("other-fp16")
    assert not e.value.remedy
