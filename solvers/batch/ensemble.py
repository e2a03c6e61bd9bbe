"""Several runs of the explicit scheme at once: one read of the matrix serves all, and several steps one read of memory.

A level is an array ``(row, lane)``, a lane for each run; the compiled steps (`solvers.batch.native_build`) take a cache
line of lanes at a time. On one rank they go through skewed tiles (`solvers.batch.tiles`); on several, rows that need
other ranks' values wait for them while the others are stepped (`solvers.batch.halo`). What a run yields does not depend
on the runs beside it, to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
from mpi4py import MPI
from numpy.typing import DTypeLike, NDArray

from solvers.batch.halo import Exchange, find_neighbours
from solvers.batch.native_build import aligned, compiled_steps, lanes_of, suffix
from solvers.batch.row_order import local_matrix, num_ready, require_countable, waiting_last
from solvers.batch.stencils import like_rows
from solvers.batch.sums import LevelSums
from solvers.batch.tiles import last_coupled, skewed_tiles
from solvers.stepping.schemes import LEVELS_BETWEEN_CHECKS, CentralDifference, DivergenceError


@dataclass(frozen=True)
class Loads:
    """Loads of several runs: in step n ``weights[k] * samples[n, signals[k]]`` acts on dof ``dofs[k]`` of ``runs[k]``.

    Args:
        dofs: Owned dofs, shape ``(num_loads,)``.
        runs: Shape ``(num_loads,)``.
        signals: Shape ``(num_loads,)``.
        weights: Shape ``(num_loads,)``.
        samples: Shape ``(num_steps, num_signals)``.
        bounds: Largest energy norm that each run's input can cause, generously, on this rank, shape ``(num_runs,)``.
    """

    dofs: NDArray[np.int32]
    runs: NDArray[np.int32]
    signals: NDArray[np.int32]
    weights: NDArray[np.float64]
    samples: NDArray[np.float64]
    bounds: NDArray[np.float64]


class BoundaryBlocks(Protocol):
    """Boundary data of the held dofs of several runs, some steps at a time."""

    def from_step(self, n: int) -> NDArray[Any]:
        """The data of step n and of those after it that are at hand, ``(num_steps, num_held, num_runs)``. Local, or
        collective on the assembly's comm."""
        ...

    def bounds(self) -> NDArray[np.float64]:
        """As `Loads.bounds`, of the data up to the block asked for last. Local."""
        ...


@dataclass(frozen=True)
class Selection:
    """Dofs of a run that are recorded, and the levels at which they are.

    Args:
        rows: Where the dofs stand in the ensemble's order, shape ``(num_records,)``, each once.
        slots: Place of each level in the history, -1 for those left out, shape ``(num_steps + 1,)``.
    """

    rows: NDArray[np.int64]
    slots: NDArray[np.int64]


