"""Wave tables against their definition in double precision, their files, and what a source's place does."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from convolved_prediction import ConvolvedPredictor
from network_problems import SQUARE
from numpy.typing import NDArray
from test_networks_operator import ALL
from test_networks_playback import SINGLE, added, apart, combination, off, random_weights
from test_networks_source_mesh import triangles
from torch._subclasses.fake_tensor import FakeTensorMode

from networks import checkpoint, family
from networks.checkpoint import CheckpointError
from networks.compression.compress import compress
from networks.core.prediction import SourceSets
from networks.core.tensor_file import read_tensors, write_tensors
from networks.response import inference as response_inference
from networks.response import user_cache
from networks.response.compiled import library
from networks.response.predictor import ResponsePredictor
from networks.response.symmetry import SymmetryMap
from networks.table import inference as table_inference
from networks.table.bases.catalogue import basis_from
from networks.table.factors import Factors
from networks.table.family import FAMILY
from networks.table.generator import TableGenerator
from networks.table.inference import TableInference
from networks.table.spec import TableSpec

Array = NDArray[np.float64]
N, DT, RATE, K, A = 60, 0.02, 15.0, 19, 8
LEVELS = np.arange(N + 1) * DT
PLACES = np.array([[0.31, 0.42], [0.55, 0.21], [0.9, 0.77]])
SIGNALS = np.stack([np.sin(7.0 * LEVELS), np.sin(9.0 * LEVELS) * LEVELS, np.sin(4.0 * LEVELS) ** 2])


def complex_normal(rng: np.random.Generator, *shape: int) -> NDArray[np.complex64]:
    return np.asarray(rng.standard_normal(shape) + 1j * rng.standard_normal(shape), np.complex64)


def make_spec(**changes: Any) -> TableSpec:
    points = tuple((float(x), float(y)) for x, y in SQUARE)
    return TableSpec(N, DT, RATE, (3.0, 9.0), points, **({"num_frequencies": K} | changes))


def symmetries() -> tuple[SymmetryMap, ...]:
    maps = []
    for matrix in ALL:
        images = SQUARE @ np.array(matrix).T
        arc = tuple(int(np.linalg.norm(SQUARE - image, axis=1).argmin()) for image in images)
        maps.append(SymmetryMap(matrix, (0.0, 0.0), arc))  # type: ignore[arg-type]
    return tuple(maps)


def table(basis: str = "nodes", seed: int = 0, **changes: Any) -> TableGenerator:
    """One with random factors, left vectors that end early, and a frequency that says nothing."""
    rng, mesh = np.random.default_rng(seed), triangles()
    spec = make_spec(**changes)
    description: dict[str, Any] = {"kind": basis} | ({"speed": 1.0} if basis in ("spline", "waves") else {})
    made = basis_from(description, _area(spec))
    ranks = [0 if k == 3 else 2 + k % 3 for k in range(K)]
    patterns = [5, 6, 4]
    left, right, lengths = [], [], []
    for k, rank in enumerate(ranks):
        matrix = made.matrix(k)
        n = len(mesh.nodes) if matrix is None else matrix.shape[1]
        own = np.full(rank, n) if matrix is None else rng.integers(1, n + 1, rank)
        left.append(complex_normal(rng, n, rank) * (np.arange(n)[:, None] < own))
        right.append(complex_normal(rng, rank, patterns[k // 8]))
        lengths.append(own.astype(np.int64))
    gamma = [np.asarray(rng.standard_normal((q, 2 * A)), np.float32) for q in patterns]
    return TableGenerator.of(spec, Factors(left, right, gamma, 8, lengths), mesh, description)


def _area(spec: TableSpec) -> Any:
    from networks.table.bases.area import Area

    return Area(triangles().nodes, spec.omega, spec.dt, spec.num_levels)


class Defined:
    """A table's responses by its definition, in double precision."""

    def __init__(self, made: TableGenerator) -> None:
        self.spec, self._made = made.spec, made

    def amplitudes(self, places: Array) -> NDArray[np.complex128]:
        """(place, 2 arc, frequency)."""
        folded, arcs = self._made.sector.fold(places)
        nodes, shares = self._made.mesh.rows(folded)
        basis, out = self._made.source_basis(), []
        for k in range(K):
            left, right, gamma = (each.detach().numpy().astype(complex) for each in self._made.factors(k))
            matrix = basis.matrix(k)
            corners = (left if matrix is None else matrix.astype(complex) @ left)[nodes]
            out.append(np.einsum("pv,pvc->pc", shares, corners) @ right @ gamma)
        found = np.stack(out, -1).reshape(len(places), 2, A, K)
        return np.asarray(np.take_along_axis(found, arcs[:, None, :, None], 2).reshape(len(places), 2 * A, K))

    def responses(self, places: Array) -> Array:
        """(place, 2, time + 1, node), as `ConvolvedPredictor` wants them."""
        waves = np.exp(1j * self.spec.omega * LEVELS[:, None])
        y = np.einsum("tk,pak->pta", waves, self.amplitudes(places)).real
        return np.asarray(y.reshape(len(places), N + 1, 2, A).transpose(0, 2, 1, 3))


