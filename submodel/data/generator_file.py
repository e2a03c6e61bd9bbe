"""The document of a generator's file: the problem it was trained for, its data, its training, and what came after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from solvers.gamma.chart import gamma_document, gamma_from
from solvers.gamma.gamma import Gamma
from submodel import __version__
from submodel.case.case import Case
from submodel.case.errors import SubmodelError
from submodel.geometry.source_region import DomainMap


class GeneratorFileError(SubmodelError):
    """A file does not describe a generator of this program; the message names file and remedy."""


@dataclass(frozen=True)
class TrainingRecord:
    """A training that is over.

    Args:
        plan: Entries of its plan, see `networks.training.plan.TrainingPlan`.
        train: Loss of each pass.
        validation: Error of each pass over the samples held out; empty where there were none.
        weights_epoch: Number of the pass whose weights were kept, 0 for those of the start.
        remarks: Sentences about what came before the passes, and what did not come to its end.
        seconds: All of it took.
    """

    plan: Mapping[str, Any]
    train: tuple[float, ...]
    validation: tuple[float, ...]
    weights_epoch: int
    remarks: tuple[str, ...]
    seconds: float

    def to_document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "plan": dict(self.plan),
            "history": {"train": list(self.train), "validation": list(self.validation)},
            "weights_epoch": self.weights_epoch,
            "remarks": list(self.remarks),
            "seconds": self.seconds,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Inverse of `to_document`.

        Raises:
            KeyError, TypeError: An entry is missing or of another type.
        """
        history = document["history"]
        return cls(
            plan=dict(document["plan"]),
            train=tuple(history["train"]),
            validation=tuple(history["validation"]),
            weights_epoch=int(document.get("weights_epoch", len(history["train"]))),
            remarks=tuple(document.get("remarks", ())),
            seconds=float(document["seconds"]),
        )


