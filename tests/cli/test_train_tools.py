"""`wsshm train label`, `pseudo` and `average`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from pathlib import Path

import cv2
import pytest
import torch
from skimage import data

from tests.conftest import Wsshm, one_error_line
from tests.faults.helpers import Running, disk, parts
from train.checkpoint import checkpoint
from train.networks import build
from train.tools.average import average

pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two sets of weights of one architecture."""
    paths = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        net = build("r18x0.25")
        paths.append(tmp_path / f"{seed}.safetensors")
        checkpoint.save_weights(paths[-1], net.arch, net.state_dict(), {})
    return paths


def test_the_mean_can_be_loaded(wsshm: Wsshm, files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "mean.safetensors"
    result = wsshm("train", "average", out, f"{files[0]}=0.5", files[1], timeout=140)
    assert result.returncode == 0, result.stderr
    assert "0.safetensors 0.5" in result.stdout
    arch, state = checkpoint.weights(out)
    checkpoint.match(build(arch), state, out)
    torch.testing.assert_close(state, average([(files[0], 1.0), (files[1], 2.0)])[1])


def test_a_weight_of_nothing_is_refused(wsshm: Wsshm, files: list[Path], tmp_path: Path) -> None:
    result = wsshm("train", "average", tmp_path / "mean", f"{files[0]}=0")
    assert result.returncode == 2
    one_error_line(result, "weight over 0")
    assert result.stderr.count("\n") == 1


def test_weights_are_not_replaced_unasked(wsshm: Wsshm, files: list[Path], tmp_path: Path) -> None:
    """Such as the first file, where OUT was forgotten."""
    before = files[0].read_bytes()
    refused = wsshm("train", "average", *files)
    assert refused.returncode == 73
    one_error_line(refused, "0.safetensors: exists already")
    assert files[0].read_bytes() == before
    assert wsshm("train", "average", *files, "--overwrite", timeout=140).returncode == 0
    assert files[0].read_bytes() != before
    refused = wsshm("train", "average", tmp_path / "mean.pt", *files)
    assert refused.returncode == 2
    one_error_line(refused, "must end in .safetensors")


def test_masks_are_made_for_boxes(wsshm: Wsshm, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images/a.png"), data.astronaut()[..., ::-1])
    (tmp_path / "boxes.csv").write_text("name,cx,cy,w,h\na,0.5,0.5,1,1\n")
    result = wsshm("train", "pseudo", "fast", "images", "boxes.csv", "seg/new", timeout=140)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("seg/new: 1 of 1 images")
    assert (tmp_path / "seg/new/masks/a.png").is_file()
    refused = wsshm("train", "pseudo", "fast", ".", "boxes.csv", "seg/new", timeout=140)
    assert refused.returncode == 65
    one_error_line(refused, "no image that")
    assert refused.stderr.count("\n") == 1


# ---- label


@pytest.fixture
def photos(dataset: Path, tmp_path: Path) -> Path:
    """Three photographs with masks, and no fine label yet."""
    return shutil.copytree(dataset, tmp_path / "data")


def fine(root: Path) -> list[str]:
    """Return the names of the finished fine labels."""
    return sorted(p.name for p in root.glob("seg/*/fine/*") if ".part" not in p.name)


def test_fine_labels_are_made_once_and_drawn(wsshm: Wsshm, photos: Path, tmp_path: Path) -> None:
    args = ("train", "label", "--with", "fast", "--data", photos, "--set", "a")
    result = wsshm(*args, "--sheet", "sheet.png")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{photos}: 3 fine labels made by fast\n"
    assert "contact sheet → sheet.png" in result.stderr
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[1] == 3 * 4 * 320 + 24
    assert fine(photos) == ["1.webp", "10.webp", "2.webp"]
    stamp = (photos / "seg/a/fine/1.webp").stat().st_mtime_ns
    (photos / "seg/a/fine/2.webp").unlink()
    again = wsshm(*args)
    assert again.stdout == f"{photos}: 1 fine labels made by fast, 2 were there already\n"
    assert (photos / "seg/a/fine/1.webp").stat().st_mtime_ns == stamp
    check = wsshm("train", "--check", "--data", photos)
    assert check.returncode == 0, check.stdout
    assert check.stderr == ""


def test_check_warns_of_what_a_step_would_not_find(wsshm: Wsshm, photos: Path) -> None:
    """With masks alone, which are enough for others: no fault."""
    for kind in ("matte", "background"):
        shutil.rmtree(photos / kind)
    result = wsshm("train", "--check", "--data", photos)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{photos}: no fault in ")
    needs = "wsshm train teacher needs cut-outs in matte/<set> and photographs without people"
    assert result.stderr == f"wsshm: warning: {photos}: {needs} in background\n"


@pytest.mark.parametrize(
    ("args", "code", "needle"),
    [
        (("--with", "junk.onnx"), 65, "junk.onnx: not a model ONNX Runtime can load"),
        (("--with", "nothing.onnx"), 66, "--with nothing.onnx: no such file"),
        (("--with", "fast", "--set", "b"), 2, "--set b: no photographs with masks"),
        (("--with", "fast", "--data", "empty"), 65, "empty: no train images in seg"),
        (("--with", "fast", "--sheet", "sheet.txt"), 2, "--sheet sheet.txt: must end in"),
        (("--with", "fast", "--recipe", "none"), 2, "--recipe none: no such file"),
    ],
)
def test_what_cannot_teach_or_be_taught_is_one_line(
    wsshm: Wsshm, photos: Path, tmp_path: Path, args: tuple[str, ...], code: int, needle: str
) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"junk" * 100)
    (tmp_path / "empty").mkdir()
    result = wsshm("train", "label", *args, env=os.environ | {"WSSHM_DATA": str(photos)})
    assert result.returncode == code, result.stderr
    one_error_line(result, needle)
    assert result.stderr.count("\n") == 1
    assert fine(photos) == []


def test_a_mask_of_another_size_is_named_and_the_others_are_labelled(
    wsshm: Wsshm, photos: Path
) -> None:
    cv2.imwrite(str(photos / "seg/a/masks/2.png"), data.moon()[:64, :64])
    result = wsshm("train", "label", "--with", "fast", "--data", photos)
    assert result.returncode == 65
    one_error_line(result, "1 of 3 photographs have no fine label")
    (line,) = [x for x in result.stderr.splitlines() if x.startswith("wsshm: warning: ")]
    assert "masks/2.png: 64x64, its image is 128x128; both must have one size" in line
    assert fine(photos) == ["1.webp", "10.webp"]


@pytest.fixture
def many(photos: Path) -> Path:
    """A hundred photographs, so that there is time to stop."""
    for i in range(100, 220):
        for name in ("images/{}.jpg", "masks/{}.png"):
            os.link(photos / "seg/a" / name.format(1), photos / "seg/a" / name.format(i))
    return photos


def started(root: Path, tmp_path: Path) -> Running:
    return Running(["train", "label", "--with", "fast", "--data", root], tmp_path)


def some_made(root: Path, running: Running, count: int) -> None:
    while len(fine(root)) < count:
        assert running.process.poll() is None
        time.sleep(0.01)


def test_a_killed_run_goes_on(many: Path, tmp_path: Path, wsshm: Wsshm) -> None:
    """No label is half one, and those that were made stay."""
    with started(many, tmp_path) as running:
        some_made(many, running, 5)
        running.process.kill()
        running.finish()
    made = fine(many)
    stamps = {name: (many / "seg/a/fine" / name).stat().st_mtime_ns for name in made}
    assert 5 <= len(made) < 123
    for name in made:
        assert cv2.imread(str(many / "seg/a/fine" / name)).shape == (128, 128, 3)
    result = wsshm("train", "label", "--with", "fast", "--data", many)
    assert result.returncode == 0, result.stderr
    assert f", {len(made)} were there already" in result.stdout
    assert len(fine(many)) == 123
    for name in made:
        assert (many / "seg/a/fine" / name).stat().st_mtime_ns == stamps[name]
    assert not parts(many / "seg/a/fine")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_between_two_labels(
    many: Path, tmp_path: Path, signum: int, code: int
) -> None:
    with started(many, tmp_path) as running:
        some_made(many, running, 2)
        running.process.send_signal(signum)
        ended = running.finish()
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    (line,) = re.findall(r"^stopped, (\d+) are left; the same command goes on$", ended.stderr, re.M)
    assert len(fine(many)) == 123 - int(line)
    assert not parts(many / "seg/a/fine")


def test_a_full_disk_is_one_line_and_keeps_what_was_made(
    many: Path, tmp_path: Path, wsshm: Wsshm
) -> None:
    with disk(tmp_path / "disk", 3000) as folder:
        root = folder / "data"
        for kind in ("images", "masks"):
            (root / "seg/a").mkdir(parents=True, exist_ok=True)
            (root / "seg/a" / kind).symlink_to(many / "seg/a" / kind)
        (folder / "filler").write_bytes(bytes(2_900_000))
        result = wsshm("train", "label", "--with", "fast", "--data", root)
        assert result.returncode == 74, result.stderr
        one_error_line(result, "fine/", os.strerror(28), "free some space")
        assert 1 <= len(fine(root)) < 123
        assert not parts(root / "seg/a/fine")
        for name in fine(root):
            assert cv2.imread(str(root / "seg/a/fine" / name)) is not None
