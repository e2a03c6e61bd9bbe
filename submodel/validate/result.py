"""The result of a validation: errors of every sample, fields of the best and the worst one.

*Before* the zoom is the error of the boundary data on Γ, *after* is the error of the zone's FE run in Ω'.
The best and the worst sample are those of the smallest and largest time mean of ε of the displacement after
the zoom; only their fields are kept, so that memory does not grow with the number of samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from submodel.geometry.metrics import FieldErrors, field_errors
from submodel.geometry.scene import Scene

if TYPE_CHECKING:
    from submodel.case.case import Case

Array = npt.NDArray[np.float64]
Stage = Literal["before", "after"]
Field = Literal["displacement", "velocity"]

STAGES: tuple[Stage, ...] = ("before", "after")
FIELDS: tuple[Field, ...] = ("displacement", "velocity")


@dataclass(frozen=True)
class Motion:
    """Displacement and velocity at some nodes, each of shape (L, N)."""

    displacement: npt.NDArray[np.floating]
    velocity: npt.NDArray[np.floating]


@dataclass(frozen=True)
class MotionErrors:
    """Errors of displacement and velocity of one sample."""

    displacement: FieldErrors
    velocity: FieldErrors

    @classmethod
    def between(cls, predicted: Motion, true: Motion) -> MotionErrors:
        """Errors of a predicted motion against the true one, at the same levels and nodes."""
        return cls(
            field_errors(predicted.displacement, true.displacement),
            field_errors(predicted.velocity, true.velocity),
        )


@dataclass(frozen=True)
class SampleErrors:
    """Errors of one sample: its number in the split, its parameters, on Γ and in Ω'."""

    index: int
    parameters: Array
    before: MotionErrors
    after: MotionErrors

    def errors(self, stage: Stage, name: Field) -> FieldErrors:
        """Errors of one field at one stage."""
        return getattr(getattr(self, stage), name)

    @property
    def epsilon(self) -> float:
        """Time mean of ε of the displacement after the zoom, by which samples are ranked."""
        return self.after.displacement.mean_epsilon


@dataclass(frozen=True)
class SampleTrace:
    """Displacement of one sample on Γ, for the pictures, each of shape (L, N)."""

    index: int
    trace_predicted: npt.NDArray[np.floating]
    trace_true: npt.NDArray[np.floating]


@dataclass(frozen=True)
class SampleFields(SampleTrace):
    """Displacement of one sample on Γ, and in the zone, there of shape (L, N_z)."""

    zoomed: npt.NDArray[np.floating]
    full: npt.NDArray[np.floating]


@dataclass(frozen=True)
class Overview:
    """Displacement of the full run of the worst sample in all of Ω at one level.

    Attributes:
        level: The level.
        points: Nodes of Ω, shape (N, 2).
        values: Displacement there, shape (N,).
        triangles: Triangles of the nodes, shape (T, 3); None triangulates the nodes.
    """

    level: int
    points: Array
    values: Array
    triangles: npt.NDArray[np.integer] | None = None


@dataclass(frozen=True)
class Bounds:
    """Bounds of each sample's ε after the zoom, as a calibrated generator gave them.

    Attributes:
        coverage: Share of fresh samples for which the bound is to hold.
        values: The bounds, shape (S,), in the order of the samples' numbers.
        expected: Errors that the calibration runs let expect in the mean, shape (S,).
        basis: Words on the calibration runs that it rests on, and on what it follows.
    """

    coverage: float
    values: Array
    expected: Array
    basis: str

    def held(self, epsilon: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """For which of the samples the bound held."""
        return np.asarray(epsilon) <= self.values


@dataclass(frozen=True)
class Scores:
    """One field at one stage over all samples, as fractions."""

    mean_epsilon: float
    worst_epsilon: float
    mean_relative_l2: float
    worst_relative_l2: float


@dataclass(frozen=True)
class TrainingHistory:
    """Losses of a training, one an epoch; ``validation`` is empty where no samples were held out."""

    train: tuple[float, ...]
    validation: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.train or len(self.validation) not in (0, len(self.train)):
            raise ValueError(
                f"a history needs a training loss for each epoch and as many validation losses or none, "
                f"got {len(self.train)} and {len(self.validation)}"
            )

    @property
    def choice(self) -> tuple[float, ...]:
        """The losses by which weights are chosen."""
        return self.validation or self.train

    @property
    def best(self) -> int:
        """Index of the epoch whose weights are kept."""
        return int(np.argmin(self.choice))


@dataclass(frozen=True)
class GeneratorInfo:
    """The generator that was validated.

    Attributes:
        name: Its file, or what else names it to a reader.
        model: Its architecture, e.g. ``conv1.5d-boundary``.
        num_parameters: How many trainable numbers it has.
        fields: The fields that it predicts.
        num_bytes: Size of its file.
        history: Losses of its training, if they were kept.
        details: What else is to be said of it, as labels and values.
    """

    name: str
    model: str
    num_parameters: int
    fields: tuple[str, ...]
    num_bytes: int | None = None
    history: TrainingHistory | None = None
    details: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Setting:
    """Circumstances of a validation, as a reader needs them to repeat it.

    Attributes:
        case: The problem.
        dataset: Name of the dataset whose full runs are the truth.
        split: The split of it.
        boundary: Where the zone's boundary data came from.
        interface: Interface condition of the zone runs.
        generator: The generator, for ``boundary == "generator"``.
        training_parameters: Parameters of the training split, shape (n, axis), for the map of samples.
        grid_note: A sentence on the error of the FE grid itself, where it is known.
        commands: Command lines that reproduce the result, in order.
        versions: Name and version of the software that was used.
        elapsed: What took how many seconds.
    """

    case: Case
    dataset: str
    split: str
    boundary: Literal["generator", "recorded"]
    interface: str
    generator: GeneratorInfo | None = None
    training_parameters: Array | None = None
    grid_note: str | None = None
    commands: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    elapsed: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.boundary == "generator") != (self.generator is not None):
            raise ValueError(
                f"boundary={self.boundary!r} with generator={'set' if self.generator else None}; "
                "give the generator's description for a generator, and none for a recorded trace"
            )


