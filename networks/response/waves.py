"""The factors of a generator's fields on Gamma, and their product: few large matrix products, no copies.

Velocities and averages need the levels before and after. These have no columns of their own: with the turn E from level
to level, ``x[n+1] = E x[n] + d[n+1]`` and ``x[n-1] = E^-1 (x[n] - d[n])``, so that every sum of fields with weights of
the nodes is one matrix product with two columns more, d[n+1] and d[n].
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from networks.core.prediction import Weights


class Levels(Protocol):
    """Fields of some levels, (set, 3, time, arc), or a combination, (set, time, arc)."""

    def __call__(self, start: int, stop: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """The levels start .. stop - 1, as numbers of a type."""
        ...


class Turns:
    """Turns of the frequencies from level to level, of which velocities and averages are made.

    Args:
        turn: (2, frequency) cosine and sine of the angle between levels, in double precision.
        dt: time between levels.

    Attributes:
        ends: (2 frequency, 2) what sums the parts to the response at level 0, which meets d[n+1], and at -1, a period
            before the last, which meets d[n].
        rate: (frequency,) of the centred difference; `rates`: itself and its negative, in single precision.
    """

    def __init__(self, turn: Tensor, dt: float) -> None:
        self.turn, self.dt = turn, dt
        one = torch.ones_like(turn[0])
        self.ends = torch.stack((torch.cat((one, 0 * one)), torch.cat((turn[0], -turn[1]))), 1)
        self.rate = turn[1] / dt
        self.rates = (self.rate.float(), -self.rate.float())
        self.end_rates = (self.ends / (2 * dt)).float()


class Combination:
    """A combination of the fields, as factors of the parts; it depends on the nodes alone.

    Args:
        weights: of the nodes.
        turns: of the frequencies.

    Raises:
        ValueError: weights that look too far ahead.
    """

    def __init__(self, weights: Weights, turns: Turns) -> None:
        self.weights = weights
        w_u, w_v, w_r = node_weights(weights, turns.turn)
        cosine, sine = turns.turn
        even = cosine if weights.lead else 1 + 2 * weights.theta * (cosine - 1)
        odd = w_v * turns.rate + (w_u * sine if weights.lead else 0.0)
        self._even, self._odd, self._plain = (w_u * even).float().repeat(1, 2), odd.float(), w_r.float()
        rate, ahead = w_v / (2 * turns.dt), w_u * (1.0 if weights.lead else weights.theta)
        self._last = torch.cat((rate + ahead, rate if weights.lead else rate - ahead), 1).float()
        self._ends = turns.ends.float()

    def places(self, parts: Tensor) -> Tensor:
        """(set and source, arc, 2, 2 frequency) to (set and source, arc, 2 frequency + 2)."""
        u, r = parts.unbind(2)
        num = u.shape[2] // 2
        out = parts.new_empty(*u.shape[:2], 2 * num + 2)
        torch.mul(r, self._plain, out=out[..., :-2]).addcmul_(u, self._even)
        out[..., :num].addcmul_(u[..., num:], self._odd)
        out[..., num:-2].addcmul_(u[..., :num], self._odd, value=-1)
        torch.mul(u @ self._ends, self._last, out=out[..., -2:])
        return out


class DrivenWaves:
    """The factors of a generator's fields, in single precision.

    Args:
        parts: (set and source, arc, 2, 2 frequency): of displacement and load, what multiplies cosines, then sines.
        times: (set and source, 2 frequency + 2, time): these, driven, then d[n+1] and d[n].
        turns: of the frequencies.
        num_sources: of a set.
        combination: makes what `combined` needs of weights, or has it.
    """

    def __init__(
        self,
        parts: Tensor,
        times: Tensor,
        turns: Turns,
        num_sources: int,
        combination: Callable[[Weights], Combination],
    ) -> None:
        self.parts, self.times = parts, times
        self._turns, self._num_sources, self._combination = turns, num_sources, combination

    @torch.inference_mode()
    def fields(self) -> Levels:
        """Displacement, velocity and load of some levels, (set, 3, time, arc)."""
        u, r = self.parts.unbind(2)
        num = u.shape[2] // 2
        places = u.new_empty(len(u), 3, u.shape[1], 2 * num + 2)
        rate, falling = self._turns.rates
        places[:, 0, :, :-2], places[:, 2, :, :-2] = u, r
        places[:, ::2, :, -2:] = 0.0
        v = places[:, 1]
        torch.mul(u[..., num:], rate, out=v[..., :num])
        torch.mul(u[..., :num], falling, out=v[..., num:-2])
        v[..., -2:] = u @ self._turns.end_rates
        return lambda start, stop, dtype=torch.float32: self._product(places, start, stop, dtype)

    @torch.inference_mode()
    def combined(self, weights: Weights) -> Levels:
        """A combination of the fields, of some levels, (set, time, arc)."""
        places = self._combination(weights).places(self.parts)[:, None]
        return lambda start, stop, dtype=torch.float32: self._product(places, start, stop, dtype)[:, 0]

    @torch.inference_mode()
    def _product(self, places: Tensor, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        """(set and source, field, arc, 2 frequency + 2) to (set, field, time, arc), added up over a set's sources."""
        sources, (count, num, num_arc) = self._num_sources, places.shape[:3]
        rows, columns = self.times[:, :, start:stop].transpose(1, 2), places.flatten(1, 2).transpose(1, 2)
        product = rows.new_empty(count // sources, stop - start, num * num_arc)
        for source in range(sources):
            each = slice(source, None, sources)
            product.baddbmm_(rows[each], columns[each], beta=float(source > 0))
        fields = product.unflatten(2, (num, num_arc)).transpose(1, 2)
        return fields.to(dtype, memory_format=torch.contiguous_format)


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
