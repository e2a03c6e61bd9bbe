"""Tables from cross data or plain samples: metric, maps, basis and compression, with the error of runs held out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from networks.table.bases.basis import Basis
from networks.table.bases.catalogue import basis_from
from networks.table.bases.components import Components
from networks.table.compress import Compressed, Table
from networks.table.data import CrossData, PlainData, SourceNodes, Times
from networks.table.factors import Factors
from networks.table.fit.maps import CrossMap, DirectRuns, fit_map
from networks.table.fit.metric import Responses, gains
from networks.table.fit.plain import PlainFit, fit_plain

Array = NDArray[np.float64]
Complex = NDArray[np.complexfloating]
Fields = NDArray[np.inexact]

ROUNDS = 6
"""Cuts that bring the error of u to the tolerance, at most."""
SEEN = 100
"""Source nodes, at most, that stand for direct runs where all loads were run and there are none."""
NEAR = 0.96
"""Share of the tolerance that a cut may leave unused."""
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
        held_out: (nd, 2A, K) the direct runs as predicted, unweighted, compression included.
        lines: the report, a line each.
    """

    factors: Factors
    basis: dict[str, Any]
    errors: Array
    map_errors: Array
    residual: Array
    field: Array
    held_out: NDArray[np.complex64]
    lines: list[str] = dataclasses.field(default_factory=list)

    @property
    def estimate(self) -> tuple[float, float]:
        """Mean error of u over fresh sources and its standard error over the runs, relative."""
        return mean_and_error(self.errors[:, 0])


def mean_and_error(errors: Array) -> tuple[float, float]:
    """Mean of some runs' errors, and its standard error; infinite for one run."""
    num = len(errors)
    return float(errors.mean()), float(errors.std(ddof=1) / np.sqrt(num)) if num > 1 else float("inf")


