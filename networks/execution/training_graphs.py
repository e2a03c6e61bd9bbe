"""The pass of a training step as two CUDA graphs, forward and backward, where that is measured faster.

A step of a small generator is bound by its launches. Batches of another size, such as the last of an epoch, take the
plain pass.
"""

import logging
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from networks.execution.graphs import ROUNDING, WARM_UP, Pass, Timer, difference_of

LOG = logging.getLogger(__name__)
TrainingMaker = Callable[[nn.Module, Pass, tuple[Tensor, ...]], Pass]


class RecordedTraining:
    """A pass with gradients that is replayed for inputs of one shape, and plain for others.

    Args:
        plain: the pass.
        recorded: the same, for inputs as the examples.
        inputs: the examples.
    """

    def __init__(self, plain: Pass, recorded: Pass, inputs: tuple[Tensor, ...]) -> None:
        self._plain, self._recorded = plain, recorded
        self._shapes = [tensor.shape for tensor in inputs]

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The output; gradients reach the model's parameters."""
        fits = [tensor.shape for tensor in inputs] == self._shapes
        return (self._recorded if fits else self._plain)(*inputs)


class _Called(nn.Module):
    """A function of a model as a module, which is what torch records."""

    def __init__(self, model: nn.Module, function: Pass) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, *inputs: Tensor) -> Tensor:
        """Call the function."""
        return self.function(*inputs)


def record_cuda(model: nn.Module, function: Pass, inputs: tuple[Tensor, ...]) -> Pass:
    """Record by `torch.cuda.make_graphed_callables`."""
    made: Any = torch.cuda.make_graphed_callables(_Called(model, function), inputs, allow_unused_input=True)
    recorded: Pass = made
    return recorded


def recorded_training(
    model: nn.Module,
    function: Pass,
    inputs: tuple[Tensor, ...],
    timer: Timer,
    *,
    make: TrainingMaker = record_cuda,
    repeats: int = 7,
    margin: float = 1.05,
) -> Pass:
    """The faster one of a pass and its recording. The model's state and gradients stay as they were.

    Args:
        model: what is trained, in training mode; without batch normalisation, whose statistics each pass would change.
        function: its pass, of tensors that need no gradients.
        inputs: of a whole batch.
        timer: does what it is given once, waits for the device and says how long that took.
        make: records.
        repeats: measurements of each.
        margin: by how many times the recording must be faster.

    Returns:
        A `RecordedTraining`, or the function itself where that is not faster, not equal or not possible.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        recorded = make(model, function, inputs)
        pairs = zip(_results(recorded, inputs, weights), _results(function, inputs, weights), strict=True)
        difference = max(difference_of(made, wanted) for made, wanted in pairs)
    except RuntimeError as error:  # what cannot be recorded
        LOG.warning("the recorded training step is not used: %s", error)
        return function
    if not difference <= ROUNDING.get(weights[0].dtype, ROUNDING[torch.float32]):
        LOG.warning("the recorded training step is not used: its numbers differ by %.1e", difference)
        return function
    taken: dict[bool, list[float]] = {True: [], False: []}
    for repeat in range(WARM_UP + repeats):
        for which, each in ((True, recorded), (False, function)):
            seconds = timer(lambda each=each: _results(each, inputs, weights))  # type: ignore[misc]
            if repeat >= WARM_UP:
                taken[which].append(seconds)
    faster = statistics.median(taken[True]) * margin < statistics.median(taken[False])
    return RecordedTraining(function, recorded, inputs) if faster else function


def _results(function: Pass, inputs: tuple[Tensor, ...], weights: list[nn.Parameter]) -> list[Tensor]:
    """The output and the gradients of half its square, copied: a recording writes over its own."""
    out = function(*inputs)
    slopes = torch.autograd.grad(out, weights, out.detach(), allow_unused=True)
    return [out.detach().clone(), *(slope.clone() for slope in slopes if slope is not None)]
