"""Gathering of a validation sample by sample."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from submodel.geometry.scene import Scene
from submodel.validate.result import (
    Array,
    Motion,
    MotionErrors,
    SampleErrors,
    SampleFields,
    Setting,
    ValidationResult,
)


class ValidationAccumulator:
    """Gathers a validation sample by sample; keeps the error curves of all, the fields of two."""

    def __init__(self) -> None:
        self._samples: dict[int, SampleErrors] = {}
        self._best: SampleFields | None = None
        self._worst: SampleFields | None = None

    def add(
        self,
        index: int,
        parameters: npt.ArrayLike,
        *,
        predicted: Motion,
        recorded: Motion,
        zoomed: Motion,
        full: Motion,
    ) -> SampleErrors:
        """Takes in one sample. What it keeps it copies: the arrays may be used again.

        Args:
            index: Number of the sample in its split.
            parameters: Shape (axis,).
            predicted: On Γ, what drove the zone run, shape (L, N).
            recorded: On Γ, from the full run, shape (L, N).
            zoomed: In Ω', from the zone run, shape (L, N_z).
            full: In Ω', from the full run, shape (L, N_z).

        Returns:
            The errors of this sample.

        Raises:
            ValueError: If the sample is there already, or an error cannot be measured (`submodel.geometry.metrics`).
        """
        if index in self._samples:
            raise ValueError(f"sample {index} was added before; add every sample once")
        try:
            before, after = MotionErrors.between(predicted, recorded), MotionErrors.between(zoomed, full)
        except ValueError as error:
            raise ValueError(f"sample {index}: {error}") from error
        sample = SampleErrors(index, np.array(parameters, dtype=np.float64), before, after)
        is_best = self._best is None or sample.epsilon < self._samples[self._best.index].epsilon
        is_worst = self._worst is None or sample.epsilon > self._samples[self._worst.index].epsilon
        self._samples[index] = sample
        if is_best or is_worst:
            motions = (predicted, recorded, zoomed, full)
            fields = SampleFields(index, *(np.array(motion.displacement) for motion in motions))
            self._best = fields if is_best else self._best
            self._worst = fields if is_worst else self._worst
        return sample

    @property
    def epsilon(self) -> Array:
        """Time mean of ε of the displacement after the zoom of every sample so far, in the order of their numbers."""
        return np.array([self._samples[index].epsilon for index in sorted(self._samples)])

    def result(self, setting: Setting, scene: Scene, times: npt.ArrayLike) -> ValidationResult:
        """The validation of the samples added so far.

        Raises:
            ValueError: If there are none.
        """
        if self._best is None or self._worst is None:
            raise ValueError("no sample was validated; choose a split that holds at least one")
        samples = tuple(self._samples[index] for index in sorted(self._samples))
        return ValidationResult(setting, scene, np.asarray(times, dtype=np.float64), samples, self._best, self._worst)
