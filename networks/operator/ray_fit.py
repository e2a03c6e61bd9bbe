"""The fit of the rays' factors to responses, by Levenberg and Marquardt's method, low frequencies first.

The delay that a grid adds grows with the cube of the frequency: high ones would be off by whole turns at first, and the
fit be lost among them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from networks.operator.network import OperatorGenerator
from networks.operator.spec import OperatorSpec
from networks.operator.targets import VELOCITY
from networks.response.signal_response import LowPass, toeplitz

RIDGE = 3e-6
"""Cost of a factor's square, relative to the responses' own: what the data do not show stays next to zero."""

NUM_PAIRS = 2048
"""Pairs of source and node that the rays' factors are fitted to."""

STAGES = (1.0, 3.0, 9.0, None)
"""Low-pass of each stage of the fit, in rates of the spec's own; None: what a signal amid the band makes of it, of
displacement and velocity together."""

SEEN = 0.15
"""Time after its arrival for which the direct ray is compared, in durations: before echoes of it come."""

ITERATIONS = 6
"""Iterations of each stage, at most."""
DAMPING = 1e-3
"""Damping of a stage's first iteration."""
TRIALS = 4
"""Trials of an iteration, with ten times more damping each."""
CONVERGED = 1e-3
"""Relative fall of the cost below which a stage ends."""


