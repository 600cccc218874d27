"""The door: a model file says what it is, and whatever says otherwise is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto as T
from onnx import helper as h

from engines import models
from engines.contract import FORMAT, KEY, ModelSpec
from engines.cuda import has_driver
from engines.engine import open_engine
from engines.errors import BadData, CannotOpen, Unavailable, UsageError
from engines.files import sha256
from engines.preprocess import fit
from tests import graphs
from tests.conftest import Wsshm, one_error_line

relaxed = settings(deadline=None, max_examples=100)


def with_metadata(path: Path, text: str) -> Path:
    """A good graph with any text where its description should be."""
    graphs.constant(path, 1.0)
    model = onnx.load(path)
    h.set_model_props(model, {KEY: text})
    onnx.save(model, path)
    return path


def described(**changes: object) -> str:
    """A good description with fields changed."""
    return json.dumps(json.loads(graphs.SPEC.to_json()) | changes)


# Bad models


def no_metadata(path: Path) -> Path:
    graphs.constant(path, 1.0)
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    return path


def foreign_key(path: Path) -> Path:
    graphs.constant(path, 1.0)
    model = onnx.load(path)
    h.set_model_props(model, {"author": "someone", "stride": "32"})
    onnx.save(model, path)
    return path


def wrong_input_name(path: Path) -> Path:
    info = [h.make_tensor_value_info("image", T.UINT8, ["n", "h", "w", 3])]
    nodes = [
        h.make_node("Cast", ["image"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["y"], axes=[3], keepdims=0),
        h.make_node("Div", ["y", "white"], ["alpha"]),
    ]
    return graphs.build(path, nodes, {"white": np.float32([255])}, inputs=info)


def wrong_output_name(path: Path) -> Path:
    info = [h.make_tensor_value_info("matte", T.FLOAT, ["n", "h", "w"])]
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["y"], axes=[3], keepdims=0),
        h.make_node("Div", ["y", "white"], ["matte"]),
    ]
    return graphs.build(path, nodes, {"white": np.float32([255])}, outputs=info)


def second_input(path: Path) -> Path:
    info = [
        h.make_tensor_value_info("frames", T.UINT8, ["n", "h", "w", 3]),
        h.make_tensor_value_info("state", T.FLOAT, [1]),
    ]
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["y"], axes=[3], keepdims=0),
        h.make_node("Mul", ["y", "state"], ["alpha"]),
    ]
    return graphs.build(path, nodes, inputs=info)


def _typed_input(path: Path, kind: int) -> Path:
    info = [h.make_tensor_value_info("frames", kind, ["n", "h", "w", 3])]
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["y"], axes=[3], keepdims=0),
        h.make_node("Div", ["y", "white"], ["alpha"]),
    ]
    return graphs.build(path, nodes, {"white": np.float32([255])}, inputs=info)


def int8_input(path: Path) -> Path:
    return _typed_input(path, T.INT8)


def float_input(path: Path) -> Path:
    return _typed_input(path, T.FLOAT)


def float16_output(path: Path) -> Path:
    info = [h.make_tensor_value_info("alpha", T.FLOAT16, ["n", "h", "w"])]
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT16),
        h.make_node("ReduceMean", ["x"], ["alpha"], axes=[3], keepdims=0),
    ]
    return graphs.build(path, nodes, outputs=info)


def wrong_rank(path: Path) -> Path:
    info = [h.make_tensor_value_info("alpha", T.FLOAT, ["n", "h", "w", 1])]
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["y"], axes=[3], keepdims=1),
        h.make_node("Div", ["y", "white"], ["alpha"]),
    ]
    return graphs.build(path, nodes, {"white": np.float32([255])}, outputs=info)


def planar_input(path: Path) -> Path:
    """Channels first, as most other people's models are."""
    info = [h.make_tensor_value_info("frames", T.UINT8, ["n", 3, "h", "w"])]
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0),
        h.make_node("Div", ["y", "white"], ["alpha"]),
    ]
    return graphs.build(path, nodes, {"white": np.float32([255])}, inputs=info)


def half_size_output(path: Path) -> Path:
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["y"], axes=[3], keepdims=0),
        h.make_node("Slice", ["y", "begin", "end", "axes", "steps"], ["z"]),
        h.make_node("Div", ["z", "white"], ["alpha"]),
    ]
    constants = {
        "white": np.float32([255]),
        "begin": np.array([0]),
        "end": np.array([9999]),
        "axes": np.array([1]),
        "steps": np.array([2]),
    }
    return graphs.build(path, nodes, constants)


def nan_output(path: Path) -> Path:
    return graphs.constant(path, float("nan"))


def infinite_output(path: Path) -> Path:
    return graphs.constant(path, float("inf"))


