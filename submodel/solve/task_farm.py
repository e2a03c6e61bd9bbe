"""Ranks that work apart and stop together: a task on the root, on all, or in pieces farmed over groups."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from mpi4py import MPI

Result = TypeVar("Result")

REPORT, REPLY = 1, 2  # tags: a piece is done (worker to coordinator); the next one (back)
STOP = -1


@dataclass(frozen=True)
class Failure:
    """A piece that failed.

    Args:
        item: its number.
        message: of the error; the same on every rank.
        error: the error itself on the ranks where it was raised, elsewhere None.
    """

    item: int
    message: str
    error: Exception | None


def on_root(comm: MPI.Comm, task: Callable[[], Result]) -> Result:
    """Do something on the root and tell the others its result. Collective on comm.

    Raises:
        Exception: as raised on the root; on the others the same ValueError, or RuntimeError for another kind.
    """
    result: Any = None
    error: Exception | None = None
    if comm.rank == 0:
        try:
            result = task()
        except Exception as caught:  # whatever it is, the other ranks must hear of it before anyone raises
            error = caught
    portable = error if error is None or isinstance(error, ValueError) else RuntimeError(_message(error))
    result, from_root = comm.bcast((result, portable))
    if error or from_root:
        raise error or from_root
    return result


def agree(comm: MPI.Comm, task: Callable[[], Result]) -> Result:
    """Do something on every rank. Collective on comm.

    Raises:
        Exception: as raised on the rank itself; ValueError, with the first message, where only others failed.
    """
    result: Any = None
    error: Exception | None = None
    try:
        result = task()
    except Exception as caught:  # whatever it is, the other ranks must hear of it before anyone raises
        error = caught
    messages = [message for message in comm.allgather(error and _message(error)) if message]
    if error is not None:
        raise error
    if messages:
        raise ValueError(messages[0])
    return result


def farm(
    num: int, work: Callable[[int], None], comm: MPI.Comm, group: MPI.Comm, done: Callable[[int], None]
) -> Failure | None:
    """Do the pieces 0 to num - 1, each by one group of ranks. Collective on comm.

    The root hands out the pieces between its own: each group holds one in advance, so that none waits for the
    root, and a slow core gets fewer. When a piece fails, those begun are finished and no other is begun.

    Args:
        num: number of pieces.
        work: does one piece, on all ranks of a group.
        comm: all ranks.
        group: those that do a piece together; comm's root is the root of its own.
        done: called on the root after each piece, with its number.

    Returns:
        The failed piece of the lowest number, or None; known to every rank.
    """
    leaders = comm.Split(0 if group.rank == 0 else MPI.UNDEFINED, comm.rank)
    source: _Source | None = None
    if leaders != MPI.COMM_NULL:
        source = _Coordinator(leaders, num, done) if leaders.rank == 0 else _Worker(leaders, num)
    failures: list[Failure] = []
    while (item := group.bcast(source.next() if source else None)) is not None:
        error = _attempt(work, item)
        messages = [message for message in group.allgather(error and _message(error)) if message]
        if messages:
            failures.append(Failure(item, messages[0], error))
        if source:
            source.report(item, bool(messages))
    if source:
        source.close()
        leaders.Free()
    return _first(failures, comm)


def _attempt(work: Callable[[int], None], item: int) -> Exception | None:
    try:
        work(item)
    except Exception as error:  # whatever it is, the other ranks must hear of it before anyone raises
        return error
    return None


def _message(error: Exception) -> str:
    return str(error) or type(error).__name__


def _first(failures: list[Failure], comm: MPI.Comm) -> Failure | None:
    mine = failures[0] if failures else None
    pairs = [pair for pair in comm.allgather(mine and (mine.item, mine.message)) if pair]
    if not pairs:
        return None
    item, message = min(pairs)
    return Failure(item, message, mine.error if mine and mine.item == item else None)


class _Source(Protocol):
    """Where a group's leader gets its pieces. Local, but for messages between leaders."""

    def next(self) -> int | None: ...

    def report(self, item: int, failed: bool) -> None: ...

    def close(self) -> None: ...


class _Coordinator:
    """Hands out pieces to the other leaders, and does some itself."""

    def __init__(self, leaders: MPI.Comm, num: int, done: Callable[[int], None]) -> None:
        held = {item for rank in range(1, leaders.size) for item in _held(rank, leaders.size)}
        self._pending = deque(item for item in range(num) if item not in held)
        self._leaders = leaders
        self._working = leaders.size - 1
        self._done = done
        self._stopped = False
        self._sent: list[MPI.Request] = []

    def next(self) -> int | None:
        while self._working and self._leaders.iprobe(tag=REPORT):
            self._receive()
        return self._pending.popleft() if self._pending else None

    def report(self, item: int, failed: bool) -> None:
        if failed:
            self._stopped = True
            self._pending.clear()
        else:
            self._done(item)

    def close(self) -> None:
        while self._working:
            self._receive()
        MPI.Request.waitall(self._sent)

    def _receive(self) -> None:
        status = MPI.Status()
        report = self._leaders.recv(tag=REPORT, status=status)
        if report is None:
            self._working -= 1
            return
        self.report(*report)
        following = self._pending.popleft() if self._pending else None
        reply = STOP if self._stopped else following
        self._sent.append(self._leaders.isend(reply, dest=status.Get_source(), tag=REPLY))


class _Worker:
    """Asks for the next piece when one is done, while holding another."""

    def __init__(self, leaders: MPI.Comm, num: int) -> None:
        self._queue = deque(item for item in _held(leaders.rank, leaders.size) if item < num)
        self._leaders = leaders
        self._due = 0  # replies
        self._sent: list[MPI.Request] = []

    def next(self) -> int | None:
        while self._due and (not self._queue or self._leaders.iprobe(source=0, tag=REPLY)):
            self._receive()
        return self._queue.popleft() if self._queue else None

    def report(self, item: int, failed: bool) -> None:
        self._sent.append(self._leaders.isend((item, failed), dest=0, tag=REPORT))
        self._due += 1

    def close(self) -> None:
        self._sent.append(self._leaders.isend(None, dest=0, tag=REPORT))
        MPI.Request.waitall(self._sent)

    def _receive(self) -> None:
        reply = self._leaders.recv(source=0, tag=REPLY)
        self._due -= 1
        if reply == STOP:
            self._queue.clear()
        elif reply is not None:
            self._queue.append(reply)


def _held(rank: int, size: int) -> tuple[int, int]:
    """The pieces that a worker begins with: one to do and one in advance."""
    return rank, size + rank
