"""Seam of the equation: a wave with mass-proportional damping, made here, goes down the main road."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from mpi4py import MPI
from numpy.typing import NDArray
from roof_problems import done, errors_of, refused, submodel, toy
from solver_problems import METHODS, SOURCE, NoLoad, box, generate_plate, plate, relative_l2, run_full, zone_errors

from solvers.batch.ensemble import Selection
from solvers.batch.in_turn import InTurn
from solvers.gamma.condition import Dirichlet, Impedance
from solvers.mesh.domain import Domain, cell_midpoints, zone_submesh
from solvers.problems.full import FullModel
from solvers.problems.loads import NodalLoad, averaged_signal, loads_of_runs
from solvers.problems.reciprocal import ReciprocalModel
from solvers.problems.zone import ZoneModel
from solvers.space.assembly import assemble, function_space
from solvers.space.physics import PHYSICS, Physics, Wave, cell_field, physics_named
from solvers.stepping.schemes import make_stepper, march
from solvers.time.grid import TimeGrid

ROUND_OFF = 1e-12
OPERATOR = {"model": 'model = "operator"', "fields": "", "variant": "", "batch_size": "", "validation": ""}
pytestmark = pytest.mark.filterwarnings("ignore::solvers.space.stability.ResolutionWarning")  # toy meshes are coarse


@dataclass(frozen=True)
class DampedWave(Wave):
    """``u_tt / c² + gamma u_t / c² − Δu = f``: C = gamma M."""

    name: ClassVar[str] = "damped-wave"
    gamma: float

    def damping(self, u: Any, v: Any, domain: Domain) -> Any:
        return self.gamma * self.mass(u, v, domain)


@dataclass(frozen=True)
class UnevenlyDampedWave(Wave):
    """Damping of another size in each cell, the zone's included: C is not proportional to M."""

    name: ClassVar[str] = "unevenly-damped-wave"

    def damping(self, u: Any, v: Any, domain: Domain) -> Any:
        x = cell_midpoints(domain.mesh)[:, 0]
        return cell_field(domain.mesh, 4.0 + 3.0 * np.sin(9.0 * x)) * u * v


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    PHYSICS[DampedWave.name] = DampedWave
    yield
    del PHYSICS[DampedWave.name]


def grid_for(method: str) -> TimeGrid:
    return TimeGrid(0.8, {"p1": 41, "gll2": 97}.get(method, 41))


def decaying(gamma: float, omega: float, t: NDArray[np.float64]) -> NDArray[np.float64]:
    """The solution of a'' + gamma a' + omega² a = 0 with a(0) = 1, a'(0) = 0."""
    damped = np.sqrt(omega**2 - 0.25 * gamma**2)
    return np.exp(-0.5 * gamma * t) * (np.cos(damped * t) + 0.5 * gamma / damped * np.sin(damped * t))


@pytest.mark.parametrize(("method", "order"), [("p1", 2.0), ("newmark", 2.0), ("gll2", 2.0), ("newmark-gll2", 2.0)])
def test_a_mode_of_the_box_decays_as_it_should(method: str, order: float) -> None:
    """cos(pi x / 2) cos(pi y / 2) on [-1, 1]², in closed form; the order is that of time."""
    discretization, gamma, errors = METHODS[method], 3.0, []
    for num_cells in (8, 16, 32):
        domain = box(MPI.COMM_SELF, discretization, num_cells)
        V = function_space(domain.mesh, discretization)
        x, y = V.tabulate_dof_coordinates()[:, :2].T
        mode = np.cos(0.5 * np.pi * x) * np.cos(0.5 * np.pi * y)
        grid = TimeGrid(1.5, 1 + 3 * num_cells * discretization.degree)
        a = decaying(gamma, np.pi / np.sqrt(2.0), np.append(grid.times, -grid.dt))
        assembly = assemble(V, domain, discretization, physics=DampedWave(gamma))
        stepper = make_stepper(discretization.stepper, assembly, grid.dt)
        steps = march(stepper, NoLoad(), grid.num_levels - 1, previous=a[-1] * mode, current=mode)
        errors.append(max(np.abs(u - a[n] * mode[stepper.order]).max() for n, u in steps))
    assert np.log2(errors[-2] / errors[-1]) > order - 0.1
    assert errors[-1] < 2e-3 < 0.5 < 1.0 - a[grid.num_levels - 1]


@pytest.mark.mpi
@pytest.mark.parametrize("method", ["p1", "gll2", "newmark", "newmark-gll2"])
def test_the_zone_replays_it(method: str, comm: MPI.Comm) -> None:
    discretization = METHODS[method]
    domain = box(comm, discretization)
    errors: list[float] = []
    for physics in (DampedWave(5.0), UnevenlyDampedWave()):
        model = FullModel(domain, discretization, grid_for(method), physics=physics)
        trace, truth = run_full(model)
        for condition in (Dirichlet(), Impedance()):
            zone = ZoneModel(
                zone_submesh(domain), discretization, model.time, physics=physics, condition=condition
            )
            errors += zone_errors(zone, trace, model.zone_points, truth)
    assert max(errors) < ROUND_OFF
    other = ZoneModel(zone_submesh(domain), discretization, model.time, condition=Impedance())  # no damping there
    assert min(zone_errors(other, trace, model.zone_points, truth)) > 1e-3


