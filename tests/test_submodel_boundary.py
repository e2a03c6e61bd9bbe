"""Boundary data of both families of generators: what they play, what they refuse, and full FE beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from exact_generator import exact
from roof_problems import toy

from networks.paper.generator import GeneratorSpec
from solvers.time.signals import Chirp, Ricker, Signal, Sine, Tabulated
from submodel.case.case import Case, CaseError
from submodel.case.excitation import Excitation
from submodel.predict.error_bound import Training, Trust
from submodel.predict.generator import Generator
from submodel.validate.compare import validate_excitations

HERE, THERE = (0.6, 0.7), (0.8, 0.5)
SOURCES = np.array([HERE, THERE])
EXACT = 2e-7  # a Ricker pulse leaves 1e-8 at t = 0, which meets the response at a level that no run shows


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case.load(toy(tmp_path_factory.mktemp("case")))


@pytest.fixture(scope="module")
def operator(case: Case) -> Generator:
    return exact(case, SOURCES)


class History(torch.nn.Module):
    """A model of [A]: what it predicts is known in closed form."""

    def __init__(self, model: str, fields: tuple[str, ...], num_nodes: int) -> None:
        super().__init__()
        self.spec = GeneratorSpec.named(model, num_levels=41, num_arc=num_nodes, fields=fields)
        self.input_scaler = SimpleNamespace(mean=torch.zeros(3, dtype=torch.float64))
        self.factor = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, parameters: torch.Tensor, levels: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, field, time, node): the field's number, plus omega times level plus x times node."""
        spec, omega, x = self.spec, parameters[:, 0], parameters[:, 1]
        level = torch.arange(spec.num_levels) if levels is None else levels
        node = torch.arange(spec.num_arc)
        plane = omega[:, None, None] * level[:, None] + x[:, None, None] * node
        return self.factor * torch.stack([plane + number for number in range(len(spec.fields))], 1)


def history(operator: Generator, *fields: str, zone: bool = False) -> Generator:
    """A generator of [A] for the toy case; of a zone target the nodes of Γ come last, in reverse."""
    num_arc = operator.gamma.num_nodes
    file = operator.file
    if zone:
        inner = np.array([[0.0, 0.0], [0.05, 0.05]])
        file = replace(file, zone_points=np.vstack([inner, operator.gamma.points[::-1]]))
    model = History("fc-t" if zone else "conv2d-boundary", fields, num_arc + 2 * zone)
    return replace(operator, generator=model, file=file)


@pytest.mark.filterwarnings("ignore:at omega")
@pytest.mark.parametrize("interface", ["dirichlet", "impedance"])
def test_any_signal_and_several_sources_agree_with_full_fe(case: Case, operator: Generator, interface: str) -> None:
    """The responses come from sine runs of one frequency; all else follows."""
    from mpi4py import MPI

    t = np.linspace(0.0, 2.0, 30)
    signals: tuple[Signal, ...] = (Sine(2.2), Ricker(4.0), Chirp(2.0, 5.0, 2.0), Tabulated(tuple(t), tuple(t**2)))
    excitations = [Excitation((HERE,), (signal,)) for signal in signals]
    excitations.append(Excitation((HERE, THERE), (Ricker(3.0), Sine(2.8))))
    found = validate_excitations(case, operator, excitations, comm=MPI.COMM_SELF, condition=interface)
    assert found is not None and len(found) == 5
    for before, after in found:
        for errors in (before.displacement, before.velocity, after.displacement, after.velocity):
            assert errors.relative_l2 < EXACT


@pytest.mark.filterwarnings("ignore:at omega")
def test_a_refined_zone_is_compared_at_the_nodes_of_the_domain(case: Case, operator: Generator) -> None:
    from mpi4py import MPI

    excitation = Excitation((HERE,), (Sine(2.2),))
    found = validate_excitations(case, operator, [excitation], comm=MPI.COMM_SELF, refine=2)
    assert found is not None
    before, after = found[0]
    assert before.displacement.relative_l2 < EXACT < after.displacement.relative_l2 < 0.02  # another mesh


def test_batches_and_playback_give_the_same_traces(case: Case, operator: Generator) -> None:
    parameters = np.array([[2.2, *HERE], [2.9, *THERE]])
    for vector, trace in zip(parameters, operator.predict_vectors(parameters).traces(), strict=True):
        played = operator.predict([Excitation.of_parameters(case, vector)]).trace()
        for name in ("displacement", "velocity", "load"):
            batch, single = getattr(trace, name), getattr(played, name)
            np.testing.assert_allclose(batch, single, rtol=0.0, atol=1e-6 * np.abs(single).max())  # float32 in batches


