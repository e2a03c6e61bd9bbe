"""The error indicator of [A] and the relative L2 error, against numbers worked out by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from submodel.geometry.metrics import error_indicator, field_errors, mean_over_samples, relative_l2


def test_indicator_is_the_mean_deviation_over_the_maximum_of_the_level() -> None:
    true = np.array([[1.0, -4.0], [2.0, 0.0]])
    predicted = np.array([[2.0, -3.0], [2.0, 3.0]])
    np.testing.assert_allclose(error_indicator(predicted, true), [1.0 / 4.0, 1.5 / 2.0], rtol=1e-15)


def test_quiet_levels_are_left_out_and_counted() -> None:
    true = np.array([[0.0, 0.0], [0.0099, 0.0], [0.01, 0.0], [0.0, -1.0]])
    errors = field_errors(true + 0.001, true)
    np.testing.assert_array_equal(np.isnan(errors.epsilon), [True, True, False, False])
    assert errors.num_left_out == 2
    # 0.001 over 0.01 and over 1; a mean over two numbers rounds by a few units of 1e-16
    assert errors.mean_epsilon == pytest.approx((0.1 + 0.001) / 2, rel=1e-12)


def test_a_level_counts_by_its_own_field() -> None:
    displacement, velocity = np.array([[0.0], [1.0]]), np.array([[1.0], [0.0]])
    np.testing.assert_array_equal(np.isnan(error_indicator(displacement, displacement)), [True, False])
    np.testing.assert_array_equal(np.isnan(error_indicator(velocity, velocity)), [False, True])


def test_relative_l2_counts_every_level() -> None:
    true = np.array([[3.0, 0.0], [0.0, 4.0]])
    assert relative_l2(true, true) == 0.0
    assert relative_l2(2 * true, true) == pytest.approx(1.0, rel=1e-15)
    assert relative_l2(true + [[0.0, 0.5], [0.0, 0.0]], true) == pytest.approx(0.1, rel=1e-15)


def test_errors_do_not_depend_on_the_unit_of_the_field() -> None:
    true = np.random.default_rng(1).standard_normal((6, 5))
    predicted = true + 0.01 * np.random.default_rng(2).standard_normal((6, 5))
    for scale in (1e-200, 1e200):  # squares would leave the range of float64
        assert relative_l2(scale * predicted, scale * true) == pytest.approx(relative_l2(predicted, true), rel=1e-12)
        np.testing.assert_allclose(
            error_indicator(scale * predicted, scale * true), error_indicator(predicted, true), rtol=1e-12
        )


def test_single_precision_is_measured_in_double() -> None:
    true = np.linspace(1.0, 2.0, 200, dtype=np.float32)[None]
    assert relative_l2(true.astype(np.float64) * (1 + 1e-9), true) == pytest.approx(1e-9, rel=1e-6)


def test_mean_over_samples_takes_the_samples_that_count() -> None:
    curves = np.array([[np.nan, np.nan, 0.1], [np.nan, 0.2, 0.3]])
    np.testing.assert_allclose(mean_over_samples(curves), [np.nan, 0.2, 0.2], rtol=1e-15)


@pytest.mark.parametrize("measure", [error_indicator, relative_l2])
def test_what_cannot_be_compared_is_refused(measure: Callable[..., object]) -> None:
    good = np.ones((3, 4))
    with pytest.raises(ValueError, match=r"got \(3, 4\) and \(3, 5\)"):
        measure(good, np.ones((3, 5)))
    with pytest.raises(ValueError, match="shape"):
        measure(np.ones(4), np.ones(4))
    with pytest.raises(ValueError, match="shape"):
        measure(np.ones((3, 0)), np.ones((3, 0)))
    with pytest.raises(ValueError, match="predicted values hold 1 non-finite"):
        measure(np.where(np.eye(3, 4) * [[1], [0], [0]], np.nan, 1.0), good)
    with pytest.raises(ValueError, match="true values hold 12 non-finite"):
        measure(good, good * np.inf)
    with pytest.raises(ValueError, match="zero at every level"):
        measure(good, 0 * good)
