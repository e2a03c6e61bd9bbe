"""Errors of compressed layers and models on a sample of inputs, by hooks on the dense model."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from networks.compression.layer.base import CompressedLayer
from networks.compression.tensor.weighting import second_moment

Sample = Tensor | Sequence[Tensor]
"""A batch of inputs: one tensor, or a tuple of the model's arguments."""


def arguments(sample: Sample) -> tuple[Any, ...]:
    """The sample as positional arguments."""
    return (sample,) if isinstance(sample, Tensor) else tuple(sample)


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; each module's mode comes back."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    try:
        for model in models:
            model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def watch(
    model: nn.Module, names: Mapping[str, object], sample: Sample, seen: Callable[[str, Tensor, Tensor], None]
) -> Any:
    """Run the model on the sample and call `seen(name, input, output)` for each pass of the named layers.

    Returns:
        The model's output.
    """
    hooks = []
    for name in names:

        def hook(_: nn.Module, inputs: tuple[Any, ...], output: Tensor, name: str = name) -> None:
            seen(name, inputs[0], output)

        hooks.append(model.get_submodule(name).register_forward_hook(hook))
    try:
        with evaluating(model):
            return model(*arguments(sample))
    finally:
        for handle in hooks:
            handle.remove()


def layer_errors(model: nn.Module, made: Mapping[str, CompressedLayer], sample: Sample) -> dict[str, float]:
    """Relative errors of layers' outputs, each for the inputs that it has in the dense model."""
    wrong, size = dict.fromkeys(made, 0.0), dict.fromkeys(made, 0.0)

    def seen(name: str, x: Tensor, y: Tensor) -> None:
        wrong[name] += (made[name](x) - y).double().square().sum().item()
        size[name] += y.double().square().sum().item()

    with evaluating(*made.values()):
        watch(model, made, sample, seen)
    return {name: _relative(wrong[name], size[name]) for name in made}


def output_error(model: nn.Module, other: nn.Module, sample: Sample) -> float:
    """Norm of the difference of two models' outputs, relative to the first one's."""
    with evaluating(model, other):
        pairs = list(zip(_tensors(model(*arguments(sample))), _tensors(other(*arguments(sample))), strict=True))
    wrong = sum((b - a).double().square().sum().item() for a, b in pairs)
    return _relative(wrong, sum(a.double().square().sum().item() for a, _ in pairs))


def weight_error(dense: nn.Module, layer: CompressedLayer) -> float:
    """Frobenius norm of the difference of the weights, relative to that of the dense one."""
    weight: Any = dense.weight
    with torch.no_grad():
        wrong = (layer.kernel().reshape(weight.shape) - weight).double().square().sum().item()
        return _relative(wrong, weight.double().square().sum().item())


def second_moments(model: nn.Module, names: Sequence[str], sample: Sample) -> dict[str, Tensor]:
    """Second moments (L1, L1) of layers' inputs on the sample, see `weighting.second_moment`.

    Raises:
        ValueError: a layer that the sample does not reach, or inputs that are not finite.
    """
    sums: dict[str, Tensor] = {}
    rows = dict.fromkeys(names, 0)

    def seen(name: str, x: Tensor, _: Tensor) -> None:
        channel = -1 if isinstance(model.get_submodule(name), nn.Linear) else 1
        number = x.numel() // x.shape[channel]
        moment = number * second_moment([x], channel=channel)
        sums[name] = sums[name] + moment if name in sums else moment
        rows[name] += number

    watch(model, dict.fromkeys(names), sample, seen)
    if missing := [name for name in names if name not in sums]:
        raise ValueError(f"the sample does not reach {', '.join(missing)}: leave them out of the layers")
    return {name: sums[name] / rows[name] for name in names}


def num_parameters(model: nn.Module) -> int:
    """Numbers in the parameters of a model, each Parameter once."""
    return sum(p.numel() for p in model.parameters())


def _relative(wrong: float, size: float) -> float:
    """Root of a quotient; infinite where something stands in place of nothing."""
    if size == 0.0:
        return 0.0 if wrong == 0.0 else math.inf
    return math.sqrt(wrong / size)


def _tensors(output: Any) -> list[Tensor]:
    """Floating-point tensors of an output: a tensor, or tuples, lists and dictionaries of them."""
    if isinstance(output, Tensor):
        return [output.real, output.imag] if output.is_complex() else [output] if output.is_floating_point() else []
    if isinstance(output, Mapping):
        return [tensor for value in output.values() for tensor in _tensors(value)]
    if isinstance(output, Sequence) and not isinstance(output, str):
        return [tensor for value in output for tensor in _tensors(value)]
    return []
