"""Playback against the plain convolution, in one piece and in blocks."""

from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
import torch
from network_problems import SQUARE, SQUARE_NODES, respond
from numpy.typing import NDArray
from torch import Tensor, nn

from networks.operator.fast import inference as operator_inference
from networks.operator.fast.inference import OperatorInference
from networks.operator.network import OperatorGenerator
from networks.operator.signal_response import LowPass, centred_rate
from networks.operator.spec import OperatorSpec, SymmetryMap
from networks.paper.generator import build
from networks.paper.predict import predict
from networks.paper.spec import GeneratorSpec
from networks.playback import HistoryPlayback, OperatorPlayback, Playback, predict_operator, ready

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
        self.spec = SimpleNamespace(num_levels=N, dt=DT, rate=RATE, relative=np.asarray)
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
        parts = [playback.block(n, min(n + size, N)) for n in range(0, N, size)]
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
    part = playback.block(3, 5)
    assert part.dtype == np.float64 and np.abs(part - whole[:, 3:5]).max() < 1e-6 * np.abs(whole).max()  # float32
    with pytest.raises(ValueError, match="not among the 16"):
        playback.block(0, 17)


SINGLE = 1.5e-6
"""Round-off of float32: amplitudes, times and their product, and of amplitudes in the other order beside it."""


def operator_generator(rays: Literal["none", "direct", "walls"], *, symmetric: bool = True) -> OperatorGenerator:
    """A small one with random weights; the travel times of its direct rays are a table's."""
    maps = []
    for matrix in (((1, 0), (0, 1)), ((-1, 0), (0, 1)), ((0, 1), (1, 0))):
        images = SQUARE @ np.array(matrix).T
        arc = tuple(int(np.linalg.norm(SQUARE - image, axis=1).argmin()) for image in images)
        maps.append(SymmetryMap(matrix, (0.0, 0.0), arc))  # type: ignore[arg-type]
    spec = OperatorSpec(
        N, DT, RATE, (3.0, 9.0), *SQUARE_NODES, 1.0,
        rays=rays, walls=((-1, -1), (1, 1)) if rays == "walls" else None, travel=(9, 5) if rays == "direct" else None,
        grid=((-1, -1), (0.1, 0.1)), symmetries=tuple(maps) if symmetric else (), num_frequencies=20, rank=6, width=8,
        depth=3,
    )  # fmt: skip
    torch.manual_seed(3)
    made = OperatorGenerator(spec)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    torch.nn.init.normal_(made.decoder, std=0.3)
    torch.nn.init.uniform_(made.feature_mean, -0.3, 0.3)
    torch.nn.init.uniform_(made.feature_scale, 0.5, 2.0)
    x, y = np.linspace(-1, 1, 5), np.linspace(-1, 1, 9)
    if rays == "direct":
        way = np.linalg.norm(np.stack(np.meshgrid(x, y), -1)[:, :, None] - SQUARE, axis=-1)
        for name, values in (("x", x), ("y", y), ("time", way)):
            getattr(made.rays, f"travel_{name}").copy_(torch.as_tensor(values))
    return made.eval()


def unprepared(generator: OperatorGenerator) -> SimpleNamespace:
    """The same seen as any generator of responses: its basis goes through a Toeplitz matrix, in double precision."""
    names = ("spec", "basis", "amplitudes", "direct")
    return SimpleNamespace(**{name: getattr(generator, name) for name in names})


def random_weights(num_arc: int, lead: int = 0, theta: float = 0.25) -> SimpleNamespace:
    u, v, r = np.random.default_rng(4).standard_normal((3, num_arc))
    return SimpleNamespace(displacement=u, velocity=0.1 * v, load=r, lead=lead, theta=theta)


def combination(fields: NDArray[np.float64], weights: SimpleNamespace) -> NDArray[np.float64]:
    """By definition; level N of u comes from the last velocity, level -1 is at rest."""
    u, v, r = fields
    whole = np.vstack((0 * u[:1], u, u[-2:-1] + 2 * DT * v[-1:]))
    mean = whole[2:] if weights.lead else u + weights.theta * np.diff(whole, 2, axis=0)
    return np.asarray(weights.load * r + weights.velocity * v + weights.displacement * mean)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("rays", ["none", "direct", "walls"])
def test_a_generator_made_ready_predicts_the_same(
    rays: Literal["none", "direct", "walls"], symmetric: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator_inference, "STRETCH", 16)  # several in a run as short as this
    made = operator_generator(rays, symmetric=symmetric)
    plain_way = unprepared(made)
    fast = ready(made)
    assert isinstance(fast, OperatorInference) and ready(fast) is fast and ready(plain_way) is plain_way  # type: ignore[arg-type]
    for sources, signals in ((SOURCES[:1], SIGNALS[:1]), (SOURCES, SIGNALS)):
        expected = OperatorPlayback(plain_way, sources, signals)  # type: ignore[arg-type]
        found = OperatorPlayback(fast, sources, signals)
        assert off(found.block(0, N), expected.block(0, N)) < SINGLE
        assert off(found.block(7, 20), expected.block(7, 20)) < 10 * SINGLE  # of what the first levels hold
        weights = random_weights(8)
        assert off(found.combined(weights)(0, N)[None], expected.combined(weights)(0, N)[None]) < SINGLE


