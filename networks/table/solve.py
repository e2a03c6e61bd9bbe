"""A table from cross data: metric, maps, basis and compression in one call, with the error of runs held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from networks.table.bases.basis import Basis
from networks.table.bases.catalogue import basis_from
from networks.table.compress import Compressed, Table
from networks.table.data import CrossData
from networks.table.factors import Factors
from networks.table.fit.maps import CrossMap, DirectRuns, fit_map
from networks.table.fit.metric import Responses, gains

Array = NDArray[np.float64]
Complex = NDArray[np.complexfloating]

ROUNDS = 4
"""Cuts that bring the error of u to the tolerance, at most."""
SEEN = 100
"""Source nodes, at most, that stand for direct runs where all loads were run and there are none."""
STRIDE = 4.0
"""Largest ratio of the tolerances of two cuts."""
SHARE = 0.5
"""Of the tolerance, what compression may take where the runs alone take nearly all of it, or more."""


@dataclass(frozen=True)
class Solved:
    """A table, and what is known of its error.

    Attributes:
        factors: of the unweighted amplitudes.
        basis: description of the basis of the left factors.
        errors: (nd, 3) relative L2 errors of u, v and r on Gamma of each direct run as the others and its own loads
            predict it, compression included, mean over the case's signals. Where there are no direct runs, all loads
            having been run, source nodes stand for them here and below.
        map_errors: (nd, 3) the same without compression.
        residual, field: (K,) mean squares over runs and nodes of held-out errors of u and of u.
        held_out: (nd, 2A, K) the direct runs as predicted, unweighted and uncompressed.
        lines: the report, a line each.
    """

    factors: Factors
    basis: dict[str, Any]
    errors: Array
    map_errors: Array
    residual: Array
    field: Array
    held_out: NDArray[np.complex64]
    lines: list[str] = field(default_factory=list)

    @property
    def estimate(self) -> tuple[float, float]:
        """Mean error of u over fresh sources and its standard error over the runs, relative."""
        return mean_and_error(self.errors[:, 0])


def mean_and_error(errors: Array) -> tuple[float, float]:
    """Mean of some runs' errors, and its standard error; infinite for one run."""
    num = len(errors)
    return float(errors.mean()), float(errors.std(ddof=1) / np.sqrt(num)) if num > 1 else float("inf")