def test_a_history_is_cut_and_several_are_added(case: Case, operator: Generator) -> None:
    generated = history(operator, "displacement", "velocity", "load")
    vectors = np.array([[2.2, *HERE], [2.9, *THERE]])
    both = Excitation((HERE, THERE), (Sine(2.2), Sine(2.9)))
    chunk = generated.predict([both]).levels(10, 13)
    plane = sum(omega * np.arange(10, 13)[:, None] + x * np.arange(16) for omega, x, _ in vectors)
    for number, name in enumerate(("displacement", "velocity", "load")):
        np.testing.assert_allclose(chunk[name][0], plane + 2 * number, rtol=1e-6)  # a float32 prediction
    traces = generated.predict_vectors(vectors).traces()
    np.testing.assert_allclose(traces[1].displacement[10:13], 2.9 * np.arange(10, 13)[:, None] + 0.8 * np.arange(16))


def test_a_velocity_that_is_not_predicted_is_the_rate_of_change(case: Case, operator: Generator) -> None:
    generated = history(operator, "displacement")
    trace = generated.predict([Excitation((HERE,), (Sine(2.2),))]).trace()
    np.testing.assert_allclose(trace.velocity, 2.2 / case.time.dt, rtol=1e-4)  # of float32 values
    assert trace.load is None


def test_a_model_of_the_zone_hands_its_values_on_the_interface(operator: Generator) -> None:
    generated = history(operator, "displacement", "velocity", zone=True)
    trace = generated.predict_vectors(np.array([[2.2, *HERE]])).trace()
    np.testing.assert_allclose(trace.displacement[0], 0.6 * np.arange(17, 1, -1), rtol=1e-6)
    played = generated.predict([Excitation((HERE,), (Sine(2.2),))]).trace()
    np.testing.assert_array_equal(played.displacement, trace.displacement)
    generated.require("dirichlet")
    with pytest.raises(CaseError, match="its model predicts the zone, which has no load: use --interface dirichlet"):
        generated.require("impedance")


def test_a_model_of_a_fixed_signal_refuses_another(operator: Generator) -> None:
    generated = history(operator, "displacement", "velocity", "load")
    assert not generated.family.takes_signals and operator.family.takes_signals
    excitation = Excitation((HERE,), (Ricker(2.5),))
    with pytest.raises(CaseError, match="knows the signal of the case only, sine of some omega: leave out --signal"):
        generated.require_excitation(excitation)
    with pytest.raises(CaseError, match="knows the signal of the case only"):
        generated.predict([excitation])
    with pytest.raises(CaseError, match='train with "load" among training.fields'):
        history(operator, "displacement").require("impedance")


def test_what_lies_outside_the_training_needs_a_word(operator: Generator) -> None:
    assert operator.require_excitation(Excitation((HERE,), (Sine(2.5),))) == []
    for excitation, words in (
        (Excitation((HERE,), (Sine(4.0),)), r"omega 4, source \(0.6, 0.7\) lie outside what"),
        (Excitation((HERE, (-0.6, 0.7)), (Sine(2.5), Sine(2.5))), r"omega 2.5, source \(-0.6, 0.7\) lie outside"),
        (Excitation(((-0.6, 0.7),), (Ricker(2.5),)), r"source \(-0.6, 0.7\) lies outside what .*0.45.* to .*0.85"),
        (Excitation((HERE,), (Chirp(2.0, 12.0, 2.0),)), "% of the energy of the signal"),
    ):
        with pytest.raises(CaseError, match=words):
            operator.require_excitation(excitation)
        warnings = operator.require_excitation(excitation, extrapolate=True)
        assert warnings and all("nothing is known of the error" in warning for warning in warnings)
    with pytest.raises(CaseError, match=r"s\(0\)"):
        operator.require_excitation(Excitation((HERE,), (Tabulated((0.0, 2.0), (1.0, 0.0), "linear"),)))


def test_the_excluded_box_is_named(tmp_path: Path, operator: Generator) -> None:
    wide = {
        "source_lower": "source_lower = [-0.9, -0.9]\nexclude_lower = [-0.3, -0.3]\nexclude_upper = [0.3, 0.3]",
        "source_upper": "source_upper = [0.9, 0.9]",
    }
    file = replace(operator.file, case=Case.load(toy(tmp_path, **wide)))
    with pytest.raises(CaseError, match=r"but not in \[-0.3, -0.3\] to \[0.3, 0.3\]"):
        replace(operator, file=file).require_excitation(Excitation(((0.28, 0.0),), (Sine(2.5),)))


