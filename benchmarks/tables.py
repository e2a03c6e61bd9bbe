"""Accuracy of wave tables: runs, numbers, plain samples, choices of loads, estimates; docs/generator.md quotes it.

    OMP_NUM_THREADS=1 ./run python3 benchmarks/tables.py [ROWS ...] [--data FOLDER]

Truth: the finite-element runs of 50 fresh free places (seed 777), each with the case's signal at a random frequency;
relative L2 of u, v, r on Gamma over the run, mean over the places, %. Data: columns of full reciprocal amplitudes of
the same mesh, which direct runs equal to rounding (tests/test_solvers_reciprocal.py). Figures go to
benchmarks/results/tables.json and tables.md; rows made before stay.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tables_data import make

from networks.response.signal_response import LowPass, deconvolve
from networks.table import solve
from networks.table.bases.area import Area, Patch
from networks.table.bases.catalogue import basis_from, default_description, priors
from networks.table.compress import Table
from networks.table.data import CrossData, PlainData, Times
from networks.table.factors import Factors
from networks.table.fit.maps import DirectRuns, fit_map
from networks.table.fit.metric import Responses
from networks.table.fit.plain import fit_plain
from networks.table.solve import Maps, Metric, held_out, solve_table
from solvers.time.amplitudes import Amplitudes
from solvers.time.signals import Ricker, Sine
from submodel.generate.loads import choose_loads

RESULTS = Path(__file__).parent / "results" / "tables.json"
SEEDS = (0, 1, 2)
Complex = NDArray[np.complexfloating]


BASES: dict[tuple[str, int, int], Any] = {}


def made_once(description: Mapping[str, Any], area: Area) -> Any:
    """A basis of a description, which other rows share."""
    key = (json.dumps(description, sort_keys=True), len(area.nodes), len(area.omega))
    if key not in BASES:
        BASES[key] = basis_from(dict(description), area)
    return BASES[key]


solve.basis_from = made_once


class Problem:
    """Full amplitudes of a problem and the truth of its fresh places."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.file = np.load(make(name, folder))
        self.amplitudes = self.file["amplitudes"]
        self.half, self.num = self.amplitudes.shape[1] // 2, self.amplitudes.shape[2]
        self.dt, self.levels, self.rate = (self.file[key].item() for key in ("dt", "levels", "rate"))
        about = Amplitudes(self.levels, self.dt, self.num, self.rate)
        self.kind: Callable[[float], Any] = {"sine": Sine, "ricker": Ricker}[str(self.file["signal"])]
        low, high = map(float, self.file["range"])
        self.range, self.highest = (low, high), float(self.file["highest"])
        signals = np.array([self.signal(omega) for omega in np.linspace(*self.range, 9)])
        self.times = Times(self.levels, self.dt, self.rate, about.omega, signals)
        self.nodes = self.file["patch_nodes"][: len(self.amplitudes)]
        self.patch = Patch(*(self.file[f"patch_{part}"] for part in ("nodes", "cells", "speed")))
        places = np.concatenate((self.file["pool"], self.file["fresh"]))
        self._corners = np.concatenate((self.file["pool_corners"], self.file["fresh_corners"]))
        self._shares = np.concatenate((self.file["pool_shares"], self.file["fresh_shares"]))
        self._number: dict[tuple[float, ...], int] = {tuple(place): i for i, place in enumerate(places)}
        self._truth: list[tuple[Any, Any]] = []

    def signal(self, omega: float) -> NDArray[np.float64]:
        """Samples at the levels 0 .. T."""
        return np.asarray(self.kind(float(omega))(self.dt * np.arange(self.levels + 1)))

    def rows(self, points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Corners and shares of places of the file."""
        numbers = [self._number[tuple(point)] for point in points]
        return self._corners[numbers], self._shares[numbers]

    def at(self, values: Complex, points: NDArray[np.float64]) -> Complex:
        """Values at the nodes (S, ...) as sources at some places meet them."""
        corners, shares = self.rows(points)
        return np.asarray(np.einsum("pv,pv...->p...", shares, values[corners]), np.complex64)

    def places(self, num: int, seed: int) -> NDArray[np.float64]:
        """Places of direct runs."""
        return self.file["pool"][np.random.default_rng(seed).permutation(len(self.file["pool"]))[:num]]

    def cross(self, num_direct: int, num_loads: int, seed: int, *, choice: str = "qr") -> CrossData:
        """Cross data of random places; loads by pivoted elimination of the direct runs, or another choice."""
        places = self.places(num_direct, seed)
        direct = self.at(self.amplitudes, places)
        weights = Metric.of(self.times, direct).weights(2 * self.half)
        loads = CHOICES[choice](direct * weights, num_loads, seed)
        return CrossData(self.times, places, direct, loads, self.amplitudes[:, loads], self, self.patch)

    def errors(self, predicted: Complex) -> NDArray[np.float64]:
        """(place, 3) errors of amplitudes (place, 2A, K) at the fresh places, %."""
        if not self._truth:
            omegas = np.random.default_rng(5).uniform(*self.range, size=len(self.file["fresh"]))
            low_pass, truth = LowPass(self.rate, self.dt), self.file["truth"].astype(np.float64)
            for i, omega in enumerate(omegas):
                signal = self.signal(omega)
                drive = np.fft.rfft(low_pass.inverse(signal)[: self.levels], 2 * self.levels)
                fields = np.fft.irfft(np.fft.rfft(truth[:, i], 2 * self.levels, axis=1) * drive[:, None], axis=1)
                wave = Responses.of(signal[None], self.rate, self.dt, self.times.omega).waves[0]
                self._truth.append((fields[:, : self.levels], wave.astype(np.complex64)))
        out = []
        for number, (fields, wave) in enumerate(self._truth):
            row: list[float] = []
            values = predicted[number]
            for field, own in enumerate((values[: self.half], values[self.half :])):
                true = fields[field]
                error = (wave @ own.T).real - true
                row.append(float(np.linalg.norm(error) / np.linalg.norm(true)))
                if len(row) == 1:
                    row.append(float(np.linalg.norm(error[2:] - error[:-2]) / np.linalg.norm(true[2:] - true[:-2])))
            out.append(row)
        return 100 * np.array(out)

    def map_errors(self, maps: Maps, loads: NDArray[np.integer]) -> NDArray[np.float64]:
        """Errors of a map before compression."""
        return self.errors(maps.predict(self.at(self.amplitudes[:, loads], self.file["fresh"])))

    def table_errors(self, factors: Factors, description: dict[str, Any]) -> NDArray[np.float64]:
        """Errors of a compressed table."""
        basis = made_once(description, self._area())
        out = np.zeros((len(self.file["fresh"]), 2 * self.half, self.num), complex)
        for k in range(self.num):
            phi = basis.matrix(k)
            nodes = factors.left[k] if phi is None else phi @ factors.left[k]
            out[:, :, k] = self.at(nodes, self.file["fresh"]) @ factors.right[k] @ factors.gamma[k // factors.band]
        return self.errors(out)

    def _area(self) -> Any:
        return PlainData(self.times, self.nodes[:0], self.amplitudes[:0], self, self.patch).area


def by_elimination(direct: Complex, num: int, seed: int) -> NDArray[np.int64]:
    """Pivoted QR of the direct runs."""
    return np.array(choose_loads(direct, [[i] for i in range(direct.shape[1])], [], num))


def at_random(direct: Complex, num: int, seed: int) -> NDArray[np.int64]:
    """Any loads."""
    return np.random.default_rng(seed + 100).permutation(direct.shape[1])[:num]


def by_residual(direct: Complex, num: int, seed: int) -> NDArray[np.int64]:
    """The loads that the fitted map of those before misses most, five at a time."""
    loads = by_elimination(direct, 5, seed)
    while len(loads) < num:
        residual = direct - fit_map(DirectRuns(direct, loads)).held_out
        loads = np.concatenate((loads, by_elimination(residual, min(5, num - len(loads)), seed)))
    return loads


CHOICES: dict[str, Callable[..., NDArray[np.int64]]] = {
    "qr": by_elimination,
    "random": at_random,
    "residual": by_residual,
}


def cross_row(problem: Problem, num_direct: int, num_loads: int, choice: str = "qr") -> dict[str, Any]:
    """Errors before compression, by seed."""
    errors, estimates, seconds = [], [], []
    for seed in SEEDS:
        data = problem.cross(num_direct, num_loads, seed, choice=choice)
        start = time.perf_counter()
        maps, _, left = held_out(data)
        seconds.append(time.perf_counter() - start)
        errors.append(problem.map_errors(maps, data.loads).mean(0))
        estimates.append(100 * left[:, 0].mean())
    return _row(errors, runs=f"{num_direct} + {num_loads}", loads=choice, estimate=estimates, seconds=seconds)


def numbers_row(problem: Problem, runs: tuple[int, int], kind: str, tolerance: float) -> dict[str, Any]:
    """Numbers and errors of compressed tables, by seed."""
    errors, numbers, seconds = [], [], []
    for seed in SEEDS[: 1 if problem.num > 100 or len(problem.nodes) > 5000 else None]:
        data = problem.cross(*runs, seed)
        start = time.perf_counter()
        basis = default_description(kind, data.area, problem.highest, tolerance)
        solved = solve_table(data, tolerance=tolerance, basis=basis)
        seconds.append(time.perf_counter() - start)
        errors.append(problem.table_errors(solved.factors, solved.basis).mean(0))
        numbers.append(solved.factors.numbers)
    return _row(
        errors, runs=f"{runs[0]} + {runs[1]}", basis=kind, asked=100 * tolerance, numbers=numbers, seconds=seconds
    )


def plain_row(problem: Problem, num: int, kind: str) -> dict[str, Any]:
    """Errors of tables of plain samples before compression, by seed; seconds of the first hold the bases."""
    errors, estimates, seconds = [], [], []
    for seed in SEEDS:
        places = problem.places(num, seed)
        data = PlainData(problem.times, places, problem.at(problem.amplitudes, places), problem, problem.patch)
        rows, metric = problem.rows(places), Metric.of(problem.times, data.direct)
        start = time.perf_counter()
        fits = [
            fit_plain(data.direct, rows, made_once(prior, data.area))
            for prior in priors(kind, data.area, problem.highest)
        ]
        left = [float(metric.errors(data.direct, fit.held_out)[:, 0].mean()) for fit in fits]
        best = fits[int(np.argmin(left))]
        seconds.append(time.perf_counter() - start)
        fields = problem.at(np.asarray(best.fields, np.complex64), problem.file["fresh"])
        here = np.moveaxis(fields, 2, 0) @ best.matrices
        errors.append(problem.errors(np.moveaxis(here, 0, 2)).mean(0))
        estimates.append(100 * min(left))
    return _row(errors, runs=str(num), basis=kind, estimate=estimates, seconds=seconds)


def estimate_row(problem: Problem, num_direct: int, num_loads: int, seeds: int = 12) -> dict[str, Any]:
    """Held-out estimate over truth, and that of 10 places predicted before they are added."""
    folds, fresh, truth = [], [], []
    for seed in range(seeds):
        data = problem.cross(num_direct, num_loads, seed)
        maps, _, left = held_out(data)
        true = problem.map_errors(maps, data.loads)[:, 0].mean()
        new = problem.at(problem.amplitudes, problem.places(num_direct + 10, seed)[num_direct:])
        folds.append(100 * left[:, 0].mean() / true)
        fresh.append(100 * maps.errors(new, maps.predict(new[:, data.loads]))[:, 0].mean() / true)
        truth.append(true)
    return {
        "runs": f"{num_direct} + {num_loads}",
        "u": float(np.mean(truth)),
        "folds": [float(np.mean(folds)), float(np.std(folds))],
        "fresh": [float(np.mean(fresh)), float(np.std(fresh))],
        "seeds": seeds,
    }


def band_limited_row(problem: Problem, num_direct: int, num_loads: int) -> dict[str, Any]:
    """Direct runs with pulses of the case's own band, rounded to float32, in place of impulses."""
    low_pass, errors = LowPass(problem.rate, problem.dt), []
    recorded, window = problem.file["recorded"].astype(np.float64), problem.file["window"]
    period = len(window)
    turns = np.exp(-1j * np.outer(np.arange(period) * problem.dt, problem.times.omega)) * (2 / period)
    turns[:, 0] /= 2
    for seed in SEEDS:
        g = np.random.default_rng(seed)
        mine = g.permutation(recorded.shape[1])[:num_direct]
        direct = []
        for i in mine:
            signal = np.asarray(problem.kind(float(g.uniform(*problem.range)))(problem.dt * np.arange(period)))
            drive = np.fft.rfft(low_pass.inverse(signal), 2 * period)
            parts = []
            for field in recorded[:, i]:
                run = np.fft.irfft(np.fft.rfft(field, 2 * period, axis=0) * drive[:, None], axis=0)[:period]
                parts.append(deconvolve(run.astype(np.float32), signal, low_pass).T @ (window[:, None] * turns))
            direct.append(np.concatenate(parts))
        runs = np.array(direct, np.complex64)
        weights = Metric.of(problem.times, runs).weights(2 * problem.half)
        loads = by_elimination(runs * weights, num_loads, seed)
        data = CrossData(
            problem.times, problem.file["pool"][mine], runs, loads, problem.amplitudes[:, loads], problem, problem.patch
        )
        errors.append(problem.map_errors(held_out(data)[0], loads).mean(0))
    return _row(errors, runs=f"{num_direct} + {num_loads}", signal="the case's own, one a run")


def sharing_row(problem: Problem, runs: tuple[int, int], tolerance: float) -> dict[str, Any]:
    """Numbers with patterns on Gamma that neighbouring frequencies, u and r share, and with independent factors."""
    data = problem.cross(*runs, 0)
    shared = solve_table(
        data, tolerance=tolerance, basis=default_description("helmholtz", data.area, problem.highest, tolerance)
    )
    error = problem.table_errors(shared.factors, shared.basis)[:, 0].mean()
    basis = made_once(shared.basis, data.area)
    maps, _, _ = held_out(data)
    split, parts = 0, []
    half = problem.half
    for field in (slice(None), slice(0, half), slice(half, None)):
        matrices = maps.matrices.copy()
        if field != slice(None):
            outside = np.ones(2 * half, bool)
            outside[field] = False
            matrices[:, :, outside] = 0
        parts.append(Table(data.reciprocal, matrices, maps.gains, basis, band=1))
    cut_tolerance = _metric_error(problem, data, maps, shared.factors, basis)
    joint_alone = parts[0].cut_to_error(cut_tolerance)
    sizes = [
        np.linalg.norm(maps.predict(data.reciprocal[::7])[:, part] * maps.weights[part])
        for part in (slice(half), slice(half, None))
    ]
    for part, size in zip(parts[1:], sizes, strict=True):
        share = cut_tolerance * np.linalg.norm(sizes) / np.sqrt(2) / size
        factors = part.cut_to_error(share).factors
        split += factors.numbers - sum(half * len(each) for each in factors.gamma)  # columns of zeros are not stored
    return {
        "runs": f"{runs[0]} + {runs[1]}",
        "u": float(error),
        "shared": shared.factors.numbers,
        "each frequency its own": joint_alone.factors.numbers,
        "each frequency and field its own": int(split),
    }


def _metric_error(problem: Problem, data: CrossData, maps: Maps, factors: Factors, basis: Any) -> float:
    """Relative error in the metric that compression made, at some source nodes."""
    rows = slice(None, None, 7)
    whole = maps.predict(data.reciprocal[rows])
    there = np.zeros_like(whole)
    for k in range(problem.num):
        there[:, :, k] = (basis.matrix(k)[rows] @ factors.left[k]) @ factors.right[k] @ factors.gamma[k // factors.band]
    return float(np.linalg.norm((there - whole) * maps.weights) / np.linalg.norm(whole * maps.weights))


def _row(errors: list[Any], **about: Any) -> dict[str, Any]:
    mean = np.mean(errors, 0)
    out = {
        "u": float(mean[0]),
        "v": float(mean[1]),
        "r": float(mean[2]),
        "by seed": [float(each[0]) for each in errors],
    }
    for key, value in about.items():
        out[key] = float(np.mean(value)) if isinstance(value, list) else value
    return out


def floor_row(problem: Problem) -> dict[str, Any]:
    """Error of the number of frequencies alone."""
    return _row([problem.errors(problem.at(problem.amplitudes, problem.file["fresh"])).mean(0)], K=problem.num)


Rows = dict[str, tuple[str, Callable[[Problem], dict[str, Any]]]]
ROWS: Rows = {}
for _name in ("userplate", "lshape", "interface", "plate", "random", "paper10", "contrast", "corner"):
    ROWS[f"floor {_name}"] = (_name, floor_row)
for _name, _pairs in {
    "userplate": ((5, 20), (10, 20), (10, 30)),
    "lshape": ((10, 20), (10, 30)),
    "interface": ((10, 20), (10, 30)),
    "plate": ((10, 20), (20, 30)),
    "random": ((10, 40), (20, 50)),
    "paper10": ((10, 30), (20, 50)),
    "contrast": ((10, 20), (10, 30)),
    "corner": ((10, 20), (10, 30)),
}.items():
    for _pair in _pairs:
        _row_of_pair = partial(cross_row, num_direct=_pair[0], num_loads=_pair[1])
        ROWS[f"cross {_name} {_pair[0]}+{_pair[1]}"] = (_name, _row_of_pair)
for _choice in ("random", "residual"):
    for _name, _pair in (("userplate", (10, 20)), ("userplate", (10, 30)), ("lshape", (10, 30)), ("plate", (10, 20))):
        ROWS[f"loads {_choice} {_name} {_pair[0]}+{_pair[1]}"] = (
            _name,
            partial(cross_row, num_direct=_pair[0], num_loads=_pair[1], choice=_choice),
        )
for _name, _runs, _asked in (
    ("userplate", (10, 30), (0.05, 0.015, 0.005)),
    ("userplate", (10, 40), (0.003,)),
    ("lshape", (10, 30), (0.025, 0.008)),
    ("interface", (10, 30), (0.025, 0.008)),
    ("plate", (10, 20), (0.015,)),
    ("paper10", (20, 50), (0.018,)),
    ("random", (20, 50), (0.025,)),
):
    for _tolerance in _asked:
        ROWS[f"numbers {_name} {100 * _tolerance:g}"] = (
            _name,
            partial(numbers_row, runs=_runs, kind="helmholtz", tolerance=_tolerance),
        )
ROWS["numbers userplate 1.5 spline"] = ("userplate", lambda p: numbers_row(p, (10, 30), "spline", 0.015))
ROWS["numbers userplate 1.5 nodes"] = ("userplate", lambda p: numbers_row(p, (10, 30), "nodes", 0.015))
for _num in (40, 80, 160):
    ROWS[f"plain userplate {_num}"] = ("userplate", partial(plain_row, num=_num, kind="helmholtz"))
for _pair in ((5, 20), (10, 20), (10, 30), (20, 30)):
    _row_of_pair = partial(estimate_row, num_direct=_pair[0], num_loads=_pair[1])
    ROWS[f"estimate userplate {_pair[0]}+{_pair[1]}"] = ("userplate", _row_of_pair)
ROWS["band-limited userplate 10+30"] = ("userplate", lambda p: band_limited_row(p, 10, 30))
ROWS["band-limited plate 10+20"] = ("plate", lambda p: band_limited_row(p, 10, 20))
ROWS["sharing userplate 1.5"] = ("userplate", lambda p: sharing_row(p, (10, 30), 0.015))
ROWS["sharing lshape 2.5"] = ("lshape", lambda p: sharing_row(p, (10, 30), 0.025))


def markdown(results: dict[str, dict[str, Any]]) -> str:
    """The rows as a table."""
    keys = ("runs", "u", "v", "r", "estimate", "numbers", "seconds")
    lines = ["| row | " + " | ".join(keys) + " | more |", "|" + "---|" * (len(keys) + 2)]
    for name, row in results.items():
        cells = [_text(row.get(key, "")) for key in keys]
        rest = ", ".join(f"{key} {_text(value)}" for key, value in row.items() if key not in keys)
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {rest} |")
    return "\n".join(lines) + "\n"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_text(each) for each in value)
    return (
        f"{value:.0f}"
        if isinstance(value, float) and value >= 1000
        else f"{value:.3g}"
        if isinstance(value, float)
        else str(value)
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help="beginnings of rows' names (default: those not made yet)")
    parser.add_argument("--data", type=Path, default=Path("tables-data"), help="folder of the full amplitudes")
    arguments = parser.parse_args()
    results: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    wanted = [n for n in ROWS if (any(map(n.startswith, arguments.rows)) if arguments.rows else n not in results)]
    problem = None
    for name in sorted(wanted, key=lambda n: ROWS[n][0]):
        if problem is None or problem.name != ROWS[name][0]:
            problem = Problem(ROWS[name][0], arguments.data)
        results[name] = ROWS[name][1](problem)
        print(name, {key: _text(value) for key, value in results[name].items()}, flush=True)
        ordered = {key: results[key] for key in ROWS if key in results}
        RESULTS.write_text(json.dumps(ordered, indent=1) + "\n")
        RESULTS.with_suffix(".md").write_text(markdown(ordered))


if __name__ == "__main__":
    main()
