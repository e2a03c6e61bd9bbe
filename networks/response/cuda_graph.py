"""A prediction as one CUDA graph: positions and signals in, histories out, nothing between waits for the host."""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from networks.core.prediction import Weights
from networks.execution.graphs import record_cuda

if TYPE_CHECKING:
    from networks.response.inference import ResponseInference

Array = NDArray[np.float64]


class CapturedHistory:
    """Histories of a fixed number of sources that add up, recorded once and replayed.

    Shapes do not depend on the sources: all images count, those that come too late with strength 0. What the host works
    out, geometry and drives, goes through pinned memory, and so does the result.

    Args:
        inference: on a CUDA device.
        num_sources: of a set.
        weights: of a combination; None for the fields.
    """

    def __init__(self, inference: "ResponseInference", num_sources: int, weights: Weights | None) -> None:
        self._inference, self._weights, self._num_sources = inference, weights, num_sources
        self._combination = None if weights is None else inference.combination(weights)  # the graph reads its memory
        self._inputs = [torch.from_numpy(values).pin_memory() for values in self._prepared(*self._some())]
        self._host: Tensor | None = None
        self._replay, _ = record_cuda(self._run_to_host, inference.device)
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def __call__(self, sources: Array, signals: Array) -> NDArray[np.float32]:
        """Sources (source, 2) and signals (source, time + 1) to ([3,] time, arc), which the next call overwrites."""
        for pinned, values in zip(self._inputs, self._prepared(sources, signals), strict=True):
            pinned.numpy()[...] = values
        with torch.cuda.device(self._inference.device):
            self._replay()
            self._done.record()  # type: ignore[no-untyped-call]
        self._done.synchronize()  # type: ignore[no-untyped-call]
        return np.asarray(cast(Tensor, self._host).numpy())

    def _some(self) -> tuple[Array, Array]:
        spec = self._inference.spec
        middle = np.mean(np.array(spec.points), axis=0)
        return np.tile(middle, (self._num_sources, 1)), np.zeros((self._num_sources, spec.num_levels + 1))

    def _prepared(self, sources: Array, signals: Array) -> list[NDArray[Any]]:
        return self._inference.prepared(sources, signals, every=True)

    @torch.inference_mode()
    def _run_to_host(self) -> Tensor:
        product = self._run()
        if self._host is None:  # in the first run, which warms up
            self._host = torch.empty_like(product, device="cpu").pin_memory()
        return self._host.copy_(product, non_blocking=True)

    def _run(self) -> Tensor:
        inference = self._inference
        inputs = [values.to(inference.device, non_blocking=True) for values in self._inputs]
        mixture = inference.mixed(inputs, self._num_sources)
        levels = mixture.fields() if self._weights is None else mixture.combined(self._weights)
        return levels(0, inference.spec.num_levels)[0]