def too_large_output(path: Path) -> Path:
    return graphs.constant(path, 255.0)


def negative_output(path: Path) -> Path:
    return graphs.constant(path, -0.5)


def fails_when_run(path: Path) -> Path:
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("Reshape", ["x", "impossible"], ["alpha"]),
    ]
    return graphs.build(path, nodes, {"impossible": np.array([7, 11, 13])})


def cut_off(path: Path) -> Path:
    data = graphs.constant(path, 1.0).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def junk(path: Path) -> Path:
    path.write_bytes(np.random.default_rng(0).bytes(4096))
    return path


def another_kind(path: Path) -> Path:
    path.write_text("<html>404 Not Found</html>\n" * 20)
    return path


def newer_format(path: Path) -> Path:
    return with_metadata(path, described(format=FORMAT + 1))


def newer_opset(path: Path) -> Path:
    graphs.constant(path, 1.0)
    model = onnx.load(path)
    model.opset_import[0].version = 999
    onnx.save(model, path)
    return path


def unknown_operator(path: Path) -> Path:
    return graphs.build(path, [h.make_node("CallHome", ["frames"], ["alpha"], domain="evil")])


def _external(path: Path, location: str) -> Path:
    """The constant's bytes are said to lie in another file."""
    graphs.constant(path, 1.0)
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        onnx.external_data_helper.set_external_data(tensor, location, offset=0, length=4)
        tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    return path


def external_data_beside_it(path: Path) -> Path:
    (path.parent / "weights.bin").write_bytes(b"\0" * 64)
    return _external(path, "weights.bin")


def external_data_elsewhere(path: Path) -> Path:
    return _external(path, "../../../../../../../../etc/passwd")


def external_data_by_link(path: Path) -> Path:
    (path.parent / "link.bin").symlink_to("/etc/passwd")
    return _external(path, "link.bin")


FILES = [
    no_metadata,
    foreign_key,
    wrong_input_name,
    wrong_output_name,
    second_input,
    int8_input,
    float_input,
    float16_output,
    wrong_rank,
    planar_input,
    half_size_output,
    nan_output,
    infinite_output,
    too_large_output,
    negative_output,
    fails_when_run,
    cut_off,
    empty,
    junk,
    another_kind,
    newer_format,
    newer_opset,
    unknown_operator,
    external_data_beside_it,
    external_data_elsewhere,
    external_data_by_link,
]


@pytest.mark.parametrize("make", FILES)
def test_bad_model_is_refused_by_name(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """At load or on one warm-up frame: bad data (65), one line, with the file in it."""
    path = make(tmp_path / "bad.onnx")
    with pytest.raises(BadData, match=r"bad\.onnx") as caught:
        open_engine(path)
    assert caught.value.exit_code == 65
    assert "\n" not in str(caught.value)


DESCRIPTIONS = {
    "not JSON": "stride 32",
    "empty": "",
    "a list": "[1, 2]",
    "a number": "7",
    "null": "null",
    "no format": json.dumps({"name": "x"}),
    "format as text": described(format="1"),
    "no fields": json.dumps({"format": FORMAT}),
    "sizes as a number": described(trained_sizes=512),
    "stride as text": described(stride="32"),
    "stride with a fraction": described(stride=32.5),
    "stride null": described(stride=None),
    "stride of 0": described(stride=0),
    "stride below 0": described(stride=-32),
    "stride without end": described(stride=float("inf")),
    "stride not a number": described(stride=float("nan")),
    "size of 0": described(size=0),
    "size as text": described(size="512"),
    "size huge": described(size=10**9),
    "name as a number": described(name=7),
    "input as a number": described(input=7),
    "output as a list": described(output=["alpha"]),
    "precision as a list": described(precision=["fp32"]),
    "metrics as a list": described(metrics=[1]),
    "nested without end": "[" * 100_000,
}


@pytest.mark.parametrize("what", DESCRIPTIONS)
def test_bad_description_is_refused_by_name(tmp_path: Path, what: str) -> None:
    """A description that is missing a field, or has one of another type, is bad data."""
    path = with_metadata(tmp_path / "bad.onnx", DESCRIPTIONS[what])
    with pytest.raises(BadData, match=r"bad\.onnx"):
        open_engine(path)


@relaxed
@given(
    st.text()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    ).map(json.dumps)
)
def test_any_text_for_a_description_is_refused(text: str) -> None:
    """Whatever stands in the metadata, the answer is bad data."""
    with pytest.raises(BadData):
        ModelSpec.from_metadata({KEY: text}, "some.onnx")


