"""Waves in C: what the tensors say, and that these step in where there is no compiler."""

from pathlib import Path

import numpy as np
import pytest
import torch
from network_problems import SQUARE_NODES

from networks.core.prediction import SourceSets
from networks.operator.inference import OperatorInference
from networks.operator.network import OperatorGenerator
from networks.operator.spec import OperatorSpec
from networks.response.compiled import CompiledDrive, CompiledRays, library
from networks.response.predictor import ResponsePredictor

N, DT = 60, 0.03
SOURCES = np.array([[0.5, 0.6], [-0.7, 0.55]])
SIGNALS = np.sin(np.array([[5.0], [8.0]]) * DT * np.arange(N + 1))
ROUNDING = 2e-6
"""Of single precision, where some tens of numbers are added; phases reach some turns."""

compiled = pytest.mark.skipif(library() is None, reason="needs a C compiler")


def generator() -> OperatorGenerator:
    walls = ((-1.0, -1.0), (1.0, 1.0))
    spec = OperatorSpec(N, DT, 15.0, (3.0, 9.0), *SQUARE_NODES, 1.0, rays="walls", walls=walls, num_frequencies=21)
    torch.manual_seed(0)
    made = OperatorGenerator(spec)
    for factor in made.rays.factors:
        torch.nn.init.normal_(factor, std=0.05)
    return made.eval()


def off(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@compiled
def test_rays_and_driven_waves_are_those_of_the_tensors() -> None:
    fast, slow = OperatorInference(generator()), OperatorInference(generator())
    slow._drive = slow._rays = None
    assert fast._drive is not None and fast._rays is not None
    assert off(fast.coefficients(SOURCES), slow.coefficients(SOURCES)) < ROUNDING
    found, expected = (made.mixture(SOURCES[None], SIGNALS[None]) for made in (fast, slow))
    assert found.times.shape == expected.times.shape and off(found.times, expected.times) < ROUNDING
    sets = SourceSets(SOURCES[None], SIGNALS[None])
    both = [torch.from_numpy(ResponsePredictor(made, sets).levels(0, N)[0]) for made in (fast, slow)]
    assert all(off(*field) < 2 * ROUNDING for field in zip(*both, strict=True))


@compiled
def test_driven_waves_obey_their_recurrence() -> None:
    """To the rounding of what is stored, after any number of levels."""
    fast, drive = OperatorInference(generator()), np.random.default_rng(0).standard_normal((1, 2001))
    assert isinstance(fast._drive, CompiledDrive)
    num = fast.spec.num_frequencies
    waves, turn = fast._drive(drive)[0].astype(np.float64), np.exp(1j * fast.spec.omega * DT)
    x = waves[:, :num] + 1j * waves[:, num:-2]
    level = np.arange(2000)
    last = (drive[0, :2000, None] * turn ** (level[-1] - level)[:, None]).sum(0)
    assert np.abs(x[-1] - last).max() < 1e-6 * np.abs(last).max()
    assert np.array_equal(waves[:, -1], drive[0, :-1].astype(np.float32))
    assert np.array_equal(waves[:, -2], drive[0, 1:].astype(np.float32))


@compiled
def test_numbers_of_another_type() -> None:
    fast = OperatorInference(generator())
    assert isinstance(fast._rays, CompiledRays)
    rays = fast._generator.rays
    arrivals = rays.arrivals(torch.as_tensor(SOURCES))
    given, out = [values.T for values in rays.places(arrivals)], np.zeros((2, 8, 2, 42))
    with pytest.raises(ValueError, match="contiguous numbers of float32"):
        fast._rays.add(arrivals.source, given, out)  # type: ignore[arg-type]


def test_without_a_compiler_tensors_do_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = OperatorInference(generator()).coefficients(SOURCES)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", str(tmp_path / "no-compiler"))
    library.cache_clear()
    try:
        with caplog.at_level("INFO", "networks.response.compiled"):
            made = OperatorInference(generator())
        assert made._drive is None and made._rays is None and "cannot be built or loaded" in caplog.text
        assert off(made.coefficients(SOURCES), expected) < ROUNDING
    finally:
        library.cache_clear()


@compiled
def test_a_library_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.cache_clear()
    try:
        assert library() is not None
        (built,) = (tmp_path / "submodel-compiled").iterdir()
        monkeypatch.setenv("PATH", "")  # the compiler is not asked again
        library.cache_clear()
        assert library() is not None and built.suffix == ".so"
    finally:
        library.cache_clear()
