"""Fields on Gamma as products of two factors, one of time and one of place, whichever generator they come from.

A field is ``times @ places``: the columns of `times` are functions of time that depend on the signals only, those of
`places` their amplitudes at the nodes, which depend on the positions of the sources only. So is any combination of the
fields with weights of the nodes, as what a zone is fed with is one.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from networks.operator.signal_response import toeplitz

Array = NDArray[np.float64]


class Weights(Protocol):
    """A combination of the fields at each node: ``load r[n] + velocity v[n] + displacement ū[n + lead]``.

    Attributes:
        displacement, velocity, load: (arc,) weights.
        lead: 0 or 1.
        theta: of the average ``ū[n] = u[n] + theta (u[n+1] - 2 u[n] + u[n-1])``; 0 where lead is 1.
    """

    @property
    def displacement(self) -> Array: ...

    @property
    def velocity(self) -> Array: ...

    @property
    def load(self) -> Array: ...

    @property
    def lead(self) -> int: ...

    @property
    def theta(self) -> float: ...


class Levels(Protocol):
    """Fields of some levels, (set, 3, time, arc), or a combination, (set, time, arc)."""

    def __call__(self, start: int, stop: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """The levels start .. stop - 1, as numbers of a type."""
        ...


class Mixture(Protocol):
    """Both factors of some sets of sources; what is asked for once is multiplied for any levels."""

    def fields(self) -> Levels:
        """Displacement, velocity and load, (set, 3, time, arc)."""
        ...

    def combined(self, weights: Weights) -> Levels:
        """A combination, (set, time, arc)."""
        ...


class Convolved:
    """The factors of any generator of responses: its basis convolved with the drives; double precision.

    Args:
        basis: (time + 1, column).
        drives: (set, source, time + 1).
        amplitudes: (set, source, 2, column, arc) of displacement and load.
        known: (set, source, 2, time + 1, arc) responses beside them, or None.
        dt: time between levels.
    """

    def __init__(self, basis: Array, drives: Array, amplitudes: Tensor, known: Tensor | None, dt: float) -> None:
        self._dt = dt
        matrices = toeplitz(drives)
        rows = matrices @ basis
        if known is not None:  # a basis of its own: one column a level
            rows, amplitudes = np.concatenate((rows, matrices), -1), torch.cat((amplitudes, known), 3)
        later, now = rows[..., 1:, :], rows[..., :-1, :]
        before = np.concatenate((np.zeros_like(rows[..., :1, :]), rows[..., :-2, :]), -2)
        columns = np.concatenate((now, later, before), -1)  # (set, source, time, column)
        num_sets, num_sources, num_levels, num_columns = columns.shape
        moved = np.moveaxis(columns, 3, 2).reshape(num_sets, num_sources * num_columns, num_levels)
        self._times = torch.as_tensor(moved, device=amplitudes.device)
        self._parts = amplitudes.double().transpose(3, 4)  # (set, source, 2, arc, column)

    def fields(self) -> Levels:
        """Displacement, velocity and load, (set, 3, time, arc)."""
        u, r = self._parts.unbind(2)
        zero, rate = torch.zeros_like(u), u / (2 * self._dt)
        parts = torch.cat(
            (torch.cat((u, zero, zero), -1), torch.cat((zero, rate, -rate), -1), torch.cat((r, zero, zero), -1)), 2
        )
        whole = self._levels(parts)
        return lambda start, stop, dtype=torch.float32: whole(start, stop, dtype).unflatten(2, (3, -1)).transpose(1, 2)

    def combined(self, weights: Weights) -> Levels:
        """A combination, (set, time, arc)."""
        w_u, w_v, w_r = node_weights(weights, self._parts)
        u, r = self._parts.unbind(2)
        rate, theta = w_v * u / (2 * self._dt), weights.theta
        if weights.lead:
            return self._levels(torch.cat((w_r * r, w_u * u + rate, -rate), -1))
        now = w_r * r + (1 - 2 * theta) * w_u * u
        return self._levels(torch.cat((now, theta * w_u * u + rate, theta * w_u * u - rate), -1))

    def _levels(self, parts: Tensor) -> Levels:
        """The product with what belongs to places, (set, source, place, column)."""
        places = parts.transpose(1, 2).flatten(2).transpose(1, 2)

        def levels(start: int, stop: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return (self._times[:, :, start:stop].transpose(1, 2) @ places).to(dtype)

        return levels


def node_weights(weights: Weights, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three weights as columns (arc, 1), of the type and on the device of a tensor.

    Raises:
        ValueError: they look further ahead than the levels that there are.
    """
    if weights.lead not in (0, 1) or (weights.lead and weights.theta):
        raise ValueError(
            f"a combination may look one level ahead, or average over three: got lead {weights.lead} "
            f"with theta {weights.theta}"
        )
    w_u, w_v, w_r = (
        torch.as_tensor(values, dtype=like.dtype).to(like.device)[:, None]
        for values in (weights.displacement, weights.velocity, weights.load)
    )
    return w_u, w_v, w_r
