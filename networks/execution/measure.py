"""Which way each layer of factors runs faster on the machine at hand: measured, never guessed from counts.

Both ways give the same numbers but for rounding (`Rebuildable.execution`), so that the choice may be made anew
wherever a model runs. Compressed layers and those of [A], whose factors were there from the start, are measured alike.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from networks.core.rebuildable import EXECUTIONS, Rebuildable

WARM_UP = 2
Timer = Callable[[Callable[[], object]], float]
"""Does what it is given once, and says how many seconds that took."""


@dataclass(frozen=True)
class Choice:
    """Execution of a layer, and the medians that it was chosen by."""

    chosen: str
    factorised_seconds: float
    dense_seconds: float


def choose_execution(
    model: nn.Module,
    *example_inputs: Any,
    training: bool = False,
    repeats: int = 7,
    margin: float = 1.05,
    timer: Timer | None = None,
) -> dict[str, Choice]:
    """Measure every layer of factors both ways with what it gets in one pass, and set the faster one.

    The factors are chosen where they are faster by more than the margin; ties go to the dense form. Layers that the
    pass does not reach, and those without a dense form, are left as they are. The model's state, gradients and random
    numbers stay as they were.

    Args:
        model: holds layers of factors, or is one.
        example_inputs: of one pass, of the size that matters, where the model is.
        training: measure forward and backward, the dense weight rebuilt each time; otherwise forward alone, the dense
            weight kept.
        repeats: measurements of each form, interleaved, after warming up; their medians are compared.
        margin: by how many times the factors must be faster.
        timer: in place of the clock.

    Returns:
        Choices by the layers' names.

    Raises:
        ValueError: fewer than one repeat, or a margin below 1.
    """
    if repeats < 1 or margin < 1:
        raise ValueError(f"repeats and margin must be at least 1, got {repeats} and {margin}")
    choices = {}
    for name, (layer, inputs) in _recorded(model, example_inputs).items():
        seconds = _measured(layer, inputs, training, repeats, timer or clock(inputs[0].device))
        chosen = "factorised" if seconds["factorised"] * margin < seconds["dense"] else "dense"
        layer.execution = chosen
        choices[name] = Choice(chosen, seconds["factorised"], seconds["dense"])
    return choices


def clock(device: torch.device) -> Timer:
    """A timer that waits for the device before and after."""
    wait = torch.get_device_module(device).synchronize

    def timed(work: Callable[[], object]) -> float:
        wait()
        start = time.perf_counter()
        work()
        wait()
        return time.perf_counter() - start

    return timed


def one_pass(layer: nn.Module, inputs: list[Tensor], training: bool) -> Callable[[], object]:
    """A pass of a layer over inputs: forward, or forward and backward without touching any gradient that is kept."""
    if not training:

        def forward() -> None:
            with torch.no_grad():
                for x in inputs:
                    layer(x)

        return forward
    leaves = [x.detach().requires_grad_() for x in inputs]
    weights = [p for p in layer.parameters() if p.requires_grad]

    def both() -> None:
        with torch.enable_grad():
            for x in leaves:
                y = layer(x)
                torch.autograd.grad(y, [x, *weights], y.detach())

    return both


def _recorded(model: nn.Module, example_inputs: tuple[Any, ...]) -> dict[str, tuple[Rebuildable, list[Tensor]]]:
    """The layers of factors that one pass reaches, each with its inputs."""
    reached: dict[str, tuple[Rebuildable, list[Tensor]]] = {}
    hooks = []

    def recorder(name: str) -> Callable[..., None]:
        def hook(layer: Any, arguments: tuple[Any, ...]) -> None:
            reached.setdefault(name, (layer, []))[1].append(arguments[0].detach())

        return hook

    for name, module in model.named_modules():
        if isinstance(module, Rebuildable) and module.has_dense_form:
            hooks.append(module.register_forward_pre_hook(recorder(name)))
    try:
        with _evaluating(model), torch.random.fork_rng(), torch.no_grad():
            model(*example_inputs)
    finally:
        for handle in hooks:
            handle.remove()
    return reached


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, so that running statistics stay; each module's own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _measured(
    layer: Rebuildable, inputs: list[Tensor], training: bool, repeats: int, timer: Timer
) -> dict[str, float]:
    """Median seconds of each execution, interleaved; the layer runs as before afterwards."""
    before = layer.execution
    work = one_pass(layer, inputs, training)
    seconds: dict[str, list[float]] = {execution: [] for execution in EXECUTIONS}
    try:
        for repeat in range(WARM_UP + repeats):
            for execution in EXECUTIONS if repeat % 2 else EXECUTIONS[::-1]:  # neither always follows the other
                layer.execution = execution
                taken = timer(work)
                if repeat >= WARM_UP:
                    seconds[execution].append(taken)
    finally:
        layer.execution = before
        layer.forget()
    return {execution: statistics.median(values) for execution, values in seconds.items()}
