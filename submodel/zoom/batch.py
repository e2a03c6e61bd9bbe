"""Displacements of a zone for parameter sets: predicted and stepped many at once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from solvers.problems.zone import ZoneModel
from solvers.problems.zone_batch import ZoneBatch
from submodel.case.case import CaseError
from submodel.case.excitation import Excitation
from submodel.case.parameter_sets import ParameterTable
from submodel.predict.generator import Generator
from submodel.predict.prediction import Prediction


@dataclass
class Spent:
    """Seconds of this rank.

    Attributes:
        network: Predicting boundary data.
        zone: Stepping the zone.
        writing: Storing the fields.
    """

    network: float = 0.0
    zone: float = 0.0
    writing: float = 0.0


@dataclass
class Zoomer:
    """Displacements of a zone for parameter sets, many from one pass. Local.

    The zone is stepped in single precision where its steps are those of the data; with divided steps, whose rounding
    errors add up for longer, in double.

    Args:
        generated: Predicts the boundary data.
        model: The zone, on one rank.
        spent: Where the time is added up.
    """

    generated: Generator
    model: ZoneModel
    spent: Spent = field(default_factory=Spent)

    def __post_init__(self) -> None:
        self._batch = ZoneBatch(self.model, np.float32 if self.model.parts == 1 else np.float64)
        self._room = self._batch.room(0)

    def displacements(self, parameters: NDArray[np.float64]) -> NDArray[np.float32]:
        """u at the zone's ``points``, shape ``(set, time, node)``. The next call overwrites it.

        Args:
            parameters: Shape ``(set, axis)``.

        Raises:
            DivergenceError: If a run diverges.
        """
        start = time.perf_counter()
        data = boundary_data(self.generated.predict_vectors(parameters), self.model)
        middle = time.perf_counter()
        if len(self._room) < len(data):
            self._room = self._batch.room(len(data))
        displacements = self._batch.run(data, self._room[: len(data)]).astype(np.float32, copy=False)
        self.spent.network += middle - start
        self.spent.zone += time.perf_counter() - middle
        return displacements


def boundary_data(prediction: Prediction, model: ZoneModel) -> NDArray[np.float64]:
    """Boundary data of the zone for each set of a prediction, shape ``(set, step, node of Γ)``, by the shortest way."""
    weights = model.datum_weights() if prediction.gamma.matches(model.gamma) else None
    if weights is not None:
        return prediction.data(weights)
    return np.stack([model.datum(trace.on(model.gamma)) for trace in prediction.traces()])


def require_table(generated: Generator, table: ParameterTable, *, extrapolate: bool = False) -> list[str]:
    """See that a generator was trained for all sets of a table.

    Args:
        generated: The generator.
        table: The sets.
        extrapolate: Whether sets outside of what was trained are allowed.

    Returns:
        Warnings: how many lie outside.

    Raises:
        CaseError: A set lies outside, and that is not allowed.
    """
    case = generated.case
    outside = [number for number, each in enumerate(table.values) if not case.parameters.contains(each)]
    for number in [] if extrapolate else outside[:1]:
        try:
            generated.require_excitation(Excitation.of_parameters(case, table.values[number]))
        except CaseError as error:
            raise CaseError(f"{table.where(number)}: {error}") from error
    warnings = []
    if outside:
        warnings.append(
            f"{len(outside)} of {len(table.values)} sets lie outside what {generated.path} was trained for, first "
            f"{table.where(outside[0])}: nothing is known of their error"
        )
    if generated.trust is not None:
        away = generated.trust.training.distance(case.parameters.sources(table.values))
        sparse = np.flatnonzero(away > float(generated.trust.training.spacing()[1]))
        if len(sparse):
            warnings.append(
                f"the sources of {len(sparse)} of {len(table.values)} sets are farther from those of the training than "
                f"these from each other, first {table.where(int(sparse[0]))}: expect a larger error"
            )
    return warnings
