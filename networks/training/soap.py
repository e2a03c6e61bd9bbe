"""Adam in the eigenbasis of Shampoo's preconditioner, compact.

Source: Vyas et al. 2024, "SOAP: improving and stabilizing Shampoo using Adam", algorithm 3; the moments here are kept
in the parameters' own axes and rotated in each step.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer


class Soap(Optimizer):
    """Matrices are preconditioned from both sides, all else is Adam.

    Args:
        params: of the network.
        lr: learning rate.
        betas: of the mean of gradients and of their squares.
        memory: of the two covariances of a matrix's gradient.
        every: steps between two turns of the eigenbasis, by one QR iteration.
        eps: added to the root of the squares.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 5e-3,
        betas: tuple[float, float] = (0.9, 0.98),
        memory: float = 0.95,
        every: int = 10,
        eps: float = 1e-8,
    ) -> None:
        if not lr > 0:
            raise ValueError(f"the learning rate must be positive, got {lr}")
        defaults = {"lr": lr, "betas": betas, "memory": memory, "every": every, "eps": eps}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step along the gradients that are there; the first one of a matrix only sets its basis."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict) -> None:  # type: ignore[type-arg]
        state = self.state[parameter]
        matrix = gradient.ndim == 2 and min(gradient.shape) > 1
        if not state:
            state["step"] = torch.zeros((), device="cpu")
            state["mean"], state["square"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
            if matrix:
                for side, covariance in (("left", gradient @ gradient.T), ("right", gradient.T @ gradient)):
                    state[side] = covariance
                    state[f"{side}_basis"] = torch.linalg.eigh(covariance)[1].flip(1).contiguous()
                return
        state["step"] += 1
        step, (beta, beta2) = float(state["step"]), group["betas"]
        state["mean"].lerp_(gradient, 1 - beta)
        mean = state["mean"]
        if matrix:
            left, right = state["left_basis"], state["right_basis"]
            state["left"].lerp_(gradient @ gradient.T, 1 - group["memory"])
            state["right"].lerp_(gradient.T @ gradient, 1 - group["memory"])
            gradient, mean = left.T @ gradient @ right, left.T @ mean @ right
        state["square"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        scale = (state["square"] / (1 - beta2**step)).sqrt_().add_(group["eps"])
        change = mean / (1 - beta**step) / scale
        if matrix:
            change = left @ change @ right.T
            if int(step) % group["every"] == 0:
                for side in ("left", "right"):
                    state[f"{side}_basis"] = torch.linalg.qr(state[side] @ state[f"{side}_basis"])[0]
        parameter.add_(change, alpha=-group["lr"])