@pytest.mark.parametrize("form", ["nodes", "spline", "symmetric", "half"])
def test_a_table_predicts_by_its_definition(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_inference, "STRETCH", 16)
    if form == "half":
        monkeypatch.setattr(table_inference, "SINGLE_UP_TO", 0)
    made = table("spline" if form == "spline" else "nodes", symmetries=symmetries() if form == "symmetric" else ())
    places = PLACES * [[1, 1], [-1, 1], [1, 1]] if form == "symmetric" else PLACES
    ready, close = FAMILY.ready(made), 1e-3 if form == "half" else 2 * SINGLE
    for sets in (added(places[:1], SIGNALS[:1]), added(places, SIGNALS), apart(places, SIGNALS)):
        expected = ConvolvedPredictor(Defined(made), sets)
        predictor = FAMILY.predictor(ready, sets)
        whole = predictor.levels(0, N)
        assert whole.dtype == np.float64 and whole.shape == (len(sets), 3, N, A)
        assert off(whole, expected.levels(0, N)) < close
        for size in (1, 7, 32):
            parts = [predictor.levels(n, min(n + size, N)) for n in range(0, N, size)]
            assert off(np.concatenate(parts, 2), whole) < SINGLE
        u, v = whole[:, 0], whole[:, 1]
        assert np.allclose(v[:, 1:-1], (u[:, 2:] - u[:, :-2]) / (2 * DT), rtol=0, atol=20 * SINGLE * np.abs(v).max())
        weights = random_weights(A)
        assert off(predictor.levels(0, N, weights), combination(whole, weights)) < 2 * SINGLE


def test_a_forward_pass_is_the_low_passed_response() -> None:
    for made in (table("spline"), table(symmetries=symmetries())):
        with torch.no_grad():
            found = made(torch.as_tensor(PLACES)).double().numpy()
        assert off(found, Defined(made).responses(PLACES)) < 2 * SINGLE


def test_without_a_compiler_tensors_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = table()
    expected = FAMILY.predictor(FAMILY.ready(made), apart(PLACES, SIGNALS)).levels(0, N)
    monkeypatch.setattr(response_inference, "library", lambda: None)
    monkeypatch.setattr(table_inference, "library", lambda: None)
    ready = TableInference(made)
    assert ready._drive is None and ready._multiply is None
    assert off(FAMILY.predictor(ready, apart(PLACES, SIGNALS)).levels(0, N), expected) < 2 * SINGLE


