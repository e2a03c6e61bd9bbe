"""Execution of layers that are kept as factors, on the machine at hand: by their factors, or rebuilt dense.

Both give the same numbers but for rounding. The recipe of a compressed generator says which, or "auto": then each
layer is measured with what it will be given, `networks.execution.measure`. The layers of [A], whose factors were
there from the start, have no recipe. On a CPU they keep their factors, so that trainings and predictions repeat to the
bit: there they are the faster form, benchmarks/layers.py. On a GPU they are measured, and the whole model is then
recorded or compiled where that is faster, `networks.execution.graphs`.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from networks.core.distributed import Group
from networks.core.rebuildable import EXECUTIONS, Rebuildable
from networks.execution.graphs import Maker, Replayable, fastest, makers

AUTO = "auto"
REPEATS = 5
"""Measurements of each form of a layer when a generator is loaded."""


def policy(model: nn.Module) -> str | None:
    """Execution that the recipe of a model asks for; None where it asks for none, or there is no recipe."""
    recipe = getattr(model, "compression", None) or {}
    execution: str | None = recipe.get("execution")
    return execution


def executions(model: nn.Module) -> dict[str, str]:
    """Execution of each layer of factors of a model, by name, where it may run dense."""
    return {name: layer.execution for name, layer in rebuildable(model).items()}


def rebuildable(model: nn.Module) -> dict[str, Rebuildable]:
    """The layers of a model that may run by their factors or dense, by name."""
    layers = {n: layer for n, layer in model.named_modules() if isinstance(layer, Rebuildable)}
    return {name: layer for name, layer in layers.items() if layer.has_dense_form}


def set_executions(model: nn.Module, chosen: Mapping[str, str]) -> None:
    """Let layers run as they did.

    Args:
        model: holds layers of factors.
        chosen: as `executions` gives them.

    Raises:
        ValueError: a layer that is not there or has no dense form, or an unknown execution.
    """
    layers = rebuildable(model)
    for name, execution in chosen.items():
        if name not in layers or execution not in EXECUTIONS:
            raise ValueError(f"no layer of factors {name!r} can run as {execution!r}")
        layers[name].execution = execution


def is_open(model: nn.Module) -> bool:
    """True where the execution of a model's layers is to be measured: its recipe asks for it, or it is on a GPU and has
    none."""
    asked = policy(model)
    if asked is None and bool(rebuildable(model)):
        return any(parameter.device.type != "cpu" for parameter in model.parameters())
    return asked == AUTO


def settle(generator: Any, *, patient: bool = False) -> None:
    """Choose how each layer runs when one source is predicted, if that is open, and on a GPU how the whole pass does.

    Args:
        generator: on its device and in evaluation mode; of a family whose predictions do not go through its own
            forward pass nothing is chosen.
        patient: whether a compiled pass is a candidate, too; it takes up to a minute to make.
    """
    if not isinstance(generator, Replayable):
        return
    inputs = generator.example()
    if is_open(generator):
        from networks.execution.measure import choose_execution

        choose_execution(generator, *inputs, repeats=REPEATS)
    _settle_pass(generator, inputs, makers(inputs[0].device, patient=patient))


def _settle_pass(generator: Any, inputs: tuple[Tensor, ...], ways: Mapping[str, Maker]) -> None:
    """Choose the fastest pass; with launches out of the way other forms of the layers may be the faster ones."""
    if not ways:
        return
    from networks.execution.measure import clock

    settings = [executions(generator)]
    if is_open(generator):
        settings += [dict.fromkeys(settings[0], each) for each in EXECUTIONS]
    results = []
    for number, setting in enumerate(settings):
        if setting not in settings[:number]:
            set_executions(generator, setting)
            chosen = fastest(generator.evaluated, inputs, ways, clock(inputs[0].device))
            results.append((chosen.seconds[chosen.name], setting, chosen))
    _, setting, chosen = min(results, key=lambda each: each[0])
    set_executions(generator, setting)
    generator.replay(inputs, chosen)


def settle_training(model: nn.Module, inputs: tuple[Any, ...], group: Group, part: nn.Module | None = None) -> None:
    """Choose how each layer runs in training, if that is open. Collective over `group`.

    Args:
        model: what is trained.
        inputs: of one step.
        group: every rank runs as rank 0 has chosen.
        part: of the model, what is called in a step; all of it by default.
    """
    if not is_open(model):
        return
    from networks.execution.measure import choose_execution

    choose_execution(model if part is None else part, *inputs, training=True)
    for name, execution in executions(model).items():
        number = group.agree(EXECUTIONS.index(execution))
        set_executions(model, {name: EXECUTIONS[int(number)]})


def words(model: nn.Module) -> str:
    """Execution of the compressed layers of a model in words: "4 factorised, 3 rebuilt dense"."""
    layers = (layer for layer in model.modules() if isinstance(layer, Rebuildable) and layer.stands_in)
    counts = Counter(layer.execution for layer in layers)
    names = {"factorised": "factorised", "dense": "rebuilt dense"}
    return ", ".join(f"{counts[name]} {names[name]}" for name in EXECUTIONS if counts[name])
