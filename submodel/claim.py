"""Claiming a dataset's place: what lies there, which plan it follows, and that nobody else is at work."""

from __future__ import annotations

import fcntl
import os
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from submodel.dataset import UNFINISHED, Dataset, DatasetError
from submodel.plan import PLAN_FILE, Plan, shards_folder


def claim(path: Path, asked: Plan, held: ExitStack) -> tuple[Plan, bool]:
    """Claim the dataset's place, and find or write its plan. Local.

    Args:
        path: the dataset.
        asked: what it is to hold.
        held: keeps the place claimed until it is closed.

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
    begun = _begun(path, folder)
    for plan in begun:
        if difference := plan.difference(asked):
            raise DatasetError(f"{path} {difference}: choose another -o, or delete {path} and {folder}")
    try:
        folder.mkdir(exist_ok=True)
        held.enter_context(_lock(folder))
        for left in (*folder.glob("*" + UNFINISHED), path.with_name(path.name + UNFINISHED)):
            left.unlink(missing_ok=True)
        plan = begun[0] if begun else asked
        _write_text(folder / PLAN_FILE, plan.to_json())
    except OSError as error:
        raise DatasetError(f"cannot write {error.filename or folder} ({error.strerror}): choose another -o") from error
    return plan, _is_whole(path, plan)


def _begun(path: Path, folder: Path) -> list[Plan]:
    """The plans found at a dataset's place: that beside its samples, and that within it."""
    plans = []
    if (folder / PLAN_FILE).exists():
        try:
            plans.append(Plan.from_json((folder / PLAN_FILE).read_text()))
        except ValueError as error:
            raise DatasetError(
                f"{folder / PLAN_FILE} is damaged ({error}): delete it if {path} exists, else delete {folder}"
            ) from error
    if path.exists():
        try:
            with Dataset.open_master(path) as dataset:
                plans.append(dataset.plan)
        except DatasetError as error:
            if not plans:  # with a plan beside it, a damaged file is written anew
                raise DatasetError(f"{path} exists and is in the way: {error}; or choose another -o") from error
    elif not plans and folder.is_dir() and any(folder.iterdir()):
        raise DatasetError(f"{folder} exists and holds no plan of a dataset: choose another -o, or delete it")
    return plans


def _is_whole(path: Path, plan: Plan) -> bool:
    """Whether the file that joins the samples is there and undamaged."""
    if not path.exists():
        return False
    try:
        with Dataset.open_master(path) as dataset:
            return dataset.plan == plan
    except DatasetError:
        return False


def _lock(folder: Path) -> AbstractContextManager[Any]:
    """Hold the folder for this process alone; the lock goes when the process does."""
    stack = ExitStack()
    handle = os.open(folder, os.O_RDONLY)
    stack.callback(os.close, handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stack.close()
        raise DatasetError(f"another generation is at work in {folder}: wait for it, or choose another -o") from error
    except OSError:  # a file system without locks
        pass
    return stack


def _write_text(path: Path, text: str) -> None:
    unfinished = path.with_name(path.name + UNFINISHED)
    unfinished.write_text(text)
    os.replace(unfinished, path)
