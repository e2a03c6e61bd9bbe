"""Layers that keep their weight as factors and may run by its dense form: same numbers but for rounding.

Which one is faster depends on the machine, `networks.execution.measure` measures it. What is made of factors for
a pass without gradients is kept until a factor changes.
"""

from collections.abc import Callable
from typing import Any, Self, TypeVar, cast

import torch
from torch import Tensor, nn

EXECUTIONS = ("factorised", "dense")
Made = TypeVar("Made")


class Rebuildable(nn.Module):
    """A layer of factors.

    Attributes:
        stands_in: whether it took the place of a dense layer, which its `to_dense` gives back.
        execution: "factorised" applies the factors one after the other; "dense" rebuilds the dense weight, in each
            pass that needs gradients and else only when a factor has changed. Not part of the state. Writing to a
            parameter's `.data` goes unnoticed by torch; call `forget` after it.
    """

    stands_in = False

    def __init__(self) -> None:
        super().__init__()
        self.execution = "factorised"
        self._kept: dict[str, tuple[tuple[Any, ...], Any, list[Tensor]]] = {}

    @property
    def has_dense_form(self) -> bool:
        """True where there is one: not where an activation stands between the factors."""
        return True

    def to_dense(self) -> nn.Module:
        """The plain layer with the same numbers."""
        raise NotImplementedError

    def forget(self) -> None:
        """Drop what was made of the factors."""
        self._kept = {}

    def cached(self, name: str, factors: tuple[Tensor, ...], make: Callable[[], Made], depends: Any = None) -> Made:
        """Result of `make` for the factors, in their own precision; stored where no gradients are needed.

        Args:
            name: of what is made.
            factors: of which it is made.
            make: makes it.
            depends: what else it depends on.
        """

        def made() -> Made:
            with torch.autocast(factors[0].device.type, enabled=False):  # autocast is for activations
                return make()

        key = versions(factors)
        if key is None:
            return made()
        known = self._kept.get(name)
        if known is None or known[0] != (key, depends):
            with torch.inference_mode(False), torch.no_grad():
                # the factors are held, so that no other tensor can take their place in memory and pass for them
                known = self._kept[name] = ((key, depends), made(), [factor.detach() for factor in factors])
        return cast(Made, known[1])

    def unknown_execution(self) -> ValueError:
        """The error of an execution that there is not."""
        return ValueError(f"execution must be one of {EXECUTIONS}, got {self.execution!r}")

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        before = places(self)
        moved = super()._apply(*args, **kwargs)
        if places(self) != before:
            self.forget()
        return moved

    def train(self, mode: bool = True) -> Self:
        """As any module; also drops what was made of the factors, where the mode changes."""
        if mode != self.training:
            self.forget()
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}


def places(module: nn.Module) -> tuple[Any, ...]:
    """Addresses of a module's own numbers, which change when it is moved or converted and only then."""
    return tuple((tensor.data_ptr(), tensor.device, tensor.dtype) for tensor in module.parameters())


def is_plain(tensor: Tensor) -> bool:
    """True where a tensor stands for itself, which it does not under torch.func.vmap or when it is traced."""
    try:
        tensor.data_ptr()
    except RuntimeError:
        return False
    return True


def is_compressed(model: nn.Module) -> bool:
    """True where a model holds layers that took the place of dense ones."""
    return any(isinstance(module, Rebuildable) and module.stands_in for module in model.modules())


def versions(factors: tuple[Tensor, ...]) -> tuple[Any, ...] | None:
    """Versions of the factors, which change whenever one does; None where gradients are needed or nothing can tell.

    Reads no values, so that no device waits.
    """
    if torch.is_grad_enabled() and any(factor.requires_grad for factor in factors):
        return None
    if torch.compiler.is_compiling() or any(factor.is_inference() for factor in factors):
        return None
    try:
        return tuple((f._version, f.data_ptr(), f.device, f.dtype) for f in factors)
    except RuntimeError:  # the factors stand for others, as under torch.func.vmap
        return None
