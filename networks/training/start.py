"""The start of a training: weights drawn from its seed, or a model that is there already."""

import copy
import hashlib
import json
from typing import Any, TypeVar

import torch
from torch import nn

from networks.core.sharing import unique_tensors

Model = TypeVar("Model", bound=nn.Module)


def copy_of(initial: Model, spec: Any) -> Model:
    """A copy of the model to start from, on the CPU, all its parameters trainable; what is shared stays shared.

    Args:
        initial: a generator of either family, compressed or not.
        spec: what the training is to build.

    Raises:
        ValueError: it is of another specification.
    """
    theirs: Any = initial.spec
    if theirs != spec:
        raise ValueError(f"the training starts from a generator of another specification: {_difference(theirs, spec)}")
    model = copy.deepcopy(initial).cpu()
    for parameter in model.parameters():
        parameter.grad = None
        parameter.requires_grad_(True)
    return model


def origin(initial: nn.Module | None) -> dict[str, Any]:
    """Checksum and recipe of the model that a training starts from, values for JSON; None for drawn weights."""
    if initial is None:
        return {"initial": None, "compression": None}
    digest = hashlib.sha256()
    for name, tensor in unique_tensors(initial).items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    recipe = json.loads(json.dumps(getattr(initial, "compression", None)))
    return {"initial": digest.hexdigest(), "compression": recipe}


def _difference(theirs: Any, ours: Any) -> str:
    """The first entry in which two specifications differ, in words."""
    if type(theirs) is not type(ours):
        return f"model {theirs.model}, this training builds {ours.model}"
    for name, value in theirs.to_dict().items():
        if value != ours.to_dict()[name]:
            return f"{name} is {value}, here {ours.to_dict()[name]}"
    return "give one that was trained for this case"
