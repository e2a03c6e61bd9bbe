"""Boundary data of a zone run, recorded or predicted: both become traces, and a zone cannot tell which it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from solvers.gamma.condition import CONDITIONS, missing, served
from solvers.gamma.gamma import Gamma
from solvers.gamma.trace import Trace
from submodel.case.case import Case, CaseError
from submodel.case.excitation import Excitation, check_band, signals_of
from submodel.case.sampling import Split
from submodel.data.dataset import Dataset
from submodel.data.generator_file import GeneratorFile
from submodel.geometry.source_region import SourceRegion
from submodel.geometry.zone_target import gamma_nodes
from submodel.predict.error_bound import ErrorBound, Trust
from submodel.predict.prediction import Prediction

if TYPE_CHECKING:
    from networks.core.prediction import SourceSets
    from networks.family import Family


@dataclass(frozen=True)
class RecordedTraces:
    """The traces that full runs left in a dataset."""

    dataset: Dataset
    split: Split

    def trace(self, index: int) -> Trace:
        """The trace of one sample, in double precision.

        Raises:
            DatasetError: There is no such sample, or it is damaged.
        """
        fields = {name: field.astype(np.float64) for name, field in self.dataset.trace(self.split, index).items()}
        return Trace(self.dataset.times, self.dataset.gamma, **fields)


@dataclass(frozen=True)
class Generator:
    """A trained generator with its file: it predicts boundary data for excitations.

    Args:
        generator: The network, of any family.
        file: The document of its file.
        path: Its file.
        device: Where it runs.
        patient: It is to predict so often that on a GPU a minute of compiling pays.
    """

    generator: Any
    file: GeneratorFile
    path: Path
    device: str
    patient: bool = False

    @classmethod
    def load(cls, path: Path, case: Case, device: str = "auto", *, patient: bool = False) -> Generator:
        """Read a generator and see that it belongs to the case.

        Args:
            path: Its file.
            case: The case.
            device: auto, cpu or cuda.
            patient: It is to predict so often that on a GPU a minute of compiling pays.

        Raises:
            CaseError: It was trained for another case; the first difference is named.
            CheckpointError, GeneratorFileError: The file cannot be used.
            ValueError: The device is not there.
        """
        from networks import checkpoint
        from networks.core.device import select_device

        chosen = select_device(device)
        generator, document = checkpoint.load(path, chosen)
        file = GeneratorFile.from_document(document, path)
        trained = file.case
        if trained.fingerprint() != case.fingerprint():
            key, theirs, ours = next(trained.differences(case))
            raise CaseError(
                f"{path} was trained for another case ('{trained.name}': {key} is {theirs}, here {ours}): "
                "use that case, or train a generator for this one"
            )
        return cls(generator, file, path, str(chosen), patient)

    @property
    def case(self) -> Case:
        """The case that it was trained for."""
        return self.file.case

    @property
    def execution(self) -> str | None:
        """Execution of a compressed generator's layers in words; ``None`` for another."""
        if not self.file.compression:
            return None
        _ = self.ready  # what is open is measured first
        return self.family.execution(self.generator)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that it predicts."""
        fields: tuple[str, ...] = self.generator.spec.fields
        return fields

    @property
    def family(self) -> Family:
        """The kind of generator that it is."""
        from networks import family

        return family.of(self.generator)

    @property
    def band(self) -> tuple[float, float]:
        """Lowest and highest angular frequency that it was trained for."""
        low, high = self.family.band(self.generator.spec) or self.case.parameters.omega
        return float(low), float(high)

    @property
    def trust(self) -> Trust | None:
        """Its error model, if it was calibrated.

        Raises:
            ValueError: It cannot be read.
        """
        trust = self.file.trust
        return Trust.from_json(dict(trust), self.case.parameters) if trust else None

    @property
    def gamma(self) -> Gamma:
        """Γ as it was trained for."""
        return self.file.gamma

    def require(self, condition: str) -> None:
        """See that it predicts what a kind of interface condition needs, before any work starts.

        Raises:
            CaseError: It does not.
        """
        available = {*self.fields, "velocity"}  # which follows from the displacement
        if absent := missing(CONDITIONS[condition], available):
            others = " or ".join(f"--interface {name}" for name in served(available))
            remedy = (
                f"its model predicts the zone, which has no load: use {others}, or a model that predicts the boundary"
                if self._nodes() is not None
                else f'train with "{absent}" among training.fields, or use {others}'
            )
            raise CaseError(
                f"the {condition} condition needs the {absent} on Γ, and {self.path} predicts "
                f"{', '.join(self.fields)}: {remedy}"
            )

    @cached_property
    def source_region(self) -> SourceRegion:
        """Where sources may stand."""
        return SourceRegion(self.case, self.gamma, self.file.domain)

    def require_excitation(self, excitation: Excitation, *, extrapolate: bool = False) -> list[str]:
        """See that it was trained for an excitation.

        Args:
            excitation: The sources.
            extrapolate: Whether parameters and signals outside of what was trained are allowed.

        Returns:
            Warnings: what lies outside.

        Raises:
            CaseError: Something lies outside and that is not allowed; or the model knows the case's signal only; or,
                whatever is allowed, a source lies in the zone, on its boundary or outside the domain.
        """
        case, warnings = self.case, []
        self.source_region.require(excitation.points)
        parameters = excitation.parameters(case)
        if parameters is None:
            self._require_any_signal()
        excitation.samples(case)
        for number, (x, y) in enumerate(excitation.sources):
            if parameters is None:
                if case.parameters.contains_source(x, y):
                    continue
                outside = f"source ({x:g}, {y:g}) lies"
            else:
                if case.parameters.contains(parameters[number]):
                    continue
                outside = f"{case.parameters.words(parameters[number])} lie"
            outside += f" outside what {self.path} was trained for, {case.parameters.box_words()}"
            if not extrapolate:
                raise CaseError(f"{outside}: choose parameters inside, or give --extrapolate")
            warnings.append(f"{outside}: nothing is known of the error")
        if parameters is None:
            warnings += check_band(case, excitation, self.band, extrapolate=extrapolate)
        return warnings + self._sparse(excitation)

    def bound(self, excitation: Excitation, condition: str) -> ErrorBound:
        """A bound of ε after the zoom with the conforming zone, or why there is none."""
        parameters, trust = excitation.parameters(self.case), self.trust
        if trust is None:
            return ErrorBound(None, "the generator was not calibrated, see `submodel calibrate`")
        if condition not in trust.models:
            return ErrorBound(None, f"the generator was calibrated for {' and '.join(trust.models)} only")
        if parameters is None or len(parameters) > 1:
            reason = f"it is calibrated for one source whose signal is {self.case.source.signal}"
            return ErrorBound(None, reason, expected=self._expected(trust, excitation, condition))
        if not self.case.parameters.contains(parameters[0]):
            return ErrorBound(None, "the parameters lie outside what the generator was trained for")
        bound = float(trust.bound(parameters, condition, signals=excitation.samples(self.case))[0])
        return ErrorBound(bound, trust.basis(condition), trust.coverage)

    def bounds(self, vectors: NDArray[np.float64], condition: str) -> NDArray[np.float64] | None:
        """Bounds of ε after the zoom for parameter vectors, (sample, axis) to (sample,).

        A bound is NaN where a vector lies outside what was trained. None where the condition was not calibrated.
        """
        trust = self.trust
        if trust is None or condition not in trust.models:
            return None
        inside = np.array([self.case.parameters.contains(vector) for vector in vectors], dtype=bool)
        values = np.full(len(vectors), np.nan)
        if inside.any():
            signals = signals_of(self.case, vectors[inside])
            values[inside] = trust.bound(vectors[inside], condition, signals=signals)
        return values

    def predict(self, excitations: Sequence[Excitation]) -> Prediction:
        """Boundary data for each of some excitations; the waves of an excitation's sources are added.

        Raises:
            CaseError: The model knows the case's signal only, or a signal cannot be used; or a source lies in the zone,
                on its boundary or outside the domain.
        """
        predictor = self.family.predictor(self.ready, self._sets(excitations))
        return Prediction(self.case.time.times, self.gamma, predictor, self._nodes())

    def predict_vectors(self, vectors: NDArray[np.float64]) -> Prediction:
        """Boundary data for each of some parameter vectors, (sample, axis), with the case's signal."""
        return self.predict([Excitation.of_parameters(self.case, vector) for vector in vectors])

    @cached_property
    def ready(self) -> Any:
        """The generator as it predicts fastest, made once."""
        return self.family.ready(self.generator, self.device, patient=self.patient)

    def _sets(self, excitations: Sequence[Excitation]) -> SourceSets:
        """The sources of excitations, filled up with silent ones to the largest number.

        Raises:
            CaseError: As `predict`.
        """
        from networks.core.prediction import SourceSets

        case = self.case
        shape = (len(excitations), max((len(each.sources) for each in excitations), default=1))
        places, signals = np.empty((*shape, 2)), np.zeros((*shape, case.time.levels + 1))
        vectors = np.full((*shape, case.parameters.dimension), np.nan)
        known = True
        for number, excitation in enumerate(excitations):
            num = len(excitation.sources)
            self.source_region.require(excitation.points)
            places[number], places[number, :num] = excitation.points[0], excitation.points
            signals[number, :num] = excitation.samples(case)
            parameters = excitation.parameters(case)
            if parameters is None:
                self._require_any_signal()
                known = False
            else:
                vectors[number, :num] = parameters
        return SourceSets(places, signals, vectors if known else None)

    def _require_any_signal(self) -> None:
        """Refuse signals of another kind than the case's where the family knows no others.

        Raises:
            CaseError: It knows no others.
        """
        if not self.family.takes_signals:
            case = self.case
            raise CaseError(
                f"{self.path} ({self.generator.spec.model}) knows the signal of the case only, {case.source.signal} of "
                "some omega: leave out --signal, or train a generator of the model operator, which takes any"
            )

    def _sparse(self, excitation: Excitation) -> list[str]:
        """A warning for each source that is farther from those of the training than they are from each other."""
        trust = self.trust
        if trust is None:
            return []
        away, most = trust.training.distance(excitation.points), float(trust.training.spacing()[1])
        return [
            f"source ({x:g}, {y:g}) is {distance:.3g} away from its nearest training sources, which are {most:.3g} "
            "from each other at most: expect a larger error"
            for (x, y), distance in zip(excitation.sources, away, strict=True)
            if distance > most
        ]

    def _expected(self, trust: Trust, excitation: Excitation, condition: str) -> float | None:
        """Error that the residual spectrum lets expect, where places and signals are those of the training."""
        case = self.case
        if not all(case.parameters.contains_source(x, y) for x, y in excitation.sources):
            return None
        if check_band(case, excitation, self.band, extrapolate=True):
            return None
        return trust.expected(excitation.points, excitation.samples(case), condition)

    def _nodes(self) -> NDArray[np.int64] | None:
        """Places of Γ's nodes among those of a model that predicts the zone; ``None`` for another."""
        if not self.family.predicts_zone(self.generator.spec):
            return None
        return gamma_nodes(self.file.zone_points, self.gamma.points)
