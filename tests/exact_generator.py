"""A stand-in for an operator generator: it knows the responses of some sources exactly, from full runs of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from convolved_prediction import ConvolvedPredictor
from mpi4py import MPI

from networks import family
from networks.core.prediction import SourceSets
from networks.operator.family import OperatorFamily
from networks.operator.spec import OperatorSpec
from networks.response.signal_response import LowPass, impulse_responses
from networks.response.symmetry import SymmetryMap
from solvers.gamma.gamma import Gamma
from submodel.case.case import Case
from submodel.data.generator_file import GeneratorFile, TrainingRecord
from submodel.learn.operator import nodes_of
from submodel.predict.generator import Generator
from submodel.solve import from_case as build

OMEGA = 2.5
RATE = 15.0


class ExactGenerator(torch.nn.Module):
    """Responses of the sources that it was given, each a little wrong where that is asked for.

    Args:
        sources: (source, 2).
        responses: (source, 2, time + 1, arc), low-passed, of displacement and load.
        dt: Time step.
        band: Angular frequencies that it claims to know.
        interface: Γ.
    """

    num_parameters = 1234

    def __init__(
        self,
        sources: np.ndarray,
        responses: np.ndarray,
        dt: float,
        band: tuple[float, float],
        gamma: Gamma,
    ) -> None:
        super().__init__()
        self._sources, self._responses = sources, responses
        self.spec = ExactSpec(
            num_levels=responses.shape[2] - 1,
            dt=dt,
            rate=RATE,
            band=band,
            **nodes_of(gamma),
            speed=1.0,
            symmetries=(
                SymmetryMap(((1.0, 0.0), (0.0, 1.0)), (0.0, 0.0), tuple(range(gamma.num_nodes))),
                SymmetryMap(((-1.0, 0.0), (0.0, -1.0)), (0.0, 0.0), tuple(range(gamma.num_nodes))),
            ),
        )

    def responses(self, places: np.ndarray) -> np.ndarray:
        """(source, 2) to (source, 2, time + 1, arc)."""
        distance = np.linalg.norm(places[:, None] - self.spec.relative(self._sources), axis=-1)
        assert distance.min(axis=1).max() < 1e-9, "the stand-in knows some sources only"
        return np.asarray(self._responses[distance.argmin(axis=1)])


class ExactSpec(OperatorSpec):
    """Says that the stand-in is of a family of its own."""

    family = "exact"


class ExactFamily(OperatorFamily):
    """Generators that know some sources: a family that is added from outside."""

    name = ExactSpec.family
    Spec = ExactSpec

    def ready(self, generator: Any, device: Any = "cpu", *, patient: bool = False) -> Any:
        """The stand-in itself."""
        return generator

    def predictor(self, ready: Any, sets: SourceSets) -> Any:
        """Its responses, convolved in double precision."""
        return ConvolvedPredictor(ready, sets)


family.FAMILIES[ExactFamily.name] = ExactFamily()


def exact(case: Case, sources: np.ndarray, errors: np.ndarray | float = 0.0) -> Generator:
    """A generator that knows these sources, (source, 2), each wrong by a factor of 1 + error. Local."""
    model, time = build.full_model(case, MPI.COMM_SELF), case.time
    runs = [model.run(build.point_source(case, (OMEGA, *source)), fields=False) for source in sources]
    traces = [run.trace for run in runs if run is not None]
    fields = [np.array([getattr(trace, name) for trace in traces]) for name in ("displacement", "velocity", "load")]
    omegas = np.full(len(sources), OMEGA)
    y = np.stack(
        impulse_responses(fields[0], fields[1], fields[2], None, time.dt, LowPass(RATE, time.dt), omegas), axis=1
    )
    y = (
        np.concatenate([y, np.zeros_like(y[:, :, :1])], axis=2)
        * (1.0 + np.broadcast_to(errors, len(sources)))[:, None, None, None]
    )
    file = GeneratorFile(
        case=case,
        gamma=model.gamma,
        parameters=np.column_stack([omegas, sources]),
        dataset="exact.h5",
        dataset_key="0",
        training=TrainingRecord({"epochs": 1, "seconds": None, "seed": 0}, (1.0,), (), 1, (), 1.0),
    )
    known = ExactGenerator(sources, y, time.dt, case.parameters.omega, model.gamma)
    return Generator(known, file, Path(__file__), "cpu")