@dataclass(frozen=True)
class ValidationResult:
    """Errors of every sample, fields of the best and the worst one.

    Attributes:
        setting: What was run.
        scene: Geometry of the case.
        times: Time levels, shape (L,).
        samples: Errors sample by sample, in the order of their numbers.
        best: Fields of the sample of the smallest error.
        worst: Fields of the sample of the largest error.
        overview: The worst sample in all of Ω, if it was run again for the picture.
        median: Trace of the sample whose error is in the middle of all.
        bounds: What the generator promised, if it was calibrated.
    """

    setting: Setting
    scene: Scene
    times: Array
    samples: tuple[SampleErrors, ...]
    best: SampleFields
    worst: SampleFields
    overview: Overview | None = None
    median: SampleTrace | None = None
    bounds: Bounds | None = None

    def __post_init__(self) -> None:
        if self.bounds is not None and len(self.bounds.values) != len(self.samples):
            raise ValueError(f"{len(self.bounds.values)} bounds for {len(self.samples)} samples: give one each")

    @property
    def epsilon(self) -> Array:
        """Time mean of ε of the displacement after the zoom of every sample, shape (S,)."""
        return np.array([sample.epsilon for sample in self.samples])

    @property
    def median_index(self) -> int:
        """Number of the sample whose error is in the middle; of two the larger one's."""
        return self.samples[int(np.argsort(self.epsilon, kind="stable")[len(self.samples) // 2])].index

    @property
    def share_held(self) -> float | None:
        """Share of the samples for which the promised bound held."""
        return None if self.bounds is None else float(self.bounds.held(self.epsilon).mean())

    @property
    def num_left_out(self) -> int:
        """Levels of all samples together that ε of the displacement after the zoom leaves out."""
        return sum(sample.after.displacement.num_left_out for sample in self.samples)

    def curves(self, stage: Stage, name: Field) -> Array:
        """ε of every sample at every level, shape (S, L), NaN where a level is left out."""
        return np.array([sample.errors(stage, name).epsilon for sample in self.samples])

    def scores(self, stage: Stage, name: Field) -> Scores:
        """Mean and worst over the samples of the time mean of ε and of the relative L2 error."""
        errors = [sample.errors(stage, name) for sample in self.samples]
        epsilon = [error.mean_epsilon for error in errors]
        l2 = [error.relative_l2 for error in errors]
        return Scores(float(np.mean(epsilon)), max(epsilon), float(np.mean(l2)), max(l2))

    def sample(self, index: int) -> SampleErrors:
        """Errors of the sample of this number."""
        return next(sample for sample in self.samples if sample.index == index)

    def to_json(self) -> dict[str, Any]:
        """Values of ``submodel validate --json``; errors are fractions, means over the samples."""
        generator = self.setting.generator
        values: dict[str, Any] = {
            "samples": len(self.samples),
            "parameters": None if generator is None else generator.num_parameters,
            "interface": self.setting.interface,
            "levels_left_out": self.num_left_out,
            **{stage: {name: self._summary(stage, name) for name in FIELDS} for stage in STAGES},
            "worst": {"sample": self.worst.index, "epsilon": self.sample(self.worst.index).epsilon},
        }
        if self.bounds is not None:
            values["bound"] = {
                "coverage": self.bounds.coverage,
                "held": self.share_held,
                "mean": float(self.bounds.values.mean()),
                "expected": float(self.bounds.expected.mean()),
                "basis": self.bounds.basis,
            }
        return values

    def _summary(self, stage: Stage, name: Field) -> dict[str, float]:
        scores = self.scores(stage, name)
        return {"epsilon": scores.mean_epsilon, "relative_l2": scores.mean_relative_l2}
