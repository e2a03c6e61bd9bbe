"""An unfinished training of an operator generator on disk: what makes the next pass the same as uninterrupted."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from networks.checkpoint import CheckpointError, read_tensors, write_tensors
from networks.core.sharing import load_unique, unique_tensors
from networks.execution.layers import executions, set_executions
from networks.training.plan import Epoch

if TYPE_CHECKING:
    from networks.operator.fit.fit import OperatorFit

OPERATOR_TRAINING = "submodel-operator-training"


def identity(run: OperatorFit) -> dict[str, Any]:
    """What must agree for a training to be continued."""
    plan = dataclasses.asdict(run.plan)
    del plan["device"], plan["threads"], plan["checkpoint_every"]  # these change no number that matters
    digest = hashlib.sha256()
    for array in (run.data.sources, run.data.displacement, run.data.load):
        digest.update(np.ascontiguousarray(array, np.float32).data)
    samples = {"samples": digest.hexdigest()}
    return {"spec": _plain(run.spec.to_dict()), "plan": plan, "data": samples, "start": run.origin}


def store(path: Path, run: OperatorFit) -> None:
    """Write everything that `restore` needs."""
    tensors = {f"model.{n}": t for n, t in unique_tensors(run.model).items()}
    for number, state in run.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{n}": t for n, t in state.items()}
    tensors["batches"] = run.batches.get_state()
    document = {
        **identity(run),
        "history": [dataclasses.astuple(e) for e in run.history],
        "steps": run.steps,
        "execution": executions(run.model),
        "elapsed": run.elapsed,
    }
    write_tensors(path, OPERATOR_TRAINING, tensors, document)


def restore(path: Path, run: OperatorFit) -> None:
    """Continue where `store` was called.

    Raises:
        CheckpointError: the file is damaged, incomplete, or belongs to another training.
    """
    tensors, document = read_tensors(path, OPERATOR_TRAINING)
    for part, entries in identity(run).items():
        for key, value in entries.items():
            if value != document.get(part, {}).get(key):
                raise CheckpointError(
                    f"{path} belongs to a training with another {key}; use the same options and data, "
                    "or another checkpoint file"
                )
    try:
        _take(run, tensors, document)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} holds no complete training ({error}); delete it and train again") from error


def _take(run: OperatorFit, tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name in tensors:
        if name.startswith("optimizer."):
            _, number, entry = name.split(".")
            state.setdefault(int(number), {})[entry] = tensors[name]
    load_unique(run.model, {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
    groups = run.optimizer.state_dict()["param_groups"]
    run.optimizer.load_state_dict({"state": state, "param_groups": groups})
    run.batches.set_state(tensors["batches"])
    run.history = [Epoch(*entry) for entry in document["history"]]
    run.steps = document["steps"]
    set_executions(run.model, document.get("execution", {}))
    run.started = time.monotonic() - document["elapsed"]


def _plain(values: Any) -> Any:
    """As JSON gives it back: lists for tuples."""
    if isinstance(values, dict):
        return {key: _plain(value) for key, value in values.items()}
    return [_plain(value) for value in values] if isinstance(values, (list, tuple)) else values
