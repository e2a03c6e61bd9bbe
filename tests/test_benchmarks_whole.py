"""What the benchmark of the whole works out from times: where zooming pays, and when the training has paid."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from whole_chart import Size, draw, runs_that_pay, where_equal  # noqa: E402
from whole_runs import LANES, Zoom, full_model, in_turn, of_size, parameters, untrained  # noqa: E402

from submodel.case.case import Case  # noqa: E402
from submodel.solve import from_case as build

CASES = Path(__file__).parents[1] / "cases"
# times proportional to the area: equal at 3 alone, at 5 in batches
SIZES = [Size(ratio, ratio, 3.0, 0.1 * ratio, 0.5) for ratio in (2.0, 16.0, 256.0)]


def test_break_even_is_where_times_are_equal() -> None:
    """Powers of the ratio are met exactly, between sizes and beyond them."""
    assert where_equal(SIZES) == pytest.approx((3.0, 5.0))
    assert where_equal(SIZES[1:]) == pytest.approx((3.0, 5.0))
    slow = [Size(size.ratio, size.full, 1024.0, size.full_batched, 0.5) for size in SIZES]
    assert where_equal(slow)[0] == pytest.approx(1024.0)


def test_a_training_pays_where_zooming_saves() -> None:
    assert runs_that_pay(SIZES[1], 80, 30.0) == pytest.approx(((80 * 1.6 + 30) / 13, (80 * 1.6 + 30) / 1.1))
    assert runs_that_pay(SIZES[0], 80, 30.0) == (float("inf"), float("inf"))


def test_the_chart_is_drawn(tmp_path: Path) -> None:
    draw(SIZES, (80, 30.0), tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 10_000


def test_short_runs_are_repeated_and_long_ones_are_not() -> None:
    calls = {"short": 0}

    def short() -> None:
        calls["short"] += 1

    seconds = in_turn({"short": (short, 4)}, 1)
    assert calls["short"] > 100 and seconds["short"] > 0


def test_both_sides_run_the_same_case() -> None:
    """An untrained generator has the case's size; stencils change no bit; batches are single runs."""
    case = Case.load(CASES / "large2d.toml")
    full = full_model(of_size(case, 0.5), stencils=False)
    assert full.V.dofmap.index_map.size_global == 65**2
    generated = untrained(case, full)
    assert generated.generator.spec.num_frequencies == 28 and len(generated.generator.spec.symmetries) > 1
    zoom = Zoom(case, generated, stencils=False)
    many = parameters(LANES["float64"], 0.5)
    data = zoom.predict(many)
    found = zoom.step(data, "float64").copy()
    np.testing.assert_array_equal(zoom.step(data[:1], "")[0], found[0])
    np.testing.assert_array_equal(Zoom(case, generated, stencils=True).step(data, "float64"), found)
    full.require_sources(many[:, 1:])
    assert all(not build.point_source(case, each).position[0] < 0.25 for each in many)
