"""Errors of a predicted field against the full FE field: the indicator of [A] and the relative L2 error.

Everything here works on an array ``(level, node)``, on Γ and in the zone alike. Nodes count equally: a node
of a corner as much as one inside, as in [A].

Source: [A] Boukraichi, Akkari, Casenave, Ryckelynck, *A priori compression of convolutional neural networks
for wave simulators*, eq. 22 and 23.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

QUIET_FRACTION = 1e-2
"""A level is left out where max |u| is below this fraction of the sample's own maximum."""


@dataclass(frozen=True)
class FieldErrors:
    """Errors of one field of one sample.

    Attributes:
        epsilon: ε at every level, shape (L,), NaN on the levels that are left out.
        relative_l2: Relative L2 error over space and time, all levels included.
    """

    epsilon: Array
    relative_l2: float

    @property
    def mean_epsilon(self) -> float:
        """Mean of ε over the levels that count."""
        return float(np.nanmean(self.epsilon))

    @property
    def num_left_out(self) -> int:
        """Number of levels that are left out."""
        return int(np.isnan(self.epsilon).sum())


def field_errors(predicted: npt.ArrayLike, true: npt.ArrayLike) -> FieldErrors:
    """Both errors of one field.

    Args:
        predicted: Predicted values, shape (L, N).
        true: Values of the full FE run, shape (L, N).

    Raises:
        ValueError: As `error_indicator`.
    """
    return FieldErrors(error_indicator(predicted, true), relative_l2(predicted, true))


def error_indicator(predicted: npt.ArrayLike, true: npt.ArrayLike) -> Array:
    """ε per time level: mean over the nodes of |predicted - true|, over max |true| at that level.

    Before the wave arrives max |true| is next to nothing and the quotient means nothing: levels where it is
    below `QUIET_FRACTION` of the maximum over all levels are left out.

    Args:
        predicted: Predicted values, shape (L, N).
        true: Values of the full FE run, shape (L, N).

    Returns:
        ε as a fraction (0.05 is 5 %), shape (L,); NaN on the levels left out.

    Raises:
        ValueError: If the shapes differ or are not (L, N), a value is not finite, or ``true`` is all zero.

    Source: [A] eq. 22.
    """
    predicted, true = _pair(predicted, true)
    peak = np.abs(true).max(axis=1)
    counted = peak >= QUIET_FRACTION * peak.max()
    epsilon = np.full(len(true), np.nan)
    epsilon[counted] = np.abs(predicted[counted] - true[counted]).mean(axis=1) / peak[counted]
    return epsilon


def relative_l2(predicted: npt.ArrayLike, true: npt.ArrayLike) -> float:
    """Relative L2 error over space and time, every node and every level of the same weight.

    Args:
        predicted: Predicted values, shape (L, N).
        true: Values of the full FE run, shape (L, N).

    Returns:
        ‖predicted - true‖ / ‖true‖ as a fraction.

    Raises:
        ValueError: As `error_indicator`.
    """
    predicted, true = _pair(predicted, true)
    scale = np.abs(true).max()  # keeps the squares of very small fields from underflowing
    return float(np.linalg.norm((predicted - true) / scale) / np.linalg.norm(true / scale))


def mean_over_samples(curves: npt.ArrayLike) -> Array:
    """ε(t) of a test set: the mean over its samples, level by level.

    Args:
        curves: ε of every sample, shape (S, L), NaN where a sample leaves a level out.

    Returns:
        Mean over the samples that count at each level, shape (L,); NaN where none does.

    Source: [A] eq. 23.
    """
    curves = np.asarray(curves, dtype=np.float64)
    count = (~np.isnan(curves)).sum(axis=0)
    return np.where(count > 0, np.nansum(curves, axis=0), np.nan) / np.maximum(count, 1)


def _pair(predicted: npt.ArrayLike, true: npt.ArrayLike) -> tuple[Array, Array]:
    """Both arrays as float64, checked against each other."""
    predicted = np.asarray(predicted, dtype=np.float64)
    true = np.asarray(true, dtype=np.float64)
    if predicted.shape != true.shape or true.ndim != 2 or true.size == 0:
        raise ValueError(
            "predicted and true values must both have shape (levels, nodes), "
            f"got {predicted.shape} and {true.shape}; compare them at the same levels and nodes"
        )
    for name, values in (("predicted", predicted), ("true", true)):
        if not np.isfinite(values).all():
            raise ValueError(
                f"the {name} values hold {int((~np.isfinite(values)).sum())} non-finite numbers, where no "
                "error can be measured; look for the run that diverged"
            )
    if not true.any():
        raise ValueError(
            "the true field is zero at every level, so no relative error exists; "
            "lengthen the run until the wave has reached the zone"
        )
    return predicted, true
