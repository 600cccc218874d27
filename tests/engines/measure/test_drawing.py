"""Images of results and where they may be saved."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engines.errors import CannotCreate
from engines.measure.drawing import check_path


def test_a_folder_that_is_not_ours_to_write_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever user the tests run as."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(CannotCreate, match="no permission to write"):
        check_path("--plot", tmp_path / "bars.png", overwrite=False)
