"""Excitation of a zoomed run: point sources with their signals, and the band that a generator knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from solvers.time.signals import SIGNALS, Chirp, Ricker, Signal, Sine, Tabulated
from submodel.case.errors import CaseError
from submodel.case.parameters import OMEGA, Vector, X, Y

if TYPE_CHECKING:
    from submodel.case.case import Case

Array = NDArray[np.float64]
T = TypeVar("T")

AT_REST = 1e-6  # of the largest |s|: what s(0) may be
PADDING = 8  # spectra are sampled that many times finer than the run resolves
TRIED_SIGNALS = 129  # frequencies at which the limit of the band check is looked for


@dataclass(frozen=True)
class Excitation:
    """Point sources that act at once; their waves add up.

    Args:
        sources: Position of each source.
        signals: Signal of each source.
        vectors: Parameter vector of each source where it has one; without them, those of signals of the case's kind
            are known from the signals.

    Raises:
        CaseError: No source, or another number of signals.
    """

    sources: tuple[tuple[float, float], ...]
    signals: tuple[Signal, ...]
    vectors: tuple[Vector, ...] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.sources or len(self.signals) != len(self.sources):
            raise CaseError(
                f"{len(self.sources)} source(s) with {len(self.signals)} signal(s): give each source its signal"
            )

    @classmethod
    def of_parameters(cls, case: Case, parameters: Array) -> Self:
        """The excitation of one parameter vector."""
        vector = tuple(map(float, parameters))
        return cls((case.parameters.source(vector),), (case.signal(vector),), (vector,))

    @property
    def points(self) -> Array:
        """Positions, shape (source, 2)."""
        return np.array(self.sources, dtype=np.float64)

    def samples(self, case: Case) -> Array:
        """Samples of each signal at the levels of a case and one past them, shape (source, levels + 1).

        Raises:
            CaseError: A signal does not start from rest, is silent, not finite, or ends before the run.
        """
        times = np.arange(case.time.levels + 1) * case.time.dt
        for number, signal in enumerate(self.signals):
            _require_length(signal, number, case)
        values = np.array([signal(times) for signal in self.signals])
        for number, sampled in enumerate(values):
            _require_rest(sampled, number)
        return values

    def parameters(self, case: Case) -> Array | None:
        """Parameter vector of each source, (source, axis), where all signals are of the case's kind, or ``None``."""
        if self.vectors is not None:
            return case.parameters.matrix(self.vectors)
        kind = SIGNALS[case.source.signal]
        omegas = [signal.omega for signal in self.signals if isinstance(signal, Sine | Ricker) and type(signal) is kind]
        if len(omegas) != len(self.signals) or case.parameters.extra:
            return None
        return case.parameters.vectors({OMEGA: omegas, X: self.points[:, 0], Y: self.points[:, 1]})

    def words(self) -> str:
        """One line for the record."""
        placed = zip(self.sources, self.signals, strict=True)
        return "; ".join(f"{describe(signal)} at ({x:g}, {y:g})" for (x, y), signal in placed)


def signals_of(case: Case, vectors: Array) -> Array:
    """Signals of parameter vectors at the levels of a case and one past them, (sample, axis) to (sample, levels + 1).

    Raises:
        CaseError: As `Excitation.samples`.
    """
    signals = [Excitation.of_parameters(case, vector).samples(case)[0] for vector in vectors]
    return np.array(signals).reshape(len(signals), case.time.levels + 1)


def describe(signal: Signal) -> str:
    """A signal in words."""
    if isinstance(signal, Sine):
        return f"sine, omega {signal.omega:g}"
    if isinstance(signal, Ricker):
        return f"Ricker pulse, omega {signal.omega:g}"
    if isinstance(signal, Chirp):
        return f"chirp, omega {signal.omega_start:g} to {signal.omega_end:g}"
    if isinstance(signal, Tabulated):
        return f"table of {len(signal.times)} samples up to t = {signal.end:g}"
    return str(signal)


