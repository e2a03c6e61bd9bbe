"""A case: the one TOML file that says what is solved, sampled and trained. Immutable, checked when read."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, PrivateAttr, ValidationError, model_validator

from solvers.time.signals import Signal
from submodel.case.errors import CaseError, explain
from submodel.case.parameters import Parameters
from submodel.case.sections import (
    BoxDomain,
    DeclaredSymmetry,
    Discretization,
    Equation,
    GmshDomain,
    Interface,
    Medium,
    Section,
    Source,
    Time,
    Units,
    Zone,
    covers,
)
from submodel.case.speed import Formula
from submodel.case.training import Training

__all__ = ["Case", "CaseError"]

NO_WALLS = 'training.rays = "walls" is for a box of one wave speed: write rays = "direct", which suits any domain'
SPEED_POINTS = 65  # along either side of a box, where a formula is tried
ALIGNMENT = 1e-6  # of a cell: farther than this from a grid line is not "on" it


class Case(Section):
    """A wave problem with its zone, its parameters and its training."""

    name: str = Field(min_length=1, description="a short name", examples=["paper2d"])
    units: Units = Field(description='what a 1 means: length = "m" and time = "s", or others')
    domain: Annotated[BoxDomain | GmshDomain, Field(discriminator="kind")] = Field(description="box or gmsh mesh")
    zone: Zone | None = Field(default=None, description="lower and upper corner of the zone of a box domain")
    medium: Medium = Field(description="wave speed")
    time: Time = Field(description="final time and number of levels")
    equation: Equation = Field(default=Equation(kind="wave"), description="what is solved")
    discretization: Discretization = Field(description="element, degree and stepper")
    interface: Interface = Field(default=Interface(kind="impedance"), description="of the zone run")
    source: Source = Field(description="time signature")
    parameters: Parameters = Field(description="what is sampled")
    symmetry: DeclaredSymmetry = Field(default=DeclaredSymmetry(), description="maps that leave the problem as it is")
    training: Training = Field(default=Training(), description="how the generator is made")
    _directory: Path = PrivateAttr(default=Path())

    @classmethod
    def load(cls, path: str | Path) -> Case:
        """Read a case file.

        Raises:
            CaseError: the file is absent, not TOML, or says something that cannot be used; one sentence.
        """
        path = Path(path)
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise CaseError(f"{path} is not TOML ({error}): correct it, cases/paper2d.toml is an example") from error
        except OSError as error:
            raise CaseError(
                f"cannot read the case {path} ({error.strerror}): name a case file such as cases/paper2d.toml"
            ) from error
        return cls.from_dict(data, directory=path.parent, label=str(path))

    @classmethod
    def from_dict(cls, data: dict[str, Any], *, directory: Path = Path(), label: str = "case") -> Case:
        """A case from nested plain values, as TOML or JSON gives them.

        Args:
            data: sections and their keys.
            directory: where the mesh file's path starts.
            label: what the error messages call the case.

        Raises:
            CaseError: as `load`.
        """
        try:
            if isinstance(table := data.get("parameters"), dict):  # a misspelt key before the missing one it causes
                Parameters.require_known(table)
            case = cls.model_validate_json(json.dumps(data, default=str))
            case._directory = directory
            case.training.predicted()
            return case._with_checksums()
        except ValidationError as error:
            raise CaseError(f"{label}: {explain(error, cls)}") from error
        except ValueError as error:
            raise CaseError(f"{label}: {error}") from error

    @classmethod
    def from_json(cls, text: str | bytes, *, directory: Path = Path(), label: str = "case") -> Case:
        """The case that `to_json` wrote; its mesh file need not be there.

        Raises:
            CaseError: the text is not a case.
        """
        try:
            case = cls.model_validate_json(text, context={"stored": True})
        except ValidationError as error:
            raise CaseError(f"{label}: {explain(error, cls)}") from error
        case._directory = directory
        return case

    def to_json(self) -> str:
        """One line that `from_json` reads back as an equal case."""
        return self.model_dump_json()

    def __eq__(self, other: object) -> bool:
        """Equal when they say the same, wherever they were read from."""
        return isinstance(other, Case) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        """Hash of the case's JSON."""
        return hash(self.to_json())

    def physics(self) -> dict[str, Any]:
        """Problem and ranges of the parameters, as plain nested values.

        Left out are name, interface condition, symmetry, training, the number of samples and their seed, and where
        the mesh lies; the ranges of the parameters and the checksum of the mesh stay.
        """
        physics = self.model_dump(mode="json", exclude={"name", "interface", "symmetry", "training"})
        for key in ("train", "test", "calibration", "seed"):
            del physics["parameters"][key]
        physics["domain"].pop("file", None)
        physics["medium"] = {key: value for key, value in physics["medium"].items() if value is not None}
        physics["medium"].pop("file", None)
        if physics["equation"] == {"kind": "wave"}:  # as in cases that were written before there were others
            del physics["equation"]
        return physics

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of `physics`: a generator serves the cases that share its own."""
        text = json.dumps(self.physics(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def differences(self, other: Case) -> Iterator[tuple[str, Any, Any]]:
        """The keys in which the physics of two cases differ, with both values."""
        return _different(self.physics(), other.physics())

    def mesh_file(self) -> Path:
        """Where the mesh of a gmsh domain lies.

        Raises:
            CaseError: the domain is a box, or the file is not there.
        """
        if not isinstance(self.domain, GmshDomain):
            raise CaseError('domain.kind is "box": only a gmsh domain has a mesh file')
        path = self._directory / self.domain.file
        if not path.is_file():
            raise CaseError(
                f'domain.file = "{self.domain.file}": there is no file {path}; make the mesh, or correct the path'
            )
        return path

    def speed_file(self) -> Path:
        """Where the wave speeds lie that are read from a file.

        Raises:
            CaseError: The case has none, or the file is not there.
        """
        if self.medium.file is None:
            raise CaseError("medium.speed is in the case itself: only medium.file is read")
        path = self._directory / self.medium.file
        if not path.is_file():
            raise CaseError(f'medium.file = "{self.medium.file}": there is no file {path}; correct the path')
        return path

    def require(self, vector: ArrayLike) -> None:
        """Refuse a parameter vector that this case cannot run.

        Of a gmsh domain, what needs the mesh is left to the solver.

        Raises:
            CaseError: A value is not finite; omega is not positive; or as `require_source`.
        """
        if not np.isfinite(vector).all():
            raise CaseError(f"{self.parameters.words(vector)}: give finite numbers")
        omega = float(self.parameters.omegas(vector))
        if omega <= 0:
            raise CaseError(f"omega is {omega:g} rad/{self.units.time}: give a positive one")
        self.require_source(*self.parameters.source(vector))

    def require_source(self, x: float, y: float) -> None:
        """Refuse a place from where this case cannot excite.

        Raises:
            CaseError: It lies outside the domain, in the zone or on its boundary.
        """
        if not np.isfinite([x, y]).all():
            raise CaseError(f"source ({x:g}, {y:g}): give finite numbers")
        if not self.domain.contains(x, y) and (box := self.domain.box) is not None:
            raise CaseError(
                f"the source ({x:g}, {y:g}) lies outside the domain: give a place between "
                f"{list(box[0])} and {list(box[1])}, its boundary left out"
            )
        if self.zone is not None and self.zone.touches(x, y):
            raise CaseError(
                f"the source ({x:g}, {y:g}) lies in the zone, {list(self.zone.lower)} to "
                f"{list(self.zone.upper)}: give a place outside the zone, from where the wave enters it"
            )

    def signal(self, vector: ArrayLike) -> Signal:
        """Signal of the source of a parameter vector."""
        return self.parameters.signal(self.source.signal, vector)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if isinstance(self.domain, GmshDomain):
            if self.zone is not None:
                raise ValueError(
                    "[zone] is for a box; a gmsh domain names a physical group instead, "
                    f'zone = "{self.domain.zone}" in [domain]: leave [zone] out'
                )
            if self.training.rays == "walls":
                raise ValueError(NO_WALLS)
            return self
        if self.zone is None:
            raise ValueError("zone is missing: add a section [zone] with its lower and upper corner")
        if isinstance(self.medium.speed, dict):
            raise ValueError(
                "medium.speed is given per physical group, which a box does not have: write speed = 1.0, "
                'or use a domain of kind = "gmsh"'
            )
        _check_speed(self.domain, self.medium)
        _check_zone(self.domain, self.zone)
        _check_sources(self.domain, self.zone, self.parameters)
        return self

    def _with_checksums(self) -> Case:
        """The same case, with the checksums of its files filled in and compared."""
        update: dict[str, Any] = {}
        if isinstance(self.domain, GmshDomain):
            digest = _checksum("domain", self.domain.file, self.domain.sha256, self.mesh_file())
            update["domain"] = self.domain.model_copy(update={"sha256": digest})
        if self.medium.file is not None:
            digest = _checksum("medium", self.medium.file, self.medium.sha256, self.speed_file())
            update["medium"] = self.medium.model_copy(update={"sha256": digest})
        return self.model_copy(update=update) if update else self


def _checksum(table: str, file: str, declared: str | None, path: Path) -> str:
    """Checksum of a file that a case names.

    Raises:
        CaseError: It is not the one that the case declares.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if declared not in (None, digest):
        thing = "mesh" if table == "domain" else "file"
        raise CaseError(
            f'{table}.sha256 = "{declared}" is not that of {file}, {digest}: '
            f"the {thing} has changed; leave sha256 out to accept it"
        )
    return digest


