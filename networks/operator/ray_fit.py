"""The fit of the rays' factors to responses: least squares, low frequencies first, until it has converged.

The delay that a grid adds grows with the cube of the frequency: high ones would be off by whole turns at first, and the
fit be lost among them. A stage frees no factor that its frequencies do not show: the others would run away, and the
next stages have to bring them back.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from networks.operator.descent import Place, advance
from networks.operator.network import OperatorGenerator
from networks.operator.spec import OperatorSpec
from networks.operator.targets import VELOCITY
from networks.response.signal_response import LowPass, toeplitz

RIDGE = 3e-6
"""Cost of a factor's square, relative to the responses' own: what the data do not show stays next to zero."""

NUM_PAIRS = 2048
"""Pairs of source and node that the rays' factors are fitted to, at most."""
PAIR_COEFFICIENTS = 2048 * 160
"""Coefficients of all those pairs, at most: of long runs fewer pairs are taken."""


@dataclass(frozen=True)
class Stage:
    """A stage of a field's fit.

    Attributes:
        rate: low-pass through which responses are compared, in rates of the spec's own; None: what a signal amid the
            band makes of them, of displacement and velocity together.
        delays, dampings, sizes: powers of the frequency that are free, of each kind the lowest; None: all.
        enough: relative fall of the cost that an iteration must promise.
    """

    rate: float | None
    delays: int | None
    dampings: int | None
    sizes: int | None
    enough: float


LAST = Stage(None, None, None, None, 1e-4)
STAGES = ((Stage(1.0, 1, 0, 1, 1e-2), Stage(9.0, 1, 1, 1, 1e-2), LAST), (LAST,))
"""Of the displacement; of the load, which begins with the displacement's factors."""

SEEN = 0.15
"""Time after its arrival for which the direct ray is compared, in durations: before echoes of it come."""

ITERATIONS = 100
"""Iterations of each stage, at most."""
DAMPING = 1e-3
"""Damping of a stage's first iteration."""
SMALLEST = 1e-6
"""Directions that matter less to what is compared, relative to the one that matters most, are left out."""


@dataclass(frozen=True)
class RayStep:
    """A place in the fit; with the factors, all that the next iteration depends on.

    Attributes:
        field: 0 for the displacement, 1 for the load, 2 where the fit is over.
        stage: number in `STAGES`.
        iteration: of the stage, those that are done.
        damping: of the next iteration.
        misfit: share of the responses' squares that the rays leave, as this stage sees them.
        iterations: of all stages so far.
        converged: number of fields so far whose last stage has converged.
        cut_short: number of fields whose fit was told to stop.
    """

    field: int = 0
    stage: int = 0
    iteration: int = 0
    damping: float = DAMPING
    misfit: float = 1.0
    iterations: int = 0
    converged: int = 0
    cut_short: int = 0

    @property
    def words(self) -> str:
        """One line for a progress bar."""
        if self.field == 2:
            return f"fit of the rays: done, misfit {self.misfit:.3g}"
        name, num = ("displacement", "load")[self.field], len(STAGES[self.field])
        return f"fit of the rays: {name}, stage {self.stage + 1} of {num}, misfit {self.misfit:.3g}"

    @property
    def remark(self) -> str:
        """A sentence about a fit that is over."""
        if self.cut_short:
            return f"the fit of the rays was cut short after {self.iterations} iterations: train longer"
        if self.converged < len(STAGES):
            return f"the fit of the rays has not converged after {self.iterations} iterations"
        return f"the fit of the rays converged in {self.iterations} iterations"

    def next_stage(self, *, converged: bool) -> "RayStep":
        """The beginning of the stage after this one, or of the next field."""
        fresh = replace(self, iteration=0, damping=DAMPING)
        if self.stage + 1 < len(STAGES[self.field]):
            return replace(fresh, stage=self.stage + 1)
        return replace(fresh, field=self.field + 1, stage=0, converged=self.converged + converged)


