"""An unfinished training on disk: everything that makes the next pass the same as without the interruption."""

import dataclasses
import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from networks.checkpoint import CheckpointError, read_tensors, write_tensors
from networks.core.sharing import load_unique, unique_tensors
from networks.execution.layers import executions, set_executions
from networks.paper.fit import Fit
from networks.training.plan import Epoch

TRAINING = "submodel-training"


def samples_digest(*arrays: np.ndarray) -> str:
    """Checksum of the samples, so that a training is continued with its own."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, np.float32).data)
    return digest.hexdigest()


def identity(fit: Fit, digest: str) -> dict[str, Any]:
    """What must agree for a training to be continued."""
    plan = dataclasses.asdict(fit.plan)
    del plan["device"], plan["threads"], plan["checkpoint_every"]  # these change no number that matters
    return {"spec": fit.spec.to_dict(), "plan": plan, "data": {"samples": digest}, "start": fit.origin}


def store(path: Path, fit: Fit, digest: str) -> None:
    """Write everything that `restore` needs. Local; called on the leading rank."""
    tensors = {f"model.{n}": t for n, t in unique_tensors(fit.model).items()}
    tensors |= {f"best.{n}": t for n, t in fit.best.items()}
    for number, state in fit.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{n}": t for n, t in state.items()}
    tensors["batches"] = fit.batches.get_state()
    document = {
        **identity(fit, digest),
        "history": [dataclasses.astuple(e) for e in fit.history],
        "best_error": fit.best_error,
        "execution": executions(fit.model),
        "elapsed": fit.elapsed,
    }
    write_tensors(path, TRAINING, tensors, document)


def restore(path: Path, fit: Fit, digest: str) -> None:
    """Continue where `store` was called. Local; every rank reads the same file.

    Raises:
        CheckpointError: the file is damaged, incomplete, or belongs to another training.
    """
    tensors, document = read_tensors(path, TRAINING)
    for part, entries in identity(fit, digest).items():
        for key, value in entries.items():
            stored = document.get(part, {}).get(key)
            if (list(value) if isinstance(value, tuple) else value) != stored:
                raise CheckpointError(
                    f"{path} belongs to a training with {key} = {stored}, this one has {value}; "
                    "use the same options, or another checkpoint file"
                )
    try:
        _take(fit, tensors, document)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} holds no complete training ({error}); delete it and train again") from error


def _take(fit: Fit, tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name in tensors:
        if name.startswith("optimizer."):
            _, number, entry = name.split(".")
            state.setdefault(int(number), {})[entry] = tensors[name]
    load_unique(fit.model, {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
    for name, tensor in fit.best.items():
        tensor.copy_(tensors[f"best.{name}"])
    groups = fit.optimizer.state_dict()["param_groups"]
    fit.optimizer.load_state_dict({"state": state, "param_groups": groups})
    fit.batches.set_state(tensors["batches"])
    fit.history = [Epoch(*entry) for entry in document["history"]]
    fit.best_error = document["best_error"]
    set_executions(fit.model, document.get("execution", {}))
    fit.started = time.monotonic() - document["elapsed"]
