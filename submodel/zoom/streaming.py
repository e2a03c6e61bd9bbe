"""Boundary data that are predicted while the zone runs: one block of levels ahead, in a thread of its own."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from solvers.gamma.trace import Trace, Transfer
from solvers.problems.zone import ZoneModel
from submodel.predict.prediction import Prediction

BLOCK = 64
"""Levels of a block where nothing else is asked for."""

REACH = 26
"""Levels beyond a block that its cubic splines see: what lies farther off counts by less than 0.268^26 = 1e-15."""


@dataclass
class Overlap:
    """Where the time of predicting went.

    Attributes:
        worked: Seconds that the thread spent on blocks.
        waited: Seconds that the zone waited for them.
        num_blocks: Blocks delivered.
    """

    worked: float = 0.0
    waited: float = 0.0
    num_blocks: int = 0

    @property
    def overlapped(self) -> float:
        """Seconds of the thread's work during which the zone ran on."""
        return max(0.0, self.worked - self.waited)


class StreamedBoundary:
    """A boundary source of a zone run that predicts block after block, each while the zone steps through the last.

    The root predicts, in a worker thread, and sends each block to the other ranks as the zone comes to it: asking for
    a block is collective on the zone's comm, and every rank asks for the same step, as a zone run does. The numbers are
    those of one shot. Use it in a ``with`` block, or close it: that ends the thread. Making it is collective too.

    Args:
        model: The zone.
        prediction: What is played, on the root; ``None`` elsewhere.
        block: Levels of the boundary data in a block.

    Raises:
        ValueError: On every rank, if the block is empty, the levels are not the zone's, or the zone's boundary is
            another curve.
    """

    def __init__(self, model: ZoneModel, prediction: Prediction | None, *, block: int = BLOCK) -> None:
        if block < 1:
            raise ValueError(f"a block holds one level at least, got {block}")
        self._model, self._block = model, block
        self._comm = model.zone.mesh.comm
        self._num_blocks = -(-model.time.num_levels // block)
        self._number, self._start, self._stop = -1, 0, 0
        self._data: NDArray[np.float64] = np.empty((0, len(model.positions)))
        self._magnitude = 0.0
        self.overlap = Overlap()
        self._thread: ThreadPoolExecutor | None = None
        self._work = self._agree(prediction)
        if self._work is not None:
            self._thread = ThreadPoolExecutor(1, "boundary")
            self._next: tuple[int, Future[NDArray[np.float64]]] = self._ask(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the thread, after the block that it is at. Local."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)

    def from_step(self, n: int) -> NDArray[np.float64]:
        """The rest of the block that step n belongs to, as `BoundarySource.block`. Collective on the zone's comm.

        Raises:
            ValueError: The network's work failed because of a bad value.
            RuntimeError: It failed otherwise; the root raises what the thread raised.
        """
        if not self._start <= n < self._stop:
            self._advance(n)
        return self._data[n - self._start :]

    def magnitude(self) -> float:
        """Largest absolute value of this rank's data so far."""
        return self._magnitude

    def _agree(self, prediction: Prediction | None) -> _Work | None:
        """What the root's thread will do, unless it cannot: then every rank learns why. Collective."""
        work, failure = None, None
        if prediction is not None:
            try:
                work = _Work(self._model, prediction, self._block, self.overlap)
            except ValueError as error:
                failure = error
        told = self._comm.bcast(None if failure is None else str(failure))
        if told is not None:
            raise failure or ValueError(told)
        return work

    def _advance(self, n: int) -> None:
        """Come to the block of a step; the last block holds the step beyond the last level too."""
        levels = self._block * self._model.parts
        number = min(n // levels, self._num_blocks - 1)
        whole = self._share(number)
        self._number, self._start, self._stop = number, number * levels, number * levels + len(whole)
        self._data = np.ascontiguousarray(whole[:, self._model.positions])
        self._magnitude = max(self._magnitude, float(np.abs(self._data).max(initial=0.0)))

    def _share(self, number: int) -> NDArray[np.float64]:
        """A block on every rank, (step, node of Γ). Collective."""
        found: NDArray[np.float64] | None = None
        failure: Exception | None = None
        if self._thread is not None:
            try:
                found = self._take(number)
            except Exception as error:
                failure = error
        if self._comm.size > 1:
            told = self._comm.bcast(None if failure is None else (isinstance(failure, ValueError), str(failure)))
            found = self._comm.bcast(found)
            if failure is None and told is not None:
                failure = ValueError(told[1]) if told[0] else RuntimeError(told[1])
        if failure is not None or found is None:
            self.close()
            raise failure or RuntimeError("boundary data were asked for, but the root was given none to predict")
        return found

    def _take(self, number: int) -> NDArray[np.float64]:
        """A block from the thread, which goes on to the next one. Root."""
        asked, future = self._next
        start = time.perf_counter()
        if asked != number:  # another run with the same data
            future.cancel()
            _, future = self._ask(number)
        found = future.result()
        self.overlap.waited += time.perf_counter() - start
        self.overlap.num_blocks += 1
        if number + 1 < self._num_blocks:
            self._next = self._ask(number + 1)
        return found

    def _ask(self, number: int) -> tuple[int, Future[NDArray[np.float64]]]:
        if self._thread is None or self._work is None:
            raise RuntimeError("only the root predicts boundary data")
        return number, self._thread.submit(self._work.block, number)


class _Work:
    """What the thread does: levels from the network, carried to the zone's nodes and steps. Local."""

    def __init__(self, model: ZoneModel, prediction: Prediction, block: int, overlap: Overlap) -> None:
        if not model.time.matches(prediction.times):
            raise ValueError(
                f"the prediction has {prediction.num_levels} levels up to t = {prediction.times[-1]:g}, the zone "
                f"expects {model.time.num_levels} up to t = {model.time.final:g}: use the case that the generator is of"
            )
        self._model, self._prediction, self._block, self._overlap = model, prediction, block, overlap
        self._transfer = Transfer(prediction.gamma, model.gamma)
        self._margin = 1 if model.parts == 1 else REACH
        self._first = 0
        self._kept: dict[str, NDArray[np.float64]] = {}  # fields of the levels from _first on, at the zone's nodes
        weights = model.datum_weights() if prediction.gamma.matches(model.gamma) else None
        self._combined = None if weights is None else prediction.combined(weights)

    def block(self, number: int) -> NDArray[np.float64]:
        """The data of a block, (step, node of Γ)."""
        start = time.perf_counter()
        num_levels = self._prediction.num_levels
        begin, end = number * self._block, min((number + 1) * self._block, num_levels)
        if self._combined is not None:
            found = self._combined(begin, end)
        else:
            low, high = max(0, begin - self._margin), min(num_levels, end + self._margin)
            self._hold(low, high)
            trace = Trace(self._prediction.times[low:high], self._model.gamma, **self._kept)
            found = self._model.datum(trace, begin - low, end - low)
        self._overlap.worked += time.perf_counter() - start
        return found

    def _hold(self, low: int, high: int) -> None:
        """Keep the fields of the levels low .. high - 1, of which some may be there from the block before."""
        held = len(next(iter(self._kept.values()))) if self._kept else 0
        last = self._first + held
        if not self._first <= low <= last <= high or held == 0:
            last, self._kept = low, {}
        new = self._carried(last, high) if last < high else {}
        if self._kept:
            old = {name: field[low - self._first :] for name, field in self._kept.items()}
            new = {name: np.concatenate([old[name], new[name]]) if new else field for name, field in old.items()}
        self._first, self._kept = low, new

    def _carried(self, start: int, stop: int) -> dict[str, NDArray[np.float64]]:
        """Fields of some levels at the zone's nodes."""
        trace = self._transfer.trace(self._prediction.stretch(start, stop))
        fields = {"displacement": trace.displacement, "velocity": trace.velocity}
        return fields if trace.load is None else fields | {"load": trace.load}
