"""What an operator generator learns from, and how it is to be trained."""

import dataclasses
from typing import Self

import numpy as np
from numpy.typing import NDArray

from networks.operator.spec import OperatorSpec


@dataclasses.dataclass(frozen=True)
class TravelTimes:
    """Travel times of the direct ray.

    Attributes:
        x, y: regular grid, rising, unit of length.
        time: (y, x, arc) from the grid's points to the nodes of Gamma.
    """

    x: NDArray[np.floating]
    y: NDArray[np.floating]
    time: NDArray[np.floating]


@dataclasses.dataclass(frozen=True)
class ResponseData:
    """What is learnt from.

    Attributes:
        sources: (source, 2) positions.
        displacement, load: (source, level, arc) low-passed responses to a unit sample.
        travel: where the spec asks for it.
    """

    sources: NDArray[np.floating]
    displacement: NDArray[np.floating]
    load: NDArray[np.floating]
    travel: TravelTimes | None = None

    def relative(self, spec: OperatorSpec) -> Self:
        """The same, places counted from a specification's origin."""
        if self.travel is None:
            return dataclasses.replace(self, sources=spec.relative(self.sources))
        (left, bottom), table = spec.origin, self.travel
        travel = dataclasses.replace(table, x=np.asarray(table.x) - left, y=np.asarray(table.y) - bottom)
        return dataclasses.replace(self, sources=spec.relative(self.sources), travel=travel)


@dataclasses.dataclass(frozen=True)
class OperatorPlan:
    """How to train. Exactly one of `epochs` and `seconds` is given.

    Attributes:
        epochs: passes, of `pairs_per_epoch` pairs or all there are.
        seconds: wall-clock time of everything, the fit of the rays included.
        batch_size: pairs of source and node in one step.
        learning_rate: of SOAP at its highest; it falls along half a cosine.
        final_learning_rate: at the end.
        pairs_per_epoch: pairs of one pass, at most.
        validation: fraction of the sources kept from training, to be watched; weights are those of the last pass.
        seed: of the weights, the validation split and the batches.
        device: auto, cpu or cuda.
        threads: CPU threads while training; None leaves torch's own number.
        checkpoint_every: seconds between two savings of the state of training; 0 saves after every epoch.
    """

    epochs: int | None = None
    seconds: float | None = None
    batch_size: int = 512
    learning_rate: float = 5e-3
    final_learning_rate: float = 1e-6
    pairs_per_epoch: int = 25600
    validation: float = 0.0
    seed: int = 0
    device: str = "auto"
    threads: int | None = 1
    checkpoint_every: float = 10.0

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.seconds is None):
            raise ValueError(f"give either epochs or seconds, got epochs={self.epochs} and seconds={self.seconds}")
        amount = self.epochs if self.epochs is not None else self.seconds
        if amount is not None and not amount > 0:
            raise ValueError(f"epochs or seconds must be positive, got {amount}")
        for name in ("batch_size", "pairs_per_epoch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be at least 1, got {self.threads}")
        if not self.checkpoint_every >= 0:
            raise ValueError(f"checkpoint_every must not be negative, got {self.checkpoint_every}")
        if not 0 < self.final_learning_rate <= self.learning_rate:
            raise ValueError(
                f"learning rates must be positive and not grow, got {self.learning_rate} to {self.final_learning_rate}"
            )
        if not 0 <= self.validation < 1:
            raise ValueError(f"validation must be a fraction in [0, 1), got {self.validation}")


def require(spec: OperatorSpec, data: ResponseData) -> None:
    """See that data fit the specification."""
    num = len(data.sources)
    if np.shape(data.sources) != (num, 2) or num == 0:
        raise ValueError(f"sources must have shape (source, 2), got {np.shape(data.sources)}")
    expected = (num, spec.num_levels, spec.num_arc)
    for name in ("displacement", "load"):
        values = getattr(data, name)
        if np.shape(values) != expected:
            raise ValueError(f"{name} must have shape (source, level, arc) = {expected}, got {np.shape(values)}")
        if not np.isfinite(values).all() or not np.any(values):
            raise ValueError(f"{name} must be finite and not all zero; check the dataset")
    shape = None if data.travel is None else np.shape(data.travel.time)
    wanted = None if spec.travel is None else (*spec.travel, spec.num_arc)
    if shape != wanted:
        raise ValueError(f"travel times must have shape (y, x, arc) = {wanted}, as the specification says, got {shape}")
