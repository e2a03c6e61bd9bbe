"""Predictors of both families against their definition, in one piece and in chunks, of one set and of many."""

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
import torch
from convolved_prediction import ConvolvedPredictor
from network_problems import SQUARE, SQUARE_NODES, respond
from numpy.typing import NDArray

from networks.core.prediction import Predictor, SourceSets
from networks.operator.family import FAMILY as OPERATOR
from networks.operator.inference import OperatorInference
from networks.operator.network import OperatorGenerator
from networks.operator.spec import OperatorSpec
from networks.paper.family import FAMILY as PAPER
from networks.paper.generator import build
from networks.paper.predict import predict
from networks.paper.spec import GeneratorSpec
from networks.response import cuda_graph
from networks.response import inference as response_inference
from networks.response.predictor import ResponsePredictor
from networks.response.symmetry import SymmetryMap

N, DT, RATE = 60, 0.02, 15.0
LEVELS = np.arange(N + 1) * DT
SOURCES = np.array([[0.3, 0.4], [-0.5, 0.2]])
SIGNALS = np.stack([np.sin(7.0 * LEVELS), np.sin(9.0 * LEVELS) * LEVELS])
SINGLE = 1.5e-6
"""Round-off of float32: amplitudes, times and their product, and of amplitudes in the other order beside it."""


