"""The operator generator at toy size: rays, symmetry, coordinates, training, resumption and the file."""

import dataclasses
import itertools
import json
from typing import Any

import numpy as np
import pytest
import torch
from network_problems import SQUARE, SQUARE_NODES, respond

from networks import checkpoint
from networks.checkpoint import CheckpointError
from networks.core.prediction import SourceSets
from networks.core.tensor_file import read_tensors, write_tensors
from networks.operator.family import FAMILY
from networks.operator.image_sources import EARLY
from networks.operator.network import OperatorGenerator
from networks.operator.rays import FLOOR, GROWTH, free_waveforms, waveform_tables
from networks.operator.spec import OperatorSpec
from networks.operator.targets import band_weights, coordinates
from networks.operator.task import operator_plan, train_operator
from networks.operator.training_data import ResponseData, TravelTimes
from networks.response.signal_response import LowPass
from networks.response.symmetry import Sector, SymmetryMap
from networks.training.fit import TrainingError
from networks.training.soap import Soap
from networks.training.state import TRAINING

SOURCES = np.random.default_rng(0).uniform(0.5, 0.8, (6, 2)) * [1, -1]


def square_map(matrix: Any) -> Any:
    images = SQUARE @ np.array(matrix).T
    arc = [int(np.linalg.norm(SQUARE - image, axis=1).argmin()) for image in images]
    return SymmetryMap(matrix, (0.0, 0.0), tuple(arc))


ALL = [((a, 0), (0, b)) for a in (1, -1) for b in (1, -1)] + [((0, a), (b, 0)) for a in (1, -1) for b in (1, -1)]


def make_spec(**changes: Any) -> Any:
    options: dict[str, Any] = {"rays": "direct", "num_frequencies": 16, "rank": 6, "width": 8, "depth": 2}
    return OperatorSpec(32, 0.05, 15.0, (3.0, 9.0), *SQUARE_NODES, 1.0, **(options | changes))


def make_data(spec: Any, sources: Any = SOURCES, seed: Any = 1) -> Any:
    """Responses of a generator with some weights: what another of its kind can learn."""
    torch.manual_seed(seed)
    teacher = OperatorGenerator(spec)
    for part in (teacher.net.last.weight, teacher.decoder):  # a new one begins with nothing beside its rays
        torch.nn.init.normal_(part, std=0.1)
    with torch.no_grad():
        y = teacher(torch.as_tensor(sources, dtype=torch.float32)).numpy()[:, :, :-1]
    return ResponseData(sources, y[:, 0], y[:, 1])


def scaled(spec: Any, length: float, time: float) -> Any:
    """The same problem in other units: places times length, times times time."""
    options = dataclasses.asdict(spec)
    options |= {name: (length * np.array(options[name])).tolist() for name in ("points", "normals")}
    options |= {"weights": tuple(length * np.array(spec.weights)), "dt": spec.dt * time, "rate": spec.rate / time}
    options |= {"band": (spec.band[0] / time, spec.band[1] / time), "speed": spec.speed * length / time}
    if spec.walls is not None:
        options["walls"] = (length * np.array(spec.walls)).tolist()
    return OperatorSpec(**options)


@pytest.mark.parametrize("rays", ["none", "direct", "walls"])
@pytest.mark.parametrize(("length", "time"), [(2.0**-40, 1.0), (2.0**30, 1.0), (2.0**-40, 2.0**-52)])
def test_units_of_length_and_time_do_not_matter(rays: str, length: float, time: float) -> None:
    """To the bit; in another unit of time to the loss, as the logarithm of a delay is rounded elsewhere."""
    spec = make_spec(rays=rays, walls=((-1.0, -1.0), (1.0, 1.0)) if rays == "walls" else None)
    data = make_data(spec)
    plan = operator_plan(epochs=40, batch_size=64)
    first, losses = train_operator(spec, data, plan)
    far = dataclasses.replace(data, sources=length * data.sources)
    second, same = train_operator(scaled(spec, length, time), far, plan)
    fresh = np.array([[0.55, -0.62], [0.7, -0.71], [0.8, 0.4]])
    learnt = first.learnt(first.features(first.fold(as_tensor(fresh))[0]))
    assert learnt.abs().max() > 0.05, "what is compared is more than rays"
    assert same[-1].loss == pytest.approx(losses[-1].loss, rel=0.0 if time == 1.0 else 1e-2)
    if time == 1.0:
        assert torch.equal(first(as_tensor(fresh)), second(as_tensor(length * fresh)))
        assert torch.equal(fields(first, fresh), fields(second, length * fresh))


