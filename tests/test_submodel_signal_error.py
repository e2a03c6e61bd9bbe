"""Expected errors of signals by the spectrum of held-out residuals, and bounds that follow the signal."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from networks.response.signal_response import LowPass, toeplitz
from submodel.case.parameters import Parameters
from submodel.predict.error_bound import Training, Trust
from submodel.predict.error_model import FEW, SIGNAL, ErrorModel, Features, split
from submodel.predict.signal_error import ResidualSpectrum, RunPowers

NUM_LEVELS, DT, BAND = 120, 0.05, (3.0, 9.0)
LOW_PASS = LowPass(0.8 * BAND[1], DT)
PERIOD = round(1.25 * (NUM_LEVELS - 1))
OMEGA = np.array(2.0 * np.pi * np.arange(30) / (PERIOD * DT), dtype=np.float64)
TIMES = DT * np.arange(NUM_LEVELS + 1)
NUM_NODES = 6


def responses(rng: np.random.Generator, num: int, size: np.ndarray) -> np.ndarray:
    """Amplitudes of random responses, (run, node, K), whose mean square at each frequency is that size squared."""
    shape = (num, NUM_NODES, len(OMEGA))
    return size * (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.sqrt(2.0)


def traces(amplitudes: np.ndarray, signals: np.ndarray) -> np.ndarray:
    """u of responses with these amplitudes for a signal each, (run, level, node)."""
    waves = np.exp(1j * DT * np.outer(np.arange(NUM_LEVELS), OMEGA))
    y = np.real(np.einsum("tk,nak->nta", waves, amplitudes))
    drives = LOW_PASS.inverse(signals, axis=-1)[:, :-1]
    return np.stack([toeplitz(drive) @ each for drive, each in zip(drives, y, strict=True)])


def pulses(omega: np.ndarray) -> np.ndarray:
    """Tone bursts of five periods, (run, level + 1)."""
    length = 5.0 * 2.0 * np.pi / omega[:, None]
    return np.where(length > TIMES, np.sin(np.pi * TIMES / length) ** 2 * np.sin(omega[:, None] * TIMES), 0.0)


FIELD = np.array(1.0 / (1.0 + OMEGA), dtype=np.float64)
RESIDUAL = (
    FIELD * 0.01 * np.exp(0.5 * (np.minimum(OMEGA, BAND[1]) - BAND[0]))
)  # from 1 % at the low end to 20 % at the high one


def problem(seed: int, num: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Frequencies, signals, true and predicted traces and relative errors of some runs."""
    rng = np.random.default_rng(seed)
    omega = rng.uniform(*BAND, num)
    signals, field = pulses(omega), responses(rng, num, FIELD)
    true, error = traces(field, signals), traces(responses(rng, num, RESIDUAL), signals)
    errors = np.linalg.norm(error, axis=(1, 2)) / np.linalg.norm(true, axis=(1, 2))
    return omega, signals, true, true + error, errors


@pytest.fixture(scope="module")
def powers() -> RunPowers:
    _, signals, true, predicted, _ = problem(0, 60)
    return RunPowers.of_traces(list(predicted), list(true), signals, LOW_PASS, BAND[1])


def test_amplitudes_give_back_their_mean_squares() -> None:
    rng = np.random.default_rng(1)
    field, error = responses(rng, 400, FIELD), responses(rng, 400, RESIDUAL)
    spectrum = RunPowers.of_amplitudes(field + error, field, OMEGA, LOW_PASS).spectrum()
    np.testing.assert_allclose(spectrum.residual, RESIDUAL**2, rtol=0.15)  # 2400 values: 2 % each, three nodes' worth
    np.testing.assert_allclose(spectrum.field, FIELD**2, rtol=0.15)
    assert spectrum.num_runs == 400


@pytest.mark.parametrize("source", ["amplitudes", "traces"])
def test_the_expected_error_is_the_true_one_in_the_mean(source: str, powers: RunPowers) -> None:
    if source == "amplitudes":
        spectrum = ResidualSpectrum(OMEGA, RESIDUAL**2, FIELD**2, LOW_PASS.rate, DT, 1)
    else:
        spectrum = powers.spectrum()
    _, signals, _, _, errors = problem(2, 300)
    expected = spectrum.expected(signals[:, None])
    assert np.corrcoef(np.log(expected), np.log(errors))[0, 1] > 0.9
    assert np.sqrt(np.mean((errors / expected) ** 2)) == pytest.approx(1.0, abs=0.2)
    order = np.argsort(expected)
    for third in np.array_split(order, 3):
        assert np.median(errors[third] / expected[third]) == pytest.approx(1.0, abs=0.3)