@pytest.mark.mpi
@pytest.mark.parametrize("quads", [False, True], ids=["p1", "gll2"])
def test_the_zone_replays_it_on_a_plate_of_two_materials(quads: bool, comm: MPI.Comm, shared_path: Path) -> None:
    discretization = METHODS["gll2" if quads else "p1"]
    domain = plate(comm, generate_plate(comm, shared_path, size=0.12, quads=quads))
    model = FullModel(domain, discretization, TimeGrid(1.0, 161), physics=UnevenlyDampedWave())
    trace, truth = run_full(model, SOURCE.__class__((0.8, 0.8), SOURCE.signal))
    for condition in (Dirichlet(), Impedance()):
        zone = ZoneModel(
            zone_submesh(domain), discretization, model.time, physics=UnevenlyDampedWave(), condition=condition
        )
        assert max(zone_errors(zone, trace, model.zone_points, truth)) < ROUND_OFF


@pytest.mark.parametrize("method", ["p1", "gll2"])
def test_compiled_steps_are_the_plain_ones_and_damp(method: str) -> None:
    discretization, time = METHODS[method], grid_for(method)
    domain = box(MPI.COMM_SELF, discretization)
    model = FullModel(domain, discretization, time, physics=DampedWave(2.0))
    run, undamped = model.run(SOURCE), FullModel(domain, discretization, time).run(SOURCE)
    assert run is not None and undamped is not None and run.zone is not None
    load = NodalLoad(*model.evaluator.load(SOURCE.position), averaged_signal(SOURCE, time, 0.0))
    slots = np.where(np.arange(time.num_levels + 1) == time.num_levels, 0, -1)
    final = Selection(np.argsort(model.stepper.order), slots)
    loads = loads_of_runs(model.stepper, [[load]])
    owned = InTurn(model.stepper).run(time.num_levels, loads=loads, selection=final)[0, 0]
    at_nodes = model.evaluator.matrix(model.zone_points) @ owned
    assert relative_l2(run.zone[-1], at_nodes) < ROUND_OFF
    assert relative_l2(undamped.trace.displacement, run.trace.displacement) > 0.1


@pytest.mark.parametrize("method", ["p1", "gll2", "newmark"])
def test_reciprocity_holds_with_its_load(method: str) -> None:
    discretization = METHODS[method]
    model = FullModel(box(MPI.COMM_SELF, discretization), discretization, grid_for(method), physics=DampedWave(4.0))
    run = model.run(SOURCE)
    assert run is not None and run.trace.load is not None
    node, samples = 7, SOURCE.signal(model.time.times)
    fields = {"displacement": run.trace.displacement[:, node], "load": run.trace.load[:, node]}
    responses = ReciprocalModel(model, np.array([SOURCE.position])).responses([("displacement", node), ("load", node)])
    assert responses is not None
    for (name, truth), response in zip(fields.items(), responses, strict=True):
        made = np.convolve(response[0], samples)[1 : 1 + len(samples)]
        if name == "load" and discretization.stepper == "newmark":
            truth, made = truth[:-1], made[:-1]  # which knows the sample of the step after
        assert relative_l2(made, truth) < 1e-11, name


def test_a_case_names_it_and_the_commands_take_it(tmp_path: Path) -> None:
    """Generated, learnt, zoomed and validated; a generator of the wave is not one of it."""
    section = "\n[equation]\nkind = \"damped-wave\"\ngamma = 1.5\n"
    case = toy(tmp_path, **OPERATOR)
    case.write_text(case.read_text() + section)
    dataset, generator, errors = tmp_path / "data.h5", tmp_path / "model.safetensors", tmp_path / "errors.json"
    done("generate", case, "-o", dataset)
    done("train", case, "--dataset", dataset, "-o", generator, "--epochs", 12)
    done("validate", case, "--dataset", dataset, "--boundary", "recorded", "--json", errors)
    assert errors_of(errors)["after"]["displacement"]["relative_l2"] < 1e-6  # a trace is stored in single precision
    done("validate", case, "--dataset", dataset, "--generator", generator, "--json", errors)
    assert errors_of(errors)["after"]["displacement"]["relative_l2"] < 0.3
    done("zoom", case, "--generator", generator, "--source", 0.6, 0.7, "--omega", 2.5, "-o", tmp_path / "zoom")
    done("check", dataset)
    plain = toy(tmp_path, **OPERATOR)
    refused(submodel("train", plain, "--dataset", dataset, "-o", tmp_path / "other.safetensors"), "equation")
    for number, words in (("gama = 1.5", "has no gama"), ("gamma = 1.5\nkind = \"heat\"", "must be one of")):
        text = plain.read_text() + "\n[equation]\n" + ("" if "kind" in number else 'kind = "damped-wave"\n') + number
        wrong = tmp_path / "wrong.toml"
        wrong.write_text(text + "\n")
        refused(submodel("generate", wrong, "-o", tmp_path / "wrong.h5"), words)


def test_what_is_no_physics_is_refused() -> None:
    with pytest.raises(ValueError, match=r"physics must be one of \('wave', 'damped-wave'\), got 'heat'"):
        physics_named("heat")
    with pytest.raises(ValueError, match=r"'damped-wave' has no beta \(it has \['gamma'\]\)"):
        physics_named("damped-wave", beta=1.0)

    class Elastic(Wave):
        components = 2

    class OneWay(Wave):
        symmetric = False

    discretization = METHODS["p1"]
    domain = box(MPI.COMM_SELF, discretization)
    with pytest.raises(ValueError, match="has 2 components, the solvers know one"):
        FullModel(domain, discretization, grid_for("p1"), physics=Elastic())
    model = FullModel(domain, discretization, grid_for("p1"), physics=OneWay())
    with pytest.raises(ValueError, match="is not symmetric"):
        ReciprocalModel(model, np.array([(0.5, 0.5)]))
    assert issubclass(DampedWave, Physics)
