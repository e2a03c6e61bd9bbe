"""The map from the loads that were run to all loads on Gamma, learnt from direct runs at each frequency.

At one frequency what any load on Gamma feels of a source is nearly a combination of what a few loads feel, the same
for all sources: ``D = D[:, loads] B``. B depends smoothly on the frequency, so that direct runs at neighbouring
frequencies are samples of one map, which may have parts linear and quadratic in the frequency's offset. Width and
ridge come from cross-validation over the direct runs, a run left out at all frequencies at once; of all ridges whose
error is within 5 % of the best, the largest: the bare minimum is sometimes far too small.

Made-up runs obey the same map as far as the medium near Gamma is known. They are further samples at their own
frequency, of a weight that is chosen with width and ridge, by the direct runs left out: nothing is held to them, so
that those of a wrong medium lose.

Errors of runs left out need no second fit: with P = I - W (W^H W + l)^-1 W^H, rows F of run or runs have the residual
``P[F, F]^-1 (P Y)[F]`` when they are left out (Golub, Heath and Wahba 1979, for one row), exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complexfloating]
Sums = tuple[Complex, Complex]
"""W^H W and W^H Y of samples, at each frequency or at one."""
Bools = NDArray[np.bool_]

RIDGES = 10.0 ** np.arange(-9.0, -0.5)
"""Relative to the largest eigenvalue of W^H W."""
FREQUENCIES = 48
"""Most frequencies that the choice looks at, evenly spread."""
WORSE = 1.05
"""How much larger the error of a larger ridge may be than the best."""
MADE_UP = (0.03, 0.3, 1.0)
"""Weights of made-up runs beside direct ones that are tried; that of none is tried before."""
NEAR = 3
"""Most frequencies on each side that lend their direct runs where there are made-up ones, which lend none."""


@dataclass(frozen=True)
class Pooling:
    """Neighbours that lend their direct runs.

    Attributes:
        reach: frequencies on each side.
        slope: weight of a part of the map that is linear in the offset; 0 for none.
        curve: weight of a part that is quadratic in it; 0 for none.
        made_up: weight of made-up runs at the frequency itself; 0 for none.
    """

    reach: int
    slope: float = 0.0
    curve: float = 0.0
    made_up: float = 0.0

    @property
    def decay(self) -> float:
        """Weight of a neighbour relative to the one before it."""
        return 0.8 if self.slope else 0.5


POOLINGS = (
    Pooling(0),
    Pooling(1),
    Pooling(2),
    Pooling(3),
    Pooling(3, 0.3),
    Pooling(5, 0.3),
    Pooling(8, 0.3),
    Pooling(8, 0.3, 0.05),
)


@dataclass(frozen=True)
class Choice:
    """A width and a ridge.

    Attributes:
        pooling, ridge: chosen by cross-validation.
        left: relative root mean square of what is left of the direct runs left out.
    """

    pooling: Pooling
    ridge: float
    left: float


@dataclass(frozen=True)
class CrossMap:
    """A fitted map.

    Attributes:
        loads: (nr,) those that were run.
        matrices: (K, nr, 2A) from the loads run to all; those run are exact.
        pooling, ridge: chosen by cross-validation.
        miss: (K,) squared error of the direct runs left out, summed over runs and loads.
        size: (K,) squared amplitudes, the same.
        held_out: (nd, 2A, K) each direct run as the others and its own loads predict it.
        weighed: the best without made-up runs, and with these at each weight; none where there was nothing to weigh.
    """

    loads: NDArray[np.integer]
    matrices: NDArray[np.complex128]
    pooling: Pooling
    ridge: float
    miss: NDArray[np.float64]
    size: NDArray[np.float64]
    held_out: NDArray[np.complex64]
    weighed: tuple[Choice, ...] = ()

    @property
    def relative_miss(self) -> float:
        """Root mean square of what is left of the direct runs left out."""
        return float(np.sqrt(self.miss.sum() / self.size.sum()))

    def weighing(self, num: int) -> list[str]:
        """Say in one line if made-up runs, of which there are some, were taken; in none where nothing was weighed."""
        if not self.weighed:
            return []
        best = min(self.weighed[1:], key=lambda choice: choice.left)
        return [
            f"{num} made-up runs {'taken' if self.pooling.made_up else 'not taken'}: left of direct runs left out "
            f"{100 * best.left:.3g} % with them at weight {best.pooling.made_up:g}, {100 * self.weighed[0].left:.3g} % "
            "without"
        ]


class DirectRuns:
    """Direct runs in the metric in which errors count, ready for fits with given loads.

    Args:
        amplitudes: (nd, 2A, K), weighted.
        loads: (nr,) those that were run.
        folds: parts that are left out in turn; runs at most.
        seed: of their choice.
        made_up: (nm, 2A, K) made-up runs, weighted; made as strong as the others at the loads, at each frequency.

    Raises:
        ValueError: fewer than two runs: none can be left out.
    """

    def __init__(
        self,
        amplitudes: Complex,
        loads: NDArray[np.integer],
        folds: int = 5,
        seed: int = 0,
        made_up: Complex | None = None,
    ) -> None:
        num = len(amplitudes)
        if num < 2 and len(loads) < amplitudes.shape[1]:
            raise ValueError(f"a map between loads needs two direct runs at least, got {num}: ask for more")
        values = np.ascontiguousarray(np.moveaxis(np.asarray(amplitudes, complex), 2, 0))
        self.loads = np.asarray(loads)
        self.others = np.setdiff1d(np.arange(values.shape[2]), self.loads)
        self.inputs, self.outputs = values[:, :, self.loads], values[:, :, self.others]
        self.size = (np.abs(values) ** 2).sum((1, 2))
        self.fold = np.random.default_rng(seed).permutation(num) % max(min(folds, num), 1)
        self.made_up: Sums | None = None
        if made_up is not None and len(made_up) and len(self.others):
            self.made_up = self._sums(np.moveaxis(np.asarray(made_up, complex), 2, 0))

    def _sums(self, made_up: Complex) -> Sums:
        """Those of made-up runs (K, nm, 2A), which none of what is to be predicted makes stronger or weaker."""
        inputs = made_up[:, :, self.loads]
        power = [(np.abs(each) ** 2).mean((1, 2)) for each in (self.inputs, inputs)]
        strength = (power[0] / np.maximum(power[1], np.finfo(float).tiny))[:, None, None]
        turned = strength * inputs.conj().swapaxes(1, 2)
        return turned @ inputs, turned @ made_up[:, :, self.others]

    def fit(self, k: int, pooling: Pooling) -> tuple[Fit, NDArray[np.intp], NDArray[np.intp]]:
        """Regression of frequency k, the run of each of its rows and its offset in frequencies."""
        samples, values, run, offset = self.system(k, pooling)
        if self.made_up is None or not pooling.made_up:
            return Fit.of(samples, values), run, offset
        num = len(self.loads)  # made-up runs are of offset 0: the parts that grow with it are not theirs
        gram = np.zeros((samples.shape[1],) * 2, complex)
        product = np.zeros((samples.shape[1], values.shape[1]), complex)
        gram[:num, :num], product[:num] = (pooling.made_up**2 * each[k] for each in self.made_up)
        return Fit.of(samples, values, (gram, product)), run, offset

    def system(self, k: int, pooling: Pooling) -> tuple[Complex, Complex, NDArray[np.intp], NDArray[np.intp]]:
        """Samples W, Y of frequency k and its neighbours, the run of each row and its offset in frequencies."""
        last = len(self.inputs) - 1
        offsets = np.arange(max(-pooling.reach, -k), min(pooling.reach, last - k) + 1)
        near = slice(k + offsets[0], k + offsets[-1] + 1)
        weight = (pooling.decay ** np.abs(offsets))[:, None, None]
        inputs = weight * self.inputs[near]
        powers = ((pooling.slope, offsets), (pooling.curve, offsets**2))
        parts = [share * power[:, None, None] * inputs for share, power in powers if share]
        inputs = np.concatenate((inputs, *parts), 2)
        outputs = weight * self.outputs[near]
        num = len(self.fold)
        run, offset = np.tile(np.arange(num), len(offsets)), np.repeat(offsets, num)
        return inputs.reshape(-1, inputs.shape[2]), outputs.reshape(-1, outputs.shape[2]), run, offset


@dataclass(frozen=True)
class Fit:
    """Ridge regression ``Y = W B`` for any ridge, on the smaller side of W.

    Attributes:
        samples, values: W and Y.
        spectrum, vectors: of W W^H where W is wide, else of W^H W, further samples included.
        wide: W has no more rows than columns, and there are no further samples.
        product: W^H Y, that of further samples included; empty where W is wide.
    """

    samples: Complex
    values: Complex
    spectrum: NDArray[np.float64]
    vectors: Complex
    wide: bool
    product: Complex

    @classmethod
    def of(cls, samples: Complex, values: Complex, further: Sums | None = None) -> Fit:
        """That of W (row, column) and Y (row, output), and of further samples that are never left out, by sums."""
        wide = further is None and samples.shape[0] <= samples.shape[1]
        turned = samples.conj().T
        gram = samples @ turned if wide else turned @ samples
        product = np.empty((0, 0), complex) if wide else turned @ values
        if further is not None:
            gram, product = gram + further[0], product + further[1]
        spectrum, vectors = np.linalg.eigh(gram)
        return cls(samples, values, spectrum.clip(0), vectors, wide, product)

    def matrix(self, ridge: float) -> Complex:
        """B (column, output)."""
        damped = 1 / (self.spectrum + ridge * self.spectrum[-1])
        if self.wide:
            return np.asarray(
                self.samples.conj().T @ (self.vectors @ (damped[:, None] * (self.vectors.conj().T @ self.values)))
            )
        right = self.vectors.conj().T @ self.product
        return np.asarray(self.vectors @ (damped[:, None] * right))

    def left_out(self, ridges: NDArray[np.float64], folds: list[tuple[Bools, Bools]]) -> list[Complex]:
        """Residuals Y - W B, B from the rows of the other folds, of each fold (ridge, wanted row, output).

        Args:
            ridges: relative to the largest eigenvalue with no row left out.
            folds: the rows of each, and which of these are wanted.
        """
        ridge = ridges[:, None] * self.spectrum[-1]
        out = []
        if self.wide:
            share = ridge / (self.spectrum + ridge)
            turned = self.vectors.conj().T @ self.values
            for rows, wanted in folds:
                mine = self.vectors[rows]
                block = (mine * share[:, None]) @ mine.conj().T
                near = np.linalg.solve(block, np.eye(len(mine))[None])[:, wanted[rows]]
                out.append(((near @ mine) * share[:, None]) @ turned)
            return out
        damped = 1 / (self.spectrum + ridge)
        scores = self.samples @ self.vectors
        turned = self.vectors.conj().T @ self.product
        for rows, wanted in folds:
            mine = scores[rows]
            block = np.eye(len(mine)) - (mine * damped[:, None]) @ mine.conj().T
            near = np.linalg.solve(block, np.eye(len(mine))[None])[:, wanted[rows]]
            out.append(near @ self.values[rows] - ((near @ mine) * damped[:, None]) @ turned)
        return out


def fit_map(runs: DirectRuns, poolings: tuple[Pooling, ...] = POOLINGS) -> CrossMap:
    """Choose width and ridge, then fit the map at every frequency; with all loads run there is nothing to fit."""
    frequencies, num = len(runs.inputs), len(runs.fold)
    size = len(runs.loads) + len(runs.others)
    matrices = np.zeros((frequencies, len(runs.loads), size), complex)
    held_out = np.empty((num, size, frequencies), np.complex64)
    miss = np.zeros(frequencies)
    if not len(runs.others):
        matrices[:, np.arange(size), runs.loads] = 1
        held_out[:, runs.loads] = np.moveaxis(runs.inputs, 0, 2)
        return CrossMap(runs.loads, matrices, Pooling(0), 0.0, miss, runs.size, held_out)
    weighed = weigh(runs, poolings)
    best = _best(weighed)
    pooling, ridge = best.pooling, best.ridge
    for k in range(frequencies):
        fit, run, offset = runs.fit(k, pooling)
        matrices[k][:, runs.others] = fit.matrix(ridge)[: len(runs.loads)]
        matrices[k][np.arange(len(runs.loads)), runs.loads] = 1
        folds = _folds(runs, run, offset)
        held_out[:, runs.loads, k] = runs.inputs[k]
        for (_, wanted), residual in zip(folds, fit.left_out(np.array([ridge]), folds), strict=True):
            mine = run[wanted]
            held_out[mine[:, None], runs.others, k] = runs.outputs[k][mine] - residual[0]
            miss[k] += float((np.abs(residual) ** 2).sum())
    weighed = weighed if len(weighed) > 1 else ()
    return CrossMap(runs.loads, matrices, pooling, ridge, miss, runs.size, held_out, weighed)


def choose(runs: DirectRuns, poolings: tuple[Pooling, ...] = POOLINGS) -> tuple[Pooling, float, float]:
    """Width and ridge, one for all frequencies, by cross-validation over the direct runs.

    Returns:
        Pooling, ridge, and the relative root mean square of what is left of the runs left out.
    """
    if not len(runs.others):
        return Pooling(0), 0.0, 0.0
    best = _best(weigh(runs, poolings))
    return best.pooling, best.ridge, best.left


def weigh(runs: DirectRuns, poolings: tuple[Pooling, ...] = POOLINGS) -> tuple[Choice, ...]:
    """The best widths and ridges without made-up runs, and, where there are such, with these at each weight."""
    choices = [_choice(runs, poolings)]
    if runs.made_up is not None:
        near = [each for each in poolings if each.reach <= NEAR] or [Pooling(0)]
        choices += [_choice(runs, tuple(replace(each, made_up=weight) for each in near)) for weight in MADE_UP]
    return tuple(choices)


def _best(weighed: tuple[Choice, ...]) -> Choice:
    """That of the least error; of equal ones the first, without made-up runs."""
    return min(weighed, key=lambda choice: choice.left)


def _choice(runs: DirectRuns, poolings: tuple[Pooling, ...]) -> Choice:
    """The largest ridge whose error is within `WORSE` of the best, and the pooling that goes best with it."""
    step = -(-len(runs.inputs) // FREQUENCIES)
    looked = range((len(runs.inputs) - 1) % step, len(runs.inputs), step)
    miss = np.zeros((len(poolings), len(RIDGES)))
    for i, pooling in enumerate(poolings):
        for k in looked:
            fit, run, offset = runs.fit(k, pooling)
            for residual in fit.left_out(RIDGES, _folds(runs, run, offset)):
                miss[i] += (np.abs(residual) ** 2).sum((1, 2))
    good = miss <= WORSE**2 * miss.min()
    ridge = int(np.flatnonzero(good.any(0))[-1])
    best = int(miss[:, ridge].argmin())
    left = float(np.sqrt(miss[best, ridge] / runs.size[list(looked)].sum()))
    return Choice(poolings[best], float(RIDGES[ridge]), left)


def _folds(runs: DirectRuns, run: NDArray[np.intp], offset: NDArray[np.intp]) -> list[tuple[Bools, Bools]]:
    """Rows of each fold, at all frequencies, and those of them at the middle one."""
    rows = [runs.fold[run] == each for each in range(int(runs.fold.max()) + 1)]
    return [(each, each & (offset == 0)) for each in rows]