def as_tensor(values: Any) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32)


def fields(generator: Any, sources: Any) -> torch.Tensor:
    """Displacement and load by the fast path, for a sine each; the velocity has another unit."""
    spec = generator.spec
    signals = np.sin(spec.band[0] * spec.dt * np.arange(spec.num_levels + 1))[None].repeat(len(sources), 0)
    sets = SourceSets(np.asarray(sources)[:, None], signals[:, None])
    return torch.as_tensor(FAMILY.predictor(FAMILY.ready(generator), sets).levels(0, spec.num_levels))[:, [0, 2]]


def test_a_waveform_driven_by_a_sine_is_the_field_of_a_line_source() -> None:
    # steady state at distance r: (i/4) H0; here against direct quadrature of the convolution with G
    dt, omega, delay, num = 0.01, 5.0, 0.5, 200
    wave = free_waveforms(np.array([delay]), dt, 15.0, num)[0]
    signal = np.sin(omega * dt * np.arange(num))
    found = respond(wave, LowPass(15.0, dt).inverse(signal))
    t = dt * (num - 1)
    angle = np.linspace(0, np.arccosh(t / delay), 20001)  # t' = delay cosh(angle) takes the singularity away
    exact = np.trapezoid(np.sin(omega * (t - delay * np.cosh(angle))), angle) / (2 * np.pi)
    assert found[-1] == pytest.approx(exact, abs=2e-3)  # of the order of the sampled step, dt² omega² / 12


@pytest.mark.parametrize("rays", ["none", "direct", "walls"])
def test_amplitudes_and_basis_have_the_shapes_that_a_prediction_wants(rays: Any) -> None:
    spec = make_spec(rays=rays, walls=((-1, -1), (1, 1)))
    model = OperatorGenerator(spec)
    sources = torch.as_tensor(SOURCES[:3], dtype=torch.float32)
    assert model.amplitudes(sources).shape == (3, 2, spec.num_coefficients, 8)
    assert model.basis.shape == (33, spec.num_coefficients)
    assert model(sources).shape == (3, 2, 33, 8)
    assert model.fields == ("displacement", "velocity", "load")


def test_rays_of_a_box_vanish_on_its_walls() -> None:
    spec = make_spec(rays="walls", walls=((-1, -1), (1, 1)), num_frequencies=30)
    wall = make_spec(
        rays="walls", walls=((-0.25 - 1e-9, -1), (1, 1)), num_frequencies=30
    )  # one side of Gamma all but on a wall
    sources = torch.as_tensor(SOURCES, dtype=torch.float32)
    free, held = (OperatorGenerator(s).rays(sources).abs() for s in (spec, wall))
    assert held[:, 0, :, [0, 6, 7]].max() < 1e-4 * free[:, 0].max()


def plain_rays(rays: Any, source: Any, field: int) -> Any:
    """Amplitudes (arc, frequency) of one source, image by image and node by node, in double precision."""
    spec, theta = rays.spec, rays.factors[field].detach().double().numpy()
    normals, loop = np.array(SQUARE_NODES[1]), np.vstack((SQUARE, SQUARE[:1]))
    side = np.linalg.norm(np.diff(loop, axis=0), axis=1)
    delays, table = waveform_tables(spec)
    out = np.zeros((8, spec.num_frequencies), complex)
    parts, multipliers = rays.derivatives(field)
    turns = np.where(np.array(parts) < 4, 1j, 1.0)[:, None]  # the first parts are of delays
    frequency = turns * multipliers[:, : spec.num_frequencies].double().numpy()
    for i, j in itertools.product(range(-4, 5), repeat=2):
        flip = 1 - 2 * (np.array([i, j]) % 2)
        for node, point in enumerate(SQUARE):
            way = point - (source * flip + 2 * np.array([i, j]))  # walls at -1 and 1
            delay = np.linalg.norm(way)
            if delay > (1 + EARLY) * spec.duration:
                continue
            x, y = way / delay
            at, step = (source + 1) / 0.1 - np.floor((source + 1) / 0.1), 0.5 * (side[node] + side[node - 1])
            moments = 6 * np.array([*(at * (1 - at) - 1 / 6), 2 * (at.min() - at.prod() - 1 / 12)])
            share = moments @ [x**2, y**2, flip.prod() * x * y]
            size = np.linalg.norm(normals[node])
            facing = 2 * (normals[node] @ (x, y) / size) ** 2 - 1
            angle = 4 * np.arctan2(y, x)
            ways = [delay / spec.duration * 40 * np.cos(h * angle) for h in range(4) for _ in range(7)]
            others = [1.0, np.cos(angle), share, *([facing, 1 - (size / step) ** 2] if field else [])]
            exponent = (theta * np.array(ways + [other for other in others for _ in range(3)])) @ frequency
            exponent = np.minimum(exponent.real, GROWTH) + 1j * exponent.imag - 1j * delay * spec.omega
            wave = np.array([np.interp(delay, delays, part) for part in table[field].T])
            out[node] += (-1) ** (i + j) * (normals[node] @ (x, y) if field else 1.0) * wave * np.exp(exponent)
    return out