_json = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@relaxed
@given(
    st.dictionaries(
        st.sampled_from([*json.loads(graphs.SPEC.to_json())]), _json | st.lists(_json, max_size=2)
    )
)
def test_any_field_of_another_type_is_refused(changes: dict[str, object]) -> None:
    """What `from_metadata` does accept has the types it says."""
    try:
        spec = ModelSpec.from_metadata({KEY: described(**changes)}, "some.onnx")
    except BadData:
        return
    assert isinstance(spec.stride, int)
    assert isinstance(spec.size, int)
    for text in (spec.name, spec.arch, spec.precision, spec.input, spec.output):
        assert isinstance(text, str)
    assert all(isinstance(s, int) for s in spec.trained_sizes)


def test_missing_model_is_not_bad_data(tmp_path: Path) -> None:
    """No file, a folder: cannot be opened (66)."""
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(CannotOpen, match=path.name):
            open_engine(path)


def test_model_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    """A file of 300 MB (with a hole in it) is refused by its size."""
    path = tmp_path / "huge.onnx"
    with path.open("wb") as f:
        f.truncate(300 << 20)
    with pytest.raises(BadData, match=r"huge\.onnx.*300 MB"):
        open_engine(path)


def test_bad_model_ends_a_run_before_anything_is_written(
    wsshm: Wsshm, portrait: Path, tmp_path: Path
) -> None:
    """From the command line: 65, one line, no output and no part of one."""
    result = wsshm("run", portrait, "--model", fails_when_run(tmp_path / "bad.onnx"), "-o", "o.mp4")
    assert result.returncode == 65
    one_error_line(result, "bad.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.onnx"]


# Good models


def test_engine_runs_where_it_says(brightness: Path) -> None:
    """The provider is the CPU's, and alpha is what the graph computes."""
    engine = open_engine(brightness)
    assert (engine.name, engine.device) == ("onnx", "cpu")
    assert engine._session.get_providers() == ["CPUExecutionProvider"]  # type: ignore[attr-defined]
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), np.uint8)
    alpha = engine(frames)
    assert alpha.dtype == np.float32
    np.testing.assert_allclose(alpha, frames.mean(3) / 255, atol=1e-6)


def test_threads_do_not_change_alpha(brightness: Path) -> None:
    """1 and 2 threads of the network give the same matte."""
    frames = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), np.uint8)
    one, two = (open_engine(brightness, threads=n)(frames) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_values_just_outside_are_rounding(tmp_path: Path) -> None:
    """1e-4 over 1 is a rounding error of the network, not damage."""
    frames = np.zeros((1, 32, 32, 3), np.uint8)
    for value in (1.0001, -0.0001):
        engine = open_engine(graphs.constant(tmp_path / "m.onnx", value))
        assert engine(frames).max() == pytest.approx(value, abs=1e-6)


def test_bad_values_are_caught_on_any_frame(tmp_path: Path) -> None:
    """A model that is well on black and not on white fails on the first white frame."""
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["y"], axes=[3], keepdims=0),
        h.make_node("Div", ["y", "little"], ["alpha"]),
    ]
    path = graphs.build(tmp_path / "bad.onnx", nodes, {"little": np.float32([100])})
    engine = open_engine(path)
    with pytest.raises(BadData, match=r"bad\.onnx.*\[0, 1\]"):
        engine(np.full((1, 32, 32, 3), 255, np.uint8))


@pytest.mark.skipif(has_driver(), reason="an NVIDIA driver is installed")
def test_cuda_is_refused_not_replaced(wsshm: Wsshm, portrait: Path, ones: Path) -> None:
    """What was asked for by name and is not there is an error (69), never a quiet CPU run."""
    for device in ("cuda", "cuda:0"):
        with pytest.raises(Unavailable, match="cuda"):
            open_engine(ones, device)
    with pytest.raises(Unavailable, match="NVIDIA driver"):
        open_engine(ones, engine="tensorrt")
    for device, name in (("quantum", "auto"), ("auto", "quantum"), ("cpu", "tensorrt")):
        with pytest.raises(UsageError, match=r"quantum|tensorrt"):
            open_engine(ones, device, engine=name)
    result = wsshm("run", portrait, "--model", ones, "--device", "cuda", "-o", "out.mp4")
    assert result.returncode == 69
    one_error_line(result, "cuda: no NVIDIA driver", "; run: ")
    result = wsshm("run", portrait, "--model", ones, "--engine", "tensorrt", "-o", "out.mp4")
    assert result.returncode == 69
    one_error_line(result, "cuda: no NVIDIA driver")


@pytest.mark.skipif(has_driver(), reason="an NVIDIA driver is installed")
def test_auto_takes_the_cpu_where_no_gpu_is(ones: Path) -> None:
    """Without a word where there is none; with the reason where there is one that is no use."""
    notes: list[str] = []
    assert open_engine(ones, say=notes.append).device == "cpu"
    assert notes == []