@dataclass(frozen=True)
class Reached:
    """Form and error of a generator that was made to an error, not for a time.

    Args:
        form: What it is, in words.
        tolerance: Error that was asked for: mean relative L2 of u on Γ.
        error: The same over runs that were held out.
        spread: Standard error of that mean.
        floor: Error that the number of frequencies alone makes.
        runs: Direct and reciprocal runs that it was made of; runs with a source alone count as direct.
        lines: Why this form, and what else its making says, a sentence each.
        steps: Errors that were estimated on the way, see `submodel.studies.build.search.Step`, plain values.
        built: Options of `submodel build`, where that made it.
    """

    form: str
    tolerance: float
    error: float
    spread: float
    floor: float
    runs: tuple[int, int]
    lines: tuple[str, ...] = ()
    steps: tuple[Mapping[str, Any], ...] = ()
    built: Mapping[str, Any] | None = None

    @property
    def kept(self) -> bool:
        """True where the error is below the tolerance."""
        return self.error <= self.tolerance

    @property
    def facts(self) -> dict[str, str]:
        """Form, error and reasons, each by its heading."""
        reasons = {"made": "; ".join(self.lines)} if self.lines else {}
        return {"form": self.form, "error": self.words()} | reasons

    def words(self) -> str:
        """One line."""
        direct, reciprocal = self.runs
        runs = f"{direct} direct + {reciprocal} reciprocal runs" if reciprocal else f"{direct} runs"
        return (
            f"u on Γ {100 * self.error:.2g} ± {100 * self.spread:.1g} % on held-out runs, from {runs}; "
            f"asked {100 * self.tolerance:g} %"
        )

    def to_document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        document = asdict(self)
        return document | {name: list(document[name]) for name in ("runs", "lines", "steps")}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Inverse of `to_document`.

        Raises:
            TypeError: An entry is missing, or unknown.
        """
        return cls(**{**document, **{name: tuple(document[name]) for name in ("runs", "lines", "steps")}})


@dataclass(frozen=True)
class GeneratorFile:
    """All that a generator's file says beside the network.

    Args:
        case: The case that it was trained for.
        gamma: The nodes of Γ that it was trained for.
        parameters: Vectors of the training data, shape (sample, axis); NaN where an impulse response has none.
        dataset: Name of the dataset's file.
        dataset_key: Of what was generated, which tells one dataset from another.
        dataset_options: Of the command line that generated it; None in older files.
        reciprocal: The dataset holds responses by reciprocity.
        domain: Where cells of the domain are; None in older files.
        zone_points: Nodes of the zone, shape (node, 2), for a model that predicts them; else there may be none.
        training: None for a generator that was made without.
        reached: Its form and error, for one that was made to an error.
        compression: How it was compressed, plain values; None for one as it was trained.
        trust: Its calibration, see `submodel.predict.error_bound.Trust`, plain values; None without.
        version: Of the program that wrote it.
    """

    case: Case
    gamma: Gamma
    parameters: NDArray[np.float64]
    dataset: str = ""
    dataset_key: str = ""
    dataset_options: Mapping[str, Any] | None = None
    reciprocal: bool = False
    domain: DomainMap | None = None
    zone_points: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))
    training: TrainingRecord | None = None
    reached: Reached | None = None
    compression: Mapping[str, Any] | None = None
    trust: Mapping[str, Any] | None = None
    version: str = __version__

    def to_document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        reached = None if self.reached is None else self.reached.to_document()
        optional = {"reached": reached, "compression": self.compression, "trust": self.trust}
        return {
            "version": self.version,
            "case": self.case.to_json(),
            "gamma": gamma_document(self.gamma),
            "domain": None if self.domain is None else self.domain.to_json(),
            "zone_points": self.zone_points.tolist(),
            "dataset": {
                "file": self.dataset,
                "key": self.dataset_key,
                "options": self.dataset_options,
                "reciprocal": self.reciprocal,
            },
            "parameters": self.parameters.tolist(),
            **({} if self.training is None else self.training.to_document()),
            **{name: dict(value) for name, value in optional.items() if value is not None},
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any], path: Path) -> Self:
        """Inverse of `to_document`.

        Args:
            document: As read.
            path: Where from, for messages.

        Raises:
            CaseError: The case cannot be read by this version.
            GeneratorFileError: An entry is missing or of another type.
        """
        try:
            parameters = np.asarray(document["parameters"], dtype=np.float64)
            dataset = document["dataset"]
            return cls(
                case=Case.from_json(document["case"], label=f"the case in {path}"),
                gamma=gamma_from(document["gamma"]),
                parameters=parameters,
                dataset=dataset["file"],
                dataset_key=dataset["key"],
                dataset_options=dataset.get("options"),
                reciprocal=bool(dataset.get("reciprocal", np.isnan(parameters).any())),
                domain=DomainMap.from_json(document["domain"]) if document.get("domain") else None,
                zone_points=np.asarray(document["zone_points"], dtype=np.float64).reshape(-1, 2),
                training=TrainingRecord.from_document(document) if "history" in document else None,
                reached=Reached.from_document(document["reached"]) if document.get("reached") else None,
                compression=document.get("compression"),
                trust=document.get("trust"),
                version=document.get("version", ""),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise GeneratorFileError(
                f"{path} does not say for which case it was trained ({error!r}): make it with `submodel train`"
            ) from error

    def trained(self) -> TrainingRecord:
        """Its training.

        Raises:
            GeneratorFileError: It was made without.
        """
        if self.training is None and self.reached is not None:
            raise GeneratorFileError(
                "a wave table is computed, not trained: make a smaller one by --tolerance or --numbers of submodel "
                "build or train"
            )
        if self.training is None:
            raise GeneratorFileError("the generator's file does not say how it was trained: make it by submodel train")
        return self.training

    def compressed(self, compression: Mapping[str, Any]) -> Self:
        """The file of what a compression or its fine-tuning made; a calibration does not hold for it."""
        return replace(self, compression=compression, trust=None)