def _different(before: Any, after: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The leaves in which two nested values differ, by dotted key."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted(before.keys() | after.keys()):
            yield from _different(before.get(name), after.get(name), f"{key}.{name}" if key else name)
    elif before != after:
        yield key, before, after


def _check_speed(domain: BoxDomain, medium: Medium) -> None:
    """Refuse a formula that is not positive and finite; the solvers look at every cell."""
    if not isinstance(medium.speed, str):
        return
    axes = (np.linspace(domain.lower[axis], domain.upper[axis], SPEED_POINTS) for axis in (0, 1))
    points = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    values = Formula(medium.speed)(points)
    bad = np.flatnonzero(~((values > 0) & (values < np.inf)))
    if len(bad):
        x, y = points[bad[0]]
        raise ValueError(
            f"medium.speed: {medium.speed} is {values[bad[0]]:g} at ({x:g}, {y:g}): "
            "write a formula that is positive and finite in all of the domain"
        )


def _check_zone(domain: BoxDomain, zone: Zone) -> None:
    for corner, point in (("lower", zone.lower), ("upper", zone.upper)):
        if not (domain.lower[0] <= point[0] <= domain.upper[0] and domain.lower[1] <= point[1] <= domain.upper[1]):
            raise ValueError(
                f"zone.{corner} = {list(point)} lies outside the domain: move it between "
                f"{list(domain.lower)} and {list(domain.upper)}"
            )
        for axis in (0, 1):
            size = (domain.upper[axis] - domain.lower[axis]) / domain.cells[axis]
            place = (point[axis] - domain.lower[axis]) / size
            nearest = round(place)
            if abs(place - nearest) > ALIGNMENT:
                value = domain.lower[axis] + nearest * size
                raise ValueError(
                    f"zone.{corner} = {list(point)} is not on a grid line: cells along {'xy'[axis]} "
                    f"are {size:g} wide, so write {value:g} for {point[axis]:g}, or change domain.cells"
                )
            if nearest in (0, domain.cells[axis]):
                raise ValueError(
                    f"zone.{corner} = {list(point)} touches the domain's boundary along {'xy'[axis]}: "
                    "leave at least one cell between zone and boundary"
                )


def _check_sources(domain: BoxDomain, zone: Zone, parameters: Parameters) -> None:
    sources = (parameters.source_lower, parameters.source_upper)
    if not covers((domain.lower, domain.upper), sources):
        raise ValueError(
            f"parameters: sources from {list(sources[0])} to {list(sources[1])} lie partly outside the "
            f"domain {list(domain.lower)} to {list(domain.upper)}: correct source_lower and source_upper"
        )
    low = tuple(max(zone.lower[axis], sources[0][axis]) for axis in (0, 1))
    high = tuple(min(zone.upper[axis], sources[1][axis]) for axis in (0, 1))
    if low[0] > high[0] or low[1] > high[1]:
        return
    overlap = ((low[0], low[1]), (high[0], high[1]))
    if parameters.hole is None or not covers(parameters.hole, overlap):
        raise ValueError(parameters.overlap_words(zone.lower, zone.upper))