@pytest.mark.skipif(library() is None, reason="needs a C compiler")
def test_the_compiled_loop_says_what_tensors_say(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = FAMILY.ready(table(symmetries=symmetries()))
    fast = ready.coefficients(PLACES)
    monkeypatch.setattr(table_inference, "FEW", 0)
    slow = ready.coefficients(PLACES)
    assert not torch.equal(fast, slow) and float((fast - slow).abs().max() / slow.abs().max()) < SINGLE
    assert ready._multiply is not None
    with pytest.raises(ValueError, match="not those of this table"):
        ready._multiply(np.zeros((1, 3), np.float32), np.zeros((1, A), np.int64))


def test_a_node_is_its_own_row_and_a_free_place_the_mean_of_its_corners() -> None:
    made, mesh = table("spline"), triangles()
    defined = Defined(made)
    k, node = 7, 11
    left, right, gamma = (each.detach().numpy() for each in made.factors(k))
    rows = made.source_basis().matrix(k) @ left @ right @ gamma  # type: ignore[operator]
    np.testing.assert_allclose(defined.amplitudes(mesh.nodes[node : node + 1])[0, :, k], rows[node], rtol=1e-5)
    nodes, shares = mesh.rows(PLACES)
    same = SIGNALS[[0, 0, 0]]
    corners = FAMILY.predictor(FAMILY.ready(made), apart(mesh.nodes[nodes[0]], same)).levels(0, N)
    free = FAMILY.predictor(FAMILY.ready(made), apart(PLACES[:1], same[:1])).levels(0, N)
    assert off(free[0], np.tensordot(shares[0], corners, 1)) < 2 * SINGLE


def test_it_is_linear_in_its_sources() -> None:
    ready = FAMILY.ready(table())
    each = FAMILY.predictor(ready, apart(PLACES, SIGNALS)).levels(0, N)
    whole = FAMILY.predictor(ready, added(PLACES, SIGNALS)).levels(0, N)
    assert off(whole[0], each.sum(0)) < 4 * SINGLE
    double = FAMILY.predictor(ready, added(PLACES, -2.0 * SIGNALS)).levels(0, N)
    assert np.array_equal(double, -2.0 * whole)


def test_batches_are_what_sets_are_one_at_a_time() -> None:
    ready, rng = FAMILY.ready(table()), np.random.default_rng(0)
    places, signals = rng.uniform(0.1, 0.9, (40, 2)), np.sin(rng.uniform(3, 9, (40, 1)) * LEVELS)
    for size in (3, 64):
        several = ResponsePredictor(ready, apart(places, signals), batch_size=size).levels(0, N)
        for number in (0, 17, 39):
            one = FAMILY.predictor(ready, apart(places[[number]], signals[[number]])).levels(0, N)
            assert off(several[number], one[0]) < SINGLE


@pytest.mark.parametrize("far", [(0.0, 0.0), (2.0**19, -(2.0**22))])
@pytest.mark.parametrize("length", [1.0, 2.0**-40, 2.0**20])
def test_origin_and_unit_of_length_do_not_matter(far: tuple[float, float], length: float) -> None:
    """To the bit: places are counted from the origin in double precision."""
    made = table()
    places = np.round(PLACES * 2**16) / 2**16  # that far numbers still hold them
    expected = FAMILY.predictor(FAMILY.ready(made), apart(places, SIGNALS)).levels(0, N)
    moved = copy.deepcopy(made)
    moved.nodes.mul_(length)
    points = tuple((length * x, length * y) for x, y in made.spec.points)
    origin = (length * far[0], length * far[1])
    moved.spec = dataclasses.replace(made.spec, origin=origin, points=points)
    sets = apart(length * (places + far), SIGNALS)
    assert np.array_equal(FAMILY.predictor(FAMILY.ready(moved), sets).levels(0, N), expected)


def test_symmetric_sources_share_a_sector() -> None:
    made = table(symmetries=symmetries())
    ready = FAMILY.ready(made)
    first = FAMILY.predictor(ready, apart(PLACES[:1], SIGNALS[:1])).levels(0, N)[0]
    for each in made.spec.symmetries[1:]:
        image = PLACES[:1] @ np.array(each.matrix).T
        found = FAMILY.predictor(ready, apart(image, SIGNALS[:1])).levels(0, N)[0]
        assert off(found[..., list(each.images)], first) < SINGLE


def test_a_place_outside_the_source_area_is_refused() -> None:
    made = table(origin=(10.0, 0.0))
    with pytest.raises(ValueError, match=r"the source at \(11\.5, 0\.5\) lies outside"):
        FAMILY.predictor(FAMILY.ready(made), apart(np.array([[11.5, 0.5]]), SIGNALS[:1])).levels(0, N)


def test_gradients_reach_every_factor() -> None:
    made = table("spline")
    FAMILY.ready(made)  # in inference mode, which leaves nothing that cannot be trained
    made(torch.as_tensor(PLACES)).square().mean().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and (parameter.grad != 0).any(), name
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1)
    assert off(made(torch.as_tensor(PLACES)).detach().double().numpy(), Defined(made).responses(PLACES)) < 2 * SINGLE