@torch.no_grad()
def fit_rays(
    generator: OperatorGenerator,
    sources: NDArray[np.float64],
    responses: tuple[NDArray[np.floating], NDArray[np.floating]],
    *,
    start: RayStep | None = None,
    watch: Callable[[RayStep], bool] = lambda step: True,
) -> RayStep:
    """Fit the factors of the rays.

    Args:
        generator: its rays are changed.
        sources: (source, 2).
        responses: displacement and load, (source, level, arc).
        start: where an interrupted fit goes on, the factors being those of that place.
        watch: called after each iteration with the place that is reached; False ends the fit of its field.

    Returns:
        The end of the fit.
    """
    spec = generator.spec
    pairs = min(NUM_PAIRS, PAIR_COEFFICIENTS // spec.num_coefficients)
    count = min(len(sources), max(4, pairs // spec.num_arc))
    chosen = np.unique(np.linspace(0, len(sources) - 1, count).round().astype(int))
    places = torch.as_tensor(sources[chosen], dtype=generator.basis.dtype, device=generator.basis.device)
    seen = _window(generator, places)
    step = RayStep() if start is None else start
    while step.field < 2:
        if step.field == 1 and (step.stage, step.iteration) == (0, 0):
            shared = generator.rays.factors[0]
            generator.rays.factors[1][: len(shared)] = shared
        stage = STAGES[step.field][step.stage]
        smooth = _smoothing(spec, stage.rate, step.field)
        target = np.einsum("ct,sta->sac", smooth, responses[step.field][chosen], optimize=True)
        step = _descend(_Misfit(generator, places, step.field, stage, (target, smooth, seen)), step, stage, watch)
    return step


class _Misfit:
    """The cost of one stage: `networks.operator.descent.LeastSquares` of the factors that are free.

    Args:
        generator: whose rays are fitted.
        places: (source, 2).
        field: 0 for the displacement, 1 for the load.
        stage: says what is free.
        comparison: target (source, arc, level), filter (level, level), and, where rays are not all that there is,
            (source, arc, level) of 1 where they are.
    """

    def __init__(
        self,
        generator: OperatorGenerator,
        places: Tensor,
        field: int,
        stage: Stage,
        comparison: tuple[NDArray[np.float64], NDArray[np.float64], Tensor | None],
    ) -> None:
        self.generator, self.places, self.field = generator, places, field
        target, smooth, self.seen = comparison
        project = smooth @ generator.basis[:-1].double().cpu().numpy()
        scores = torch.as_tensor(target, device=places.device)
        if self.seen is None:  # in the few directions that the rays can reach; the rest is lost
            self.energy = float(np.square(target).sum())
            left, size, right = np.linalg.svd(project, full_matrices=False)
            large = size > SMALLEST * size[0]
            scores = scores @ torch.as_tensor(left[:, large], device=places.device)
            project = size[large, None] * right[large]
        else:
            last = int(self.seen.any(0).any(0).nonzero().max()) + 1
            self.seen, project = self.seen[..., :last], project[:last]
            scores = scores[..., :last] * self.seen
            self.energy = float(scores.square().sum())
        self.lost = self.energy - float(scores.square().sum())
        self.scores = scores.to(places)
        self.project = torch.as_tensor(project.T.copy()).to(places)  # (coefficient, direction or level)
        self.free = _free(generator.spec, field, stage).to(places.device)

    @property
    def numbers(self) -> Tensor:
        """The free factors, (number,)."""
        return self.generator.rays.factors[self.field][self.free].double()

    @property
    def ridge(self) -> float:
        """Cost of a factor's square."""
        return RIDGE * self.energy

    @property
    def share(self) -> float:
        """Share of the target's squares that the rays leave at the last place."""
        return (self.lost + float(self.miss.double().square().sum())) / max(self.energy, 1e-300)

    def evaluate(self, numbers: Tensor) -> float:
        """Put these numbers in the place of the free factors; the cost."""
        factor = self.generator.rays.factors[self.field]
        factor[self.free] = numbers.to(factor)
        value, self.parts = self.generator.rays.sensitivities(self.places, self.field)
        self.miss = self.scores - self._compared(value)
        misfit = self.lost + float(self.miss.double().square().sum())
        return misfit + self.ridge * float(factor.double().square().sum())

    def equations(self) -> tuple[Tensor, Tensor]:
        """Normal matrix and slope, from single precision in double: directions that differ little need it."""
        numbers, multipliers = self.generator.rays.derivatives(self.field)
        columns = torch.as_tensor(numbers, device=self.free.device)[self.free]
        multipliers = multipliers[self.free, None]
        normal = self.ridge * torch.eye(len(columns), dtype=torch.float64).to(self.free.device)
        slope = -self.ridge * self.numbers
        for source, miss in enumerate(self.miss):
            jacobian = self._compared(self.parts[columns, source] * multipliers, source).flatten(1).double()
            normal += jacobian @ jacobian.T
            slope += jacobian @ miss.flatten().double()
        return normal, slope

    def _compared(self, coefficients: Tensor, source: int | None = None) -> Tensor:
        """Coefficients (..., source, arc, coefficient), or those of one source, as they are compared."""
        values = coefficients @ self.project
        if self.seen is None:
            return values
        return values * (self.seen if source is None else self.seen[source])


def _descend(misfit: _Misfit, step: RayStep, stage: Stage, watch: Callable[[RayStep], bool]) -> RayStep:
    """The iterations of one stage; the place after it."""
    numbers = misfit.numbers
    place = Place(numbers, misfit.evaluate(numbers), step.damping)
    for iteration in range(step.iteration, ITERATIONS):
        done = advance(misfit, place, stage.enough)
        if not done.moved:
            return replace(step, misfit=misfit.share).next_stage(converged=done.promised < stage.enough)
        place = replace(done.place, numbers=misfit.numbers)  # in single precision, with which a resumed fit begins
        step = replace(
            step,
            iteration=iteration + 1,
            iterations=step.iterations + 1,
            damping=place.damping,
            misfit=misfit.share,
        )
        if not watch(step):
            return replace(
                RayStep(step.field + 1),
                misfit=step.misfit,
                iterations=step.iterations,
                converged=step.converged,
                cut_short=step.cut_short + 1,
            )
    return step.next_stage(converged=False)


def _free(spec: OperatorSpec, field: int, stage: Stage) -> Tensor:
    """Numbers of the factors that a stage fits, (number,)."""
    harmonics, orders = spec.dispersion
    ways, sizes = np.zeros((harmonics, 2 * orders - 1), bool), np.zeros((3 if field == 0 else 5, 3), bool)
    ways[:, :orders][:, : stage.delays] = True
    ways[:, orders:][:, : stage.dampings] = True
    sizes[:, : stage.sizes] = True
    return torch.from_numpy(np.flatnonzero(np.concatenate((ways.ravel(), sizes.ravel()))))


def _window(generator: OperatorGenerator, places: Tensor) -> Tensor | None:
    """1 at the levels (source, arc, level) where rays are all that there is; None where they are everywhere."""
    spec = generator.spec
    if spec.rays == "walls":
        return None
    times = spec.dt * torch.arange(spec.num_levels, device=places.device)
    late = generator.rays.travel(places)[..., None] + SEEN * spec.duration
    return (times < late).to(places)


def _smoothing(spec: OperatorSpec, rate: float | None, field: int) -> NDArray[np.float64]:
    """A causal filter as a matrix (level, level), through which responses are compared."""
    if rate is None:
        phase = np.mean(spec.band) * spec.dt * np.arange(spec.num_levels)
        signal = np.sin(phase) if field == 1 else np.cos(phase) + np.sin(phase) / np.sqrt(VELOCITY)
        return toeplitz(LowPass(spec.rate, spec.dt).inverse(signal))
    pulse = np.zeros(spec.num_levels)
    pulse[0] = 1.0
    low_pass = LowPass(rate * spec.rate, spec.dt)
    return toeplitz(low_pass.apply(low_pass.apply(pulse)))
