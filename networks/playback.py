"""Boundary data as a zone asks for them: some levels at a time, whichever generator foretells them.

An operator generator gives the response to a source, ``y = basis @ amplitudes``; with the drive d of a signal the
fields are ``q = (d * basis) @ amplitudes``, any levels by themselves: rows of a matrix product. A generator of [A]
gives a whole history, which is cut.
"""

from collections.abc import Callable
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, DTypeLike, NDArray
from torch import Tensor

from networks.core.fields import FIELDS
from networks.operator.fast.inference import OperatorInference
from networks.operator.network import OperatorGenerator, Pointwise
from networks.operator.signal_response import LowPass
from networks.operator.symmetric_parts import Convolved, Levels, Mixture, Weights
from networks.paper.generator import BoundaryGenerator
from networks.paper.predict import predict, predict_levels

ONSET = 1e-6
"""Largest s(0) that counts as 0, relative to the signal's maximum."""

LARGEST = 2**23
"""Numbers of the largest matrix of one pass."""


class Playback(Protocol):
    """Fields on Gamma, level by level.

    Attributes:
        fields: names, in the order of the blocks.
        num_levels: how many levels there are.
    """

    @property
    def fields(self) -> tuple[str, ...]: ...

    @property
    def num_levels(self) -> int: ...

    def block(self, start: int, stop: int) -> NDArray[np.float64]:
        """(field, stop - start, arc) of the levels start .. stop - 1.

        Raises:
            ValueError: levels that are not there.
        """
        ...

    def combined(self, weights: Weights) -> Callable[[int, int], NDArray[np.float64]] | None:
        """A function of levels start, stop that gives a combination of the fields, (stop - start, arc); or None."""
        ...


class ResponseGenerator(Protocol):
    """What is needed of an operator generator.

    Attributes:
        spec: holds num_levels, dt and rate (of the low-pass).
        basis: (time + 1, coefficient).
    """

    spec: Any
    basis: Tensor

    def amplitudes(self, sources: Tensor) -> Tensor:
        """(source, 2) to (source, 2, coefficient, arc): of the displacement's and the load's response."""
        ...

    def direct(self, sources: Tensor) -> Tensor | None:
        """A known part of the responses, (source, 2, time + 1, arc), or None."""
        ...


class OperatorPlayback:
    """What an operator generator foretells for sources with a signal each, added up.

    Args:
        generator: a trained one, in evaluation mode, which is moved to the device; or one made ready to predict.
        sources: (source, 2) positions.
        signals: (source, time + 1) samples at the levels 0 .. N, zero at the first.
        device: where it runs; one that was made ready has its own.

    Raises:
        ValueError: shapes that do not fit, or a signal that does not begin with zero.
    """

    fields = FIELDS

    def __init__(
        self,
        generator: ResponseGenerator | OperatorInference,
        sources: ArrayLike,
        signals: ArrayLike,
        device: str | torch.device = "cpu",
    ) -> None:
        positions, samples = _checked(generator, np.atleast_2d(sources), np.atleast_2d(signals))
        self.num_levels: int = generator.spec.num_levels
        self._generator, self._given = ready(generator, device), (positions, samples)
        self._graph = isinstance(self._generator, OperatorInference) and self._generator.device.type == "cuda"
        if not self._graph:
            self._mixture = _mixture(self._generator, positions[None], samples[None], torch.device(device))
        self._fields: Levels | None = None

    def block(self, start: int, stop: int) -> NDArray[np.float64]:
        """(field, stop - start, arc) of the levels start .. stop - 1.

        Raises:
            ValueError: levels that are not there.
        """
        if self._fields is None:
            self._fields = self._levels(None)
        return np.asarray(self._fields(start, stop, torch.float64).numpy())

    def combined(self, weights: Weights) -> Callable[[int, int], NDArray[np.float64]]:
        """A combination of the fields, some levels at a time: one matrix product, without the fields themselves.

        Returns:
            A function of the first level and the one after the last that gives (stop - start, arc).

        Raises:
            ValueError: weights that look too far ahead; levels that are not there, by what is returned.
        """
        levels = self._levels(weights)
        return lambda start, stop: np.asarray(levels(start, stop, torch.float64).numpy())

    def _levels(self, weights: Weights | None) -> Levels:
        """A function of levels that gives ([field,] stop - start, arc) on the host, of the fields or a combination."""
        if self._graph:
            whole = torch.from_numpy(cast(OperatorInference, self._generator).history(*self._given, weights))
        else:
            levels = self._mixture.fields() if weights is None else self._mixture.combined(weights)

        def part(start: int, stop: int, dtype: torch.dtype = torch.float32) -> Tensor:
            _require_levels(start, stop, self.num_levels)
            return whole[..., start:stop, :].to(dtype) if self._graph else levels(start, stop, dtype)[0].cpu()

        return part