def test_a_file_gives_back_every_bit(tmp_path: Path) -> None:
    made, path = table("spline", symmetries=symmetries()), tmp_path / "table.safetensors"
    checkpoint.save(path, made, metadata={"a": 1})
    found, metadata = checkpoint.load(path)
    assert metadata == {"a": 1} and found.spec == made.spec and not found.training
    for (name, before), after in zip(made.state_dict().items(), found.state_dict().values(), strict=True):
        assert torch.equal(before, after), name
    sets = apart(PLACES, SIGNALS)
    one, other = (FAMILY.predictor(FAMILY.ready(each), sets).levels(0, N) for each in (made, found))
    assert np.array_equal(one, other)
    again = tmp_path / "again.safetensors"
    checkpoint.save(again, found, metadata={"a": 1})
    tensors, _ = read_tensors(path, checkpoint.GENERATOR)
    same = read_tensors(again, checkpoint.GENERATOR)[0]
    assert tensors.keys() == same.keys() and all(torch.equal(tensors[name], same[name]) for name in tensors)
    assert all(tensors[name].dtype == torch.float16 for name in ("left", "right", "gamma"))
    assert made.num_stored == sum(tensor.numel() for tensor in tensors.values())
    right = sum(p * made.spec.patterns[k // 8] - p * (p + 1) // 2 for k, p in enumerate(made.spec.ranks))
    gamma = sum(q * (2 * A - q) for q in made.spec.patterns)
    assert made.num_parameters == 2 * (int(made.lengths.sum()) + right) + gamma
    assert pickle.loads(pickle.dumps(made)).spec == made.spec


def test_factors_that_were_trained_keep_their_digits_until_they_are_rounded(tmp_path: Path) -> None:
    made, path = table(), tmp_path / "table.safetensors"
    with torch.no_grad():
        made.left.mul_(1 + 1e-5)
    checkpoint.save(path, made)
    assert torch.equal(checkpoint.load(path)[0].left, made.left)
    before = made.left.detach().clone()
    made.round()
    assert 0 < float((made.left - before).abs().max()) < 2**-11 * float(before.abs().max())
    checkpoint.save(path, made)
    assert torch.equal(checkpoint.load(path)[0].left, made.left)
    assert read_tensors(path, checkpoint.GENERATOR)[0]["left"].dtype == torch.float16


@pytest.mark.parametrize("size", [1e-30, 1e-3, 1e25])
def test_half_precision_holds_factors_of_any_size(size: float) -> None:
    made = table()
    with torch.no_grad():
        made.left.mul_(size)
    before = made.left.detach().double()
    made.round()
    assert float((made.left.detach().double() - before).norm() / before.norm()) < 3e-4


def test_a_file_of_another_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.safetensors"
    checkpoint.save(path, table())
    tensors, document = read_tensors(path, checkpoint.GENERATOR)
    write_tensors(path, checkpoint.GENERATOR, {**tensors, "right": tensors["right"][1:]}, document)
    with pytest.raises(CheckpointError, match="cannot build"):
        checkpoint.load(path)


def test_nothing_of_a_prediction_waits_for_a_device() -> None:
    """Shapes and devices alone, as on a GPU that is not here: `mixed` reads no number back."""
    ready = FAMILY.ready(table(symmetries=symmetries()))
    given = [torch.from_numpy(values) for values in ready.prepared(PLACES, SIGNALS, every=True)]
    found, expected = ready.mixed(given, 3), ready.mixture(PLACES[None], SIGNALS[None])
    assert torch.allclose(found.times, expected.times, rtol=0, atol=SINGLE * float(expected.times.abs().max()))
    assert torch.equal(found.parts, expected.parts)
    ready._multiply = None  # as on a GPU
    assert torch.allclose(ready.mixed(given, 3).parts, expected.parts, rtol=0, atol=1e-5 * float(expected.parts.max()))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.inference_mode(False):
        fake = [mode.from_tensor(values) for values in given]
        parts = TableInference._parts.__wrapped__(ready, *fake[:3])  # type: ignore[attr-defined]
        assert parts.shape == expected.parts.shape


def test_facts_and_the_seam() -> None:
    assert family.named("table") is FAMILY and FAMILY.takes_signals
    made = table(runs=(10, 2), loads=(3, A + 1))
    facts = FAMILY.facts(made.spec)
    assert facts["runs"] == "10 direct, 2 reciprocal" and facts["loads"] == "u 3, r 1" and facts["frequencies"] == "19"
    assert FAMILY.band(made.spec) == (3.0, 9.0) and not FAMILY.predicts_zone(made.spec)
    inputs = FAMILY.inputs(made.spec, np.zeros((3, 1)), PLACES)
    assert off(made(*inputs).detach().double().numpy(), Defined(made).responses(PLACES)) < 2 * SINGLE
    with pytest.raises(ValueError, match="has no factors yet"):
        FAMILY.build(make_spec())


def test_a_compression_of_layers_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match="truncated factors already: make one of fewer numbers"):
        compress(table(), "svd", ratio=2)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model": "operator"}, "model is 'table'"),
        ({"element": "p2"}, "p1 or gll elements"),
        ({"num_frequencies": 38}, "37 at most"),
        ({"ranks": (1, 2)}, "need as many sizes and ranks"),
        ({"num_frequencies": 0}, "positive integer"),
    ],
)
def test_specifications_that_make_no_table(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make_spec(**changes)


def test_silent_sources_and_shapes() -> None:
    ready = FAMILY.ready(table())
    sets = SourceSets(PLACES[None], SIGNALS[None] * [[[1.0], [0.0], [0.0]]])
    alone = FAMILY.predictor(ready, added(PLACES[:1], SIGNALS[:1])).levels(0, N)
    assert off(FAMILY.predictor(ready, sets).levels(0, N), alone) < SINGLE
    with pytest.raises(ValueError, match="need a signal each at 61 levels"):
        FAMILY.predictor(ready, added(PLACES, SIGNALS[:1]))


def test_an_expansion_from_the_cache_is_the_fresh_one_and_a_damaged_file_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made, other = table("waves"), table("waves", seed=1)
    fresh, sets = FAMILY.ready(made), apart(PLACES, SIGNALS)
    expected = FAMILY.predictor(fresh, sets).levels(0, N)
    assert off(expected, ConvolvedPredictor(Defined(made), sets).levels(0, N)) < 2 * SINGLE
    (path,) = (tmp_path / "submodel-tables").iterdir()
    with monkeypatch.context() as without:
        without.setattr(table_inference, "_expanded", None)  # a file serves
        assert np.array_equal(FAMILY.predictor(FAMILY.ready(made), sets).levels(0, N), expected)
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[:-4] + b"\x00\x00\x80\x3f"):
        path.write_bytes(damaged)
        assert np.array_equal(FAMILY.predictor(FAMILY.ready(made), sets).levels(0, N), expected)
        read_tensors(path, user_cache.KIND)  # whole again
    assert off(FAMILY.predictor(FAMILY.ready(other), sets).levels(0, N), expected) > SINGLE
    assert len(list(path.parent.iterdir())) == 2
    monkeypatch.setattr(user_cache, "LARGEST", 5 * len(whole) // 2)
    FAMILY.ready(table("waves", seed=2))
    assert len(list(path.parent.iterdir())) == 2 and not path.exists()
