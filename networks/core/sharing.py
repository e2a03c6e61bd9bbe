"""A model's numbers with each that several layers share told once.

A state dict repeats a shared parameter under every layer's name; a file, a copy of the best weights or a message to
other processes wants it once. Its name here is the first of them.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Packs(Protocol):
    """A model whose file holds other tensors than its state."""

    def packed(self) -> dict[str, Tensor]:
        """Tensors of its file."""
        ...

    def unpack(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the numbers of a file, in place.

        Raises:
            ValueError: they are those of another model.
        """
        ...


def unique_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, detached, each shared one under its first name only.

    Raises:
        ValueError: the model's state holds something else.
    """
    seen: set[int] = set()
    tensors = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"the model's state holds {name!r}, which is no tensor; only tensors can be stored")
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor.detach()
    return tensors


@torch.no_grad()
def load_unique(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put numbers into a model of the same structure, in place; what is shared stays shared.

    Args:
        model: gets the numbers, on its own device and in its own types.
        tensors: as `unique_tensors` gives them.

    Raises:
        ValueError: a name is missing or unknown, or a shape is another.
    """
    own = unique_tensors(model)
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or extra:
        raise ValueError(f"the tensors are not those of this model: missing {missing[:3]}, left over {extra[:3]}")
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, the model's has {tuple(tensor.shape)}")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])
