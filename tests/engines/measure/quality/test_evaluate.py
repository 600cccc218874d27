from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.engine import estimate_alpha, open_engine
from engines.measure.quality import evaluate, metrics
from engines.measure.quality.cases import Case
from engines.measure.quality.evaluate import Row, mask_iou


def test_matte_has_the_size_of_the_image(brightness: Path) -> None:
    """Through padding and back: an image that is half white gives the alpha that is half one."""
    rgb = np.zeros((70, 111, 3), np.uint8)
    rgb[:, 60:] = 255
    alpha = estimate_alpha(open_engine(brightness), rgb, 64)
    assert alpha.shape == (70, 111)
    assert alpha[:, :56].max() < 0.01
    assert alpha[:, 64:].min() > 0.99


def test_mask_iou_is_by_source_and_of_val_only(brightness: Path, masks: Path) -> None:
    assert mask_iou(open_engine(brightness), masks) == {"a": 1.0, "b": 0.0}


def test_mask_iou_keeps_to_its_limit(brightness: Path, masks: Path) -> None:
    engine = open_engine(brightness)
    for name in ("2", "3"):
        (masks / f"seg/a/masks/{name}.png").write_bytes(b"never read")
    assert mask_iou(engine, masks, limit=1) == {"a": 1.0, "b": 0.0}
    assert mask_iou(engine, masks / "seg") == {}


class Constant:
    """Alpha is one value; what happens to it is written down."""

    def __init__(self, value: float):
        self.name, self.value = f"always {value}", value
        self.log: list[str] = []

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        self.log.append(f"sees {rgb.flat[0]}")
        return np.full(rgb.shape[:2], self.value, np.float32)

    def reset(self) -> None:
        self.log.append("reset")


def case(i: int, kind: str = "mattes", frame: int | None = None, truth: float = 1) -> Case:
    rgb = np.full((8, 8, 3), i, np.uint8)
    label = np.full((8, 8), round(truth * 255), np.uint8)
    return Case(kind, "s", str(i), str(i), lambda: (rgb, label), frame)


def test_models_are_reset_unless_a_sequence_goes_on() -> None:
    models = [Constant(1), Constant(0)]
    order = [case(1), case(2), case(3, "green", 0), case(4, "green", 1), case(5, "green", 3)]
    rows = evaluate.evaluate([*models], order)
    for model in models:
        assert model.log == [
            "reset",
            "sees 1",
            "reset",
            "sees 2",
            "reset",
            "sees 3",
            "sees 4",
            "reset",
            "sees 5",
        ]
    assert [r.name for r in rows if "dtssd" in r.values] == ["4", "4"]


def test_rows_hold_each_figure_of_each_model() -> None:
    seen = []
    sequence = [case(1, "green", 0, truth=1), case(2, "green", 1, truth=0.6)]
    rows = evaluate.evaluate([Constant(1), Constant(0)], sequence, lambda *a: seen.append(a[3]))
    assert seen == [0, 1, 0, 1]
    assert [r.values["mad"] for r in rows] == pytest.approx([0, 1, 0.4, 0.6])
    assert [r.values["mse"] for r in rows] == pytest.approx([0, 1, 0.16, 0.36])
    assert [r.values["sad"] for r in rows] == pytest.approx([0, 64, 25.6, 38.4])
    assert rows[2].values["dtssd"] == pytest.approx(0.4)
    assert np.isnan(rows[0].values["mad_boundary"])
    assert rows[2].values["mad_boundary"] == pytest.approx(0.4)
    alpha_only = [m for m in metrics.METRICS if m.region in ("whole", "boundary")]
    assert {m.key for m in alpha_only if m.key != "iou"} == {
        key for row in rows for key in row.values
    }


def test_masks_are_not_judged_at_their_edge() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[:, 20:] = 255
    alpha = np.zeros((40, 40), np.float32)
    alpha[:, 22:] = 1
    values = evaluate.score("masks", alpha, mask)
    assert values["iou"] == pytest.approx(18 / 20)
    assert values["iou_outside"] == 1
    assert values["mad_outside"] == 0


def test_where_nobody_is_all_alpha_counts() -> None:
    alpha = np.zeros((4, 5), np.float32)
    alpha[0], alpha[1] = 0.25, 0.5
    values = evaluate.score("empty", alpha, np.zeros((4, 5), np.uint8))
    assert values == {"mass": pytest.approx(0.1875), "person": 0.25}


def test_flicker_is_where_the_image_stands_still() -> None:
    """Four columns: changed; still and solid; soft only before; soft only after."""
    before = np.tile(np.array([0, 0, 0.06, 0.04], np.float32), (3, 1))
    after = np.tile(np.array([1, 0.02, 0.04, 0.07], np.float32), (3, 1))
    still = np.tile(np.array([0, 255, 255, 255], np.uint8), (3, 1))
    found = evaluate.score_change("static", [before, after], [np.zeros_like(still), still])
    assert found["flicker"] == pytest.approx((0.02 + 0.02 + 0.03) / 3)
    assert found["flicker_soft"] == pytest.approx((0.02 + 0.03) / 2)
    nothing = evaluate.score_change("static", [before, after], [still, np.zeros_like(still)])
    assert np.isnan(nothing["flicker"])
    assert np.isnan(nothing["flicker_soft"])