def test_rays_of_all_images_at_once_are_those_of_each() -> None:
    spec = make_spec(rays="walls", walls=((-1, -1), (1, 1)), grid=((-1, -1), (0.1, 0.1)), num_frequencies=19)
    rays = OperatorGenerator(spec).rays
    torch.manual_seed(2)
    for factor in rays.factors:
        torch.nn.init.normal_(factor, std=1e-2)
    found = rays(torch.as_tensor(SOURCES, dtype=torch.float32))
    for number, source in enumerate(SOURCES):
        for field in (0, 1):
            expected = plain_rays(rays, source.astype(np.float32).astype(np.float64), field).T
            size = np.abs(expected).max()
            np.testing.assert_allclose(found[number, field].detach(), expected, rtol=0, atol=2e-6 * size)  # float32


@pytest.mark.parametrize("size", [0.0, 1.5])
def test_sensitivities_are_the_derivatives_of_the_rays(size: float) -> None:
    """With a size above its bound nothing depends on it, and on the damping of rays that are bounded."""
    spec = make_spec(rays="walls", walls=((-1, -1), (1, 1)), grid=((-1, -1), (0.1, 0.1)))
    model = OperatorGenerator(spec)
    rays = model.rays
    sources = torch.as_tensor(SOURCES[:2], dtype=torch.float32)

    def known(field: int) -> torch.Tensor:
        amplitudes = model.known(sources)
        assert amplitudes is not None
        return amplitudes[:, field].transpose(1, 2)

    for field in (0, 1):
        with torch.no_grad():
            rays.factors[field][4 * 7] = size
            value, parts = rays.sensitivities(sources, field)
            numbers, multipliers = rays.derivatives(field)
        torch.testing.assert_close(value, known(field))
        for number in (0, 5, 28, len(rays.factors[field]) - 1):
            slope = parts[numbers[number]] * multipliers[number]
            step = torch.zeros(len(rays.factors[field]))
            step[number] = 5e-4
            with torch.no_grad():
                rays.factors[field] += step
                above = known(field)
                rays.factors[field] -= 2 * step
                below = known(field)
                rays.factors[field] += step
            difference = (above - below) / 1e-3
            scale = max(float(slope.abs().max()), 1e-3 * float(value.abs().max()))
            assert float((difference - slope).abs().max()) < 2e-2 * scale
            assert (number == 0) or (size == 0.0) == (float(slope.abs().max()) > 0)


def test_travel_times_come_from_the_table_where_there_is_one() -> None:
    x, y = np.linspace(-1, 1, 5), np.linspace(-1, 1, 9)
    time = (2 + x[None, :, None] + 0.5 * y[:, None, None]) * np.ones(8)
    spec = make_spec(travel=(9, 5))
    model = OperatorGenerator(spec)
    for name, values in (("x", x), ("y", y), ("time", time)):
        getattr(model.rays, f"travel_{name}").copy_(torch.as_tensor(values))
    sources = torch.tensor([[0.3, -0.2], [1.0, 1.0]])
    expected = (2 + sources[:, 0] + 0.5 * sources[:, 1])[:, None].expand(-1, 8)
    torch.testing.assert_close(model.rays.travel(sources), expected)