@dataclass(frozen=True)
class Metric:
    """The metric in which errors of a case count.

    Attributes:
        gains: (2, K) weights of u and r.
        responses: to the case's own signals.
    """

    gains: Array
    responses: Responses

    @classmethod
    def of(cls, times: Times, samples: Complex) -> Metric:
        """That of runs whose amplitudes (run, 2A, K) say how strong the fields are."""
        responses = Responses.of(times.signals, times.rate, times.dt, times.omega)
        return cls(gains(responses, samples), responses)

    def weights(self, size: int) -> Array:
        """(2A, K) of all loads."""
        return np.repeat(self.gains, size // 2, 0)

    def errors(self, true: Complex, predicted: Complex) -> Array:
        """Relative L2 errors (run, 3) of u, v and r, means over the signals, of amplitudes (run, 2A, K)."""
        signals = range(len(self.responses.waves))
        pairs: Iterator[tuple[Complex, Complex]] = zip(true, predicted, strict=True)
        errors = [np.mean([self.responses.errors(s, a, b) for s in signals], 0) for a, b in pairs]
        return np.array(errors).reshape(-1, 3)


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
    def metric(self) -> Metric:
        """The metric alone."""
        return Metric(self.gains, self.responses)

    @property
    def weights(self) -> Array:
        """(2A, K) of all loads."""
        return self.metric.weights(self.cross.matrices.shape[2])

    @property
    def matrices(self) -> Complex:
        """(K, nr, 2A) between unweighted amplitudes."""
        weights = self.weights.T
        return np.asarray(weights[:, self.cross.loads, None] * self.cross.matrices / weights[:, None])

    def errors(self, true: Complex, predicted: Complex) -> Array:
        """Relative L2 errors (run, 3) of u, v and r, means over the signals, of amplitudes (run, 2A, K)."""
        return self.metric.errors(true, predicted)

    def predict(self, fields: Complex) -> Complex:
        """Amplitudes of all loads (place, 2A, K) from those of the loads run (place, nr, K), unweighted."""
        return np.asarray(np.moveaxis(np.moveaxis(fields, 2, 0) @ self.matrices, 0, 2), np.complex64)


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
    complete = len(data.loads) == data.direct.shape[1]
    samples = data.direct if len(data.direct) or not complete else data.reciprocal[:: 1 + len(data.reciprocal) // SEEN]
    metric = Metric.of(data.times, samples)
    every = metric.weights(data.direct.shape[1])
    made_up = None if data.made_up is None else data.made_up * every
    cross = fit_map(DirectRuns(data.direct * every, data.loads, seed=seed, made_up=made_up))
    maps = Maps(cross, metric.gains, metric.responses)
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
    pooling = maps.cross.pooling
    lines = [
        f"maps: {pooling.reach} frequencies on each side, slope {pooling.slope:g}, curve {pooling.curve:g}, "
        f"ridge {maps.cross.ridge:.0e}",
        *maps.cross.weighing(0 if data.made_up is None else len(data.made_up)),
    ]
    whole = _Whole(data.reciprocal, maps.matrices, maps.metric, chosen, data.mesh, data.places)
    return _reduced(whole, data.direct, predicted, errors, tolerance, numbers, lines)


def solve_plain(
    data: PlainData,
    *,
    priors: Sequence[Mapping[str, Any]],
    tolerance: float | None = None,
    basis: Mapping[str, Any] | None = None,
    numbers: int | None = None,
) -> Solved:
    """Make the table of plain samples.

    Args:
        data: the runs.
        priors: descriptions of bases of waves or helmholtz that say what fields are likely, as those of
            `networks.table.bases.catalogue.priors`; the one with the smallest error of runs held out is taken.
        tolerance, basis, numbers: as of `solve_table`; the basis is the prior's by default.

    Raises:
        ValueError: fewer than four runs, or descriptions and numbers that make no table.
    """
    metric = Metric.of(data.times, data.direct)
    rows = data.mesh.rows(data.places)
    best: tuple[PlainFit, Basis, Array] | None = None
    for prior in priors:
        expected = basis_from(dict(prior), data.area)
        if not isinstance(expected, Components):
            raise ValueError(f"a basis of {prior['kind']} does not say what fields are likely: choose another prior")
        fit = fit_plain(data.direct, rows, expected)
        errors = metric.errors(data.direct, fit.held_out)
        if best is None or errors[:, 0].mean() < best[2][:, 0].mean():
            best = fit, expected, errors
    if best is None:
        raise ValueError("a table from plain samples needs a prior: waves or helmholtz")
    fit, likely, errors = best
    chosen = likely if basis is None else basis_from(dict(basis), data.area)
    whole = _Whole(fit.fields, fit.matrices, metric, chosen, data.mesh, data.places)
    about = likely.description()
    line = f"{len(data.places)} plain samples; prior {about['kind']}, {about['reach']} frequencies on each side"
    return _reduced(whole, data.direct, fit.held_out, errors, tolerance, numbers, [line])


def _reduced(
    whole: _Whole,
    direct: Complex,
    predicted: Complex,
    errors: Array,
    tolerance: float | None,
    numbers: int | None,
    lines: list[str],
) -> Solved:
    """The table compressed to a tolerance or a number of numbers, judged by runs that were held out."""
    table = Table(whole.fields, whole.matrices, whole.metric.gains, whole.basis)
    runs = float(errors[:, 0].mean()) if len(errors) else 0.0
    if numbers is not None:
        cut = table.cut_to_numbers(numbers)
    else:
        asked = tolerance or 0.0
        cut = _cut(table, whole, max(asked**2 - runs**2, (SHARE * max(runs, asked)) ** 2) ** 0.5)
    lost = whole.compressed(cut.factors) - whole.there
    if len(errors):
        true, final = direct, predicted + lost
    else:
        true, final = whole.there, whole.there + lost
        errors = np.zeros((len(true), 3))
    half = true.shape[1] // 2
    residual = (np.abs(final - true)[:, :half] ** 2).mean((0, 1))
    strength = (np.abs(true)[:, :half] ** 2).mean((0, 1))
    solved = Solved(
        cut.factors,
        whole.basis.description(),
        whole.metric.errors(true, final),
        errors,
        np.asarray(residual, float),
        np.asarray(strength, float),
        np.asarray(final, np.complex64),
        lines,
    )
    solved.lines.extend(_report(solved, cut))
    return solved


class _Whole:
    """A table before compression, and the places of the direct runs, where its loss is seen in u, v and r.

    Args:
        fields, matrices: as of `networks.table.compress.Table`.
        metric: of errors.
        basis: of the left factors.
        mesh: source nodes.
        places: (n, 2) of the direct runs; source nodes where there are none.
    """

    def __init__(
        self,
        fields: Fields,
        matrices: Complex,
        metric: Metric,
        basis: Basis,
        mesh: SourceNodes,
        places: Array,
    ) -> None:
        self.fields, self.matrices, self.metric, self.basis = fields, matrices, metric, basis
        if not len(places):
            places = np.asarray(mesh.nodes)[:: 1 + len(mesh.nodes) // SEEN]
        self._corners, self._weights = mesh.rows(places)
        here = np.einsum("pv,pvrk->prk", self._weights, fields[self._corners])
        self.there = np.asarray(np.moveaxis(np.moveaxis(here, 2, 0) @ matrices, 0, 2))

    def compressed(self, factors: Factors) -> Complex:
        """Amplitudes (place, 2A, K) of the factors."""
        out = np.zeros_like(self.there)
        for k in range(out.shape[2]):
            phi = self.basis.matrix(k)
            rows = np.einsum("pv,pvc->pc", self._weights, (factors.left[k] if phi is None else phi)[self._corners])
            left = rows if phi is None else rows @ factors.left[k]
            out[:, :, k] = left @ factors.right[k] @ factors.gamma[k // factors.band]
        return out

    def lost(self, factors: Factors) -> float:
        """Mean relative error of u that compression makes."""
        return float(self.metric.errors(self.there, self.compressed(factors))[:, 0].mean())


def _cut(table: Table, whole: _Whole, wanted: float) -> Compressed:
    """The smallest of some cuts whose mean error of u is at most `wanted`.

    The metric's tolerance follows by the rule of proportion, a factor of `STRIDE` at most from one cut to the next.
    """
    tolerance, good = wanted, None
    for _ in range(ROUNDS):
        cut = table.cut_to_error(tolerance)
        lost = whole.lost(cut.factors)
        if lost <= wanted and (good is None or cut.factors.numbers < good.factors.numbers):
            good = cut
        if NEAR * wanted <= lost <= wanted:
            break
        tolerance *= min(max(0.98 * wanted / max(lost, 1e-30), 1 / STRIDE), STRIDE)
    return good or cut


def _report(solved: Solved, cut: Compressed) -> list[str]:
    mean, error = solved.estimate
    every, runs = 100 * solved.errors.mean(0), 100 * solved.map_errors.mean(0)
    ranks = [each.shape[1] for each in cut.factors.left]
    return [
        f"direct runs left out: u {runs[0]:.3g} %, v {runs[1]:.3g} %, r {runs[2]:.3g} %",
        f"with compression: u {100 * mean:.3g} +- {100 * error:.2g} %, v {every[1]:.3g} %, r {every[2]:.3g} %",
        f"basis {solved.basis['kind']}: rank {max(ranks)} at most, {cut.factors.numbers} numbers; "
        f"the basis misses {100 * cut.basis_miss:.3g} % in the metric",
    ]
