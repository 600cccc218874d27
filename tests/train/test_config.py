from __future__ import annotations

import os
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from engines.errors import BadData, CannotOpen, UsageError
from train.config import (
    KINDS,
    LIKE,
    LOSSES,
    RECIPES,
    STAGES,
    Config,
    Labels,
    Stage,
    differing,
    load,
    saved,
)
from train.methods import METHODS
from train.networks import architectures

SHIPPED = sorted(path.stem for path in RECIPES.glob("*.toml"))
CROPS = (256, 320, 384, 448, 512)


OF_ONE_KIND = {"mbv2_first": "pretrain", "mbv2_second": "pretrain", "dim320": "dim"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("recipe", SHIPPED)
def test_shipped_recipes_load_for_the_kinds_they_are_of(recipe: str, kind: str) -> None:
    if LIKE.get(kind, kind) != OF_ONE_KIND.get(recipe, LIKE.get(kind, kind)):
        with pytest.raises(BadData, match=rf"{recipe}\.toml: .*\[{kind}\]"):
            load(recipe, kind)
        return
    config = load(recipe, kind)
    assert config.kind == kind
    assert config.arch in architectures
    assert set(config.loss) <= set(LOSSES)
    assert config.steps >= 100 or config.epochs


def test_the_paper_recipe_has_the_papers_figures() -> None:
    pretrain, teacher, student = (load("paper", kind) for kind in KINDS[:3])
    assert [c.steps for c in (pretrain, teacher, student)] == [200_000, 10_000, 20_000]
    assert [c.lr for c in (pretrain, teacher, student)] == [1e-4, 5e-5, 5e-5]
    for config in (pretrain, teacher, student):
        assert [(s.batch, s.sizes) for s in config.stages] == [(16, CROPS)]
        assert config.weight_decay == 0  # Adam
        assert config.encoder_lr == config.warmup == config.empty == 0
        assert config.mask_edge == 1
    assert pretrain.schedule == "constant"
    assert teacher.schedule == student.schedule == "cosine"
    assert pretrain.loss == {"mse": 1.0}
    assert teacher.loss["boundary"] == student.loss["boundary"] == 0.01  # λ
    assert teacher.arch == "r101"
    assert pretrain.arch == student.arch == "r18x0.5"
    assert [c.composites for c in (pretrain, teacher, student)] == [0, 1, 0]
    assert [c.method for c in (pretrain, teacher, student)] == ["supervised", "supervised", "mlb"]
    assert student.strong
    assert student.teacher_ema == 0.999


def test_the_paper_recipe_has_the_second_papers_figures() -> None:
    config = load("paper", "dim")
    assert (config.lr, config.epochs, config.turned) == (0.01, 10, 0.0)
    assert [(s.batch, s.sizes) for s in config.stages] == [(64, (28,))]
    assert config.whole
    assert config.loss == {"alpha": 1.0}


EVERY_FIELD = Config(
    "student",
    "mbv2",
    (Stage(3, 4, (32, 64)), Stage(5, 2, (96,))),
    {"l1": 1.0, "laplacian": 3.5, "boundary": 0.01},
    lr=3e-4,
    own_losses=False,
    encoder_lr=1e-5,
    weight_decay=1e-4,
    schedule="constant",
    warmup=2,
    clip=0.5,
    frozen_norms=True,
    frozen=("encoder.*", "*.bias"),
    ema_decay=0.9,
    precision="fp32",
    method="imitate",
    strong=False,
    teacher_ema=0.5,
    composites=0.25,
    empty=0.125,
    low_contrast=0.0625,
    paste=0.375,
    mask_edge=0.5,
    fine_radius=0.02,
    fine_agreement=0.75,
    fine_doubt=0.5,
    recode=0.25,
    recode_quality=60,
    blur=0.75,
    blur_sigma=2.0,
    epochs=3,
    backgrounds_each=4,
    whole=True,
    turned=0.5,
    trimap_min=2,
    trimap_max=5,
    max_minutes=90.5,
    squashed={"c": 1.5},
    masks=7,
    mattes=8,
    seed=9,
    log_every=10,
    save_every=11,
    evaluate_every=12,
    mask_sources={"a set": 2.0, 'its "name".1': 1},
    matte_sources={"b": 0.5},
)


@pytest.mark.parametrize(
    "config", [EVERY_FIELD, *(load("paper", kind) for kind in KINDS)], ids=["all", *KINDS]
)
def test_a_config_comes_back_from_its_toml(tmp_path: Path, config: Config) -> None:
    """The config saved with a run's results is a recipe that repeats it."""
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml(version="1", teacher=""), encoding="utf-8")
    assert load(str(path), config.kind) == config
    assert Config.from_dict(config.plain(), "here") == config