def test_symmetric_sources_have_permuted_responses() -> None:
    spec = make_spec(symmetries=tuple(square_map(m) for m in ALL), grid=None)
    torch.manual_seed(0)
    model = OperatorGenerator(spec)
    for part in (model.decoder, model.net.last.weight):  # a new network would predict nothing
        torch.nn.init.normal_(part)
    source = np.array([[0.7, 0.45]])
    first, play = model.amplitudes(as_tensor(source)), fields(model, source)
    turned = [as_tensor(source @ np.array(each.matrix).T) for each in spec.symmetries]
    rays = model.known(as_tensor(source))
    assert rays is not None and (first - rays).abs().max() > rays.abs().max(), "the network has its share"
    for each, image in zip(spec.symmetries, turned, strict=True):
        torch.testing.assert_close(model.amplitudes(image)[..., list(each.images)], first, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(fields(model, image.numpy())[..., list(each.images)], play, rtol=1e-4, atol=1e-5)
    alone = OperatorGenerator(dataclasses.replace(spec, symmetries=()))
    alone.load_state_dict(model.state_dict())
    folded = max(turned, key=lambda image: tuple(image[0].tolist()))
    torch.testing.assert_close(alone.amplitudes(folded), model.amplitudes(folded), rtol=1e-4, atol=1e-5)
    miss = alone.amplitudes(turned[1])[..., list(spec.symmetries[1].images)] - first
    assert miss.abs().max() > 0.1 * first.abs().max(), "without symmetries it is another function"


def test_folding_leaves_one_sector() -> None:
    spec = make_spec(symmetries=tuple(square_map(m) for m in ALL))
    sector, points = Sector(spec), np.random.default_rng(0).uniform(-1, 1, (200, 2))
    folded, arcs = sector.fold(points)
    assert ((folded[:, 1] >= 0) & (folded[:, 0] >= folded[:, 1])).all()
    for each in spec.symmetries:  # all images of a point fold to the same place, with its nodes
        image, nodes = sector.fold(points @ np.array(each.matrix).T)
        np.testing.assert_allclose(image, folded, atol=1e-15)
        assert np.array_equal(nodes[:, list(each.images)], arcs)


def test_coordinates_square_to_the_cost_and_lift_back() -> None:
    spec = make_spec()
    data = make_data(spec)
    weight = band_weights(spec, data.displacement, data.load)[0]
    basis = OperatorGenerator(spec).basis[:-1].double().numpy()
    known = coordinates(weight, basis)
    amplitudes = np.random.default_rng(0).standard_normal(basis.shape[1])
    error = basis @ amplitudes
    score = known.encode @ error
    assert score @ score == pytest.approx(error @ weight @ error, rel=1e-4)
    np.testing.assert_allclose(known.project @ known.lift, np.eye(len(known.project)), atol=1e-9)
    np.testing.assert_allclose(known.project @ amplitudes, score, atol=1e-9 * abs(score).max())


@pytest.mark.parametrize("rays", ["none", "direct"])
def test_training_lowers_the_loss_and_learns_the_responses(rays: Any) -> None:
    spec = make_spec(rays=rays, width=32)
    data = make_data(make_spec(rays="direct", num_frequencies=16))
    model, history = train_operator(spec, data, operator_plan(epochs=150, batch_size=48, validation=0.0))
    untrained = OperatorGenerator(spec)
    assert history[-1].loss < 0.15 < 0.5 < history[0].loss  # 1.5 is that of a prediction of nothing
    with torch.no_grad():
        before, after = (each(as_tensor(SOURCES)).numpy()[:, 0, :-1] for each in (untrained, model))
    size = np.linalg.norm(data.displacement)
    assert np.linalg.norm(after - data.displacement) < 0.3 * size < 0.5 * np.linalg.norm(before - data.displacement)


def test_a_generator_comes_back_from_its_file(tmp_path: Any) -> None:
    spec = make_spec(symmetries=(square_map(ALL[0]), square_map(ALL[1])), walls=((-1, -1), (1, 1)), rays="walls")
    model, _ = train_operator(spec, make_data(spec), operator_plan(epochs=1))
    checkpoint.save(tmp_path / "g.safetensors", model, metadata={"a": 1})
    again, metadata = checkpoint.load(tmp_path / "g.safetensors")
    sources = torch.as_tensor(SOURCES, dtype=torch.float32)
    assert again.spec == spec and metadata == {"a": 1}
    assert torch.equal(again.amplitudes(sources), model.amplitudes(sources))


def test_travel_times_travel_with_the_data(tmp_path: Any) -> None:
    spec = make_spec(travel=(3, 3))
    x = np.linspace(-1, 1, 3)
    time = np.full((3, 3, 8), 0.5)
    data = dataclasses.replace(make_data(make_spec()), travel=TravelTimes(x, x, time))
    model, _ = train_operator(spec, data, operator_plan(epochs=1))
    assert float(model.rays.travel_time.min()) == 0.5
    with pytest.raises(ValueError, match="travel times must have shape"):
        train_operator(spec, make_data(make_spec()), operator_plan(epochs=1))


def test_soap_reaches_the_least_squares_solution_of_a_badly_scaled_problem() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(6, 4)
    inputs = torch.randn(64, 6) @ torch.diag(torch.logspace(0, -2, 6)) @ torch.linalg.qr(torch.randn(6, 6))[0]
    wanted = inputs @ torch.randn(6, 4)
    optimizer = Soap(layer.parameters(), 0.05)
    losses = []
    for step in range(600):
        for each in optimizer.param_groups:
            each["lr"] = 0.05 * (1 - step / 600)
        optimizer.zero_grad()
        loss = (layer(inputs) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 1e-6 * losses[0]
    with pytest.raises(ValueError, match="learning rate"):
        Soap(layer.parameters(), 0.0)


def test_spec_survives_json() -> None:
    spec = make_spec(symmetries=(square_map(ALL[0]),), walls=((-1, -1), (1, 1)), travel=None, grid=((0, 0), (0.1, 0.1)))
    assert OperatorSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": 0}, "rank must be a positive integer"),
        ({"dt": 0.0}, "dt must be positive"),
        ({"num_levels": 2}, "4 levels"),
        ({"normals": ((0.0, 1.0),)}, "needs a normal and a positive weight"),
        ({"weights": (0.0,) * 8}, "needs a normal and a positive weight"),
        ({"band": (3.0, 1.0)}, "band must be"),
        ({"period": 1.0}, "period must be above 1"),
        ({"model": "other"}, "model is 'operator'"),
        ({"dispersion": (0, 1)}, "dispersion must be"),
        ({"rays": "all"}, "rays must be"),
        ({"rays": "walls"}, "needs the corners of a box"),
        ({"rays": "walls", "walls": ((0, 0), (1, 1))}, "must enclose"),
        ({"grid": ((0, 0), (0, 1))}, "steps must be positive"),
        ({"symmetries": (SymmetryMap(((1, 0), (0, 1)), (0, 0), (0, 1)),)}, "where each of the 8 nodes goes"),
    ],
)
def test_a_bad_specification_is_refused(changes: Any, message: Any) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(make_spec(), **changes)


