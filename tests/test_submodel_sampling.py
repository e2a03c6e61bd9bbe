"""Samples fill the parameters evenly, avoid the excluded box, and come out the same each time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from test_submodel_case import ABSENT, changed, reference

from submodel.case.case import Case
from submodel.case.parameters import Parameters
from submodel.case.sampling import from_unit_cube, sample

NUM = 400


@pytest.fixture
def case() -> Case:
    return Case.from_dict(reference())


def with_hole(lower: tuple[float, float], upper: tuple[float, float]) -> Parameters:
    """Sources in the unit square less a box."""
    return Parameters(
        omega=(1.0, 2.0),
        source_lower=(0.0, 0.0),
        source_upper=(1.0, 1.0),
        exclude_lower=lower,
        exclude_upper=upper,
        train=0,
        test=0,
        seed=0,
    )


def test_no_source_lies_in_the_excluded_box(case: Case) -> None:
    omega, x, y = sample(case, NUM, 42, "train").T
    assert not ((abs(x) < 0.35) & (abs(y) < 0.35)).any()
    assert (abs(x) <= 0.9).all()
    assert (abs(y) <= 0.9).all()
    assert (omega >= 2 * np.pi).all()
    assert (omega <= 6 * np.pi).all()


def test_every_stratum_holds_one_sample(case: Case) -> None:
    """Latin hypercube: NUM slices of equal probability hold one sample each, of omega and of x_s."""
    omega, x, _ = sample(case, NUM, 42, "train").T
    slice_of_omega = np.floor((omega / np.pi - 2) / 4 * NUM)
    assert sorted(slice_of_omega) == list(range(NUM))
    # the area left of x in [-0.9, 0.9]^2 less [-0.35, 0.35]^2, over all of it
    area = (x + 0.9) * 1.8 - 0.7 * np.clip(x + 0.35, 0, 0.7)
    assert sorted(np.floor(area / (1.8**2 - 0.7**2) * NUM)) == list(range(NUM))


def test_sources_are_uniform_over_what_is_left(case: Case) -> None:
    """Kolmogorov-Smirnov in y and along a diagonal, whose distributions the map does not prescribe."""
    _, x, y = sample(case, 4000, 1, "train").T
    rng = np.random.default_rng(0)  # the same region by rejection
    trial = rng.uniform(-0.9, 0.9, (40_000, 2))
    trial = trial[(abs(trial) >= 0.35).any(axis=1)]
    for mine, theirs in ((y, trial[:, 1]), (x + y, trial.sum(axis=1)), (x - 2 * y, trial @ [1, -2])):
        assert stats.ks_2samp(mine, theirs).pvalue > 0.01


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ((0.2, -1.0), (0.5, 2.0)),  # all heights: two boxes are left
        ((-1.0, -1.0), (0.5, 0.5)),  # a corner
        ((0.0, 0.0), (0.5, 1.0)),  # the left half
        ((0.5, -1.0), (2.0, 2.0)),  # the right half
        ((2.0, 2.0), (3.0, 3.0)),  # elsewhere
    ],
)
def test_any_place_of_the_excluded_box_keeps_volumes(lower: tuple[float, float], upper: tuple[float, float]) -> None:
    cells = (np.arange(200) + 0.5) / 200
    unit = np.stack(np.meshgrid([0.5], cells, cells, indexing="ij"), axis=-1).reshape(-1, 3)
    _, x, y = from_unit_cube(unit, with_hole(lower, upper)).T
    assert not ((x > lower[0]) & (x < upper[0]) & (y > lower[1]) & (y < upper[1])).any()
    counted, *_ = np.histogram2d(x, y, bins=10, range=((0, 1), (0, 1)))
    middles = (np.arange(10) + 0.5) / 10
    left = ~np.outer((middles > lower[0]) & (middles < upper[0]), (middles > lower[1]) & (middles < upper[1]))
    # equal areas hold equal numbers, to the one row of points that falls on either side of an edge
    assert (counted[~left] == 0).all()
    assert counted[left] == pytest.approx(np.full(left.sum(), 200**2 / left.sum()), rel=0.1)


def test_samples_are_the_same_each_time_and_differ_by_seed_and_split(case: Case) -> None:
    first = sample(case, 10, 42, "train")
    assert np.array_equal(first, sample(case, 10, 42, "train"))
    assert not np.intersect1d(first, sample(case, 10, 42, "test")).size
    assert not np.intersect1d(first, sample(case, 10, 42, "calibration")).size
    assert not np.intersect1d(first, sample(case, 10, 43, "train")).size


def test_none_and_one_can_be_drawn_and_no_box_excluded(case: Case) -> None:
    assert sample(case, 0, 42, "train").shape == (0, 3)
    assert sample(case, 1, 42, "train").shape == (1, 3)
    data = changed("parameters.exclude_lower", ABSENT)
    del data["parameters"]["exclude_upper"]
    data["parameters"]["source_lower"] = [0.4, 0.4]
    _, x, y = sample(Case.from_dict(data), NUM, 42, "test").T
    assert sorted(np.floor((x - 0.4) / 0.5 * NUM)) == list(range(NUM))
    assert sorted(np.floor((y - 0.4) / 0.5 * NUM)) == list(range(NUM))