def test_no_field_is_left_at_its_default_above() -> None:
    plain = load("paper", "student")
    assert [f.name for f in fields(Config) if f.name != "kind"] == [
        f.name
        for f in fields(Config)
        if f.name != "kind" and getattr(EVERY_FIELD, f.name) != getattr(plain, f.name)
    ]


def test_a_runs_own_config_says_where_it_took_place(tmp_path: Path) -> None:
    place = {"version": "1.2.3", "data": 'C:\\new "data"\\über', "teacher": ""}
    path = tmp_path / "config.toml"
    path.write_text(EVERY_FIELD.to_toml(**place), encoding="utf-8")
    assert saved(tmp_path) == EVERY_FIELD.plain() | {"run": place}


def test_a_recipe_sets_what_all_kinds_share_and_what_is_of_one(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('arch = "r34"\nseed = 4\n[student]\narch = "mbv2"\nlr = 1\n')
    teacher, student = load(str(path), "teacher"), load(str(path), "student")
    assert (teacher.arch, teacher.seed, teacher.lr) == ("r34", 4, 5e-5)
    assert (student.arch, student.seed, student.lr) == ("mbv2", 4, 1)
    paper = load("paper", "teacher")
    assert replace(teacher, arch=paper.arch, seed=paper.seed) == paper


def test_a_rival_learns_by_the_teachers_table_and_its_own_method(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('method = "mlb"\n[teacher]\nlr = 0.25\nclip = 2\n[context-aware]\nclip = 3\n')
    teacher, rival = (load(str(path), kind) for kind in ("teacher", "context-aware"))
    assert (rival.lr, rival.clip, rival.method) == (0.25, 3, "context-aware")
    assert replace(rival, kind="teacher", clip=2.0, method="mlb") == teacher


def test_three_networks_in_turn_take_as_long_as_what_they_are_compared_with(tmp_path: Path) -> None:
    """And learn what they learn, whatever a recipe says of all kinds."""
    path = tmp_path / "own.toml"
    shared = 'arch = "mbv2"\nmethod = "mlb"\nown_losses = false\ncomposites = 0.4\nempty = 0.1\n'
    tables = "[student]\nlr = 0.5\nmax_minutes = 7\n[teacher]\nlr = 0.25\n[pretrain]\nlr = 0.125\n"
    path.write_text(shared + tables + "[qun]\nclip = 3\n")
    mpn, qun, bshm = (load(str(path), kind) for kind in STAGES)
    assert [c.steps for c in (mpn, qun, bshm)] == [200_000, 10_000, 20_000]
    assert [c.max_minutes for c in (mpn, qun, bshm)] == [0, 0, 7]
    assert [c.lr for c in (mpn, qun, bshm)] == [0.125, 0.25, 0.25]
    assert [c.clip for c in (mpn, qun, bshm)] == [1, 3, 1]
    assert [c.method for c in (mpn, qun, bshm)] == ["supervised", "bshm-unify", "bshm-refine"]
    assert [(c.composites, c.empty) for c in (mpn, qun, bshm)] == [(0.4, 0.1), (1, 0), (1, 0)]
    assert all(c.own_losses for c in (mpn, qun, bshm))
    assert [c.network for c in (mpn, qun, bshm)] == ["mpn-mbv2", "qun-mbv2", "bshm-mbv2"]
    paper = load("paper", "mpn"), load("paper", "bshm")
    assert (paper[0].composites, paper[1].arch, paper[1].steps) == (0.5, "r101", 20_000)


def test_options_override_the_recipe() -> None:
    config = load("paper", "student", seed=5, masks=100, strong=False, precision=None, arch=None)
    assert (config.seed, config.masks, config.strong) == (5, 100, False)
    assert (config.precision, config.arch) == ("auto", "r18x0.5")


def test_an_option_that_is_a_dictionary_is_merged() -> None:
    config = load("paper", "student", loss={"boundary": 0.1})
    assert config.loss == load("paper", "student").loss | {"boundary": 0.1}


@pytest.mark.parametrize(
    ("text", "needles"),
    [
        ("stepz = 3", ["stepz", "unknown"]),
        ("[[student]]\n", ["student"]),
        ('lr = "fast"', ["lr", "fast"]),
        ("arch = 18", ["arch", "18"]),
        ("seed = 1.5", ["seed", "1.5"]),
        ("strong = 1", ["strong"]),
        ("masks = true", ["masks"]),
        ("loss = 1.0", ["loss"]),
        ("loss = {}", ["loss"]),
        ("loss = { l2 = 1.0 }", ["loss", "l2"]),
        ('loss = { l1 = "much" }', ["loss", "much"]),
        ("loss = { l1 = -1.0 }", ["loss", "-1.0"]),
        ("loss = { l1 = 0.0 }", ["loss", "0.0"]),
        ("mask_sources = { a = -1 }", ["mask_sources"]),
        ('mask_sources = { a = "b" }', ["mask_sources"]),
        ("stages = 3", ["stages"]),
        ("stages = []", ["stages"]),
        ("stages = [{ steps = 3, batch = 2 }]", ["sizes"]),
        ("stages = [{ steps = 3, batch = 2, sizes = 64 }]", ["stages"]),
        ("stages = [{ steps = 3, batch = 2, sizes = [] }]", ["stages"]),
        ("stages = [{ steps = 3, batch = 2, sizes = [100] }]", ["stages", "32"]),
        ("stages = [{ steps = 3, batch = 2, sizes = [-32] }]", ["stages"]),
        ("stages = [{ steps = 3, batch = 2, sizes = [64.0] }]", ["stages"]),
        ("stages = [{ steps = 0, batch = 2, sizes = [64] }]", ["stages"]),
        ("stages = [{ steps = 3, batch = 0, sizes = [64] }]", ["stages"]),
        ("stages = [{ steps = 3, batch = 1.5, sizes = [64] }]", ["stages"]),
        ('stages = [{ steps = "3", batch = 1, sizes = [64] }]', ["stages"]),
        ("stages = [{ steps = 3, batch = 1, sizes = [64], size = 1 }]", ["stages", "size"]),
        ("lr = 0", ["lr"]),
        ("lr = -1e-4", ["lr"]),
        ("lr = nan", ["lr"]),
        ("lr = inf", ["lr"]),
        ("encoder_lr = -1", ["encoder_lr"]),
        ("weight_decay = -1", ["weight_decay"]),
        ("clip = 0", ["clip"]),
        ("warmup = -1", ["warmup"]),
        ("mask_edge = -0.5", ["mask_edge"]),
        ("fine_radius = 1.5", ["fine_radius"]),
        ("fine_radius = -0.01", ["fine_radius"]),
        ("fine_agreement = 1", ["fine_agreement"]),
        ("fine_doubt = 2", ["fine_doubt"]),
        ("recode = 1.5", ["recode"]),
        ("recode_quality = 0", ["recode_quality"]),
        ("blur = -0.5", ["blur"]),
        ("blur_sigma = -1", ["blur_sigma"]),
        ("max_minutes = -1", ["max_minutes"]),
        ("squashed = { a = 0.75 }", ["squashed"]),
        ("ema_decay = 1", ["ema_decay"]),
        ("average = 1", ["ema_decay"]),
        ("teacher_ema = 1.5", ["teacher_ema"]),
        ("composites = 1.5", ["composites"]),
        ("composites = 0.6\nempty = 0.6", ["composites"]),
        ("empty = -0.1", ["empty"]),
        ("paste = 1.5", ["paste"]),
        ("masks = -1", ["masks"]),
        ("mattes = -1", ["mattes"]),
        ("seed = -1", ["seed"]),
        ("log_every = 0", ["log_every"]),
        ("save_every = 0", ["save_every"]),
        ("evaluate_every = -1", ["evaluate_every"]),
        ('schedule = "linear"', ["schedule", "linear"]),
        ('precision = "fp8"', ["precision", "fp8"]),
        ("method = 3", ["method"]),
        ("labels = 3", ["method"]),
        ("lr = ", ["not TOML"]),
        ("lr = 1\nlr = 2", ["not TOML"]),
        ("\xff", ["not TOML"]),
    ],
)
def test_what_makes_no_sense_is_one_error_that_names_key_and_file(
    tmp_path: Path, text: str, needles: list[str]
) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(BadData) as error:
        load(str(path), "student")
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for needle in needles:
        assert needle in message


def test_of_a_config_that_lacks_a_key_the_key_is_named() -> None:
    plain = EVERY_FIELD.plain()
    for key in ("arch", "stages", "loss", "lr", "kind"):
        left: dict[str, Any] = {k: v for k, v in plain.items() if k != key}
        with pytest.raises(BadData, match=rf"^here: .*\b{key}\b"):
            Config.from_dict(left, "here")


def test_a_fault_of_another_kind_is_found_when_that_kind_is_run(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("seed = 1\n[teacher]\nlr = -1\n")
    assert load(str(path), "student").seed == 1
    with pytest.raises(BadData, match="lr"):
        load(str(path), "teacher")


def test_an_unknown_recipe_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        load(str(tmp_path / "papper"), "student")
    for name in SHIPPED:
        assert name in str(error.value)
    with pytest.raises(UsageError, match=re.escape(str(tmp_path))):
        load(str(tmp_path), "student")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_recipe_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.touch(mode=0)
    with pytest.raises(CannotOpen, match=r"own\.toml"):
        load(str(path), "student")


@pytest.mark.parametrize("labels", Labels)
def test_labels_stand_for_a_method(labels: Labels) -> None:
    for given in (labels, labels.value):
        assert load("paper", "student", labels=given).method == labels.method
    assert labels.method in METHODS


def test_recipes_and_runs_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """A run of another kind than a student had the key ``labels`` too, and made no use of it."""
    path = tmp_path / "old.toml"
    path.write_text('average = 0.8\n[student]\nlabels = "teacher"\n')
    assert (load(str(path), "student").ema_decay, load(str(path), "student").method) == (
        0.8,
        "imitate",
    )
    assert (load(str(path), "teacher").ema_decay, load(str(path), "teacher").method) == (
        0.8,
        "supervised",
    )
    for kind, labels, method in (
        ("student", "blended", "mlb"),
        ("student", "masks", "supervised"),
        ("pretrain", "blended", "supervised"),
    ):
        config = replace(EVERY_FIELD, kind=kind, method=method)
        old = config.plain() | {"average": config.ema_decay, "labels": labels}
        del old["ema_decay"], old["method"]
        assert Config.from_dict(old, "here") == config


def test_a_run_of_an_earlier_version_had_the_default_of_a_key_it_lacks() -> None:
    config = load("paper", "student")
    earlier = config.plain()
    del earlier["own_losses"], earlier["squashed"], earlier["fine_radius"]
    assert differing(earlier, config) == []
    assert differing(earlier, replace(config, own_losses=False, seed=3)) == ["own_losses", "seed"]
