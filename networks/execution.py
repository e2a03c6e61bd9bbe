"""How the layers of a compressed generator run on the machine at hand: by their factors, or rebuilt dense.

Both give the same numbers but for rounding. A generator's recipe says which, or "auto": then each layer is measured
with what it will be given, `networks.compression.execution`.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from networks.compression.compressed import EXECUTIONS, CompressedLayer
from networks.distributed import Group

AUTO = "auto"
BLOCK = 64
"""Levels of one pass of a model whose time is sampled, as a zone run asks for them."""


def policy(model: nn.Module) -> str | None:
    """What the recipe of a model says of its execution; None where it says nothing, or there is no recipe."""
    recipe = getattr(model, "compression", None) or {}
    said: str | None = recipe.get("execution")
    return said


def executions(model: nn.Module) -> dict[str, str]:
    """How each compressed layer of a model runs, by name."""
    return {name: layer.execution for name, layer in model.named_modules() if isinstance(layer, CompressedLayer)}


def set_executions(model: nn.Module, chosen: Mapping[str, str]) -> None:
    """Let layers run as they did.

    Args:
        model: a compressed one.
        chosen: as `executions` gives them.

    Raises:
        ValueError: a layer that is not there or not compressed, or an unknown execution.
    """
    layers = dict(model.named_modules())
    for name, execution in chosen.items():
        layer = layers.get(name)
        if not isinstance(layer, CompressedLayer) or execution not in EXECUTIONS:
            raise ValueError(f"no compressed layer {name!r} can run as {execution!r}")
        layer.execution = execution


def settle(generator: Any) -> None:
    """Choose how each layer runs when one source is predicted, if the generator's recipe leaves that open.

    Args:
        generator: of either family, on its device and in evaluation mode.
    """
    if policy(generator) == AUTO:
        from networks.compression.execution import choose_execution

        choose_execution(generator, *example(generator))


def settle_training(model: nn.Module, inputs: tuple[Any, ...], group: Group, part: nn.Module | None = None) -> None:
    """Choose how each layer runs in training, if the model's recipe leaves that open. Collective over `group`.

    Args:
        model: what is trained.
        inputs: of one step.
        group: every rank runs as rank 0 has chosen.
        part: of the model, what is called in a step; all of it by default.
    """
    if policy(model) != AUTO:
        return
    from networks.compression.execution import choose_execution

    choose_execution(model if part is None else part, *inputs, training=True)
    for name, execution in executions(model).items():
        number = group.agree(EXECUTIONS.index(execution))
        set_executions(model, {name: EXECUTIONS[int(number)]})


def example(generator: Any) -> tuple[Tensor, ...]:
    """What a generator of either family is called with for one source amid its training."""
    if generator.spec.model == "operator":
        return (generator.feature_mean[None, :2],)  # its first features are the source's place
    parameters = generator.input_scaler.mean[None]
    if generator.spec.time != "sampled":
        return (parameters,)
    return parameters, torch.arange(min(BLOCK, generator.spec.num_levels), device=parameters.device)


def words(model: nn.Module) -> str:
    """How the layers of a compressed model run: "4 factorised, 3 rebuilt dense"."""
    counts = Counter(executions(model).values())
    names = {"factorised": "factorised", "dense": "rebuilt dense"}
    return ", ".join(f"{counts[name]} {names[name]}" for name in EXECUTIONS if counts[name])
