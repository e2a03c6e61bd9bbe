"""Playback against the plain convolution, in one piece and in blocks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from networks.generator import build
from networks.playback import HistoryPlayback, OperatorPlayback, Playback, predict_operator
from networks.predict import predict
from networks.response import LowPass, centred_rate, respond
from networks.spec import GeneratorSpec

N, ARC, DT, RATE = 60, 10, 0.02, 15.0
LEVELS = np.arange(N + 1) * DT
SOURCES = np.array([[0.3, 0.4], [-0.5, 0.2]])
SIGNALS = np.stack([np.sin(7.0 * LEVELS), np.sin(9.0 * LEVELS) * LEVELS])
EXACT = 1e-12


class Stub(nn.Module):
    """An operator generator of random numbers."""

    basis: Tensor

    def __init__(self, direct: bool) -> None:
        super().__init__()
        self.spec = SimpleNamespace(num_levels=N, dt=DT, rate=RATE)
        torch.manual_seed(0)
        k = torch.arange(1, 5)[None] * torch.arange(N + 1)[:, None] * DT
        self.register_buffer("basis", torch.cat((torch.cos(k), torch.sin(k)), 1))
        self.layer = nn.Linear(2, 2 * 8 * ARC)
        self.known = nn.Linear(2, 2 * (N + 1) * ARC) if direct else None

    def amplitudes(self, sources: Tensor) -> Tensor:
        out: Tensor = self.layer(sources).view(-1, 2, 8, ARC)
        return out

    def direct(self, sources: Tensor) -> Tensor | None:
        return None if self.known is None else self.known(sources).view(-1, 2, N + 1, ARC)


def plain(generator: Stub, sources: NDArray[np.float64], signals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fields by definition: responses at every level, convolved with the drives."""
    low_pass = LowPass(RATE, DT)
    with torch.inference_mode():
        where = torch.as_tensor(sources, dtype=torch.float32)
        y = generator.basis.double() @ generator.amplitudes(where).double()
        known = generator.direct(where)
        y = y if known is None else y + known.double()
    drives = [low_pass.inverse(s) for s in signals]
    each = [[respond(y[k, part].numpy(), drive) for k, drive in enumerate(drives)] for part in (0, 1)]
    u, r = (np.sum(waves, axis=0) for waves in each)
    return np.stack((u[:-1], centred_rate(u, DT), r[:-1]))