def off(found: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Largest error of any field (..., level, node), relative to the field's largest number."""
    return float((np.abs(found - true) / np.abs(true).max(axis=(-2, -1), keepdims=True)).max())


def added(sources: NDArray[np.float64], signals: NDArray[np.float64]) -> SourceSets:
    """One set of sources."""
    return SourceSets(sources[None], signals[None])


def apart(sources: NDArray[np.float64], signals: NDArray[np.float64]) -> SourceSets:
    """A set for each source."""
    return SourceSets(sources[:, None], signals[:, None])


@pytest.mark.parametrize("name", ["conv1.5d-boundary", "conv1d-t-boundary", "fc-t-boundary"])
def test_history_of_the_papers_models(name: str) -> None:
    torch.manual_seed(0)
    model = build(GeneratorSpec.named(name, num_levels=16, num_arc=16)).eval()
    vectors = np.array([[7.0, 0.3, -0.2], [8.0, 0.4, 0.1]])
    sets = SourceSets(vectors[:, None, 1:], np.zeros((2, 1, 17)), vectors[:, None])
    predictor: Predictor = PAPER.predictor(PAPER.ready(model), sets)
    whole = predict(model, vectors)
    assert predictor.fields == model.spec.fields and predictor.num_levels == 16 and not predictor.combines
    np.testing.assert_array_equal(predictor.levels(0, 16), whole)
    part = predictor.levels(3, 5)
    assert part.dtype == np.float64 and off(part, whole[:, :, 3:5].astype(np.float64)) < 1e-5  # float32, other sizes
    with pytest.raises(ValueError, match="not among the 16"):
        predictor.levels(0, 17)
    with pytest.raises(ValueError, match="predicts fields, not combinations"):
        predictor.levels(0, 16, random_weights(16))
    with pytest.raises(ValueError, match="predicts for parameters"):
        PAPER.predictor(model, SourceSets(sets.places, sets.signals))


def test_sources_of_the_papers_models_add_up_and_silent_ones_do_not() -> None:
    torch.manual_seed(0)
    model = build(GeneratorSpec.named("conv1.5d-boundary", num_levels=16, num_arc=16)).eval()
    vectors = np.array([[[7.0, 0.3, -0.2], [8.0, 0.4, 0.1]], [[7.5, 0.1, 0.1], [np.nan] * 3]])
    found = PAPER.predictor(model, SourceSets(vectors[..., 1:], np.zeros((2, 2, 17)), vectors)).levels(0, 16)
    each = predict(model, vectors.reshape(-1, 3)[:3]).astype(np.float64)
    np.testing.assert_allclose(found, [each[0] + each[1], each[2]], rtol=0.0, atol=1e-6 * np.abs(each).max())


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


def random_weights(num_arc: int, lead: int = 0, theta: float = 0.25) -> SimpleNamespace:
    u, v, r = np.random.default_rng(4).standard_normal((3, num_arc))
    return SimpleNamespace(displacement=u, velocity=0.1 * v, load=r, lead=lead, theta=theta)


def combination(fields: NDArray[np.float64], weights: SimpleNamespace) -> NDArray[np.float64]:
    """By definition; level N of u comes from the last velocity, level -1 is at rest."""
    u, v, r = fields.transpose(1, 0, 2, 3)
    whole = np.concatenate((0 * u[:, :1], u, u[:, -2:-1] + 2 * DT * v[:, -1:]), 1)
    mean = whole[:, 2:] if weights.lead else u + weights.theta * np.diff(whole, 2, axis=1)
    return np.asarray(weights.load * r + weights.velocity * v + weights.displacement * mean)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("rays", ["none", "direct", "walls"])
def test_an_operator_generator_predicts_by_its_definition(
    rays: Literal["none", "direct", "walls"], symmetric: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_inference, "STRETCH", 16)  # several in a run as short as this
    made = operator_generator(rays, symmetric=symmetric)
    ready = OPERATOR.ready(made)
    for sets in (added(SOURCES[:1], SIGNALS[:1]), added(SOURCES, SIGNALS), apart(SOURCES, SIGNALS)):
        expected = ConvolvedPredictor(made, sets)
        predictor: Predictor = OPERATOR.predictor(ready, sets)
        assert predictor.fields == ("displacement", "velocity", "load")
        assert predictor.num_levels == N and predictor.combines
        whole = predictor.levels(0, N)
        assert whole.dtype == np.float64 and whole.shape == (len(sets), 3, N, 8)
        assert off(whole, expected.levels(0, N)) < SINGLE
        assert off(predictor.levels(7, 20), expected.levels(7, 20)) < 10 * SINGLE  # of what the first levels hold
        for size in (1, 7, 32):
            parts = [predictor.levels(n, min(n + size, N)) for n in range(0, N, size)]
            assert off(np.concatenate(parts, 2), whole) < SINGLE
        u, v = whole[:, 0], whole[:, 1]
        assert np.allclose(v[:, 1:-1], (u[:, 2:] - u[:, :-2]) / (2 * DT), rtol=0, atol=20 * SINGLE * np.abs(v).max())


@pytest.mark.parametrize("lead, theta", [(0, 0.0), (0, 0.25), (1, 0.0)])
def test_a_combination_is_that_of_the_fields(lead: int, theta: float) -> None:
    ready = OPERATOR.ready(operator_generator("walls"))
    weights = random_weights(8, lead, theta)
    for sets in (added(SOURCES, SIGNALS), apart(SOURCES, SIGNALS)):
        predictor = OPERATOR.predictor(ready, sets)
        expected = combination(predictor.levels(0, N), weights)
        found = predictor.levels(0, N, weights)
        assert found.dtype == np.float64 and found.shape == (len(sets), N, 8)
        assert off(found, expected) < SINGLE
        assert off(ConvolvedPredictor(operator_generator("walls"), sets).levels(0, N, weights), expected) < SINGLE
        assert off(np.concatenate([predictor.levels(n, m, weights) for n, m in ((0, 9), (9, N))], 1), found) < SINGLE
        with pytest.raises(ValueError, match="not among the 60"):
            predictor.levels(0, N + 1, weights)
        with pytest.raises(ValueError, match="lead 1 with theta 0.25"):
            predictor.levels(0, N, random_weights(8, 1, 0.25))


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


def test_passes_of_many_sets_are_those_of_one_at_a_time() -> None:
    ready = OPERATOR.ready(operator_generator("walls"))
    rng = np.random.default_rng(0)
    sources, signals = rng.uniform(0.5, 0.8, (7, 2)), np.sin(rng.uniform(3, 9, (7, 1)) * LEVELS)
    weights = random_weights(8)
    several = ResponsePredictor(ready, apart(sources, signals), batch_size=3)
    fields, data = several.levels(0, N), several.levels(5, 30, weights)
    for number in range(7):
        one = OPERATOR.predictor(ready, added(sources[number : number + 1], signals[number : number + 1]))
        assert off(fields[number], one.levels(0, N)[0]) < SINGLE
        assert off(data[number], one.levels(5, 30, weights)[0]) < 10 * SINGLE
    with pytest.raises(ValueError, match="there are no samples"):
        OPERATOR.predictor(ready, apart(sources[:0], signals[:0]))


def test_silent_sources_add_nothing() -> None:
    ready = OPERATOR.ready(operator_generator("walls"))
    sources, signals = np.stack((SOURCES, SOURCES[[0, 0]])), np.stack((SIGNALS, SIGNALS * [[1.0], [0.0]]))
    both = OPERATOR.predictor(ready, SourceSets(sources, signals)).levels(0, N)
    alone = OPERATOR.predictor(ready, added(SOURCES[:1], SIGNALS[:1])).levels(0, N)
    assert off(both[1], alone[0]) < SINGLE


def test_a_place_that_returns_is_predicted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep over frequencies from two places: the numbers of runs one at a time, from two passes' worth of places."""
    ready = OPERATOR.ready(operator_generator("walls"))
    rng = np.random.default_rng(1)
    sources = rng.uniform(0.5, 0.8, (2, 2))[[0, 1, 0, 0, 1]]
    signals = np.sin(rng.uniform(3, 9, (5, 1)) * LEVELS)
    each = [slice(number, number + 1) for number in range(5)]
    alone = [OPERATOR.predictor(ready, added(sources[one], signals[one])).levels(0, N)[0] for one in each]
    seen: list[int] = []
    coefficients = OperatorInference.coefficients

    def counted(self: OperatorInference, places: NDArray[np.float64]) -> torch.Tensor:
        seen.append(len(places))
        return coefficients(self, places)

    monkeypatch.setattr(OperatorInference, "coefficients", counted)
    predictor = OPERATOR.predictor(ready, apart(sources, signals))
    together = predictor.levels(0, N)
    predictor.levels(3, 9)
    assert seen == [2]
    assert off(together, np.array(alone)) < SINGLE


@pytest.mark.parametrize("sources, signals", [([[0.1]], SIGNALS), (SOURCES, SIGNALS[:1]), (SOURCES, SIGNALS[:, 1:])])
def test_shapes_that_do_not_fit(sources: object, signals: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="need a signal each at 61 levels"):
        OPERATOR.predictor(OPERATOR.ready(operator_generator("none")), added(np.asarray(sources), signals))


def test_signals_start_from_zero() -> None:
    ready = OPERATOR.ready(operator_generator("none"))
    with pytest.raises(ValueError, match="begins with 1"):
        OPERATOR.predictor(ready, added(SOURCES[:1], np.cos(LEVELS)[None]))
    OPERATOR.predictor(ready, added(SOURCES[:1], np.zeros((1, N + 1))))  # silence is a signal


@pytest.mark.parametrize("start, stop", [(-1, 3), (3, 3), (0, N + 1)])
def test_levels_that_are_not_there(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="not among the 60"):
        OPERATOR.predictor(OPERATOR.ready(operator_generator("none")), added(SOURCES, SIGNALS)).levels(start, stop)


def test_respond_of_a_basis_row_is_enough() -> None:
    """The identity behind the levels: a convolution of the sum is the sum of the convolved columns."""
    rng = np.random.default_rng(3)
    basis, amplitude, drive = rng.standard_normal((N, 5)), rng.standard_normal((5, 4)), rng.standard_normal(N)
    assert np.allclose(respond(basis, drive) @ amplitude, respond(basis @ amplitude, drive), rtol=0, atol=1e-11)


@pytest.mark.parametrize("rays", ["none", "walls"])
def test_a_captured_prediction_reads_and_writes_the_memory_of_its_capture(
    rays: Literal["none", "walls"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU, with a stand-in for the graph that does the same work again: what goes in and out is in place."""
    runs: list[torch.Tensor] = []

    def record(work: Callable[[], torch.Tensor], device: torch.device) -> tuple[Callable[[], object], torch.Tensor]:
        runs.extend(work() for _ in range(3))
        return lambda: runs.append(work()), runs[0]

    monkeypatch.setattr(cuda_graph, "record_cuda", record)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "Event", lambda: SimpleNamespace(record=lambda: None, synchronize=lambda: None))
    ready = OPERATOR.ready(operator_generator(rays))
    weights = random_weights(8)
    for sources in (SOURCES, -0.9 * SOURCES):
        expected = OPERATOR.predictor(ready, added(sources, SIGNALS))
        for asked in (None, weights):
            found = ready.history(sources, SIGNALS, asked).astype(np.float64)
            assert off(found[None], expected.levels(0, N, asked)) < SINGLE
    assert len(runs) == 2 * 3 + 4 and len({run.data_ptr() for run in runs}) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("rays", ["none", "direct", "walls"])
def test_a_graph_replays_what_a_cpu_computes(rays: Literal["none", "direct", "walls"]) -> None:
    there, here = OPERATOR.ready(operator_generator(rays), "cuda"), OPERATOR.ready(operator_generator(rays))
    weights = random_weights(8)
    for sources in (SOURCES, -0.9 * SOURCES):  # the second goes through the same graph
        found, expected = (OPERATOR.predictor(made, added(sources, SIGNALS)) for made in (there, here))
        assert off(found.levels(0, N), expected.levels(0, N)) < 1e-4  # matrix products of a device may use TF32
        assert off(found.levels(5, N, weights), expected.levels(5, N, weights)) < 1e-4
        many = [OPERATOR.predictor(made, apart(sources, SIGNALS)).levels(0, N) for made in (there, here)]
        assert off(*many) < 1e-4
