"""Boundary data of a zone run, recorded or predicted: both become traces, and a zone cannot tell which it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.gamma.condition import CONDITIONS, missing, served
from solvers.gamma.datum import DatumWeights
from solvers.gamma.gamma import Gamma
from solvers.gamma.trace import Trace
from submodel.case.case import Case, CaseError
from submodel.case.excitation import Excitation, check_band
from submodel.case.sampling import Split
from submodel.data.dataset import Dataset
from submodel.data.generator_file import GeneratorFile
from submodel.geometry.source_region import SourceRegion
from submodel.geometry.zone_target import gamma_nodes
from submodel.predict.error_bound import Trust
from submodel.predict.prediction import Prediction, Whole

OPERATOR = "operator"  # the model of [A]'s successor, which learns responses instead of samples


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
class ErrorBound:
    """What may be said of the error before any full run.

    Args:
        value: A bound of ε after the zoom, as a fraction; ``None`` where there is none.
        basis: What it rests on, or why there is none.
        coverage: The probability with which it holds for a fresh sample like those of the calibration.
    """

    value: float | None
    basis: str
    coverage: float | None = None

    def words(self) -> str:
        """One line."""
        if self.value is None or self.coverage is None:
            return f"no bound for epsilon: {self.basis}"
        return f"epsilon <= {100 * self.value:.3g} % with {100 * self.coverage:g} % coverage ({self.basis})"


@dataclass(frozen=True)
class Generator:
    """The traces that a generator predicts.

    Args:
        generator: The network: an operator generator, or a model of [A].
        file: The document of its file.
        path: Its file.
        device: Where it runs.
    """

    generator: Any
    file: GeneratorFile
    path: Path
    device: str

    @classmethod
    def load(cls, path: Path, case: Case, device: str = "auto", *, patient: bool = False) -> Generator:
        """Read a generator and see that it belongs to the case; layers of a compressed one run as is fastest here.

        Args:
            path: Its file.
            case: The case.
            device: auto, cpu or cuda.
            patient: Whether it is to predict so often that on a GPU a minute of compiling pays.

        Raises:
            CaseError: It was trained for another case; the first difference is named.
            CheckpointError, GeneratorFileError: The file cannot be used.
            ValueError: The device is not there.
        """
        from networks import checkpoint
        from networks.core.device import select_device
        from networks.execution.layers import settle

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
        settle(generator, patient=patient)
        return cls(generator, file, path, str(chosen))

    @property
    def case(self) -> Case:
        """The case that it was trained for."""
        return self.file.case

    @property
    def execution(self) -> str | None:
        """How the layers of a compressed generator run, in words; ``None`` for another."""
        from networks.execution.layers import AUTO, policy, words

        if not self.file.compression:
            return None
        if self.takes_signals:
            return "compressed layers are folded with their neighbours, dense"
        how = "as measured here" if policy(self.generator) == AUTO else "as its file says"
        return f"compressed layers run {words(self.generator)}, {how}"

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that it predicts."""
        fields: tuple[str, ...] = self.generator.spec.fields
        return fields

    @property
    def takes_signals(self) -> bool:
        """Whether it predicts the answer to any signal, not only to those of the case's kind."""
        return bool(self.generator.spec.model == OPERATOR)

    @property
    def band(self) -> tuple[float, float]:
        """Lowest and highest angular frequency that it was trained for."""
        low, high = getattr(self.generator.spec, "band", self.case.parameters.omega)
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
        if parameters is None and not self.takes_signals:
            raise CaseError(
                f"{self.path} ({self.generator.spec.model}) knows the signal of the case only, {case.source.signal} of "
                "some omega: leave out --signal, or train a generator of the model operator, which takes any"
            )
        excitation.samples(case)
        for number, (x, y) in enumerate(excitation.sources):
            if parameters is None:
                if case.parameters.contains_source(x, y):
                    continue
                said = f"source ({x:g}, {y:g}) lies"
            else:
                if case.parameters.contains(parameters[number]):
                    continue
                said = f"{case.parameters.words(parameters[number])} lie"
            said += f" outside what {self.path} was trained for, {case.parameters.box_words()}"
            if not extrapolate:
                raise CaseError(f"{said}: choose parameters inside, or give --extrapolate")
            warnings.append(f"{said}: nothing is known of the error")
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
            return ErrorBound(None, f"it is calibrated for one source whose signal is {self.case.source.signal}")
        if not self.case.parameters.contains(parameters[0]):
            return ErrorBound(None, "the parameters lie outside what the generator was trained for")
        bound = float(trust.bound(parameters, condition)[0])
        return ErrorBound(bound, f"split conformal on {trust.models[condition].num_runs} runs", trust.coverage)

    def playback(self, excitation: Excitation) -> Prediction:
        """What it predicts for an excitation, level by level; the sources' waves are added.

        Raises:
            CaseError: The model knows the case's signal only, or a signal cannot be used; or a source lies in the zone,
                on its boundary or outside the domain.
        """
        from networks import playback

        self.source_region.require(excitation.points)
        case = self.case
        if self.takes_signals:
            samples = excitation.samples(case)
            parts: list[Any] = [playback.OperatorPlayback(self.ready, excitation.points, samples, self.device)]
        else:
            each = self._known(excitation)
            parts = [playback.HistoryPlayback(self.generator, vector, self.device) for vector in each]
        return Prediction(case.time.times, self.gamma, parts, self._nodes())

    @cached_property
    def ready(self) -> Any:
        """The generator as it predicts fastest, made once."""
        from networks import playback

        return playback.ready(self.generator, self.device)

    def datum(
        self, excitations: Sequence[Excitation], weights: DatumWeights, *, batch_size: int = 16
    ) -> NDArray[np.float64]:
        """What drives a conforming, undivided zone under each of many excitations, from few passes of the network.

        Args:
            excitations: One or several sources each.
            weights: Of the zone, see `ZoneModel.datum_weights`.
            batch_size: Excitations of one pass, which bounds the memory beside the result.

        Returns:
            Shape (excitation, step, node of Γ).

        Raises:
            CaseError: As `playback`.
            ValueError: The weights ask for the load, which is not predicted.
        """
        from networks import playback

        self.source_region.require(np.concatenate([np.empty((0, 2)), *(each.points for each in excitations)]))
        case, num_nodes = self.case, self.gamma.num_nodes
        out = np.empty((len(excitations), case.time.levels, num_nodes))
        if not self.takes_signals:
            for row, excitation in zip(out, excitations, strict=True):
                row[:] = self.playback(excitation).datum(weights)
            return out
        counts = np.array([len(excitation.sources) for excitation in excitations])
        for count in np.unique(counts):
            chosen = np.flatnonzero(counts == count)
            points = np.stack([excitations[n].points for n in chosen])
            samples = np.stack([excitations[n].samples(case) for n in chosen])
            out[chosen] = playback.predict_operator(
                self.ready, points, samples, self.device, weights=weights, dtype=np.float64, batch_size=batch_size
            )
        return out

    def traces(self, parameters: NDArray[np.float64]) -> list[Trace]:
        """A trace for each parameter vector ``(sample, axis)``, from one pass of the network."""
        from networks import playback
        from networks.paper.predict import predict

        self.source_region.require(self.case.parameters.sources(parameters))
        case = self.case
        if self.takes_signals:
            signals = [Excitation.of_parameters(case, vector).samples(case)[0] for vector in parameters]
            predicted = playback.predict_operator(
                self.ready, case.parameters.sources(parameters), np.array(signals), self.device
            )
        else:
            predicted = predict(self.generator, parameters, self.device)
        nodes, gamma, times = self._nodes(), self.gamma, case.time.times
        return [
            Prediction(times, gamma, [Whole(self.fields, sample.astype(np.float64))], nodes).trace()
            for sample in predicted
        ]

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

    def _known(self, excitation: Excitation) -> NDArray[np.float64]:
        """The parameters of an excitation.

        Raises:
            CaseError: It has none, and the model knows the case's signal only.
        """
        parameters = excitation.parameters(self.case)
        if parameters is None:
            raise CaseError(f"{self.path} knows the signal of the case only, {self.case.source.signal}")
        return parameters

    def _nodes(self) -> NDArray[np.int64] | None:
        """Of a model that predicts the zone, where the nodes of Γ stand among its nodes."""
        if getattr(self.generator.spec, "target", "boundary") != "zone":
            return None
        return gamma_nodes(self.file.zone_points, self.gamma.points)