def test_several_sources_add_their_powers() -> None:
    spectrum = ResidualSpectrum(OMEGA, RESIDUAL**2, FIELD**2, LOW_PASS.rate, DT, 1)
    low, high = pulses(np.array([4.0, 8.0]))
    alone = spectrum.expected(np.array([[low], [high]]))
    twice, silent, both = spectrum.expected(np.array([[low, -low], [low, 0.0 * low], [low, high]]))
    assert twice == pytest.approx(alone[0]) and silent == pytest.approx(alone[0])
    assert alone[0] < both < alone[1]
    centroid = spectrum.centroid(np.array([[low], [high]]))
    assert centroid == pytest.approx([4.0, 8.0], rel=0.15)
    assert spectrum.expected(1e6 * np.array([[low]]))[0] == pytest.approx(alone[0])


def test_it_travels_as_json(powers: RunPowers) -> None:
    spectrum = powers.spectrum()
    again = ResidualSpectrum.from_json(json.loads(json.dumps(spectrum.to_json(), allow_nan=False)))
    signals = pulses(np.array([4.0, 8.0]))[:, None]
    np.testing.assert_array_equal(again.expected(signals), spectrum.expected(signals))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="residual of a residual spectrum has shape"):
        ResidualSpectrum(OMEGA, -RESIDUAL, FIELD, 1.0, DT, 1)
    with pytest.raises(ValueError, match="zero at every frequency"):
        ResidualSpectrum(OMEGA, RESIDUAL, 0.0 * FIELD, 1.0, DT, 1)
    spectrum = ResidualSpectrum(OMEGA, RESIDUAL, FIELD, 1.0, DT, 1)
    with pytest.raises(ValueError, match=r"must have shape \(set, source, levels\)"):
        spectrum.expected(np.ones((2, NUM_LEVELS + 1)))
    with pytest.raises(ValueError, match="zero at every level"):
        spectrum.expected(np.zeros((2, 1, NUM_LEVELS + 1)))


AXES = Parameters(omega=BAND, source_lower=(-1.0, -1.0), source_upper=(1.0, 1.0), train=0, test=0, seed=0)
ZONE = np.array([[2.0, 2.0], [2.5, 2.5]])


def training() -> Training:
    return Training(AXES, np.random.default_rng(3).uniform(-1.0, 1.0, (20, 2)), ZONE)


def vectors(omega: np.ndarray, seed: int) -> np.ndarray:
    return np.column_stack([omega, np.random.default_rng(seed).uniform(-1.0, 1.0, (len(omega), 2))])


def calibrated(seed: int, num: int = 60, *, constant: bool = False) -> Trust:
    omega, signals, true, predicted, errors = problem(seed, num)
    powers = RunPowers.of_traces(list(predicted), list(true), signals, LOW_PASS, BAND[1])
    residuals = None if constant else powers
    return Trust.calibrate(
        training(), vectors(omega, seed), {"impedance": errors}, signals=signals, residuals=residuals
    )


def test_the_bound_follows_the_signal() -> None:
    """Coverage in each third of the band and each quarter of the source area, and a width near the error's own."""
    omega, signals, _, _, errors = problem(100, 300)
    where = vectors(omega, 100)
    thirds = np.digitize(omega, np.linspace(*BAND, 4)[1:-1])
    quarters = 2 * (where[:, 1] > 0) + (where[:, 2] > 0)
    held, width = [], []
    for seed in range(12):
        trust = calibrated(seed)
        assert trust.models["impedance"].groups[0] == SIGNAL
        bound = trust.bound(where, "impedance", signals=signals)
        held.append(errors <= bound)
        width.append(bound.mean() / errors.mean())
    share = np.mean(held, axis=0)
    for group in (thirds, quarters):
        for part in range(group.max() + 1):
            assert 0.82 <= share[group == part].mean() <= 0.97
    assert np.mean(width) < 1.6  # one number for all is 2.3 times the mean error


