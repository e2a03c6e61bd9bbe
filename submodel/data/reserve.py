"""Claiming a dataset's place: what lies there, and which plan it follows.

There is no lock: ranks that outlive a killed mpirun would hold it. Two generations of one plan write the same bytes,
each under names of its own until they are whole; one of another plan is refused.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from submodel.data.dataset import Dataset, DatasetError
from submodel.data.manifest import PLAN_FILE, Plan, shards_folder
from submodel.data.whole import UNFINISHED, unfinished_name


class Claimed(Protocol):
    """A plan that can be kept in a file and compared with another."""

    def to_json(self) -> str: ...

    @classmethod
    def from_json(cls, text: str) -> Self: ...

    def difference(self, asked: Any) -> str | None: ...


AnyPlan = TypeVar("AnyPlan", bound=Claimed)


def plan_of(path: Path) -> Plan:
    """The plan of a dataset."""
    with Dataset.open_master(path) as dataset:
        return dataset.plan


def claim(path: Path, asked: AnyPlan, read: Callable[[Path], AnyPlan]) -> tuple[AnyPlan, bool]:
    """Claim the dataset's place, and find or write its plan. Local.

    Args:
        path: the dataset.
        asked: what it is to hold.
        read: gives the plan of a file that joins the samples, or raises DatasetError.

    Returns:
        The plan, that which was begun if there is one, and whether the joining file is there and whole.

    Raises:
        DatasetError: something else lies there, or it was begun with other arguments, or cannot be written.
    """
    folder = shards_folder(path)
    if path.suffix == folder.suffix:
        raise DatasetError(f"{path} would be taken for the folder of its samples: choose another ending, .h5")
    if not path.parent.is_dir():
        raise DatasetError(f"there is no folder {path.parent}: create it, or choose another -o")
    if path.is_dir():
        raise DatasetError(f"{path} is a folder: name a file, such as {path / 'dataset.h5'}")
    begun = _begun(path, folder, type(asked), read)
    for plan in begun:
        if difference := plan.difference(asked):
            raise DatasetError(f"{path} {difference}: choose another -o, or delete {path} and {folder}")
    try:
        folder.mkdir(exist_ok=True)
        _clear(folder)
        _clear(path.parent, path.name + ".")
        if not (folder / PLAN_FILE).exists():
            _write_plan(folder / PLAN_FILE, begun[0] if begun else asked)
    except OSError as error:
        raise DatasetError(f"cannot write {error.filename or folder} ({error.strerror}): choose another -o") from error
    plan = begun[0] if begun else asked
    return plan, _is_whole(path, plan, read)


def _begun(path: Path, folder: Path, kind: type[AnyPlan], read: Callable[[Path], AnyPlan]) -> list[AnyPlan]:
    """The plans found at a dataset's place: that beside its samples, and that within it."""
    plans = []
    if (folder / PLAN_FILE).exists():
        try:
            plans.append(kind.from_json((folder / PLAN_FILE).read_text()))
        except ValueError as error:
            raise DatasetError(
                f"{folder / PLAN_FILE} is damaged ({error}): delete it if {path} exists, else delete {folder}"
            ) from error
    if path.exists():
        try:
            plans.append(read(path))
        except DatasetError as error:
            if not plans:  # with a plan beside it, a damaged file is written anew
                raise DatasetError(f"{path} exists and is in the way: {error}; or choose another -o") from error
    elif not plans and folder.is_dir() and any(folder.iterdir()):
        raise DatasetError(f"{folder} exists and holds no plan of a dataset: choose another -o, or delete it")
    return plans


def _is_whole(path: Path, plan: AnyPlan, read: Callable[[Path], AnyPlan]) -> bool:
    """Whether the file that joins the samples is there and undamaged."""
    if not path.exists():
        return False
    try:
        return bool(read(path) == plan)
    except DatasetError:
        return False


def _write_plan(path: Path, plan: Claimed) -> None:
    """Write a plan, whole, unless another generation has written one in the meantime."""
    unfinished = unfinished_name(path)
    unfinished.write_text(plan.to_json())
    try:
        os.link(unfinished, path)
    except FileExistsError as error:
        raise DatasetError(f"another generation has just begun in {path.parent}: start this one again") from error
    except OSError:  # a file system without links
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _clear(folder: Path, prefix: str = "") -> None:
    """Remove what processes that are no more have left unfinished."""
    for left in folder.glob(f"{glob.escape(prefix)}*{UNFINISHED}"):
        number = left.name.removesuffix(UNFINISHED).rpartition(".")[2]
        if not (number.isdigit() and _runs(int(number))):
            left.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Whether there is such a process on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True
