"""An unfinished training on disk: everything that makes the next pass the same as without the interruption."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from networks.core.sharing import load_unique, unique_tensors
from networks.core.tensor_file import CheckpointError, read_tensors, write_tensors
from networks.execution.layers import executions, set_executions
from networks.training.plan import NO_NUMBERS, Epoch

if TYPE_CHECKING:
    from networks.training.fit import Fit

TRAINING = "submodel-training"
LONGEST = 60
"""Characters of a value that a message shows."""


class AnotherTrainingError(CheckpointError):
    """The file holds the state of a training with other options or data; the message names the first difference."""


def identity(fit: Fit) -> dict[str, Any]:
    """Entries that must agree for a training to be continued, values for JSON."""
    task = fit.task
    plan = {name: value for name, value in dataclasses.asdict(fit.plan).items() if name not in NO_NUMBERS}
    entries = {
        "spec": {"family": task.spec.family, **task.spec.to_dict()},
        "plan": plan,
        "data": {"samples": fit.digest},
        "start": task.origin,
    }
    plain: dict[str, Any] = json.loads(json.dumps(entries))
    return plain


def store(path: Path, fit: Fit) -> None:
    """Write everything that `restore` needs. Local; called on the leading rank."""
    task = fit.task
    tensors = {f"model.{name}": tensor for name, tensor in unique_tensors(task.model).items()}
    tensors |= {f"best.{name}": tensor for name, tensor in fit.best.items()}
    for number, state in task.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in state.items()}
    tensors["batches"] = fit.batches.get_state()
    document = {
        **identity(fit),
        "history": [dataclasses.astuple(epoch) for epoch in fit.history],
        "best_score": fit.best_score,
        "progress": task.progress,
        "remarks": task.remarks,
        "execution": executions(task.model),
        "elapsed": fit.elapsed,
    }
    write_tensors(path, TRAINING, tensors, document)


def restore(path: Path, fit: Fit) -> None:
    """Continue where `store` was called. Local; every rank reads the same file.

    Raises:
        AnotherTrainingError: the file belongs to another training.
        CheckpointError: the file is damaged or incomplete.
    """
    tensors, document = read_tensors(path, TRAINING)
    for part, entries in identity(fit).items():
        for key, value in entries.items():
            stored = document.get(part, {}).get(key)
            if value != stored:
                raise AnotherTrainingError(
                    f"{path} belongs to a training with {key} = {_shown(stored)}, this one has {_shown(value)}; "
                    "use the same options, or another checkpoint file"
                )
    try:
        _take(fit, tensors, document)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} holds no complete training ({error}); delete it and train again") from error


def _take(fit: Fit, tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
    task = fit.task
    state: dict[int, dict[str, Tensor]] = {}
    for name in tensors:
        if name.startswith("optimizer."):
            _, number, entry = name.split(".")
            state.setdefault(int(number), {})[entry] = tensors[name]
    load_unique(task.model, {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
    for name, tensor in fit.best.items():
        tensor.copy_(tensors[f"best.{name}"])
    groups = task.optimizer.state_dict()["param_groups"]
    task.optimizer.load_state_dict({"state": state, "param_groups": groups})
    fit.batches.set_state(tensors["batches"])
    fit.history = [Epoch(*entry) for entry in document["history"]]
    fit.best_score = document["best_score"]
    task.progress, task.remarks = document["progress"], document["remarks"]
    set_executions(task.model, document.get("execution", {}))
    fit.started = fit.clock() - document["elapsed"]


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
