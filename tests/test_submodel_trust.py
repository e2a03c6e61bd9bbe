"""Trust in a generator: the coverage of its bound on fresh samples, and what its file keeps of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binom

from submodel.case.parameters import Parameters
from submodel.predict.error_bound import Training, Trust
from submodel.predict.error_model import ErrorModel

ANGLE = np.linspace(0.0, 2.0 * np.pi, 64, endpoint=False)
GAMMA = 0.25 * np.column_stack([np.cos(ANGLE), np.sin(ANGLE)])


def draw(rng: np.random.Generator, num: int) -> np.ndarray:
    """Parameter vectors with sources in a ring around the zone."""
    radius, angle = rng.uniform(0.35, 0.9, num), rng.uniform(0.0, 2.0 * np.pi, num)
    return np.column_stack([rng.uniform(6.0, 18.0, num), radius * np.cos(angle), radius * np.sin(angle)])


def errors(rng: np.random.Generator, parameters: np.ndarray) -> np.ndarray:
    """Errors that grow with the frequency and towards the zone, with a heavy tail."""
    omega, x, y = parameters.T
    return 0.003 * (omega / 12.0) ** 2 / np.hypot(x, y) * np.exp(0.4 * rng.standard_t(4, len(omega)))


def axes(low: float, high: float) -> Parameters:
    """Sources in a square, frequencies in a range."""
    return Parameters(omega=(low, high), source_lower=(-1.0, -1.0), source_upper=(1.0, 1.0), train=0, test=0, seed=0)


def training(rng: np.random.Generator, num: int = 100) -> Training:
    return Training(axes(6.0, 18.0), draw(rng, num)[:, 1:], GAMMA)


def trust(seed: int, num: int = 100, coverage: float = 0.9) -> Trust:
    rng = np.random.default_rng(seed)
    where, parameters = training(rng), draw(rng, num)
    return Trust.calibrate(where, parameters, {"impedance": errors(rng, parameters)}, coverage=coverage)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_the_bound_has_the_coverage_that_it_promises(coverage: float) -> None:
    """Over 60 calibrations of 100 runs and 100 fresh samples each. Given the calibration, the share covered is a beta
    variable of mean k / (n + 1); its spread and that of the mean of all are known."""
    shares = []
    for seed in range(60):
        rng = np.random.default_rng([seed, 1])
        fresh = draw(rng, 100)
        shares.append(float((errors(rng, fresh) <= trust(seed, coverage=coverage).bound(fresh, "impedance")).mean()))
    num = 70
    k = np.ceil((num + 1) * coverage)
    mean = k / (num + 1)
    spread = np.sqrt(mean * (1.0 - mean) * (1.0 / (num + 2) + 1.0 / 100))
    assert np.mean(shares) == pytest.approx(mean, abs=4.0 * spread / np.sqrt(60))
    assert np.std(shares) < 1.5 * spread
    low, high = binom.ppf([1e-5, 1.0 - 1e-5], 100, mean) / 100 + 3.0 * spread * np.array([-1.0, 1.0])
    assert low <= min(shares) and max(shares) <= high


def test_the_bound_follows_the_error() -> None:
    """It is larger where errors are, and on the whole tighter than one number for all."""
    found, rng = trust(0), np.random.default_rng(9)
    fresh = draw(rng, 2000)
    bound, true = found.bound(fresh, "impedance"), errors(rng, fresh)
    assert np.corrcoef(np.log(bound), np.log(true))[0, 1] > 0.5
    assert np.exp(np.log(bound).mean()) < np.quantile(true, 0.9)


def test_a_larger_coverage_has_a_larger_bound() -> None:
    found, fresh = trust(1), draw(np.random.default_rng(2), 10)
    bounds = [found.bound(fresh, "impedance", coverage) for coverage in (0.1, 0.5, 0.8, 0.9, 0.95)]
    assert all((small < large).all() for small, large in zip(bounds[:-1], bounds[1:], strict=True))
    np.testing.assert_array_equal(found.bound(fresh, "impedance"), bounds[3])


def test_it_travels_as_json() -> None:
    found, fresh = trust(3), draw(np.random.default_rng(4), 10)
    again = Trust.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)), axes(6.0, 18.0))
    np.testing.assert_array_equal(again.bound(fresh, "impedance"), found.bound(fresh, "impedance"))
    assert again.coverage == found.coverage and again.models == found.models
    with pytest.raises(ValueError, match="error model of this generator cannot be read"):
        Trust.from_json({"omega": [1.0, 2.0]}, axes(1.0, 2.0))


def test_density_of_the_training() -> None:
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(4.0)), axis=-1).reshape(-1, 2)
    where = Training(axes(1.0, 3.0), grid, np.array([[9.0, 9.0]]))
    middle = np.mean([np.sqrt(0.5), np.sqrt(0.5), np.sqrt(0.5)])
    assert where.distance([[1.5, 1.5]])[0] == pytest.approx(middle)
    assert where.spacing()[0] == pytest.approx(1.0)
    assert where.spacing()[1] == pytest.approx((2.0 + np.sqrt(2.0)) / 3.0)  # at a corner
    assert Training(axes(1.0, 3.0), grid[:1], grid).spacing().tolist() == [np.inf, np.inf]
    features = where.features([[1.0, 1.0]], [2.0], np.empty((1, 0)))
    assert features.keys() == {"frequency", "distance", "density", "place"}
    assert features["frequency"][0] == pytest.approx([1.0, 1.0])
    middle = np.median(np.linalg.norm(grid - 9.0, axis=1))
    far = np.log(np.hypot(8.0, 8.0) / middle)
    assert features["distance"][0] == pytest.approx([far, far**2])
    assert features["density"][0] == pytest.approx([2.0 / 3.0, 2.0 / 3.0])  # itself, and two neighbours
    assert features["place"][0] == pytest.approx([0.5, 0.5])  # of the box's width from its middle
    assert where.features([[1.0, 1.0]], [2.0], [[0.5]])["axes"] == 0.5


def test_refusals() -> None:
    found, fresh = trust(5), draw(np.random.default_rng(6), 2)
    with pytest.raises(ValueError, match="no bound was calibrated for the interface condition dirichlet, only for imp"):
        found.bound(fresh, "dirichlet")
    for coverage in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            found.bound(fresh, "impedance", coverage)
    with pytest.raises(ValueError, match="a coverage of 99 % needs 99 calibration runs .* there are 70"):
        found.bound(fresh, "impedance", 0.99)
    with pytest.raises(ValueError, match="a coverage of 90 % needs 9 calibration runs"):
        trust(7, num=8)
    features = {"place": np.zeros((5, 5))}
    with pytest.raises(ValueError, match="3 calibration runs are too few"):
        ErrorModel.fit(features, np.ones(3))
    for wrong in (0.0, np.nan):
        with pytest.raises(ValueError, match="zero or not finite"):
            ErrorModel.fit(features, np.array([1.0, 1.0, wrong, 1.0, 1.0]))