def outside_band(samples: Array, dt: float, band: tuple[float, float]) -> float:
    """Fraction of a signal's energy outside a band, which is widened by the resolution of the run, 2 pi / T.

    Args:
        samples: Of the signal, one a level.
        dt: Their spacing.
        band: Lowest and highest angular frequency, rad per unit of time.
    """
    num_padded = PADDING * len(samples)
    energy = np.abs(np.fft.rfft(samples, num_padded)) ** 2
    energy[1 : (num_padded + 1) // 2] *= 2.0  # each stands for two frequencies, the first and the last for one
    omega = 2.0 * np.pi * np.fft.rfftfreq(num_padded, dt)
    resolution = 2.0 * np.pi / (len(samples) * dt)
    inside = (omega >= band[0] - resolution) & (omega <= band[1] + resolution)
    return float(energy[~inside].sum() / energy.sum())


def largest_outside(case: Case, band: tuple[float, float]) -> float:
    """The largest `outside_band` among the signals that the case itself samples: the limit of the check.

    A sine that is cut off at the end of the run leaks out of any band; what was trained must pass.
    """
    low, high = case.parameters.omega
    times = np.arange(case.time.levels + 1) * case.time.dt
    kind = SIGNALS[case.source.signal]
    omegas = np.linspace(low, high, TRIED_SIGNALS)
    return max(outside_band(kind(float(omega))(times), case.time.dt, band) for omega in omegas)


def check_band(case: Case, excitation: Excitation, band: tuple[float, float], *, extrapolate: bool) -> list[str]:
    """Compare the signals with the band of a generator.

    Args:
        case: The case of the generator.
        excitation: The sources.
        band: Lowest and highest angular frequency that the generator was trained for.
        extrapolate: Whether a signal outside is allowed.

    Returns:
        A warning for each signal outside the band.

    Raises:
        CaseError: A signal is outside, and that is not allowed.
    """
    limit, warnings = largest_outside(case, band), []
    samples = excitation.samples(case)
    for number, signal in enumerate(excitation.signals):
        fraction = outside_band(samples[number], case.time.dt, band)
        if fraction <= limit * (1.0 + 1e-9):
            continue
        second = case.units.time
        finding = (
            f"{100 * fraction:.3g} % of the energy of the signal ({describe(signal)}) lies outside the trained band, "
            f"{band[0]:.4g} to {band[1]:.4g} rad/{second} (trained signals: {100 * limit:.3g} % at most)"
        )
        if not extrapolate:
            raise CaseError(f"{finding}: filter the signal, train for a wider band, or give --extrapolate")
        warnings.append(f"{finding}: nothing is known of the error")
    return warnings


def read_excitation(
    case: Case,
    sources: Sequence[tuple[float, float]],
    signals: Sequence[str] = (),
    omegas: Sequence[float] = (),
    omega_ends: Sequence[float] = (),
    axes: Mapping[str, float] | None = None,
) -> Excitation:
    """The excitation that the options of a command spell.

    Args:
        case: Gives levels, and the signal where none is said.
        sources: Positions.
        signals: ``sine``, ``ricker``, ``chirp`` or a CSV file; one for all sources or one each.
        omegas: For the signals that take one, in their order; or one for all of them.
        omega_ends: For the chirps, likewise.
        axes: Value of each registered axis of the case's parameters, where all signals are of the case's kind.

    Raises:
        CaseError: Too few, too many, or unknown; or a table cannot be used.
        ValueError: A frequency is not positive.
    """
    if not sources:
        raise CaseError("no source was given: say --source X Y, once for each source")
    names = _spread(list(signals) or [case.source.signal], len(sources), "--signal", "source")
    num_omegas = sum(not _is_table(name) for name in names)
    own = iter(_spread(list(omegas), num_omegas, "--omega", "sine, Ricker pulse or chirp"))
    num_chirps = names.count("chirp")
    ends = iter(_spread(list(omega_ends), num_chirps, "--omega-end", "chirp"))
    extra = _require_axes(case, axes or {}, names)
    built: list[Signal] = []
    vectors: list[Vector] = []
    for name, (x, y) in zip(names, sources, strict=True):
        case.require_source(x, y)
        if _is_table(name):
            built.append(read_table(Path(name), case))
        elif name == "chirp":
            built.append(Chirp(next(own), next(ends), case.time.final))
        elif name == case.source.signal and extra is not None:
            vector = {OMEGA: next(own), X: float(x), Y: float(y), **extra}
            vectors.append(tuple(vector[axis] for axis in case.parameters.names))
            built.append(case.signal(vectors[-1]))
        else:
            built.append(SIGNALS[name](next(own)))
    places = tuple((float(x), float(y)) for x, y in sources)
    return Excitation(places, tuple(built), tuple(vectors) if len(vectors) == len(places) else None)


def _require_axes(case: Case, values: Mapping[str, float], names: list[str]) -> dict[str, float] | None:
    """Values of the registered axes of a case; ``None`` where the signals are of other kinds and have none.

    Raises:
        CaseError: A value is missing, unknown, not finite, or given for signals of other kinds.
    """
    known = case.parameters.extra
    if unknown := sorted(values.keys() - known.keys()):
        raise CaseError(
            f"--axis {unknown[0]}: the case has {', '.join(known) or 'no such axis'} beside omega and the place of the "
            "source: leave it out"
        )
    if not values and any(name != case.source.signal for name in names):
        return None
    if absent := [name for name in known if name not in values]:
        low, high = known[absent[0]]
        raise CaseError(f"the case has the axis {absent[0]}, {low:g} to {high:g}: give --axis {absent[0]}=VALUE")
    if other := [name for name in names if values and name != case.source.signal]:
        raise CaseError(f"--axis is for signals of the case's kind, {case.source.signal}, not for {other[0]}")
    if not np.isfinite(list(values.values())).all():
        raise CaseError("--axis takes finite numbers")
    return {name: float(values[name]) for name in known}


def read_table(path: Path, case: Case) -> Tabulated:
    """A signal from a CSV file: columns t and s, or one column of samples at the levels of the case.

    Columns are split by comma, semicolon or blanks; lines that begin with #, and one line of names, are skipped.

    Raises:
        CaseError: The file cannot be read or holds something else.
    """
    rows = _rows(path)
    widths = {len(row) for row in rows}
    if widths not in ({1}, {2}):
        raise CaseError(f"{path} has rows of {sorted(widths)} columns: give two, t and s, or one, s at every level")
    table = np.array(rows)
    if not np.isfinite(table).all():
        raise CaseError(f"{path} holds {int((~np.isfinite(table)).sum())} numbers that are not finite: mend them")
    if table.shape[1] == 1:
        levels = case.time.levels
        if len(table) not in (levels, levels + 1):
            raise CaseError(
                f"{path} has one column of {len(table)} samples, the run {levels} levels: give one sample a level, "
                "or two columns, t and s"
            )
        table = np.column_stack([np.arange(len(table)) * case.time.dt, table[:, 0]])
    try:
        kind: Literal["cubic", "linear"] = "cubic" if len(table) > 3 else "linear"
        return Tabulated(tuple(table[:, 0]), tuple(table[:, 1]), kind)
    except ValueError as error:
        raise CaseError(f"{path}: {error}") from error


def _rows(path: Path) -> list[list[float]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise CaseError(f"cannot read the signal {path} ({reason}): give a CSV file with columns t and s") from error
    rows: list[list[float]] = []
    begun = False
    for number, line in enumerate(lines, 1):
        cells = line.replace(",", " ").replace(";", " ").split()
        if not cells or line.lstrip().startswith("#"):
            continue
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError as error:
            if begun:
                raise CaseError(f"{path}, line {number}: {line.strip()!r} is not a row of numbers: mend it") from error
        begun = True
    if not rows:
        raise CaseError(f"{path} holds no numbers: give a CSV file with columns t and s")
    return rows


def _is_table(name: str) -> bool:
    """True where the name of a signal is that of a file.

    Raises:
        CaseError: It is neither a file nor a signal.
    """
    if name in SIGNALS or name == "chirp":
        return False
    if "." in name or "/" in name:
        return True
    raise CaseError(f"--signal {name}: give sine, ricker, chirp or the name of a CSV file, such as signal.csv")


def _spread(values: list[T], num: int, option: str, noun: str) -> list[T]:
    """One value for each of several: as many values, or the only one for all."""
    if len(values) == num:
        return values
    if len(values) == 1 and num > 1:
        return values * num
    raise CaseError(f"{option} is given {len(values)} time(s) for {num} {noun}(s): give it once for all, or once each")


def _require_length(signal: Signal, number: int, case: Case) -> None:
    """See that a table lasts as long as the run; one past the last level its last value is held."""
    if isinstance(signal, Tabulated) and signal.end < case.time.final * (1.0 - 1e-9):
        raise CaseError(
            f"signal {number + 1} ends at t = {signal.end:g}, the run at t = {case.time.final:g}: "
            "add samples, zeros if nothing more is to come"
        )


def _require_rest(samples: Array, number: int) -> None:
    peak = float(np.abs(samples).max())
    if not np.isfinite(peak) or peak == 0.0:
        raise CaseError(f"signal {number + 1} is zero or not finite at the levels of the run: mend it")
    if abs(samples[0]) > AT_REST * peak:
        raise CaseError(
            f"signal {number + 1} has s(0) = {samples[0]:.3g}, at rest it must begin with 0: prepend a sample 0 at "
            "t = 0 and shift the others by a step, or fade it in"
        )
