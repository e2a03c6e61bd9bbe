"""Muon: momentum whose matrices are made orthogonal; in a short training of convolutions far ahead of Adam.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; Kingma & Ba 2015 for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Muon(torch.optim.Optimizer):
    """Matrices and convolutions between many channels go by Muon, all other parameters by Adam.

    Args:
        parameters: of the network, or groups of them.
        lr: learning rate of Adam.
        factor: learning rate of Muon as a multiple of it.
    """

    def __init__(self, parameters: Iterable[Any], lr: float = 2e-3, factor: float = 10.0) -> None:
        super().__init__(parameters, {"lr": lr, "factor": factor})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step along the gradients that are there."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.ndim == 2 or (parameter.ndim > 2 and min(parameter.shape[:2]) > 1):
                    self._orthogonal(parameter, group["lr"] * group["factor"])
                else:
                    self._adam(parameter, group["lr"])

    def _orthogonal(self, parameter: Tensor, rate: float) -> None:
        mean = self.state[parameter].setdefault("mean", torch.zeros_like(parameter))
        mean.mul_(0.9).add_(parameter.grad)  # type: ignore[arg-type]
        update = (parameter.grad + 0.9 * mean).flatten(1)
        parameter.sub_(orthogonal(update).view_as(parameter), alpha=rate)

    def _adam(self, parameter: Tensor, rate: float) -> None:
        state, gradient = self.state[parameter], parameter.grad
        mean = state.setdefault("mean", torch.zeros_like(parameter))
        square = state.setdefault("square", torch.zeros_like(parameter))
        step = state["step"] = state.get("step", 0) + 1
        mean.mul_(0.9).add_(gradient, alpha=0.1)
        square.mul_(0.95).addcmul_(gradient, gradient, value=0.05)
        root = (square / (1 - 0.95**step)).sqrt() + 1e-8
        parameter.sub_(rate * (mean / (1 - 0.9**step)) / root)


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest matrix with orthonormal rows, by five Newton-Schulz steps of order five."""
    x = matrix / (matrix.norm() + 1e-12)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x