def test_a_bad_map_or_document_is_refused() -> None:
    with pytest.raises(ValueError, match="orthogonal"):
        SymmetryMap(((1, 1), (0, 1)), (0, 0), (0,))
    with pytest.raises(ValueError, match="one to one"):
        SymmetryMap(((1, 0), (0, 1)), (0, 0), (0, 0))
    document = make_spec().to_dict()
    with pytest.raises(ValueError, match="unknown entries"):
        OperatorSpec.from_dict(document | {"other": 1})
    del document["dt"]
    with pytest.raises(ValueError, match="missing entries"):
        OperatorSpec.from_dict(document)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "either epochs or seconds"),
        ({"epochs": 0}, "must be positive"),
        ({"epochs": 1, "batch_size": 0}, "batch_size"),
        ({"epochs": 1, "threads": 0}, "threads"),
        ({"epochs": 1, "checkpoint_every": -1}, "checkpoint_every"),
        ({"epochs": 1, "learning_rate": 1e-9}, "learning rates"),
        ({"epochs": 1, "validation": 1.0}, "validation"),
    ],
)
def test_a_bad_plan_is_refused(changes: Any, message: Any) -> None:
    with pytest.raises(ValueError, match=message):
        operator_plan(**changes)


def test_data_that_do_not_fit_are_refused() -> None:
    spec = make_spec()
    data = make_data(spec)
    plan = operator_plan(epochs=1)
    for changes, message in (
        ({"sources": SOURCES[:, :1]}, "sources must have shape"),
        ({"displacement": data.displacement[:2]}, "displacement must have shape"),
        ({"load": data.load * np.nan}, "load must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            train_operator(spec, dataclasses.replace(data, **changes), plan)
    with pytest.raises(ValueError, match="resume needs"):
        train_operator(spec, data, plan, resume=True)
    with pytest.raises(TrainingError, match="not finite"):
        train_operator(spec, data, operator_plan(epochs=60, learning_rate=1e30))


def test_a_damaged_state_is_refused(tmp_path: Any) -> None:
    spec = make_spec()
    data = make_data(spec)
    path = tmp_path / "state"
    train_operator(spec, data, operator_plan(epochs=1), checkpoint=path)
    tensors, document = read_tensors(path, TRAINING)
    del tensors["batches"]
    write_tensors(path, TRAINING, tensors, document)
    with pytest.raises(CheckpointError, match="no complete training"):
        train_operator(spec, data, operator_plan(epochs=1), checkpoint=path, resume=True)


def test_the_table_of_waveforms_begins_close_to_the_source() -> None:
    assert FLOOR * make_spec().duration < 0.05
