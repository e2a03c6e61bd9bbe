"""Boundary data that are predicted while the zone runs, one chunk of time levels at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from solvers.gamma.trace import Trace, Transfer
from solvers.problems.zone import ZoneModel
from submodel.predict.prediction import Prediction

CHUNK = 64
"""Levels of a chunk where nothing else is asked for."""

SPLINE_MARGIN = 26
"""Levels beyond a chunk that its cubic splines see: what lies farther off counts by less than 0.268^26 = 1e-15."""


class StreamedBoundary:
    """A boundary source of a zone run that predicts chunk after chunk, as the zone comes to them.

    The root predicts and sends each chunk to the other ranks: asking for one is collective on the zone's comm, and
    every rank asks for the same step, as a zone run does. The numbers are those of one shot. Making it is collective.

    Args:
        model: The zone.
        prediction: Boundary data of one set, on the root; ``None`` elsewhere.
        chunk: Levels of the boundary data in a chunk.

    Raises:
        ValueError: On every rank, if the chunk is empty, the levels are not the zone's, or the zone's boundary is
            another curve.
    """

    def __init__(self, model: ZoneModel, prediction: Prediction | None, *, chunk: int = CHUNK) -> None:
        if chunk < 1:
            raise ValueError(f"a block holds one level at least, got {chunk}")
        self._model, self._chunk = model, chunk
        self._comm = model.zone.mesh.comm
        self.num_chunks = -(-model.time.num_levels // chunk)
        self._start, self._stop = 0, 0
        self._data: NDArray[np.float64] = np.empty((0, len(model.positions)))
        self._magnitude = 0.0
        self._chunks: _Chunks | None = None
        failure = None
        if prediction is not None:
            try:
                self._chunks = _Chunks(model, prediction, chunk)
            except ValueError as error:
                failure = error
        message = self._comm.bcast(None if failure is None else str(failure))
        if message is not None:
            raise failure or ValueError(message)

    def from_step(self, n: int) -> NDArray[np.float64]:
        """The rest of the chunk that step n belongs to, as `BoundarySource.from_step`. Collective on the zone's comm.

        Raises:
            ValueError: The prediction failed because of a bad value.
            RuntimeError: It failed otherwise; the root raises what the network raised.
        """
        if not self._start <= n < self._stop:
            levels = self._chunk * self._model.parts
            number = min(n // levels, self.num_chunks - 1)  # the last chunk holds the step beyond the last level too
            whole = self._share(number)
            self._start, self._stop = number * levels, number * levels + len(whole)
            self._data = np.ascontiguousarray(whole[:, self._model.positions])
            self._magnitude = max(self._magnitude, float(np.abs(self._data).max(initial=0.0)))
        return self._data[n - self._start :]

    def magnitude(self) -> float:
        """Largest absolute value of this rank's data so far."""
        return self._magnitude

    def _share(self, number: int) -> NDArray[np.float64]:
        """A chunk on every rank, (step, node of Γ). Collective."""
        chunk: NDArray[np.float64] | None = None
        failure: Exception | None = None
        if self._chunks is not None:
            try:
                chunk = self._chunks.data(number)
            except Exception as error:  # the other ranks must hear of it before anyone raises
                failure = error
        if self._comm.size > 1:
            message = self._comm.bcast(None if failure is None else (isinstance(failure, ValueError), str(failure)))
            chunk = self._comm.bcast(chunk)
            if failure is None and message is not None:
                failure = ValueError(message[1]) if message[0] else RuntimeError(message[1])
        if failure is not None or chunk is None:
            raise failure or RuntimeError("boundary data were asked for, but the root was given none to predict")
        return chunk


class _Chunks:
    """Levels from the network, carried to the zone's nodes and steps. Local."""

    def __init__(self, model: ZoneModel, prediction: Prediction, chunk: int) -> None:
        if not model.time.matches(prediction.times):
            raise ValueError(
                f"the prediction has {prediction.num_levels} levels up to t = {prediction.times[-1]:g}, the zone "
                f"expects {model.time.num_levels} up to t = {model.time.final:g}: use the case that the generator is of"
            )
        self._model, self._prediction, self._chunk = model, prediction, chunk
        self._transfer = Transfer(prediction.gamma, model.gamma)
        self._margin = 1 if model.parts == 1 else SPLINE_MARGIN
        self._first = 0
        self._fields: dict[str, NDArray[np.float64]] = {}  # at the zone's nodes, of the levels from _first on
        combined = prediction.combines and prediction.gamma.matches(model.gamma)
        self._weights = model.datum_weights() if combined else None

    def data(self, number: int) -> NDArray[np.float64]:
        """The data of a chunk, (step, node of Γ)."""
        num_levels = self._prediction.num_levels
        begin, end = number * self._chunk, min((number + 1) * self._chunk, num_levels)
        if self._weights is not None:
            return self._prediction.data(self._weights, begin, end)[0]
        low, high = max(0, begin - self._margin), min(num_levels, end + self._margin)
        self._hold(low, high)
        trace = Trace(self._prediction.times[low:high], self._model.gamma, **self._fields)
        return self._model.datum(trace, begin - low, end - low)

    def _hold(self, low: int, high: int) -> None:
        """Keep the fields of the levels low .. high - 1, of which some may be there from the chunk before."""
        held = len(next(iter(self._fields.values()))) if self._fields else 0
        last = self._first + held
        if not self._first <= low <= last <= high or held == 0:
            last, self._fields = low, {}
        new = self._carried(last, high) if last < high else {}
        if self._fields:
            old = {name: field[low - self._first :] for name, field in self._fields.items()}
            new = {name: np.concatenate([old[name], new[name]]) if new else field for name, field in old.items()}
        self._first, self._fields = low, new

    def _carried(self, start: int, stop: int) -> dict[str, NDArray[np.float64]]:
        """Fields of some levels at the zone's nodes."""
        trace = self._transfer.trace(self._prediction.traces(start, stop)[0])
        fields = {"displacement": trace.displacement, "velocity": trace.velocity}
        return fields if trace.load is None else fields | {"load": trace.load}