@dataclass(frozen=True)
class Maps:
    """A map between loads with the metric it was fitted in.

    Attributes:
        cross: the map, of weighted amplitudes.
        gains: (2, K) weights of u and r.
        responses: to the case's own signals.
    """

    cross: CrossMap
    gains: Array
    responses: Responses

    @property
    def weights(self) -> Array:
        """(2A, K) of all loads."""
        return np.repeat(self.gains, self.cross.matrices.shape[2] // 2, 0)

    def errors(self, true: Complex, predicted: Complex) -> Array:
        """Relative L2 errors (run, 3) of u, v and r, means over the signals, of amplitudes (run, 2A, K)."""
        signals = range(len(self.responses.waves))
        return np.array(
            [
                np.mean([self.responses.errors(s, a, b) for s in signals], 0)
                for a, b in zip(true, predicted, strict=True)
            ]
        )

    def predict(self, fields: Complex) -> Complex:
        """Amplitudes of all loads (place, 2A, K) from those of the loads run (place, nr, K), unweighted."""
        weights = self.weights
        inputs = np.moveaxis(fields * weights[self.cross.loads], 2, 0)
        return np.asarray(np.moveaxis(inputs @ self.cross.matrices, 0, 2) / weights, np.complex64)


def held_out(data: CrossData, *, seed: int = 0) -> tuple[Maps, Complex, Array]:
    """Fit the maps of the runs at hand and predict each direct run from the others and its own loads.

    Args:
        data: the runs.
        seed: of the folds.

    Returns:
        The maps, the predictions (nd, 2A, K), unweighted, and their errors (nd, 3) of u, v and r.

    Raises:
        ValueError: fewer than two direct runs, or amplitudes that are all zero.
    """
    times = data.times
    responses = Responses.of(times.signals, times.rate, times.dt, times.omega)
    complete = len(data.loads) == data.direct.shape[1]
    samples = data.direct if len(data.direct) or not complete else data.reciprocal[:: 1 + len(data.reciprocal) // SEEN]
    weights = gains(responses, samples)
    every = np.repeat(weights, data.direct.shape[1] // 2, 0)
    cross = fit_map(DirectRuns(data.direct * every, data.loads, seed=seed))
    maps = Maps(cross, weights, responses)
    predicted = cross.held_out / every
    return maps, predicted, maps.errors(data.direct, predicted)


def solve_table(
    data: CrossData,
    *,
    tolerance: float | None = None,
    basis: Mapping[str, Any] | None = None,
    numbers: int | None = None,
    seed: int = 0,
) -> Solved:
    """Make the table of cross data.

    Args:
        data: the runs.
        tolerance: wanted mean relative L2 error of u on Gamma, or None for as good as the runs are.
        basis: its description, as `networks.table.bases.catalogue.basis_from` takes it; the nodes by default.
        numbers: most real numbers; then the tolerance plays no part.
        seed: of the folds of cross-validation.

    Raises:
        ValueError: data, basis or numbers that make no table.
    """
    maps, predicted, errors = held_out(data, seed=seed)
    chosen = basis_from(dict(basis or {"kind": "nodes"}), data.area)
    table = Table(data.reciprocal, maps.cross.matrices, data.loads, maps.gains, chosen)
    there = _Places(data, maps, chosen)
    if numbers is not None:
        cut = table.cut_to_numbers(numbers)
    else:
        runs = float(errors[:, 0].mean()) if len(errors) else 0.0
        left = max((tolerance or 0.0) ** 2 - runs**2, (SHARE * max(runs, tolerance or 0.0)) ** 2) ** 0.5
        cut = _cut(table, there, left)
    lost = there.compressed(cut.factors) - there.whole
    if len(data.places):
        true, final, uncut = data.direct, predicted + lost, predicted
    else:
        true, final, uncut = there.whole, there.whole + lost, there.whole
        errors = np.zeros((len(true), 3))
    half = true.shape[1] // 2
    residual = (np.abs(uncut - true)[:, :half] ** 2).mean((0, 1))
    strength = (np.abs(true)[:, :half] ** 2).mean((0, 1))
    solved = Solved(
        cut.factors,
        chosen.description(),
        maps.errors(true, final),
        errors,
        np.asarray(residual, float),
        np.asarray(strength, float),
        np.asarray(uncut, np.complex64),
    )
    solved.lines.extend(_report(solved, maps, cut))
    return solved


class _Places:
    """The places of the direct runs, where what compression loses is seen in u, v and r."""

    def __init__(self, data: CrossData, maps: Maps, basis: Basis) -> None:
        places = data.places
        if not len(places):
            places = np.asarray(data.mesh.nodes)[:: 1 + len(data.mesh.nodes) // SEEN]
        self._corners, self._weights = data.mesh.rows(places)
        self._maps, self._basis = maps, basis
        fields = np.einsum("pv,pvrk->prk", self._weights, data.reciprocal[self._corners])
        self.whole = maps.predict(fields)

    def compressed(self, factors: Factors) -> Complex:
        """Amplitudes (place, 2A, K) of the factors."""
        out = np.zeros_like(self.whole)
        for k in range(out.shape[2]):
            phi = self._basis.matrix(k)
            left = factors.left[k] if phi is None else phi @ factors.left[k]
            rows = np.einsum("pv,pvc->pc", self._weights, left[self._corners])
            out[:, :, k] = rows @ factors.right[k] @ factors.gamma[k // factors.band]
        return out

    def lost(self, factors: Factors) -> float:
        """Mean relative error of u that compression makes."""
        return float(self._maps.errors(self.whole, self.compressed(factors))[:, 0].mean())


def _cut(table: Table, places: _Places, wanted: float) -> Compressed:
    """The smallest of some cuts whose mean error of u is at most `wanted`.

    The metric's tolerance follows by the rule of proportion, a factor of `STRIDE` at most from one cut to the next.
    """
    tolerance, good = wanted, None
    for _ in range(ROUNDS):
        cut = table.cut_to_error(tolerance)
        lost = places.lost(cut.factors)
        if lost <= wanted and (good is None or cut.factors.numbers < good.factors.numbers):
            good = cut
        if 0.9 * wanted <= lost <= wanted:
            break
        tolerance *= min(max(0.95 * wanted / max(lost, 1e-30), 1 / STRIDE), STRIDE)
    return good or cut


def _report(solved: Solved, maps: Maps, cut: Compressed) -> list[str]:
    pooling, (mean, error) = maps.cross.pooling, solved.estimate
    every = 100 * solved.errors.mean(0)
    runs = 100 * solved.map_errors.mean(0)
    ranks = [each.shape[1] for each in cut.factors.left]
    return [
        f"maps: {pooling.reach} frequencies on each side, slope {pooling.slope:g}, ridge {maps.cross.ridge:.0e}",
        f"direct runs left out: u {runs[0]:.3g} %, v {runs[1]:.3g} %, r {runs[2]:.3g} %",
        f"with compression: u {100 * mean:.3g} +- {100 * error:.2g} %, v {every[1]:.3g} %, r {every[2]:.3g} %",
        f"basis {solved.basis['kind']}: rank {max(ranks)} at most, {cut.factors.numbers} numbers; "
        f"the basis misses {100 * cut.basis_miss:.3g} % in the metric",
    ]
