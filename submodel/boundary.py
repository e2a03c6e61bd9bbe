"""Boundary data of a zone run, recorded or predicted: both become traces, and a zone cannot tell which it was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from solvers.trace import Interface, Trace
from submodel.case import Case, CaseError
from submodel.dataset import Dataset
from submodel.layout import InterfaceArrays
from submodel.sampling import Split

if TYPE_CHECKING:
    from networks.generator import BoundaryGenerator


@dataclass(frozen=True)
class Recorded:
    """The traces that full runs left in a dataset."""

    dataset: Dataset
    split: Split

    def trace(self, index: int) -> Trace:
        """The trace of one sample, in double precision.

        Raises:
            DatasetError: There is no such sample, or it is damaged.
        """
        fields = {name: field.astype(np.float64) for name, field in self.dataset.trace(self.split, index).items()}
        return Trace(self.dataset.times, curve(self.dataset.interface), **fields)


@dataclass(frozen=True)
class Generated:
    """The traces that a generator predicts.

    Args:
        generator: The network.
        metadata: What its file says of it, as written by `submodel.train`.
        path: Its file.
        device: Where it runs.
    """

    generator: BoundaryGenerator
    metadata: dict[str, Any]
    path: Path
    device: str

    @classmethod
    def load(cls, path: Path, case: Case, device: str = "auto") -> Generated:
        """Read a generator and see that it belongs to the case.

        Raises:
            CaseError: It was trained for another case; the first difference is named.
            CheckpointError: The file cannot be used.
            ValueError: The device is not there.
        """
        from networks import checkpoint
        from networks.predict import select_device

        chosen = select_device(device)
        generator, metadata = checkpoint.load(path, chosen)
        try:
            trained = Case.from_json(metadata["case"], label=f"the case in {path}")
            Interface(**{name: np.asarray(values) for name, values in metadata["interface"].items()})
        except (KeyError, TypeError) as error:
            raise checkpoint.CheckpointError(
                f"{path} does not say for which case it was trained: make it with `submodel train`"
            ) from error
        if trained.fingerprint() != case.fingerprint():
            key, theirs, ours = next(trained.differences(case))
            raise CaseError(
                f"{path} was trained for another case ('{trained.name}': {key} is {theirs}, here {ours}): "
                "use that case, or train a generator for this one"
            )
        return cls(generator, metadata, path, str(chosen))

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that it predicts."""
        return self.generator.spec.fields

    @property
    def interface(self) -> Interface:
        """The nodes of Γ that it was trained for."""
        return Interface(**{name: np.asarray(values) for name, values in self.metadata["interface"].items()})

    def require(self, interface: str) -> None:
        """See that it predicts what an interface condition needs, before any work starts.

        Raises:
            CaseError: It does not.
        """
        if interface == "impedance" and "load" not in self.fields:
            raise CaseError(
                f"the impedance condition needs the load on Γ, and {self.path} predicts {', '.join(self.fields)}: "
                'train with "load" among training.fields, or use --interface dirichlet'
            )

    def traces(self, parameters: NDArray[np.float64]) -> list[Trace]:
        """A trace for each parameter vector ``(sample, 3)``, from one pass of the network."""
        from networks.predict import predict

        predicted: NDArray[np.float64] = predict(self.generator, parameters, self.device).astype(np.float64)
        case = Case.from_json(self.metadata["case"])
        times = case.time.times
        return [
            _trace(times, self.interface, {name: sample[i] for i, name in enumerate(self.fields)})
            for sample in predicted
        ]


def curve(arrays: InterfaceArrays) -> Interface:
    """The solvers' Γ from a dataset's arrays."""
    return Interface(arrays.points, arrays.arc, arrays.loop, arrays.weights)


def _trace(times: NDArray[np.float64], interface: Interface, fields: dict[str, NDArray[np.float64]]) -> Trace:
    """A trace of predicted fields; a velocity that was not predicted is the displacement's rate of change."""
    displacement = fields["displacement"]
    velocity = fields.get("velocity")
    if velocity is None:
        velocity = np.gradient(displacement, times, axis=0)
    return Trace(times, interface, displacement, velocity, fields.get("load"))