def off(found: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    scale = np.abs(true).max(axis=(1, 2), keepdims=True)
    return float((np.abs(found - true) / scale).max())


@pytest.fixture(params=[False, True], ids=["network alone", "with a known part"])
def generator(request: pytest.FixtureRequest) -> Stub:
    return Stub(request.param).eval()


def test_whole_history_and_blocks(generator: Stub) -> None:
    playback: Playback = OperatorPlayback(generator, SOURCES, SIGNALS)
    assert playback.fields == ("displacement", "velocity", "load") and playback.num_levels == N
    whole = playback.block(0, N)
    assert whole.dtype == np.float64 and whole.shape == (3, N, ARC)
    assert off(whole, plain(generator, SOURCES, SIGNALS)) < EXACT
    for size in (1, 7, 32):
        parts = [playback.begin(n, min(n + size, N))() for n in range(0, N, size)]
        assert off(np.concatenate(parts, 1), whole) < EXACT


def test_sources_add_up(generator: Stub) -> None:
    each = [OperatorPlayback(generator, p, s).block(0, N) for p, s in zip(SOURCES, SIGNALS, strict=True)]
    assert off(OperatorPlayback(generator, SOURCES, SIGNALS).block(0, N), each[0] + each[1]) < EXACT


def test_velocity_and_displacement_agree(generator: Stub) -> None:
    u, v, _ = OperatorPlayback(generator, SOURCES, SIGNALS).block(0, N)
    assert np.allclose(v[1:-1], (u[2:] - u[:-2]) / (2 * DT), rtol=0, atol=EXACT * np.abs(v).max())
    assert np.allclose(v[0], u[1] / (2 * DT), rtol=0, atol=EXACT * np.abs(v).max())  # at rest before


def test_many_runs(generator: Stub) -> None:
    found = predict_operator(generator, SOURCES, SIGNALS, batch_size=1)
    assert found.shape == (2, 3, N, ARC) and found.dtype == np.float32
    for i in range(2):
        one = plain(generator, SOURCES[i : i + 1], SIGNALS[i : i + 1])
        assert off(found[i].astype(np.float64), one) < 1e-7  # float32
    together = predict_operator(generator, SOURCES[None], SIGNALS[None])
    assert off(together[0].astype(np.float64), plain(generator, SOURCES, SIGNALS)) < 1e-7


@pytest.mark.parametrize("sources, signals", [([0.1], SIGNALS), (SOURCES, SIGNALS[0]), (SOURCES, SIGNALS[:, 1:])])
def test_shapes_that_do_not_fit(generator: Stub, sources: object, signals: object) -> None:
    with pytest.raises(ValueError, match="need a signal each at 61 levels"):
        OperatorPlayback(generator, np.asarray(sources), np.asarray(signals))


def test_signals_start_from_zero(generator: Stub) -> None:
    with pytest.raises(ValueError, match="begins with 1"):
        OperatorPlayback(generator, SOURCES[:1], np.cos(LEVELS)[None])
    OperatorPlayback(generator, SOURCES[:1], np.zeros((1, N + 1)))  # silence is a signal


@pytest.mark.parametrize("start, stop", [(-1, 3), (3, 3), (0, N + 1)])
def test_levels_that_are_not_there(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="not among the 60"):
        OperatorPlayback(Stub(False), SOURCES, SIGNALS).block(start, stop)


@pytest.mark.parametrize("name", ["conv1.5d-boundary", "conv1d-t-boundary", "fc-t-boundary"])
def test_history_of_the_papers_models(name: str) -> None:
    model = build(GeneratorSpec.named(name, num_levels=16, num_arc=16))
    parameters = np.array([7.0, 0.3, -0.2])
    playback: Playback = HistoryPlayback(model, parameters)
    whole = predict(model, parameters[None])[0]
    assert playback.fields == model.spec.fields and playback.num_levels == 16
    assert np.array_equal(playback.block(0, 16), whole)
    part = playback.begin(3, 5)()
    assert part.dtype == np.float64 and np.abs(part - whole[:, 3:5]).max() < 1e-6 * np.abs(whole).max()  # float32
    with pytest.raises(ValueError, match="not among the 16"):
        playback.begin(0, 17)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_numbers(generator: Stub) -> None:
    expected = OperatorPlayback(generator, SOURCES, SIGNALS).block(0, N)
    playback = OperatorPlayback(generator, SOURCES, SIGNALS, "cuda")
    waiting = [playback.begin(n, n + 20) for n in range(0, N, 20)]
    found = np.concatenate([wait() for wait in waiting], 1)
    assert off(found, expected) < 1e-5  # the network itself runs in float32 there
    assert off(playback.block(0, N), found) < EXACT
    many = predict_operator(generator, SOURCES, SIGNALS, "cuda")
    assert off(many[0].astype(np.float64), OperatorPlayback(generator, SOURCES[0], SIGNALS[0]).block(0, N)) < 1e-5


def test_respond_of_a_basis_row_is_enough() -> None:
    """The identity behind the blocks: a convolution of the sum is the sum of the convolved columns."""
    rng = np.random.default_rng(3)
    basis, amplitude, drive = rng.standard_normal((N, 5)), rng.standard_normal((5, 4)), rng.standard_normal(N)
    assert np.allclose(respond(basis, drive) @ amplitude, respond(basis @ amplitude, drive), rtol=0, atol=1e-11)
