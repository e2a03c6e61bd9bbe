"""The seam of interface conditions: a spring on Γ, defined here, goes down the main road. Recipe: docs/extending.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from exact_generator import exact
from mpi4py import MPI
from numpy.typing import NDArray
from roof_problems import done, errors_of, refused, submodel, toy
from solver_problems import METHODS, box, run_full, time_grid, zone_errors

from solvers.gamma.condition import CONDITIONS, GammaTerms, InterfaceCondition, condition_named
from solvers.gamma.gamma import Gamma
from solvers.mesh.domain import refined, zone_submesh
from solvers.problems.full import FullModel
from solvers.problems.zone import ZoneModel
from solvers.time.signals import Sine
from submodel.case.case import Case, CaseError
from submodel.case.excitation import Excitation
from submodel.validate.compare import validate_excitations

EXACT = 1e-12
HERE = (0.6, 0.7)


@dataclass(frozen=True)
class Spring(InterfaceCondition):
    """∂u/∂n + k u = g on Γ: no damping, so that the velocity is not needed.

    Args:
        stiffness: k, 1 / unit of length.
    """

    name: ClassVar[str] = "spring"
    needs: ClassVar[tuple[str, ...]] = ("displacement", "load")
    stiffness: float = 1.0

    def terms(self, gamma: Gamma, admittance: NDArray[np.float64]) -> GammaTerms:
        return GammaTerms(np.zeros(gamma.num_nodes), self.stiffness * gamma.weights)


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    CONDITIONS[Spring.name] = Spring
    yield
    del CONDITIONS[Spring.name]


@pytest.fixture(scope="module")
def case_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = toy(tmp_path_factory.mktemp("spring"))
    text = path.read_text().replace('kind = "impedance"', 'kind = "spring"\nstiffness = 4.0')
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def dataset(case_file: Path) -> Path:
    path = case_file.with_name("toy.h5")
    done("generate", case_file, "-o", path)
    return path


@pytest.mark.parametrize("method", ["p1", "newmark", "gll2"])
def test_replay_is_exact(method: str) -> None:
    discretization = METHODS[method]
    model = FullModel(box(MPI.COMM_SELF, discretization), discretization, time_grid(discretization))
    trace, truth = run_full(model)
    for stiffness in (0.0, 4.0):
        zone = ZoneModel(zone_submesh(model.domain), discretization, model.time, condition=Spring(stiffness))
        assert max(zone_errors(zone, trace, model.zone_points, truth)) < EXACT
        assert not zone.stepper.assembly.damping.count_nonzero()
        num_held = 16 * discretization.degree if stiffness else 0
        assert np.count_nonzero(zone.stepper.assembly.robin) == num_held


def test_the_velocity_is_not_needed_and_the_load_is() -> None:
    model = FullModel(box(MPI.COMM_SELF, METHODS["p1"]), METHODS["p1"], time_grid(METHODS["p1"]))
    trace, _ = run_full(model)
    zone = ZoneModel(zone_submesh(model.domain), METHODS["p1"], model.time, condition=Spring(4.0))
    still = replace(trace, velocity=np.zeros_like(trace.velocity))
    np.testing.assert_array_equal(zone.datum(still), zone.datum(trace))
    with pytest.raises(ValueError, match="the spring condition needs the load on Γ, which this trace lacks: .* or use"):
        zone.run(replace(trace, load=None))


def test_a_finer_zone_and_its_divided_steps() -> None:
    discretization = METHODS["p1"]
    model = FullModel(box(MPI.COMM_SELF, discretization), discretization, time_grid(discretization))
    trace, truth = run_full(model)
    zone = ZoneModel(refined(zone_submesh(model.domain), 2), discretization, model.time, condition=Spring(4.0))
    assert EXACT < zone_errors(zone, trace, model.zone_points, truth)[0] < 0.1  # another mesh


def test_a_case_names_it_with_its_own_number(case_file: Path, tmp_path: Path) -> None:
    case = Case.load(case_file)
    assert case.interface.condition() == Spring(4.0) and case.interface.condition("dirichlet").name == "dirichlet"
    assert Case.from_json(case.to_json()).interface.condition() == Spring(4.0)
    wrong = tmp_path / "wrong.toml"
    for number, words in (
        ("alpha = 2.0", 'interface.alpha = 2 has no meaning with kind = "spring": leave it out, or write kind = "impe'),
        ("stifness = 2.0", 'interface.stifness = 2 has no meaning with kind = "spring": leave it out'),
        ("stiffness = true", "interface.stiffness should be a number"),
    ):
        wrong.write_text(case_file.read_text().replace("stiffness = 4.0", number))
        with pytest.raises(CaseError) as caught:
            Case.load(wrong)
        assert words in str(caught.value)


def test_recorded_data_are_validated_and_zoomed(case_file: Path, dataset: Path, tmp_path: Path) -> None:
    recorded = ("--boundary", "recorded")
    done("validate", case_file, "--dataset", dataset, *recorded, "--json", tmp_path / "errors.json")
    errors: Any = errors_of(tmp_path / "errors.json")
    assert errors["interface"] == "spring" and errors["after"]["displacement"]["relative_l2"] < 1e-6
    done("zoom", case_file, *recorded, "--dataset", dataset, "--sample", 1, "-o", tmp_path / "zoomed")
    record: Any = errors_of(tmp_path / "zoomed" / "zoom.json")
    assert record["interface"] == "spring" and record["stiffness"] == 4.0 and "alpha" not in record


def test_a_generator_is_trained_and_feeds_it(case_file: Path, dataset: Path, tmp_path: Path) -> None:
    generator = tmp_path / "toy.safetensors"
    done("train", case_file, "--dataset", dataset, "-o", generator)
    predicted = ("--generator", generator, "--omega", 2.5, "--source", *HERE)
    done("zoom", case_file, *predicted, "-o", tmp_path / "zoomed", "--refine", 2)
    done("validate", case_file, "--dataset", dataset, "--generator", generator, "--json", tmp_path / "errors.json")
    assert errors_of(tmp_path / "errors.json")["interface"] == "spring"
    plain = tmp_path / "plain.toml"
    plain.write_text(case_file.read_text().replace('"displacement", "velocity", "load"', '"displacement", "velocity"'))
    done("train", plain, "--dataset", dataset, "-o", tmp_path / "plain.safetensors")
    without = ("--generator", tmp_path / "plain.safetensors", "--omega", 2.5, "--source", *HERE)
    refused(submodel("zoom", plain, *without, "-o", tmp_path / "no"), "the spring condition needs the load on Γ")


def test_exact_predictions_give_the_full_run(case_file: Path) -> None:
    case = Case.load(case_file)
    generator = exact(case, np.array([HERE]))
    out = validate_excitations(case, generator, [Excitation((HERE,), (Sine(2.5),))], comm=MPI.COMM_SELF)
    assert out is not None and out[0][1].displacement.relative_l2 < 2e-7


def test_a_condition_that_is_not_registered_is_refused(case_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one of .*'spring'.*, got 'damper'"):
        condition_named("damper")
    predicted = ("--omega", 2.5, "--source", *HERE)
    said = submodel("zoom", case_file, "-o", tmp_path / "no", "--interface", "damper", *predicted)
    words = " ".join(said.text.replace("│", " ").split())
    assert said.status == 2 and "'damper' is not one of dirichlet, impedance, spring" in words
