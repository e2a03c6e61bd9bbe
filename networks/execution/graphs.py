"""Passes without gradients on a GPU: plain, recorded as a CUDA graph, or compiled and recorded.

The many small kernels of a generator are bound by their launches: a recorded pass is one launch, a compiled one has
fewer and fused kernels. Which is fastest is measured, and what is not equal to the plain pass up to rounding, or cannot
be made on the machine at hand, is refused. On a CPU there is the plain pass alone.
"""

import logging
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn

from networks.core.rebuildable import places

LOG = logging.getLogger(__name__)
PLAIN = "plain"
WARM_UP = 3
"""Runs before a capture or a measurement: libraries choose their kernels and allocate what they need."""

ROUNDING = {torch.float32: 1e-3, torch.float64: 1e-9}
"""Largest difference to the plain pass, relative to its largest number: far above rounding, far below a mistake.
TF32, which a GPU may use for float32, rounds to 5e-4."""

Pass = Callable[..., Tensor]
Maker = Callable[[Pass, tuple[Tensor, ...]], Pass]
Recorder = Callable[[Callable[[], Tensor]], tuple[Callable[[], object], Tensor]]
Timer = Callable[[Callable[[], object]], float]


class RecordedPass:
    """A pass of fixed shapes, recorded once and replayed.

    Args:
        function: the pass.
        inputs: examples; later ones must have their shapes.
        recorder: does the work and gives what replays it, and its output; CUDA's by default.
    """

    def __init__(self, function: Pass, inputs: tuple[Tensor, ...], recorder: Recorder | None = None) -> None:
        self._inputs = tuple(tensor.detach().clone() for tensor in inputs)
        record = recorder or (lambda work: record_cuda(work, self._inputs[0].device))
        self._replay, self._output = record(lambda: function(*self._inputs))

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The output for inputs of the same shapes: a tensor of its own. No device waits."""
        for own, value in zip(self._inputs, inputs, strict=True):
            own.copy_(value)
        self._replay()
        return self._output.clone()


def record_cuda(work: Callable[[], Tensor], device: torch.device) -> tuple[Callable[[], object], Tensor]:
    """Record work as a CUDA graph, after it has run on a stream of its own as torch asks for."""
    with torch.cuda.device(device):
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                work()
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = work()
    return graph.replay, output


def makers(device: torch.device, *, patient: bool = False) -> dict[str, Maker]:
    """Ways that may be faster than the plain pass on a device, by name.

    Args:
        device: where it runs.
        patient: whether to compile, too; that takes up to a minute.
    """
    if device.type != "cuda":
        return {}
    ways: dict[str, Maker] = {"recorded": RecordedPass}
    if patient:
        ways["compiled"] = lambda function, inputs: RecordedPass(torch.compile(function, dynamic=False), inputs)
    return ways


@dataclass(frozen=True)
class Chosen:
    """A pass that was found to be the fastest.

    Attributes:
        name: "plain", "recorded" or "compiled".
        function: the pass.
        seconds: medians of all that were measured.
        refused: why others were not.
    """

    name: str
    function: Pass
    seconds: dict[str, float]
    refused: dict[str, str] = field(default_factory=dict)


@torch.no_grad()
def fastest(
    function: Pass,
    inputs: tuple[Tensor, ...],
    ways: Mapping[str, Maker],
    timer: Timer,
    *,
    repeats: int = 11,
    margin: float = 1.05,
) -> Chosen:
    """Measure a pass as it is and in other ways, in turn.

    Args:
        function: the pass, without gradients.
        inputs: of the shapes that matter, where the model is.
        ways: as of `makers`.
        timer: does what it is given once, waits for the device and says how long that took.
        repeats: measurements of each.
        margin: by how many times another way must be faster than the plain one.

    Raises:
        ValueError: fewer than one repeat.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    wanted = function(*inputs)
    passes, refused = {PLAIN: function}, {}
    for name, make in ways.items():
        try:
            made = make(function, inputs)
            difference = difference_of(made(*inputs), wanted)
        except (RuntimeError, ImportError, OSError) as error:  # no compiler, no Triton, what cannot be recorded
            refused[name] = f"{type(error).__name__}: {error}"
        else:
            if difference <= ROUNDING.get(wanted.dtype, ROUNDING[torch.float32]):
                passes[name] = made
            else:
                refused[name] = f"its numbers differ by {difference:.1e}"
    for name, why in refused.items():
        LOG.warning("the %s pass is not used: %s", name, why)
    taken: dict[str, list[float]] = {name: [] for name in passes}
    for repeat in range(WARM_UP + repeats if len(passes) > 1 else repeats):
        for name, each in passes.items():
            seconds = timer(lambda each=each: each(*inputs))  # type: ignore[misc]
            if repeat >= WARM_UP or len(passes) == 1:
                taken[name].append(seconds)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    best = min(medians, key=lambda name: medians[name] * (1 if name == PLAIN else margin))
    return Chosen(best, passes[best], medians, refused)


def difference_of(made: Tensor, wanted: Tensor) -> float:
    """Largest difference relative to the largest number; infinite for other shapes or numbers that are none."""
    if made.shape != wanted.shape or not bool(made.isfinite().all()):
        return float("inf")
    return float((made - wanted).abs().max() / wanted.abs().max().clamp_min(1e-30))


class Replayable(nn.Module):
    """A module whose passes without gradients may run otherwise for inputs of some shapes.

    What was chosen holds the weights of that moment: it is dropped when the module is moved, trained or loaded into.
    """

    def __init__(self) -> None:
        super().__init__()
        self._chosen: tuple[tuple[Any, ...], Chosen] | None = None

    def example(self) -> tuple[Tensor, ...]:
        """Inputs of the shape that matters: those of one pass when one source is predicted."""
        raise NotImplementedError

    def replay(self, inputs: tuple[Tensor, ...], chosen: Chosen | None) -> None:
        """Let passes over inputs of these shapes run as chosen; None lets all run plainly."""
        self._chosen = None if chosen is None or chosen.name == PLAIN else (_shapes(inputs), chosen)

    def replayed(self, *inputs: Tensor) -> Tensor | None:
        """The output, where a pass was chosen for inputs of these shapes; None elsewhere, and with gradients."""
        if self._chosen is None or torch.is_grad_enabled() or _shapes(inputs) != self._chosen[0]:
            return None
        return self._chosen[1].function(*inputs)

    def train(self, mode: bool = True) -> Self:
        """As any module; drops what was chosen, where the mode changes."""
        if mode != self.training:
            self._chosen = None
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        before = places(self)
        moved = super()._apply(*args, **kwargs)
        if places(self) != before:
            self._chosen = None
        return moved

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As any module; drops what was chosen."""
        self._chosen = None
        return super().load_state_dict(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_chosen": None}


def _shapes(inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
    return tuple((tensor.shape, tensor.dtype, tensor.device) for tensor in inputs)
