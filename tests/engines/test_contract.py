"""The description in a model file: whatever it says, it is read or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.contract import FORMAT, KEY, ModelSpec
from engines.engine import open_engine
from engines.errors import BadData
from tests import graphs
from tests.engines.bad_models import described, with_metadata

relaxed = settings(deadline=None, max_examples=100)


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