@pytest.mark.skipif(has_driver(), reason="an NVIDIA driver is installed")
def test_auto_says_why_a_gpu_is_not_used(ones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("engines.cuda", "engines.engine"):
        monkeypatch.setattr(f"{module}.has_driver", lambda: True)
    notes: list[str] = []
    assert open_engine(ones, say=notes.append).device == "cpu"
    assert len(notes) == 1
    assert notes[0].startswith("the GPU is not used: cuda: ")


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
            spec = open_engine(file.path).spec
            assert (spec.name, spec.precision) == (model.name, precision)
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
    """A folder of weights: `one` in fp32, `two`, the default, in fp32 and int8."""
    for name in ("one", "two", "two_int8"):
        graphs.constant(tmp_path / f"{name}.onnx", 1.0)
    given = {"one": {"fp32": "one"}, "two": {"fp32": "two", "int8": "two_int8"}}
    index = {
        "default": "two",
        "models": {
            name: {
                "summary": name,
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
    with pytest.raises(UsageError, match=r"--precision fp16: two is shipped in fp32, int8$"):
        models.files("two", ["fp16"])
    with pytest.raises(CannotOpen, match=r"three.*one"):
        models.files("three", ["fp32"])
    for model in models.shipped():
        models.verify(model)


# Properties

specs = st.builds(
    ModelSpec,
    name=st.text(),
    arch=st.text(),
    stride=st.integers(1, 256),
    size=st.integers(1, 8192),
    trained_sizes=st.lists(st.integers(1, 8192)).map(tuple),
    precision=st.sampled_from(["fp32", "fp16", "int8"]),
    input=st.text(min_size=1),
    output=st.text(min_size=1),
    licence=st.text(),
    trained_on=st.text(),
    metrics=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
)


@relaxed
@given(specs)
def test_spec_survives_json(spec: ModelSpec) -> None:
    """What is written into a file is what is read out of it; unknown fields are passed over."""
    assert ModelSpec.from_metadata({KEY: spec.to_json()}, "x") == spec
    more = json.dumps(json.loads(spec.to_json()) | {"added_later": [1, 2]})
    assert ModelSpec.from_metadata({KEY: more}, "x") == spec


sides = st.integers(1, 10_000)
sizes = st.integers(64, 2160)
strides = st.sampled_from([1, 8, 16, 32, 64])


@relaxed
@given(sides, sides, sizes, strides)
def test_fit_keeps_aspect_within_a_pixel(width: int, height: int, size: int, stride: int) -> None:
    """One scale for both sides, to half a pixel; padded to the stride by less than a stride."""
    f = fit(width, height, size, stride)
    scale = min(size / min(width, height), 8 * size / max(width, height))
    assert abs(f.width - width * scale) <= 0.5 or f.width == 1
    assert abs(f.height - height * scale) <= 0.5 or f.height == 1
    assert f.padded_width % stride == f.padded_height % stride == 0
    assert 0 <= f.padded_width - f.width < stride
    assert 0 <= f.padded_height - f.height < stride
    if max(width, height) <= 8 * min(width, height):
        assert min(f.width, f.height) == size


@relaxed
@given(sides, sides, sizes, strides)
def test_fit_bounds_what_a_strip_can_ask_for(
    width: int, height: int, size: int, stride: int
) -> None:
    """However long and thin, the network never sees more than 8 × `size` along an edge."""
    f = fit(width, height, size, stride)
    assert max(f.width, f.height) <= 8 * size
    assert min(f.width, f.height) >= 1


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(64, 160), strides)
def test_padding_is_undone_exactly(width: int, height: int, size: int, stride: int) -> None:
    """unpad(pad(x)) is x; what is added repeats the last column and row."""
    f = fit(width, height, size, stride)
    rgb = np.random.default_rng(0).integers(0, 256, (f.height, f.width, 3), np.uint8)
    padded = f.pad(rgb)
    assert padded.shape == (f.padded_height, f.padded_width, 3)
    np.testing.assert_array_equal(f.unpad(padded), rgb)
    np.testing.assert_array_equal(
        padded[:, f.width :], padded[:, [f.width - 1]][:, :1].repeat(f.padded_width - f.width, 1)
    )
    np.testing.assert_array_equal(
        padded[f.height :], padded[[f.height - 1]].repeat(f.padded_height - f.height, 0)
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 500), st.integers(1, 500), st.integers(64, 160))
def test_shrink_gives_what_the_network_takes(width: int, height: int, size: int) -> None:
    """Any image becomes the padded size, with its mean colour."""
    f = fit(width, height, size, 32)
    rgb = np.full((height, width, 3), (10, 120, 250), np.uint8)
    small = f.shrink(rgb)
    assert small.shape == (f.padded_height, f.padded_width, 3)
    assert (small == (10, 120, 250)).all()
