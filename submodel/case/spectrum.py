"""Frequencies that a case's signals bring, and the amplitudes that describe their runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from solvers.time.amplitudes import Amplitudes
from submodel.case.case import Case
from submodel.case.excitation import signals_of
from submodel.case.parameters import OMEGA
from submodel.case.sampling import from_unit_cube

BAND_OF = {"sine": (1.0, 1.0), "ricker": (0.2, 2.2)}
"""Frequencies between which a signal's spectrum stands above a tenth of its peak, in multiples of omega."""
RATE = 0.8
"""Rate of the low-pass, in multiples of the band's highest angular frequency: 15 rad/s on the reference problem."""
SPAN = {"sine": 6.0, "ricker": 1.1}
"""Frequencies that a run's motion needs, in multiples of the band's highest one: the onset of a sine is steep."""
SPREAD = 7
"""Frequencies more: on so many the taper of the responses spreads each one, which counts where there are few."""


def band(case: Case) -> tuple[float, float]:
    """Lowest and highest angular frequency that the case's signals bring, rad per unit of time."""
    low, high = BAND_OF[case.source.signal]
    return low * case.parameters.omega[0], high * case.parameters.omega[1]


def amplitudes_of(case: Case) -> Amplitudes:
    """Amplitudes of the responses to a case's sources, of as many frequencies as its signals need.

    Where the levels of a run cannot show as many, all that they show.
    """
    one = Amplitudes(case.time.levels, case.time.dt, 1, RATE * band(case)[1])
    num = 1 + SPREAD + round(SPAN[case.source.signal] * band(case)[1] / one.spacing)
    return replace(one, num_frequencies=min(num, one.most_frequencies))


def case_signals(case: Case, num: int = 9, seed: int = 0) -> NDArray[np.float64]:
    """Samples (signal, level + 1) of signals like the case's own, by ascending ω.

    Each lies in a slice of ω of its own; registered axes are drawn as those of samples.
    """
    rng = np.random.default_rng([seed, num])
    unit = rng.random((num, case.parameters.dimension))
    place = case.parameters.names.index(OMEGA)
    unit[:, place] = (np.arange(num) + rng.random(num)) / num
    return signals_of(case, from_unit_cube(unit, case.parameters))
