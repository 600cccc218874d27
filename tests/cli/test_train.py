"""`wsshm train`: its options; training itself is tested in ``tests/train``."""

from __future__ import annotations

import pytest

from tests.cli.helpers import refuses
from tests.conftest import Wsshm, one_error_line
from train.config import Labels


@pytest.mark.train
@pytest.mark.parametrize("labels", Labels)
def test_labels_are_those_of_the_config(wsshm: Wsshm, labels: Labels) -> None:
    result = wsshm("train", "student", "--labels", labels.value, "--data", "nowhere")
    assert result.returncode == 66
    one_error_line(result, "nowhere")


@pytest.mark.parametrize(
    ("args", "needle"),
    [
        (("student", "--labels", "none"), "none"),
        (("student", "--precision", "fp8"), "fp8"),
        (("teacher", "--lambda", "-1"), "--lambda"),
        (("--check", "student"), "--check stands alone"),
        (("--data", "here"), "name a step"),
    ],
)
def test_wrong_usage_is_2(wsshm: Wsshm, args: tuple[str, ...], needle: str) -> None:
    refuses(wsshm("train", *args), needle)
