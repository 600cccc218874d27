"""Where outputs go, under which names, and what is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from engines.errors import CannotCreate, UsageError
from engines.video.config import Clip, Encoding, Save
from tests.conftest import Wsshm
from tests.engines.video.outputs import ramp, run
from tests.media import noise_clip, probe


def test_names_by_default(tmp_path: Path, ones: Path) -> None:
    """Beside the input, under its name and what it is."""
    clip = noise_clip(tmp_path / "in.mkv", 2)
    every = (Save.composite, Save.alpha, Save.foreground)
    summary = run(clip, None, ones, save=every)
    names = [str(p.relative_to(tmp_path)) for p in summary.outputs]
    assert names == ["in_wsshm.mp4", "in_alpha.mp4", "in_foreground.webm"]
    cv2.imwrite(str(tmp_path / "me.jpg"), ramp(32, 32))
    summary = run(tmp_path / "me.jpg", None, ones, save=every)
    names = [p.name for p in summary.outputs]
    assert names == ["me_wsshm.png", "me_alpha.png", "me_foreground.png"]
    for overwrite in (False, True):
        summary = run(tmp_path / "me.jpg", tmp_path / "out", ones, save=every, overwrite=overwrite)
        names = [str(p.relative_to(tmp_path)) for p in summary.outputs]
        assert names == ["out/me.png", "out/me_alpha.png", "out/me_foreground.png"]
    (tmp_path / "set").mkdir()
    for name in ("b2.png", "b10.png"):
        cv2.imwrite(str(tmp_path / "set" / name), ramp(32, 32))
    summary = run(tmp_path / "set", None, ones)
    assert [p.name for p in summary.outputs] == ["set_wsshm"]
    assert sorted(p.name for p in (tmp_path / "set_wsshm").iterdir()) == ["b10.png", "b2.png"]


@pytest.mark.parametrize("name", ["takes.v2", "takes.mp4", "takes"])
def test_folder_of_any_name(wsshm: Wsshm, tmp_path: Path, ones: Path, name: str) -> None:
    """A slash at the end, or a folder that is there: PNG files go into it, whatever its name."""
    clip = noise_clip(tmp_path / "in.mp4", 2)
    for n, slash in enumerate(("/", "")):  # first it is not there yet
        result = wsshm(
            "run",
            clip,
            "--model",
            ones,
            "-o",
            f"{name}{slash}",
            "--save",
            "composite",
            "--save",
            "alpha",
            *["--overwrite"] * n,
        )
        assert result.returncode == 0, result.stderr
        assert len(list((tmp_path / name).glob("*.png"))) == 2
        assert (tmp_path / f"{name}_alpha.mp4").is_file()


def test_folder_where_a_file_would_be(tmp_path: Path, ones: Path) -> None:
    """A name that was not given stays that of a file."""
    clip = noise_clip(tmp_path / "in.mp4", 2)
    (tmp_path / "in_wsshm.mp4").mkdir()
    with pytest.raises(CannotCreate, match=r"in_wsshm\.mp4: is a folder"):
        run(clip, None, ones)


def test_file_where_an_images_folder_would_be(tmp_path: Path, ones: Path) -> None:
    cv2.imwrite(str(tmp_path / "me.jpg"), ramp(32, 32))
    (tmp_path / "notes").write_text("precious")
    with pytest.raises(CannotCreate, match=r"notes: is a file; name another folder"):
        run(tmp_path / "me.jpg", tmp_path / "notes", ones)
    with pytest.raises(UsageError, match="--format webm"):
        run(tmp_path / "me.jpg", tmp_path / "out", ones, encoding=Encoding(format="webm"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["me.jpg", "notes"]


def test_name_that_may_mean_a_folder(tmp_path: Path, ones: Path) -> None:
    """An unknown ending is refused in a line that says how a folder is written."""
    clip = noise_clip(tmp_path / "in.mp4", 2)
    with pytest.raises(UsageError, match=r"unknown kind of output \.v2; .*takes\.v2/ for a folder"):
        run(clip, tmp_path / "takes.v2", ones)
    (tmp_path / "2024.05.beach").mkdir()
    cv2.imwrite(str(tmp_path / "2024.05.beach" / "1.png"), ramp(32, 32))
    assert run(tmp_path / "2024.05.beach", None, ones).outputs == [tmp_path / "2024.05.beach_wsshm"]


def test_names_beside_a_named_output(tmp_path: Path, ones: Path) -> None:
    """``-o`` names the first; the others stand beside it, in the same kind of file."""
    clip = noise_clip(tmp_path / "in.mp4", 2)
    summary = run(clip, tmp_path / "out.mkv", ones, save=(Save.composite, Save.alpha))
    assert [p.name for p in summary.outputs] == ["out.mkv", "out_alpha.mkv"]
    cv2.imwrite(str(tmp_path / "me.png"), ramp(32, 32))
    (tmp_path / "there").mkdir()
    summary = run(tmp_path / "me.png", tmp_path / "there", ones)
    assert summary.outputs == [tmp_path / "there" / "me.png"]


def test_existing_output_is_not_replaced_unasked(tmp_path: Path, ones: Path) -> None:
    """73, the file untouched; ``--overwrite`` replaces it whole."""
    clip = noise_clip(tmp_path / "in.mp4", 5)
    out = tmp_path / "out.mp4"
    out.write_bytes(b"precious")
    with pytest.raises(CannotCreate, match=r"out\.mp4.*--overwrite") as caught:
        run(clip, out, ones)
    assert caught.value.exit_code == 73
    assert out.read_bytes() == b"precious"
    run(clip, out, ones, overwrite=True)
    assert probe(out).frames == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_every_output_is_checked_before_any_is_begun(tmp_path: Path, ones: Path) -> None:
    """The second of two exists: nothing is written for the first either."""
    clip = noise_clip(tmp_path / "in.mp4", 5)
    (tmp_path / "o_alpha.mp4").write_bytes(b"precious")
    with pytest.raises(CannotCreate, match=r"o_alpha\.mp4"):
        run(clip, tmp_path / "o.mp4", ones, save=(Save.composite, Save.alpha))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "o_alpha.mp4"]


def test_folder_in_use_is_not_written_into_unasked(tmp_path: Path, ones: Path) -> None:
    """A folder with files in it is refused; with ``--overwrite`` they are added to."""
    clip = noise_clip(tmp_path / "in.mp4", 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(CannotCreate, match="not empty"):
        run(clip, tmp_path / "out", ones)
    run(clip, tmp_path / "out", ones, overwrite=True)
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["000001.png", "000002.png", "mine.txt"]


def test_output_where_none_can_be_is_refused(tmp_path: Path, ones: Path) -> None:
    """A missing folder, and the input itself even with ``--overwrite``."""
    clip = noise_clip(tmp_path / "in.mp4", 2)
    data = clip.read_bytes()
    with pytest.raises(CannotCreate, match="does not exist"):
        run(clip, tmp_path / "none" / "out.mp4", ones)
    (tmp_path / "link.mp4").symlink_to(clip)
    for same in (clip, tmp_path / "." / "in.mp4", tmp_path / "link.mp4"):
        with pytest.raises(UsageError, match="is the input"):
            run(clip, same, ones, overwrite=True)
    assert clip.read_bytes() == data


def test_part_of_a_killed_run_is_named_and_kept(tmp_path: Path, ones: Path) -> None:
    """What another run left is neither used nor lost, and a warning names it."""
    clip = noise_clip(tmp_path / "in.mp4", 3)
    left = tmp_path / "out.part.mp4"
    left.write_bytes(b"half of a film")
    summary = run(clip, tmp_path / "out.mp4", ones)
    assert any("out.part.mp4" in w for w in summary.warnings)
    assert left.read_bytes() == b"half of a film"
    assert probe(tmp_path / "out.mp4").frames == 3


def test_names_with_strange_letters_work(tmp_path: Path, ones: Path) -> None:
    """Spaces, brackets, percent signs, colons and other scripts are only names."""
    for stem in ("a b", "[x]*?", "100%d", "file:pipe:1", "Ünï—人", "-dash", "it's"):
        clip = noise_clip(tmp_path / "in.mp4", 2)
        named = clip.rename(tmp_path / f"{stem}.mp4")
        out = tmp_path / f"{stem} out.mkv"
        run(named, out, ones)
        assert probe(Path(f"file:{out}")).frames == 2
        folder = tmp_path / f"{stem} out"
        run(named, folder, ones, save=(Save.alpha,), clip=Clip(0, 0.03))
        assert len(list(folder.iterdir())) == 1
