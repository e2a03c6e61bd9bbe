"""Full reciprocal amplitudes of problems for benchmarks/tables.py: any places and loads can be drawn from them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from mpi4py import MPI
from numpy.typing import NDArray

from networks.response.signal_response import LowPass
from solvers.mesh.domain import Domain, cell_midpoints
from solvers.problems.full import FullModel
from solvers.problems.reciprocal import Quantity, ReciprocalModel
from solvers.space.assembly import edge_dofs
from solvers.time.amplitudes import Amplitudes
from solvers.time.grid import TimeGrid
from submodel.case.case import Case
from submodel.solve.from_case import discretization, domain

ROOT = Path(__file__).parents[1]
FRESH, POOL, RINGS, RECORDED = 50, 400, 6, 20
SIZES = {"plate": 0.025}
# Case, changes of it, frequencies, and whether one sector of its symmetries is enough.
PROBLEMS: dict[str, tuple[str, dict[str, Any], int, bool]] = {
    "userplate": ("userplate", {}, 72, False),
    "lshape": ("lshape", {}, 60, False),
    "interface": (
        "lshape",
        {"parameters": {"source_lower": [-0.35, -0.85], "source_upper": [0.45, -0.15]}},
        60,
        False,
    ),
    "plate": ("plate", {}, 16, False),
    "random": (
        "paper2d",
        {"time": {"final": 4.0, "levels": 641}, "source": {"signal": "ricker"}, "symmetry": {"maps": []}},
        44,
        False,
    ),
    "paper10": ("paper2d", {"time": {"final": 10.0, "levels": 1276}}, 180, True),
    "contrast": ("plate", {"medium": {"speed": {"inclusion": 0.25, "zone-inclusion": 0.25}}}, 16, False),
    "corner": (
        "paper2d",
        {
            "domain": {"cells": [64, 64]},
            "zone": {"lower": [-0.9375, -0.9375], "upper": [-0.4375, -0.4375]},
            "time": {"final": 6.0, "levels": 481},
            "source": {"signal": "ricker"},
            "symmetry": {"maps": []},
            "parameters": {
                "omega": [6.283185307179586, 9.42477796076938],
                "source_lower": [0.1, 0.1],
                "source_upper": [0.8, 0.8],
                "exclude_lower": None,
                "exclude_upper": None,
            },
        },
        40,
        False,
    ),
}
BAND = {"sine": 1.0, "ricker": 2.2}


def make(name: str, folder: Path) -> Path:
    """The file of a problem's data, made where it is not there."""
    path = folder / f"{name}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, **_data(name, folder))
    return path


def _case(name: str, folder: Path) -> Case:
    stem, changes, _, _ = PROBLEMS[name]
    raw = tomllib.loads((ROOT / "cases" / f"{stem}.toml").read_text())
    if raw["domain"]["kind"] == "gmsh":
        mesh = folder / f"{stem}.msh"
        if not mesh.exists():
            size = ["--size", str(SIZES[stem])] if stem in SIZES else []
            script = ROOT / "meshes" / "generate.py"
            command = [sys.executable, str(script), str(ROOT / "meshes" / f"{stem}.geo"), str(mesh), *size]
            subprocess.run(command, check=True)
        raw["domain"]["file"] = str(mesh)
    _merge(raw, changes)
    raw.pop("training", None)
    return Case.from_dict(raw, directory=folder)


def _merge(raw: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict):
            _merge(raw.setdefault(key, {}), value)
        elif value is None:
            raw.pop(key, None)
        else:
            raw[key] = value


def random_speed(mesh: Domain, seed: int = 1) -> Domain:
    """The domain with c = 1 + 0.2 f, f a sum of random waves of wavelengths 0.7 and more, |f| at most 1."""
    g = np.random.default_rng(seed)
    middle, f = cell_midpoints(mesh.mesh)[:, :2], np.zeros(len(mesh.speed))
    for _ in range(60):
        angle = g.uniform(0, 2 * np.pi)
        wave = g.uniform(0, 2 * np.pi / 0.7) * np.array([np.cos(angle), np.sin(angle)])
        f += g.normal() * np.cos(middle[: len(f)] @ wave + g.uniform(0, 2 * np.pi))
    f -= f.mean()
    return replace(mesh, speed=1 + 0.2 * f / np.abs(f).max())