class Ensemble:
    """Runs of one explicit scheme from rest, stepped together. Collective on the assembly's comm.

    Args:
        stepper: The scheme in its plain form.
        num_runs: How many there are to be, which sets the width: one lane, or a cache line of them.
        dtype: float64, or float32 for twice the runs, at a difference of some 1e-6 in a few hundred steps.
        depth: Steps of a sweep through the cache, 1 for plain steps; as many as pay by default.
        stencils: Step rows that are alike as such (`solvers.batch.stencils`); the numbers are the same.

    Attributes:
        order: Owned dof at each place of a level; held dofs last.
        lanes: Runs at once.

    Raises:
        ValueError: If dtype is another, or a rank's part of the matrix is too large.
        CompileError: If the steps cannot be compiled.
    """

    def __init__(
        self,
        stepper: CentralDifference,
        num_runs: int,
        dtype: DTypeLike = np.float64,
        *,
        depth: int | None = None,
        stencils: bool = True,
    ) -> None:
        assembly, fused = stepper.assembly, stepper.fused
        self._comm, self._dt, self.dtype = assembly.comm, stepper.dt, np.dtype(dtype)
        self.lanes = lanes_of(dtype, num_runs)
        module = compiled_steps(assembly.comm)
        self._ffi, kind = module.ffi, suffix(dtype, self.lanes)
        self._step, self._tiled, self._motion = (
            getattr(module.lib, f"{name}_{kind}") for name in ("step", "tiled", "motion")
        )
        num_owned, offset = len(stepper.order), assembly.offset
        neighbours = find_neighbours(assembly.comm, offset, num_owned, fused.matrix.indices)
        self.order = waiting_last(fused.matrix, stepper.order, len(assembly.held), offset)
        position = np.empty(num_owned, dtype=np.int64)
        position[self.order] = np.arange(num_owned)
        self._position = position
        matrix = local_matrix(fused.matrix, self.order, position, offset, neighbours.wanted)
        require_countable(assembly.comm, matrix)
        self._num_ready = num_ready(matrix)
        self._load_weight = fused.load_weight
        self._mass = np.ascontiguousarray(assembly.mass_diagonal[self.order])
        self._num_driven, self._stencils = len(assembly.held), stencils
        shape = (num_owned + len(neighbours.wanted), self.lanes)
        self._levels = (aligned(shape, dtype), aligned(shape, dtype))
        self._exchange = Exchange(neighbours, position, offset, self._levels) if assembly.comm.size > 1 else None
        self._ends = _tiles(matrix, self._num_driven, depth)
        self._struct: Any = self._ffi.new("struct steps *")
        self._kept: dict[str, Any] = {}  # what the struct points to
        self._fill(matrix, stepper)

    def run(
        self,
        num_steps: int,
        *,
        loads: Loads | None = None,
        boundary: BoundaryBlocks | None = None,
        selection: Selection,
        history: NDArray[Any] | None = None,
        rates: NDArray[Any] | None = None,
        sums: LevelSums | None = None,
    ) -> NDArray[Any]:
        """Steps from rest. Collective on the assembly's comm.

        Args:
            num_steps: Number of steps.
            loads: What excites the runs.
            boundary: What drives the held dofs.
            selection: Dofs and levels that are recorded.
            history: Where it goes; room of its own by default. Slots that no level belongs to are left as they are, and
                are zero by default.
            rates: Where the centred rate of change goes, at each slot but the first and the last; slots must be a step
                apart then. Shape ``(lanes, num_slots - 2, num_records)``. Not wanted by default.
            sums: Takes the levels between two checks as they come, whose slots must be its own. Not with boundary data.

        Returns:
            The history, each run's by itself: shape ``(lanes, num_slots, num_records)``, of the ensemble's type.

        Raises:
            ValueError: If the history or the rates have another shape or type.
            DivergenceError: On every rank, if a run's motion is not finite or exceeds what its input can cause.
        """
        for level in self._levels:
            level[:] = 0.0
        self._set_loads(loads)
        history = self._set_records(selection, history)
        self._set_rates(rates, history)
        self._set_data(None, 0)
        n = stop = 0
        while n < num_steps:
            if boundary is not None and n == stop:
                block = boundary.from_step(n)
                self._set_data(block, n)
                stop = n + len(block)
            until = min(num_steps, n - n % LEVELS_BETWEEN_CHECKS + LEVELS_BETWEEN_CHECKS)
            until = until if boundary is None else min(until, stop)
            self._advance(n, until)
            if sums is not None:
                sums.add(history, n + 1, until + 1)
            n = until
            if n % LEVELS_BETWEEN_CHECKS == 0 or n == num_steps:
                self._check(n, boundary.bounds() if boundary is not None else loads.bounds if loads else None)
        return history

    def _advance(self, n: int, until: int) -> None:
        num_tiles, depth = self._ends.shape
        if self._exchange is None:
            ends = self._ffi.cast("int32_t *", self._ends.ctypes.data)
            for start in range(n, until, depth):
                self._tiled(self._struct, start, min(depth, until - start), ends, num_tiles, depth)
            return
        for start in range(n, until):
            self._exchange.begin(start)
            self._step(self._struct, start, 0, self._num_ready)
            self._exchange.finish(start)
            self._step(self._struct, start, self._num_ready, len(self.order))

    def _check(self, level: int, bounds: NDArray[np.float64] | None) -> None:
        motion = np.empty(self.lanes)
        double = self._ffi.cast("double *", motion.ctypes.data)
        self._motion(self._struct, level, self._ffi.cast("double *", self._mass.ctypes.data), double)
        limit = np.full(self.lanes, np.inf if bounds is None else 0.0)
        if bounds is not None:
            limit[: len(bounds)] = bounds
        if self._comm.size > 1:
            self._comm.Allreduce(MPI.IN_PLACE, motion)
            self._comm.Allreduce(MPI.IN_PLACE, limit)
        norms = np.sqrt(motion) / self._dt
        fine = norms <= np.fmin(limit, np.finfo(np.float64).max)  # what is not finite is not fine
        if not fine.all():
            wrong = np.flatnonzero(~fine)
            raise DivergenceError(level, level * self._dt, float(norms[wrong[0]]), int(wrong[0]))

    def _fill(self, matrix: sp.csr_matrix, stepper: CentralDifference) -> None:
        fused, struct = stepper.fused, self._struct
        driven = self.order[len(self.order) - self._num_driven :]
        ratio = np.ones(len(self.order)) if fused.ratio is None else fused.ratio[self.order]
        struct.num_rows, struct.num_free = len(self.order), len(self.order) - self._num_driven
        ends, counts = like_rows(matrix, ratio, stencils=self._stencils)
        struct.num_stretches = len(ends)
        self._point("stretch_ends", ends, "int32_t *")
        self._point("stretch_counts", counts, "int32_t *")
        self._point("starts", matrix.indptr.astype(np.int32), "int32_t *")
        self._point("columns", matrix.indices.astype(np.int32), "int32_t *")
        self._point("values", matrix.data.astype(self.dtype))
        self._point("keep", (-ratio).astype(self.dtype))
        weight = fused.load_weight[driven]
        if np.any(weight):  # where values are prescribed the equation's rows are empty, and their weight is zero
            self._point("drive_weight", weight.astype(self.dtype))
        struct.levels = [self._pointer(level) for level in self._levels]

    def _set_loads(self, loads: Loads | None) -> None:
        if loads is None:
            self._struct.num_loads = 0
            return
        rows = self._position[loads.dofs]
        ascending = np.argsort(rows, kind="stable")
        weights = self._load_weight[loads.dofs] * loads.weights
        self._struct.num_loads, self._struct.num_signals = len(rows), loads.samples.shape[1]
        self._point("load_rows", rows[ascending].astype(np.int32), "int32_t *")
        self._point("load_lanes", loads.runs[ascending].astype(np.int32), "int32_t *")
        self._point("load_signals", loads.signals[ascending].astype(np.int32), "int32_t *")
        self._point("load_weights", weights[ascending].astype(self.dtype))
        self._point("samples", np.ascontiguousarray(loads.samples, dtype=self.dtype))

    def _set_records(self, selection: Selection, room: NDArray[Any] | None) -> NDArray[Any]:
        rows, slots = selection.rows, selection.slots
        ascending = np.argsort(rows)
        shape = (self.lanes, int(slots.max(initial=-1)) + 1, len(rows))
        history = np.zeros(shape, dtype=self.dtype) if room is None else room
        self._require_room("history", history, shape)
        self._struct.num_records, self._struct.run_stride = len(rows), shape[1] * shape[2]
        self._point("record_rows", rows[ascending].astype(np.int32), "int32_t *")
        self._point("place_rows", rows.astype(np.int32), "int32_t *")
        self._point("record_places", ascending.astype(np.int32), "int32_t *")
        self._point("record_slots", slots.astype(np.int64), "int64_t *")
        self._point("history", history)
        if slots[0] >= 0:  # level 0: at rest
            history[:, slots[0]] = 0.0
        return history

    def _set_rates(self, rates: NDArray[Any] | None, history: NDArray[Any]) -> None:
        if rates is None:
            self._struct.rates = self._ffi.NULL
            return
        self._require_room("rates", rates, (history.shape[0], history.shape[1] - 2, history.shape[2]))
        self._struct.rate_stride, self._struct.rate_factor = rates.shape[1] * rates.shape[2], 0.5 / self._dt
        self._point("rates", rates)

    def _require_room(self, name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
        if array.shape != shape or array.dtype != self.dtype or not array.flags.c_contiguous:
            raise ValueError(
                f"the {name} must be a contiguous {self.dtype} array of shape {shape}, got {array.dtype} {array.shape}"
            )

    def _set_data(self, block: NDArray[Any] | None, start: int) -> None:
        if block is None:
            self._struct.data = self._ffi.NULL
            return
        self._struct.data_start, self._struct.data_stride = start, 0
        if block.shape[2] == self.lanes and block.dtype == self.dtype and _lies_on_lines(block):
            self._point("data", block)
        elif _lies_run_by_run(block):
            self._struct.data_stride, self._struct.num_data_runs = block.strides[2] // block.itemsize, block.shape[2]
            self._point("data", block)
        else:
            data = aligned((*block.shape[:2], self.lanes), self.dtype)
            data[:, :, : block.shape[2]] = block
            self._point("data", data)

    def _point(self, name: str, array: NDArray[Any], kind: str = "void *") -> None:
        """Let the struct point to an array, which is kept."""
        self._kept[name] = array
        setattr(self._struct, name, self._pointer(array, kind))

    def _pointer(self, array: NDArray[Any], kind: str = "void *") -> Any:
        return self._ffi.cast(kind, array.ctypes.data)


def _tiles(matrix: sp.csr_matrix, num_driven: int, depth: int | None) -> NDArray[np.int32]:
    """Ends of the tiles in each step of a sweep. Local.

    Driven rows stand last and reach far back, so that a sweep over tiles would step nearly all rows in the last one:
    where there are some, one tile holds all rows, and takes the steps between two checks.
    """
    num_rows = matrix.shape[0]
    if num_driven or matrix.shape[1] != num_rows:
        return np.full((1, LEVELS_BETWEEN_CHECKS), num_rows, dtype=np.int32)
    return skewed_tiles(last_coupled(matrix), depth=depth)


def _lies_on_lines(block: NDArray[Any]) -> bool:
    width = block.shape[2] * block.itemsize
    return bool(block.flags.c_contiguous and block.ctypes.data % width == 0)


def _lies_run_by_run(block: NDArray[Any]) -> bool:
    """Test whether each run's data are contiguous doubles, more than one number apart."""
    step, row, run = (stride // block.itemsize for stride in block.strides)
    return block.dtype == np.float64 and run > 1 and (step, row) == (block.shape[1], 1)
