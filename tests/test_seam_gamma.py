"""The seam of charts: nodes without connectivity, charted here, go down the main road. Recipe: docs/extending.md."""

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
from scipy.spatial import cKDTree
from solver_problems import METHODS, box, run_full, time_grid, zone_errors

from solvers.gamma.chart import CHARTS, ClosedLoops, chart_in, gamma_document, gamma_from
from solvers.gamma.condition import Impedance
from solvers.gamma.gamma import Chart, Gamma
from solvers.mesh.domain import refined, zone_submesh
from solvers.problems.full import FullModel
from solvers.problems.zone import ZoneModel
from submodel.data.dataset import Dataset

EXACT = 1e-12


@dataclass(frozen=True)
class Nodes(Chart):
    """Nodes of the boundary of a convex zone, by y, then x; another discretisation takes the value of the nearest.

    Args:
        number: Of each node, shape ``(num_nodes,)``.
    """

    name: ClassVar[str] = "nodes"
    dimension: ClassVar[int] = 2
    number: NDArray[np.int64]

    @classmethod
    def order_facets(
        cls,
        keys: NDArray[np.int64],
        points: NDArray[np.float64],
        on_gamma: NDArray[np.bool_],
        shares: NDArray[np.float64],
    ) -> tuple[NDArray[np.int64], Gamma]:
        nodes, inverse = np.unique(keys[on_gamma], return_inverse=True)
        inverse = inverse.reshape(keys[on_gamma].shape)
        xy, weights, normals = np.zeros((len(nodes), 2)), np.zeros(len(nodes)), np.zeros((len(nodes), 2))
        xy[inverse] = points[on_gamma]
        middle = points[on_gamma].mean(axis=(0, 1))
        for number in range(len(inverse)):
            facet, corners = inverse[number], points[on_gamma][number]
            along = np.argsort(np.linalg.norm(corners - corners[0], axis=1))
            x, y = corners[along[-1]] - corners[0]
            outward = np.array([y, -x]) * np.sign((corners[0] - middle) @ (y, -x))
            weights[facet[along]] += shares * np.hypot(x, y)
            normals[facet[along]] += shares[:, None] * outward
        order = np.lexsort(np.round(xy, 9).T)
        return nodes[order], Gamma(xy[order], weights[order], normals[order], cls(np.arange(len(order))))

    def interpolation(self, source: Gamma, target: Gamma, *, one_sided: bool) -> NDArray[np.float64]:
        distance, nearest = cKDTree(source.points).query(target.points)
        if distance.max() > source.weights.max():
            raise ValueError("the zone's boundary leaves the trace's nodes")
        matrix = np.zeros((target.num_nodes, source.num_nodes))
        matrix[np.arange(target.num_nodes), nearest] = 1.0
        return matrix


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    assert chart_in(2) is ClosedLoops
    CHARTS[Nodes.name] = Nodes
    yield
    del CHARTS[Nodes.name]
    assert chart_in(2) is ClosedLoops


@pytest.mark.parametrize("method", ["p1", "newmark", "gll2"])
def test_replay_is_exact(method: str) -> None:
    discretization = METHODS[method]
    model = FullModel(box(MPI.COMM_SELF, discretization), discretization, time_grid(discretization))
    assert isinstance(model.gamma.chart, Nodes) and model.gamma.weights.sum() == pytest.approx(2.0, rel=1e-12)
    np.testing.assert_allclose(model.gamma.normals.sum(axis=0), 0.0, atol=1e-15)
    trace, truth = run_full(model)
    zone = ZoneModel(zone_submesh(model.domain), discretization, model.time, condition=Impedance())
    assert max(zone_errors(zone, trace, model.zone_points, truth)) < EXACT


def test_a_finer_zone_takes_what_the_chart_transfers() -> None:
    discretization = METHODS["p1"]
    model = FullModel(box(MPI.COMM_SELF, discretization), discretization, time_grid(discretization))
    trace, truth = run_full(model)
    zone = ZoneModel(refined(zone_submesh(model.domain), 2), discretization, model.time)
    assert EXACT < zone_errors(zone, trace, model.zone_points, truth)[0] < 0.2  # values of the nearest node
    far = gamma_from(gamma_document(model.gamma) | {"points": (3.0 * model.gamma.points).tolist()})
    with pytest.raises(ValueError, match="leaves the trace's nodes"):
        trace.on(far)


def test_down_the_main_road(tmp_path: Path) -> None:
    """Generated, trained with the operator generator, validated and zoomed; [A]'s convolutions say that they cannot."""
    case, dataset, generator = toy(tmp_path), tmp_path / "toy.h5", tmp_path / "toy.safetensors"
    done("generate", case, "-o", dataset)
    with Dataset.open(dataset) as stored:
        assert isinstance(stored.gamma.chart, Nodes) and stored.gamma.fault() is None
        assert np.all(np.lexsort(np.round(stored.gamma.points, 9).T) == np.arange(16))
    recorded = ("--boundary", "recorded", "--dataset", dataset)
    done("validate", case, *recorded, "--json", tmp_path / "errors.json", "--report", tmp_path / "report")
    errors: Any = errors_of(tmp_path / "errors.json")
    assert errors["after"]["displacement"]["relative_l2"] < 1e-6
    refused(submodel("train", case, "--dataset", dataset, "-o", generator), "one closed loop, got the chart 'nodes'")
    text = case.read_text()
    case.write_text(text[: text.index("[training]")] + '[training]\nmodel = "operator"\nepochs = 2\n')
    done("train", case, "--dataset", dataset, "-o", generator)
    predicted = ("--generator", generator, "--omega", 2.5, "--source", 0.6, 0.7)
    done("zoom", case, *predicted, "-o", tmp_path / "zoomed")
    assert (tmp_path / "zoomed" / "final.png").stat().st_size > 0
    done("validate", case, "--dataset", dataset, "--generator", generator, "--json", tmp_path / "predicted.json")
    predicted_errors: Any = errors_of(tmp_path / "predicted.json")
    assert predicted_errors["after"]["displacement"]["relative_l2"] < 1.0  # two passes
