"""Loads on Γ to run from: those that span what direct runs left there, one after the other by pivoted elimination."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from networks.table.fit.metric import Responses, gains
from solvers.time.amplitudes import Amplitudes

ROUNDING = 1e-12
"""Of the largest share of a load, what is left of one that others span."""


def choose_loads(
    direct: NDArray[np.complexfloating], groups: Sequence[Sequence[int]], begun: Sequence[int], num: int
) -> list[int]:
    """Numbers of further groups of loads. Local.

    It is QR with column pivoting of the amplitudes that direct runs left in the loads, errors of which count alike; a
    group is taken as a whole, by what is left of all its members.

    Args:
        direct: Weighted amplitudes, shape ``(num_direct, 2 A, K)``.
        groups: Loads that one run stands for.
        begun: Numbers of the groups that are run already.
        num: Groups wanted beside.

    Returns:
        The groups wanted, the most telling first.

    Raises:
        ValueError: There are not as many.
    """
    if num > len(groups) - len(begun):
        raise ValueError(
            f"there are {len(groups)} reciprocal runs, {len(begun)} of them are made: ask for {len(groups)} at most"
        )
    left = np.einsum("dak,dbk->ab", direct, direct.conj(), optimize=True).real.astype(np.float64)
    limit = ROUNDING * float(left.diagonal().max())
    chosen = list(begun)
    for group in chosen:
        _eliminate(left, groups[group], limit)
    rest = np.array([group not in set(begun) for group in range(len(groups))])
    for _ in range(num):
        shares = np.array([left[np.ix_(members, members)].trace() for members in groups])
        group = int(np.where(rest, shares, -np.inf).argmax())
        rest[group] = False
        chosen.append(group)
        _eliminate(left, groups[group], limit)
    return chosen[len(begun) :]


def _eliminate(left: NDArray[np.float64], members: Sequence[int], limit: float) -> None:
    """Take from all loads what some of them span, in place."""
    for member in members:
        if left[member, member] > limit:
            left -= np.outer(left[:, member], left[member]) / left[member, member]


def weights_of(
    direct: NDArray[np.complexfloating], amplitudes: Amplitudes, signals: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weights (2 A, K) of amplitudes after which errors of u, v and r under some signals count alike. Local."""
    responses = Responses.of(signals, amplitudes.rate, amplitudes.dt, amplitudes.omega)
    num = direct.shape[1] // 2
    return np.asarray(np.repeat(gains(responses, direct), num, axis=0))


def floor_errors(
    response: NDArray[np.float64],
    amplitudes: NDArray[np.complexfloating],
    about: Amplitudes,
    signals: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Relative L2 errors over Γ and time of u, v and r of a run that its frequencies make, mean over signals. Local.

    Args:
        response: Impulse response of u and r, shape ``(2 A, num_levels)``.
        amplitudes: Of it, shape ``(2 A, K)``.
        about: Their frequencies.
        signals: Samples, shape ``(num_signals, num_levels + 1)``.

    Returns:
        Shape ``(3,)``.
    """
    num, half = about.num_levels, len(response) // 2
    waves = Responses.of(signals, about.rate, about.dt, about.omega)
    size = 2 * num
    spectrum = np.fft.rfft(response[:, :num], size, axis=1)
    errors = []
    for number in range(len(signals)):
        drive = np.fft.rfft(signals[number, :num], size)
        true = np.fft.irfft(spectrum * drive, size, axis=1)[:, :num].T
        miss = waves.field(number, amplitudes) - true
        pairs = [(true[:, :half], miss[:, :half]), (true[:, half:], miss[:, half:])]
        pairs.insert(1, (pairs[0][0][2:] - pairs[0][0][:-2], pairs[0][1][2:] - pairs[0][1][:-2]))
        errors.append([np.linalg.norm(off) / max(float(np.linalg.norm(of)), np.finfo(float).tiny) for of, off in pairs])
    return np.asarray(np.mean(errors, axis=0))
