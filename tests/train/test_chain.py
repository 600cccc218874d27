"""A run trains its pre-training first and finds its teacher."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.conftest import Refused
from tests.train.processes import Chain

pytestmark = pytest.mark.timeout(900)  # every process imports torch, on whatever machine


def test_a_student_without_a_teacher_names_the_command(student: Refused, tmp_path: Path) -> None:
    code, words = student("--runs", tmp_path / "none")
    assert code == 66
    assert "no finished teacher in it; run wsshm train teacher first" in words


def test_pretraining_from_other_masks_is_refused_with_advice(
    chain: Chain, student: Refused, tmp_path: Path
) -> None:
    code, words = student("--out", tmp_path / "out", "--masks", 1)
    assert code == 2
    weights = chain.out("pretrain") / "model.safetensors"
    assert f"was made with another masks; --init {weights} takes it as it is" in words
