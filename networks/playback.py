"""Boundary data as a zone asks for them: some levels at a time, whichever generator foretells them.

An operator generator gives the response to a source, ``y = basis @ amplitudes``; with the drive d of a signal the
fields are ``q = (d * basis) @ amplitudes``, any levels by themselves: rows of a matrix product, in double precision.
A generator of [A] gives a whole history, which is cut.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from networks.generator import BoundaryGenerator
from networks.predict import predict, predict_levels
from networks.response import LowPass, centred_rate, toeplitz

OPERATOR_FIELDS = ("displacement", "velocity", "load")
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

    def begin(self, start: int, stop: int) -> Callable[[], NDArray[np.float64]]:
        """Start on a block; the call of what is returned waits for it. On a CPU it is done at once."""
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
        generator: a trained one, in evaluation mode; it is moved to the device.
        sources: (source, 2) positions.
        signals: (source, time + 1) samples at the levels 0 .. N, zero at the first.
        device: where blocks are computed. On CUDA each block goes through a stream of its own and pinned memory, and
            only the call of what `begin` returned waits.

    Raises:
        ValueError: shapes that do not fit, or a signal that does not begin with zero.
    """

    fields = OPERATOR_FIELDS

    def __init__(
        self, generator: ResponseGenerator, sources: ArrayLike, signals: ArrayLike, device: str | torch.device = "cpu"
    ) -> None:
        positions, samples = _checked(generator, np.atleast_2d(sources), np.atleast_2d(signals))
        self.num_levels: int = generator.spec.num_levels
        self._device = torch.device(device)
        mixture = _mixtures(generator, positions[None], samples[None], self._device)
        self._rows, self._rates, self._parts = mixture.rows[0], mixture.rates[0], mixture.parts[0]
        self._stream: torch.cuda.Stream | None = None
        if self._device.type == "cuda":
            self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(self._device))

    def block(self, start: int, stop: int) -> NDArray[np.float64]:
        """(field, stop - start, arc) of the levels start .. stop - 1.

        Raises:
            ValueError: levels that are not there.
        """
        return self.begin(start, stop)()

    def begin(self, start: int, stop: int) -> Callable[[], NDArray[np.float64]]:
        """Start on a block; the call of what is returned waits for it.

        Raises:
            ValueError: levels that are not there.
        """
        _require_levels(start, stop, self.num_levels)
        if self._stream is None:
            done: NDArray[np.float64] = self._product(start, stop).numpy()
            return lambda: done
        with torch.cuda.stream(self._stream):
            product = self._product(start, stop)
            host = torch.empty(product.shape, dtype=product.dtype, pin_memory=True)
            host.copy_(product, non_blocking=True)
            ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            ready.record(self._stream)  # type: ignore[no-untyped-call]

        def wait() -> NDArray[np.float64]:
            ready.synchronize()  # type: ignore[no-untyped-call]
            return np.asarray(host.numpy())

        return wait

    @torch.inference_mode()
    def _product(self, start: int, stop: int) -> Tensor:
        rows, rates = self._rows[start:stop], self._rates[start:stop]
        out = torch.empty((3, stop - start, self._parts.shape[-1]), dtype=torch.float64, device=self._device)
        for target, factor, part in zip(out, (rows, rates, rows), (0, 0, 1), strict=True):
            torch.matmul(factor, self._parts[part], out=target)
        return out


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

    def begin(self, start: int, stop: int) -> Callable[[], NDArray[np.float64]]:
        """As `block`, when it is called.

        Raises:
            ValueError: levels that are not there.
        """
        done = self.block(start, stop)
        return lambda: done


def predict_operator(
    generator: ResponseGenerator,
    sources: ArrayLike,
    signals: ArrayLike,
    device: str | torch.device = "cpu",
    *,
    batch_size: int = 32,
) -> NDArray[np.float32]:
    """The fields of many runs, whole histories.

    Args:
        generator: a trained one, in evaluation mode; it is moved to the device.
        sources: (sample, 2), or (sample, source, 2) where several sources of a sample add up.
        signals: (sample, time + 1), or (sample, source, time + 1).
        device: where to run.
        batch_size: samples of one pass, at most; fewer where histories are long.

    Returns:
        float32 (sample, field, time, arc), the fields of `OPERATOR_FIELDS`.

    Raises:
        ValueError: as `OperatorPlayback`.
    """
    positions, samples = np.asarray(sources, np.float64), np.asarray(signals, np.float64)
    if positions.ndim == 2 and samples.ndim == 2:
        positions, samples = positions[:, None], samples[:, None]
    positions, samples = _checked(generator, positions, samples)
    batch_size = max(1, min(batch_size, LARGEST // (samples.shape[1] * samples.shape[2] ** 2)))
    out = []
    for start in range(0, len(positions), batch_size):
        each = slice(start, start + batch_size)
        mixture = _mixtures(generator, positions[each], samples[each], torch.device(device))
        with torch.inference_mode():
            u, v = mixture.rows[:, :-1] @ mixture.parts[:, 0], mixture.rates @ mixture.parts[:, 0]
            r = mixture.rows[:, :-1] @ mixture.parts[:, 1]
            out.append(torch.stack((u, v, r), 1).to(torch.float32).cpu().numpy())
    return np.concatenate(out)


@dataclass(frozen=True)
class _Mixtures:
    """Per sample the two factors of its fields; `column` runs over the coefficients of all its sources.

    Attributes:
        rows: (sample, time + 1, column), the basis after the drive.
        rates: (sample, time, column), its centred rate.
        parts: (sample, 2, column, arc), amplitudes of displacement and load.
    """

    rows: Tensor
    rates: Tensor
    parts: Tensor


def _mixtures(
    generator: ResponseGenerator, sources: NDArray[np.float64], signals: NDArray[np.float64], device: torch.device
) -> _Mixtures:
    """Factors for sources (sample, source, 2) with signals (sample, source, time + 1)."""
    if isinstance(generator, torch.nn.Module):
        generator.to(device).eval()
    spec = generator.spec
    num_samples, num_sources = signals.shape[:2]
    basis = generator.basis.detach().cpu().to(torch.float64).numpy()
    drives = LowPass(spec.rate, spec.dt).inverse(signals, -1)
    rows = np.stack([[toeplitz(drive) @ basis for drive in sample] for sample in drives])
    with torch.inference_mode():
        where = torch.as_tensor(sources.reshape(-1, 2), dtype=generator.basis.dtype, device=device)
        parts = generator.amplitudes(where).to(torch.float64)
        known = generator.direct(where)
        if known is not None:  # a basis of its own: one column a level
            rows = np.concatenate((rows, toeplitz(drives)), -1)
            parts = torch.cat((parts, known.to(torch.float64)), 2)
        num_columns, num_arc = parts.shape[-2:]
        parts = parts.view(num_samples, num_sources, 2, num_columns, num_arc).transpose(1, 2)
        parts = parts.reshape(num_samples, 2, num_sources * num_columns, num_arc)
    rows = np.moveaxis(rows, 1, 2).reshape(num_samples, signals.shape[-1], num_sources * num_columns)
    rates = centred_rate(rows, spec.dt)
    return _Mixtures(torch.from_numpy(rows).to(device), torch.from_numpy(rates).to(device), parts)


def _checked(
    generator: ResponseGenerator, sources: NDArray[Any], signals: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sources (..., 2) and signals (..., time + 1) as float64."""
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
    return positions, samples


def _require_levels(start: int, stop: int, num_levels: int) -> None:
    if not 0 <= start < stop <= num_levels:
        raise ValueError(f"levels {start} to {stop} are not among the {num_levels} that there are")