@dataclass(frozen=True)
class RayStep:
    """A place in the fit; with the factors, all that the next iteration depends on.

    Attributes:
        field: 0 for the displacement, 1 for the load, 2 where the fit is over.
        stage: number in `STAGES`.
        iteration: of the stage, those that are done.
        damping: of the next iteration.
        misfit: share of the responses' squares that the rays leave, as this stage sees them.
        converged: number of stages so far that ended before their last iteration.
        cut_short: number of fields whose fit was told to stop.
    """

    field: int = 0
    stage: int = 0
    iteration: int = 0
    damping: float = DAMPING
    misfit: float = 1.0
    converged: int = 0
    cut_short: int = 0

    @property
    def words(self) -> str:
        """One line for a progress bar."""
        name = ("displacement", "load", "done")[self.field]
        return f"fit of the rays: {name}, stage {self.stage + 1} of {len(STAGES)}, misfit {self.misfit:.3g}"

    @property
    def remark(self) -> str:
        """A sentence about a fit that is over and has not converged; empty for one that has."""
        num = 2 * len(STAGES)
        if self.cut_short:
            return f"the fit of the rays was cut short: {self.converged} of {num} stages have converged; train longer"
        if self.converged < num:
            return f"the fit of the rays has not converged in {num - self.converged} of {num} stages"
        return ""

    def next_stage(self, *, converged: bool) -> "RayStep":
        """The beginning of the stage after this one, or of the next field."""
        done = self.converged + converged
        if self.stage + 1 < len(STAGES):
            return RayStep(self.field, self.stage + 1, misfit=self.misfit, converged=done, cut_short=self.cut_short)
        return RayStep(self.field + 1, misfit=self.misfit, converged=done, cut_short=self.cut_short)


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
    count = min(len(sources), max(4, NUM_PAIRS // spec.num_arc))
    chosen = np.unique(np.linspace(0, len(sources) - 1, count).round().astype(int))
    places = torch.as_tensor(sources[chosen], dtype=generator.basis.dtype, device=generator.basis.device)
    seen = _window(generator, places)
    step = RayStep() if start is None else start
    while step.field < 2:
        if step.field == 1 and (step.stage, step.iteration) == (0, 0):
            shared = generator.rays.factors[0]
            generator.rays.factors[1][: len(shared)] = shared
        smooth = _smoothing(spec, STAGES[step.stage], step.field)
        target = np.einsum("ct,sta->sac", smooth, responses[step.field][chosen], optimize=True)
        project = torch.as_tensor(smooth, dtype=torch.float32, device=places.device) @ generator.basis[:-1]
        scores = torch.as_tensor(target, dtype=torch.float32, device=places.device) * seen
        step = _descend(_Stage(generator, places, step.field, scores, project, seen), step, watch)
    return step


@dataclass(frozen=True)
class _Stage:
    """One least-squares problem: a field of some sources, seen through a filter.

    Attributes:
        generator: whose rays are fitted.
        places: (source, 2).
        field: 0 for the displacement, 1 for the load.
        target: (source, arc, level).
        project: (level, coefficient), from amplitudes to what is compared.
        seen: (source, arc, level), or (level,): 1 where rays are all that there is.
    """

    generator: OperatorGenerator
    places: Tensor
    field: int
    target: Tensor
    project: Tensor
    seen: Tensor

    @cached_property
    def energy(self) -> float:
        """Sum of the target's squares."""
        return float(self.target.double().square().sum())

    def evaluate(self) -> tuple[Tensor, Tensor, float]:
        """Misses (source, arc, level), slopes of the amplitudes, and the cost, at the factors that there are."""
        factor = self.generator.rays.factors[self.field]
        value, slopes = self.generator.rays.sensitivities(self.places, self.field)
        miss = self.target - self.seen * (_real(value) @ self.project.T)
        cost = miss.double().square().sum() + RIDGE * self.energy * factor.double().square().sum()
        return miss, slopes, float(cost)

    def equations(self, miss: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
        """Normal matrix and right-hand side of an iteration, in double precision."""
        factor, ridge = self.generator.rays.factors[self.field], RIDGE * self.energy
        jacobian = (self.seen * (_real(slopes) @ self.project.T)).flatten(1)
        normal = (jacobian @ jacobian.T).double() + ridge * torch.eye(len(factor), dtype=torch.float64).to(miss.device)
        return normal, (jacobian @ miss.flatten()).double() - ridge * factor.double()


def _descend(stage: _Stage, step: RayStep, watch: Callable[[RayStep], bool]) -> RayStep:
    """The iterations of one stage; the place after it."""
    factor = stage.generator.rays.factors[stage.field]
    miss, slopes, cost = stage.evaluate()
    for iteration in range(step.iteration, ITERATIONS):
        normal, slope = stage.equations(miss, slopes)
        before, damping = factor.detach().clone(), step.damping
        for _ in range(TRIALS):
            scale = torch.diag(normal.diagonal())
            factor.copy_(before + torch.linalg.solve(normal + damping * scale, slope).to(before))
            miss, slopes, lower = stage.evaluate()
            if lower < cost:
                break
            damping *= 10
        else:
            factor.copy_(before)
            return step.next_stage(converged=True)
        misfit = float(miss.double().square().sum()) / max(stage.energy, 1e-300)
        converged, cost = lower > (1 - CONVERGED) * cost, lower
        step = replace(step, iteration=iteration + 1, damping=damping / 5, misfit=misfit)
        if converged or iteration + 1 == ITERATIONS:
            step = step.next_stage(converged=converged)
        going = watch(step)
        if not going and step.field == stage.field:
            return RayStep(stage.field + 1, misfit=misfit, converged=step.converged, cut_short=step.cut_short + 1)
        if step.iteration == 0:
            return step
    return step


def _window(generator: OperatorGenerator, places: Tensor) -> Tensor:
    """1 at the levels (source, arc, level) where rays are all that there is."""
    spec = generator.spec
    times = spec.dt * torch.arange(spec.num_levels, device=places.device)
    if spec.rays == "walls":
        return torch.ones_like(times)
    late = generator.rays.travel(places)[..., None] + SEEN * spec.duration
    return (times < late).to(places)


def _smoothing(spec: OperatorSpec, stage: float | None, field: int) -> NDArray[np.float64]:
    """A causal filter as a matrix (level, level), through which responses are compared."""
    if stage is None:
        phase = np.mean(spec.band) * spec.dt * np.arange(spec.num_levels)
        signal = np.sin(phase) if field == 1 else np.cos(phase) + np.sin(phase) / np.sqrt(VELOCITY)
        return toeplitz(LowPass(spec.rate, spec.dt).inverse(signal))
    pulse = np.zeros(spec.num_levels)
    pulse[0] = 1.0
    low_pass = LowPass(stage * spec.rate, spec.dt)
    return toeplitz(low_pass.apply(low_pass.apply(pulse)))


def _real(amplitudes: Tensor) -> Tensor:
    """Complex (..., frequency) to the basis's coefficients."""
    return torch.cat((amplitudes.real, -amplitudes.imag[..., 1:]), -1)
