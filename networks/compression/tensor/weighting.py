"""Decompositions weighted by what a layer sees: they minimise the error of its output in place of its weight's.

With inputs x of second moment S (L1, L1), the output of a layer with the folded weight W (L1, F, L2) errs by

    E |y - y'|^2 = |S^(1/2) x_1 (W - W')|^2,

exactly for F = 1, and for F > 1 where inputs at different taps are uncorrelated; what is left out is the correlation
from tap to tap. So S^(1/2) x_1 W is decomposed, and S^(-1/2) applied to the first factors: ranks and number of weights
are those of the plain decomposition. Layers with one shared first factor take the mean S of their group; partly coupled
ones along "in" may each have their own.

Source: ours, beyond [B]; for F = 1 it is reduced-rank regression (Izenman 1975).
"""

from collections.abc import Iterable

import torch
from torch import Tensor

_FLOOR = 1e-4  # of the mean of a moment's diagonal, added to it: channels that were never seen still count a little


def second_moment(inputs: Iterable[Tensor], *, channel: int = 1) -> Tensor:
    """The mean of x x^T over samples and positions, in float64.

    Args:
        inputs: a stream of batches (batch, channel, axes...); one at a time is in use.
        channel: the axis of the channels; -1 for a Linear's inputs.

    Returns:
        (channel, channel).

    Raises:
        ValueError: no inputs, unequal numbers of channels, or numbers that are not finite.
    """
    total: Tensor | None = None
    count = 0
    for batch in inputs:
        rows = batch.detach().movedim(channel, -1).flatten(0, -2).double()
        if total is not None and rows.shape[1] != total.shape[0]:
            raise ValueError(f"inputs have {total.shape[0]} and {rows.shape[1]} channels: give those of one layer")
        moment = rows.T @ rows
        total = moment if total is None else total + moment
        count += rows.shape[0]
    if total is None or count == 0:
        raise ValueError("the second moment of no inputs is not defined: give at least one batch")
    if not torch.isfinite(total).all():
        raise ValueError("inputs are not all finite: check the sample and the model")
    return total / count


def whiten(tensor: Tensor, moment: Tensor) -> Tensor:
    """S^(1/2) x_1 W for W (L1, F, L2): its plain decomposition minimises the output error.

    Args:
        tensor: W.
        moment: S (L1, L1), symmetric and positive semidefinite; it is regularised by 1e-4 of its mean diagonal.

    Raises:
        ValueError: a moment of another size.
    """
    return torch.tensordot(_power(moment, tensor.shape[0], 0.5), tensor.double(), dims=1).to(tensor.dtype)


def unwhiten(first: Tensor, moment: Tensor) -> Tensor:
    """S^(-1/2) applied to a first factor (L1, r1) of a whitened tensor; undoes `whiten`, also on a whole tensor."""
    return torch.tensordot(_power(moment, first.shape[0], -0.5), first.double(), dims=1).to(first.dtype)


def _power(moment: Tensor, depth: int, power: float) -> Tensor:
    """A power of the regularised moment."""
    if moment.shape != (depth, depth):
        raise ValueError(
            f"a weight of input depth {depth} needs a moment ({depth}, {depth}), got {tuple(moment.shape)}"
        )
    values, vectors = torch.linalg.eigh(moment.double())
    values = values.clamp(min=0)
    mean = values.mean()
    values = values + _FLOOR * torch.where(mean > 0, mean, torch.ones_like(mean))
    return (vectors * values**power) @ vectors.T