@pytest.mark.parametrize("rays", ["none", "direct", "walls"])
def test_shapes_of_a_graph_do_not_depend_on_the_sources(rays: Literal["none", "direct", "walls"]) -> None:
    """What is captured on a CUDA device, here on a CPU: all images, nothing that waits for the host."""
    fast = OperatorInference(operator_generator(rays))
    shapes = set()
    for sources in (SOURCES, -0.9 * SOURCES):
        given = [torch.from_numpy(values) for values in fast.prepared(sources, SIGNALS, every=True)]
        shapes.add(tuple((values.shape, values.dtype) for values in given))
        found, expected = fast.mixed(given, 2), fast.mixture(sources[None], SIGNALS[None])
        assert torch.allclose(found.times, expected.times, rtol=0, atol=SINGLE * float(expected.times.abs().max()))
        levels, others = found.fields()(0, N)[0].numpy(), expected.fields()(0, N)[0].numpy()
        assert off(levels.astype(np.float64), others.astype(np.float64)) < SINGLE
    assert len(shapes) == 1


@pytest.mark.parametrize("lead, theta", [(0, 0.0), (0, 0.25), (1, 0.0)])
@pytest.mark.parametrize("kind", ["any", "any with a known part", "operator"])
def test_a_combination_is_that_of_the_fields(kind: str, lead: int, theta: float) -> None:
    made = operator_generator("walls") if kind == "operator" else Stub("known" in kind).eval()
    tolerance = SINGLE if kind == "operator" else EXACT
    num_arc = 8 if kind == "operator" else ARC
    weights = random_weights(num_arc, lead, theta)
    playback = OperatorPlayback(made, SOURCES, SIGNALS)
    expected = combination(playback.block(0, N), weights)
    combined = playback.combined(weights)
    assert combined(0, N).dtype == np.float64
    assert off(combined(0, N)[None], expected[None]) < tolerance
    assert off(np.concatenate([combined(0, 9), combined(9, N)])[None], combined(0, N)[None]) < tolerance
    many = predict_operator(made, SOURCES[None], SIGNALS[None], weights=weights, dtype=np.float64)
    assert many.dtype == np.float64 and off(many, expected[None]) < max(tolerance, 1e-12)
    with pytest.raises(ValueError, match="not among the 60"):
        combined(0, N + 1)
    with pytest.raises(ValueError, match="lead 1 with theta 0.25"):
        playback.combined(random_weights(num_arc, 1, 0.25))


def test_chunks_of_many_runs_are_those_of_one_at_a_time() -> None:
    made = ready(operator_generator("walls"))
    rng = np.random.default_rng(0)
    sources, signals = rng.uniform(0.5, 0.8, (7, 2)), np.sin(rng.uniform(3, 9, (7, 1)) * LEVELS)
    found = predict_operator(made, sources, signals, batch_size=3)
    for number, fields in enumerate(found):
        one = OperatorPlayback(made, sources[number], signals[number]).block(0, N)
        assert off(fields.astype(np.float64), one) < SINGLE
    with pytest.raises(ValueError, match="there are no samples"):
        predict_operator(made, sources[:0], signals[:0])


def test_a_place_that_returns_is_predicted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep over frequencies from two places: the numbers of runs one at a time, from two passes' worth of places."""
    made = ready(operator_generator("walls"))
    rng = np.random.default_rng(1)
    sources = rng.uniform(0.5, 0.8, (2, 2))[[0, 1, 0, 0, 1]]
    signals = np.sin(rng.uniform(3, 9, (5, 1)) * LEVELS)
    alone = [OperatorPlayback(made, *pair).block(0, N) for pair in zip(sources, signals, strict=True)]
    seen: list[int] = []
    coefficients = OperatorInference.coefficients

    def counted(self: OperatorInference, places: NDArray[np.float64]) -> torch.Tensor:
        seen.append(len(places))
        return coefficients(self, places)

    monkeypatch.setattr(OperatorInference, "coefficients", counted)
    found = predict_operator(made, sources, signals)
    assert seen == [2]
    for fields, one in zip(found, alone, strict=True):
        assert off(fields.astype(np.float64), one) < SINGLE


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_numbers(generator: Stub) -> None:
    expected = OperatorPlayback(generator, SOURCES, SIGNALS).block(0, N)
    playback = OperatorPlayback(generator, SOURCES, SIGNALS, "cuda")
    found = np.concatenate([playback.block(n, n + 20) for n in range(0, N, 20)], 1)
    assert off(found, expected) < 1e-5  # the network itself runs in float32 there
    assert off(playback.block(0, N), found) < EXACT
    many = predict_operator(generator, SOURCES, SIGNALS, "cuda")
    assert off(many[0].astype(np.float64), OperatorPlayback(generator, SOURCES[0], SIGNALS[0]).block(0, N)) < 1e-5


def test_respond_of_a_basis_row_is_enough() -> None:
    """The identity behind the blocks: a convolution of the sum is the sum of the convolved columns."""
    rng = np.random.default_rng(3)
    basis, amplitude, drive = rng.standard_normal((N, 5)), rng.standard_normal((5, 4)), rng.standard_normal(N)
    assert np.allclose(respond(basis, drive) @ amplitude, respond(basis @ amplitude, drive), rtol=0, atol=1e-11)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("rays", ["none", "direct", "walls"])
def test_a_graph_replays_what_a_cpu_computes(rays: Literal["none", "direct", "walls"]) -> None:
    there, here = OperatorInference(operator_generator(rays), "cuda"), OperatorInference(operator_generator(rays))
    weights = random_weights(8)
    for sources in (SOURCES, -0.9 * SOURCES):  # the second goes through the same graph
        found, expected = (OperatorPlayback(made, sources, SIGNALS) for made in (there, here))
        assert off(found.block(0, N), expected.block(0, N)) < 1e-4  # matrix products of a device may use TF32
        assert off(found.combined(weights)(5, N)[None], expected.combined(weights)(5, N)[None]) < 1e-4