def calibrated(operator: Generator, errors: tuple[float, ...] = (0.01, 0.02)) -> Generator:
    """With a trust from 40 runs whose errors alternate."""
    rng = np.random.default_rng(0)
    parameters = np.column_stack([rng.uniform(2.0, 3.0, 40), rng.uniform(0.45, 0.85, (40, 2))])
    training = Training(operator.case.parameters, rng.uniform(0.45, 0.85, (10, 2)), operator.gamma.points)
    trust = Trust.calibrate(training, parameters, {"impedance": np.resize(errors, 40)})
    return replace(operator, file=replace(operator.file, trust=json.loads(json.dumps(trust.to_json()))))


def test_a_bound_is_told_where_there_is_one(operator: Generator) -> None:
    excitation = Excitation((HERE,), (Sine(2.5),))
    none = operator.bound(excitation, "impedance")
    assert none.words() == "no bound for epsilon: the generator was not calibrated, see `submodel calibrate`"
    generated = calibrated(operator)
    bound = generated.bound(excitation, "impedance")
    assert bound.value is not None and 0.015 < bound.value < 0.06
    assert (
        bound.words().startswith("epsilon <= ")
        and "with 90 % coverage (split conformal on 28 runs, one for all; " in bound.words()
    )
    for other, interface, words in (
        (excitation, "dirichlet", "calibrated for impedance only"),
        (Excitation((HERE,), (Ricker(2.5),)), "impedance", "one source whose signal is sine"),
        (Excitation((HERE, HERE), (Sine(2.5), Sine(2.5))), "impedance", "one source whose signal is sine"),
        (Excitation((HERE,), (Sine(9.0),)), "impedance", "outside what the generator was trained for"),
    ):
        assert words in generated.bound(other, interface).words()


def test_a_source_where_training_is_sparse_is_warned_of(operator: Generator) -> None:
    generated: Any = calibrated(operator)
    (warning,) = generated.require_excitation(Excitation(((-0.9, -0.9),), (Sine(2.5),)), extrapolate=True)[1:]
    assert "away from its nearest training sources" in warning


def test_sources_of_the_training_stand_for_their_images(case: Case, operator: Generator) -> None:
    """The stand-in claims to be symmetric under a half turn."""
    from submodel.validate.calibrate import MOST_SOURCES, training_of

    training = training_of(case, operator)
    assert {tuple(source) for source in training.sources} == {HERE, THERE, (-0.6, -0.7), (-0.8, -0.5)}
    many = np.random.default_rng(0).uniform(0.45, 0.85, (MOST_SOURCES, 3))
    assert len(training_of(case, replace(operator, file=replace(operator.file, parameters=many))).sources) == 1000


@pytest.mark.parametrize("interface", ["dirichlet", "impedance"])
def test_data_of_many_excitations_are_those_of_one_at_a_time(case: Case, operator: Generator, interface: str) -> None:
    from mpi4py import MPI

    from submodel.solve import from_case as build

    zone = build.zone_model(case, MPI.COMM_SELF, condition=interface)
    weights = zone.datum_weights()
    assert weights is not None
    excitations = [Excitation((HERE,), (Sine(omega),)) for omega in (2.2, 2.5, 2.8)]
    excitations.insert(1, Excitation((HERE, THERE), (Sine(2.4), Ricker(3.0))))
    models = [operator] + ([history(operator, "displacement", zone=True)] if interface == "dirichlet" else [])
    for generated in models:
        asked = excitations if generated is operator else [excitations[0], excitations[2]]
        found = generated.predict(asked).data(weights)
        assert found.dtype == np.float64 and found.shape == (len(asked), 41, zone.gamma.num_nodes)
        for row, excitation in zip(found, asked, strict=True):
            expected = zone.datum(generated.predict([excitation]).trace().on(zone.gamma))
            np.testing.assert_allclose(row, expected, rtol=0.0, atol=1e-12 * np.abs(expected).max())
    with pytest.raises(CaseError, match="knows the signal of the case only"):
        history(operator, "displacement").predict([Excitation((HERE,), (Chirp(2.0, 3.0, 2.0),))])