class HistoryPlayback:
    """What a generator of [A] foretells for one parameter vector: its whole history, cut.

    A model whose time is sampled is evaluated at the levels of each block only.

    Args:
        generator: a trained one; it is moved to the device.
        parameters: (parameter,).
        device: where it runs.

    Raises:
        ValueError: parameters of another shape.
    """

    def __init__(self, generator: BoundaryGenerator, parameters: ArrayLike, device: str | torch.device = "cpu") -> None:
        self.fields: tuple[str, ...] = generator.spec.fields
        self.num_levels: int = generator.spec.num_levels
        self._generator, self._parameters, self._device = generator, np.asarray(parameters)[None], device
        sampled = generator.spec.time == "sampled"
        self._history = None if sampled else predict(generator, self._parameters, device)[0].astype(np.float64)

    def block(self, start: int, stop: int) -> NDArray[np.float64]:
        """(field, stop - start, arc) of the levels start .. stop - 1.

        Raises:
            ValueError: levels that are not there.
        """
        _require_levels(start, stop, self.num_levels)
        if self._history is not None:
            return self._history[:, start:stop]
        part = predict_levels(self._generator, self._parameters, start, stop, self._device)
        return np.asarray(part[0], np.float64)

    def combined(self, weights: Weights) -> None:
        """Nothing: such a generator gives fields."""
        return None


def predict_operator(
    generator: ResponseGenerator | OperatorInference,
    sources: ArrayLike,
    signals: ArrayLike,
    device: str | torch.device = "cpu",
    *,
    weights: Weights | None = None,
    dtype: DTypeLike = np.float32,
    batch_size: int = 32,
) -> NDArray[Any]:
    """The fields of many runs, whole histories.

    Args:
        generator: as of `OperatorPlayback`.
        sources: (sample, 2), or (sample, source, 2) where several sources of a sample add up.
        signals: (sample, time + 1), or (sample, source, time + 1).
        device: where to run.
        weights: of a combination that is wanted instead of the fields.
        dtype: of what is returned.
        batch_size: samples of one pass, at most; fewer where histories are long.

    Returns:
        (sample, field, time, arc), the fields of `FIELDS`; or (sample, time, arc), the combination.

    Raises:
        ValueError: as `OperatorPlayback`.
    """
    positions, samples = np.asarray(sources, np.float64), np.asarray(signals, np.float64)
    if positions.ndim == 2 and samples.ndim == 2:
        positions, samples = positions[:, None], samples[:, None]
    positions, samples = _checked(generator, positions, samples)
    chosen, num_samples, num_levels = ready(generator, device), len(positions), generator.spec.num_levels
    columns = samples.shape[2] if isinstance(chosen, OperatorInference) else 4 * samples.shape[2]
    batch_size = max(1, min(batch_size, LARGEST // (samples.shape[1] * samples.shape[2] * columns)))
    out: NDArray[Any] | None = None
    kind = torch.float64 if np.dtype(dtype) == np.float64 else torch.float32
    for start in range(0, num_samples, batch_size):
        each = slice(start, start + batch_size)
        mixture = _mixture(chosen, positions[each], samples[each], torch.device(device))
        levels = mixture.fields() if weights is None else mixture.combined(weights)
        found = levels(0, num_levels, kind).cpu().numpy()
        out = np.empty((num_samples, *found.shape[1:]), dtype) if out is None else out
        out[each] = found
    if out is None:
        raise ValueError("there are no samples to predict: give at least one")
    return out


def ready(
    generator: ResponseGenerator | OperatorInference, device: str | torch.device = "cpu"
) -> ResponseGenerator | OperatorInference:
    """A generator made ready to predict many times, where it is one of the kind that can be."""
    own = isinstance(generator, OperatorGenerator) and isinstance(generator.net, Pointwise)
    return OperatorInference(cast(OperatorGenerator, generator), device) if own else generator


def _mixture(
    generator: ResponseGenerator | OperatorInference,
    sources: NDArray[np.float64],
    signals: NDArray[np.float64],
    device: torch.device,
) -> Mixture:
    """Factors for sources (set, source, 2) with signals (set, source, time + 1)."""
    if isinstance(generator, OperatorInference):
        return generator.mixture(sources, signals)
    if isinstance(generator, torch.nn.Module):
        generator.to(device).eval()
    spec, shape = generator.spec, sources.shape[:2]
    basis = generator.basis.detach().cpu().to(torch.float64).numpy()
    drives = LowPass(spec.rate, spec.dt).inverse(signals, -1)
    with torch.inference_mode():
        where = torch.as_tensor(sources.reshape(-1, 2), dtype=generator.basis.dtype, device=device)
        parts, known = generator.amplitudes(where).double(), generator.direct(where)
        known = None if known is None else known.double().unflatten(0, shape)
        return Convolved(basis, drives, parts.unflatten(0, shape), known, spec.dt)


def _checked(
    generator: ResponseGenerator | OperatorInference, sources: NDArray[Any], signals: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sources (..., 2), counted from the specification's origin, and signals (..., time + 1), as float64."""
    positions, samples = sources.astype(np.float64), signals.astype(np.float64)
    num = generator.spec.num_levels + 1
    if positions.shape[-1:] != (2,) or samples.shape[-1:] != (num,) or positions.shape[:-1] != samples.shape[:-1]:
        raise ValueError(
            f"sources (..., 2) need a signal each at {num} levels, one past the last: "
            f"got shapes {positions.shape} and {samples.shape}"
        )
    peak = np.abs(samples).max(-1)
    late = np.abs(samples[..., 0]) > ONSET * peak
    if late.any():
        raise ValueError(
            f"a signal begins with {samples[late][0][0]:.3g}, {ONSET:g} of its maximum at most is allowed: "
            "the run starts from rest, let the signal start from zero"
        )
    return generator.spec.relative(positions), samples


def _require_levels(start: int, stop: int, num_levels: int) -> None:
    if not 0 <= start < stop <= num_levels:
        raise ValueError(f"levels {start} to {stop} are not among the {num_levels} that there are")