def _data(name: str, folder: Path) -> dict[str, Any]:
    case, num, sector = _case(name, folder), PROBLEMS[name][2], PROBLEMS[name][3]
    whole = domain(case, MPI.COMM_WORLD)
    if name == "random":
        whole = random_speed(whole)
    parameters, dt, levels = case.parameters, case.time.dt, case.time.levels
    highest = BAND[case.source.signal] * parameters.omega[1]
    about = Amplitudes(levels, dt, num, 0.8 * highest)
    period = about.period_levels
    model = FullModel(whole, discretization(case), TimeGrid(dt * period, period + 1))
    dofs, cells = model.V.tabulate_dof_coordinates()[:, :2], model.V.dofmap.list

    def places(count: int, seed: int) -> NDArray[np.float64]:
        low, high = np.array(parameters.source_lower), np.array(parameters.source_upper)
        x = low + (high - low) * np.random.default_rng(seed).random((40 * count, 2))
        good = np.ones(len(x), bool)
        if parameters.exclude_lower is not None:
            good &= ~((x > parameters.exclude_lower) & (x < parameters.exclude_upper)).all(1)
        if sector:
            good &= x[:, 0] >= np.abs(x[:, 1])
        return x[good][:count]

    fresh, pool = places(FRESH, 777), places(POOL, 4242)
    needed = [model.evaluator.matrix(x).tocsr() for x in (fresh, pool, places(60000, 1))]
    nodes = np.unique(np.concatenate([each.indices for each in needed]))
    rows = [each[:, nodes] for each in needed[:2]]
    arc = model.gamma.num_nodes
    amplitudes = np.empty((len(nodes), 2 * arc, num), np.complex64)
    truth = np.empty((2, FRESH, levels, arc), np.float32)
    recorded = np.empty((2, RECORDED, period, arc), np.float32)
    weights, low_pass = about.weights(), LowPass(about.rate, dt)
    reciprocal = ReciprocalModel(model, dofs[nodes])
    quantities: tuple[Quantity, ...] = ("displacement", "load")
    wanted = [(quantity, i) for quantity in quantities for i in range(arc)]
    for start in range(0, len(wanted), 8):
        histories = reciprocal.responses(wanted[start : start + 8])
        for (quantity, i), history in zip(wanted[start : start + 8], histories or (), strict=True):
            field = 0 if quantity == "displacement" else 1
            response = history[:, 1 : period + 1]
            amplitudes[:, i + arc * field] = response @ weights.T
            truth[field, :, :, i] = low_pass.apply(rows[0] @ response[:, :levels], axis=1)
            recorded[field, :, :, i] = low_pass.apply(rows[1][:RECORDED] @ response, axis=1)
    area = _patch(dofs, cells, whole, model, nodes)
    out = {"amplitudes": amplitudes, "truth": truth, "recorded": recorded, "fresh": fresh, "pool": pool, **area}
    for key, row in (("fresh", rows[0]), ("pool", rows[1])):
        index, share = _corners(sp.csr_matrix(row))
        out |= {f"{key}_corners": index, f"{key}_shares": share}
    numbers = {"dt": dt, "levels": levels, "rate": about.rate, "range": np.array(parameters.omega)}
    return {**out, **numbers, "signal": case.source.signal, "window": about.window, "highest": highest}


def _corners(rows: sp.csr_matrix) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Nodes and shares (place, 3) of sparse rows."""
    index, share = np.zeros((rows.shape[0], 3), np.int64), np.zeros((rows.shape[0], 3))
    for i, row in enumerate(rows):
        index[i, : row.nnz], share[i, : row.nnz] = row.indices, row.data
    return index, share


def _patch(
    dofs: NDArray[np.float64], cells: NDArray[np.int32], whole: Domain, model: FullModel, nodes: NDArray[np.int64]
) -> dict[str, Any]:
    """Cells of the source nodes and rings around them that stop before Gamma and the edges."""
    barred = np.zeros(len(dofs), bool)
    barred[model.gamma_dofs.dofs] = barred[edge_dofs(model.V, whole.outer_facets)] = True
    mine = np.zeros(len(dofs), bool)
    mine[nodes] = True
    taken = mine[cells].all(1)
    for _ in range(RINGS):
        taken |= mine[cells].any(1) & ~barred[cells].any(1)
        mine[cells[taken].ravel()] = True
    order = np.concatenate((nodes, np.setdiff1d(np.unique(cells[taken]), nodes)))
    number = np.full(len(dofs), -1, np.int64)
    number[order] = np.arange(len(order))
    speed = whole.speed[: len(cells)][taken]
    return {"patch_nodes": dofs[order], "patch_cells": number[cells[taken]], "patch_speed": speed}