def test_a_run_of_the_fit_does_not_know_its_own_residual(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spectrum is that of the fit's runs, none of the quotients'; each of the fit is foretold by the others."""
    omega, signals, true, predicted, errors = problem(5, 20)
    powers = RunPowers.of_traces(list(predicted), list(true), signals, LOW_PASS, BAND[1])
    seen: list[Features] = []
    fit = ErrorModel.fit

    def noted(features: Features, *arguments: Any, **options: Any) -> ErrorModel:
        seen.append(features)
        return fit(features, *arguments, **options)

    monkeypatch.setattr(ErrorModel, "fit", noted)
    trust = Trust.calibrate(
        training(), vectors(omega, 5), {"impedance": errors}, signals=signals, residuals=powers, coverage=0.8
    )
    fitted, rest = split(20)
    assert len(fitted) == 6 and not set(fitted) & set(rest)
    ours, (features,) = powers.spectrum(fitted), seen
    assert trust.spectrum is not None and trust.spectrum.num_runs == 6
    np.testing.assert_allclose(trust.spectrum.residual, ours.residual)
    np.testing.assert_allclose(features[SIGNAL][rest, 0], np.log(ours.expected(signals[rest, None])))
    for run in fitted:
        others = powers.spectrum(fitted[fitted != run]).expected(signals[[run], None])
        assert features[SIGNAL][run, 0] == pytest.approx(np.log(others[0]))


def test_a_spectrum_from_other_runs_leaves_few_runs_to_the_coverage() -> None:
    """Ten held-out direct runs suffice for 90 %; from fifty on there is a fit."""
    spectrum = ResidualSpectrum(OMEGA, RESIDUAL**2, FIELD**2, LOW_PASS.rate, DT, 1)
    omega, signals, _, _, errors = problem(6, FEW)
    where = vectors(omega, 6)
    for num, num_fitted in ((10, 0), (FEW, 15)):
        trust = Trust.calibrate(
            training(), where[:num], {"impedance": errors[:num]}, signals=signals[:num], residuals=spectrum
        )
        model = trust.models["impedance"]
        assert (model.num_fitted, model.num_runs) == (num_fitted, num)
        assert ("fewer than 50" in trust.basis("impedance")) == (num < FEW)
        if num_fitted == 0:
            quotients = errors[:num] / spectrum.expected(signals[:num, None])
            np.testing.assert_allclose(model.quotients, np.sort(quotients))
            bound = trust.bound(where[:num], "impedance", signals=signals[:num])
            np.testing.assert_allclose(bound, quotients.max() * spectrum.expected(signals[:num, None]))


def test_few_runs_of_the_fit_follow_the_signal_as_it_is() -> None:
    """The slope is drawn to 1, not to 0: three runs that agree with the expected errors do not bend them."""
    expected = np.exp(np.random.default_rng(4).normal(size=10))
    model = ErrorModel.fit({SIGNAL: np.log(expected)[:, None]}, 0.7 * expected)
    assert (model.groups, model.num_fitted) == ((SIGNAL,), 3)
    np.testing.assert_allclose(model.quotients, 1.0)
    wide = {SIGNAL: np.log([[1e-4], [1e4]])}
    np.testing.assert_allclose(model.expected(wide), [0.7e-4, 0.7e4], rtol=1e-6)


def test_other_signals_have_an_expected_error_and_no_bound() -> None:
    trust = calibrated(7)
    low, high = pulses(np.array([4.0, 8.0]))
    place = np.array([[0.1, 0.2], [0.3, -0.4]])
    small, large = (trust.expected(place[:1], each[None], "impedance") for each in (low, high))
    both = trust.expected(place, np.array([low, high]), "impedance")
    assert small is not None and large is not None and both is not None and small < both < large
    _, signals, _, _, errors = problem(8, 300)
    told = [trust.expected(place[:1], each[None], "impedance") for each in signals]
    assert np.median(errors / np.array(told, dtype=float)) == pytest.approx(1.0, abs=0.25)
    assert calibrated(7, constant=True).expected(place[:1], low[None], "impedance") is None
    with pytest.raises(ValueError, match="give the signals of the samples"):
        trust.bound(vectors(np.array([4.0]), 0), "impedance")
    again = Trust.from_json(json.loads(json.dumps(trust.to_json())), AXES)
    assert again.expected(place, np.array([low, high]), "impedance") == both


def test_places_are_used_only_where_they_help() -> None:
    rng = np.random.default_rng(9)
    place, noise = rng.uniform(-1.0, 1.0, (100, 2)), np.exp(0.1 * rng.normal(size=100))
    model = ErrorModel.fit({"place": place}, noise)
    assert model.groups == ()
    helpful = ErrorModel.fit({"place": place, "density": rng.normal(size=(100, 2))}, noise * np.exp(place[:, 0]))
    assert helpful.groups == ("place",)
    assert helpful.expected({"place": np.array([[0.5, 0.0], [-0.5, 0.0]])}) == pytest.approx(
        np.exp([0.5, -0.5]), rel=0.2
    )