def test_each_kind_of_clip_has_its_own_figures() -> None:
    order = [case(i, kind, i) for kind in ("green", "empty", "static") for i in (0, 1)]
    found = evaluate.evaluate([Constant(1)], order)
    keys = [set(r.values) for r in found if r.frame == 1]
    assert "dtssd" in keys[0]
    assert keys[1:] == [{"mass", "person"}, {"flicker", "flicker_soft"}]
    assert found[4].values == {}


def rows(model: str, values: dict[str, list[float]], per_group: int = 1) -> list[Row]:
    return [
        Row(model, "masks", source, f"{i}", f"{i // per_group}", {"iou": v})
        for source, own in values.items()
        for i, v in enumerate(own)
    ]


def test_means_are_of_sources_first() -> None:
    found = evaluate.means(rows("m", {"a": [1, 1, 1, 1], "b": [0], "c": [np.nan]}))
    assert found[""] == {"iou": 0.5}
    assert found["a"] == {"iou": 1}
    assert np.isnan(found["c"]["iou"])


def test_a_model_differs_from_itself_by_nothing() -> None:
    own = rows("m", {"a": [0.1, 0.5, 0.9], "b": [0.3, 0.4]})
    assert evaluate.compare(own, own) == {"iou": evaluate.Difference(0, 0, 0)}


def test_intervals_are_paired() -> None:
    """A steady gain is certain however much the cases differ; a gain lost in noise is not."""
    rng = np.random.default_rng(0)
    base = {s: rng.uniform(0, 1, 30).tolist() for s in "ab"}
    better = {s: [v + 0.01 + rng.normal(0, 0.002) for v in own] for s, own in base.items()}
    noisy = {s: [v + 0.01 + rng.normal(0, 0.2) for v in own] for s, own in base.items()}
    sure = evaluate.compare(rows("m", base), rows("n", better))["iou"]
    unsure = evaluate.compare(rows("m", base), rows("n", noisy))["iou"]
    assert 0.009 < sure.low < sure.value < sure.high < 0.011
    assert unsure.low < 0 < unsure.high
    gain = np.mean([np.mean(np.subtract(noisy[s], base[s])) for s in "ab"])
    assert unsure.value == pytest.approx(gain)


def test_intervals_agree_with_resampling_one_by_one() -> None:
    rng = np.random.default_rng(1)
    base = {"a": [0.0] * 12, "b": [0.0] * 5}
    other = {s: rng.normal(0, 1, len(own)).tolist() for s, own in base.items()}
    found = evaluate.compare(rows("m", base), rows("n", other))["iou"]
    draws = [
        np.mean([np.mean(rng.choice(own, len(own))) for own in other.values()])
        for _ in range(10_000)
    ]
    assert [found.low, found.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.03)


def test_intervals_hold_the_truth_about_as_often_as_they_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluate, "DRAWS", 500)
    rng, hits = np.random.default_rng(2), 0
    for _ in range(200):
        gains = {s: rng.normal(0.1, 0.5, 40).tolist() for s in "ab"}
        zero = {s: [0.0] * 40 for s in "ab"}
        found = evaluate.compare(rows("m", zero), rows("n", gains))["iou"]
        hits += found.low <= 0.1 <= found.high
    assert 178 <= hits <= 199


def test_cases_of_a_group_are_drawn_together() -> None:
    """Three composites of one cut-out tell no more than one."""
    rng = np.random.default_rng(3)
    gains = rng.normal(0, 1, 10)
    one = evaluate.compare(rows("m", {"a": [0.0] * 10}), rows("n", {"a": gains.tolist()}))["iou"]
    thrice = evaluate.compare(
        rows("m", {"a": [0.0] * 30}, 3), rows("n", {"a": np.repeat(gains, 3).tolist()}, 3)
    )["iou"]
    assert thrice.value == pytest.approx(one.value)
    assert thrice.high - thrice.low == pytest.approx(one.high - one.low, rel=0.1)


def test_one_subject_has_no_interval() -> None:
    found = evaluate.compare(
        rows("m", {"a": [0.0] * 9}, per_group=9), rows("n", {"a": [1.0] * 9}, per_group=9)
    )["iou"]
    assert found.value == 1
    assert np.isnan([found.low, found.high]).all()


def test_figures_that_a_case_lacks_are_left_out() -> None:
    base, other = {"a": [np.nan, 0.0, 0.0], "b": [np.nan]}, {"a": [np.nan, 1.0, 1.0], "b": [np.nan]}
    found = evaluate.compare(rows("m", base), rows("n", other))["iou"]
    assert found.value == 1
    assert found.low == found.high == 1


def test_other_cases_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="other cases"):
        evaluate.compare(rows("m", {"a": [1.0]}), rows("n", {"b": [1.0]}))
