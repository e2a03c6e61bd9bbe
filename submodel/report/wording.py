"""Numbers and facts of a validation in words, for the report and the terminal."""

from __future__ import annotations

import math

from submodel.case.case import Case
from submodel.case.quantities import SUPERSCRIPT, box, quantity
from submodel.validate.result import FIELDS, STAGES, ValidationResult

ELEMENTS = {
    "p1": "linear triangles (P1), lumped mass",
    "gll": "quadrilaterals of degree {} (GLL), diagonal mass",
}
STEPPERS = {"explicit": "central differences", "newmark": "Newmark (β = 1/4, γ = 1/2)"}
SIGNALS = {"sine": "sin ωt", "ricker": "Ricker pulse of peak frequency ω"}


def amount(value: float) -> str:
    """A number with three digits: ``0.0120``, ``3.1·10⁻¹⁴``."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 1e-4 <= abs(value) < 1e6:
        return f"{value:#.3g}".rstrip(".") if abs(value) < 999.5 else f"{value:.0f}"
    leading, _, power = f"{value:.1e}".partition("e")
    return f"{leading}·10{str(int(power)).translate(SUPERSCRIPT)}"


def percent(fraction: float) -> str:
    """A fraction as percent."""
    return f"{amount(100 * fraction)} %"


def count(number: int) -> str:
    """A whole number with thin spaces between the thousands."""
    return f"{number:,}".replace(",", "\u202f")


def size(num_bytes: int) -> str:
    """The size of a file."""
    return f"{num_bytes / 1e3:.0f} kB" if num_bytes < 1e6 else f"{num_bytes / 1e6:.1f} MB"


def verdict(result: ValidationResult) -> str:
    """The result in one sentence with its numbers."""
    scores = result.scores("after", "displacement")
    setting, num_samples = result.setting, len(result.samples)
    samples = f"{num_samples} {setting.split} sample{'' if num_samples == 1 else 's'}"
    if setting.boundary == "recorded":
        return (
            f"Fed with the recorded trace, the zone run repeats full FE in Ω′ to a relative L2 error of "
            f"{amount(scores.worst_relative_l2)} in displacement (largest of {samples})."
        )
    return (
        f"Driven by the generator, the zoomed run is on average {percent(scores.mean_epsilon)} away from "
        f"full FE in displacement (ε over {samples}; worst {percent(scores.worst_epsilon)}, "
        f"sample {result.worst.index}); its relative L2 error is {percent(scores.mean_relative_l2)}."
    )


def facts(result: ValidationResult) -> list[tuple[str, str]]:
    """The setting of a validation, as labels and values for a table."""
    setting = result.setting
    case = setting.case
    length, time = case.units.length, case.units.time
    step = float(result.times[1] - result.times[0])
    num_loops = len(result.scene.gamma.outlines())
    return [
        ("case", case.name),
        ("domain Ω", _domain(case)),
        ("zone Ω′", f"{_zone(case)}, {count(len(result.scene.zone_points))} nodes"),
        (
            "interface Γ",
            f"{count(len(result.scene.gamma.points))} nodes on {num_loops} closed curve{'' if num_loops == 1 else 's'}",
        ),
        ("interface condition", setting.interface),
        ("wave speed", speed_words(case)),
        ("element", ELEMENTS[case.discretization.element].format(case.discretization.degree)),
        (
            "time stepping",
            f"{STEPPERS[case.discretization.stepper]}, {len(result.times)} levels up to "
            f"{quantity(result.times[-1], time)}, Δt = {quantity(step, time)}",
        ),
        ("source signal", SIGNALS[case.source.signal]),
        (
            "parameters",
            f"ω in {box(case.parameters.omega[:1], case.parameters.omega[1:], f'rad/{time}')}; source in "
            f"{box(case.parameters.source_lower, case.parameters.source_upper, length)}{_excluded(case)}"
            + case.parameters.other_words(case.units),
        ),
        ("dataset", f"{setting.dataset}, split {setting.split}, {len(result.samples)} samples"),
        ("boundary data", "predicted by the generator" if setting.generator else "recorded in the full run"),
    ]


def _domain(case: Case) -> str:
    if (corners := case.domain.box) is None:
        return f"mesh {case.domain.mesh_words}"
    cut = ", each cut into triangles" if case.discretization.element == "p1" else ""
    return f"{box(*corners, case.units.length)}, {case.domain.mesh_words.replace(' x ', ' × ')}{cut}"


def _zone(case: Case) -> str:
    if case.zone is None:
        return "physical group of the mesh"
    return box(case.zone.lower, case.zone.upper, case.units.length)


def speed_words(case: Case) -> str:
    """Wave speed of a case: numbers and formulas, by group where there are groups."""
    unit, speed = f"{case.units.length}/{case.units.time}", case.medium.speed
    if speed is None:
        return f"{case.medium.file}, the value of each cell, {unit}"
    groups = speed if isinstance(speed, dict) else {"": speed}
    words = {name: f"{each} {unit}" if isinstance(each, str) else quantity(each, unit) for name, each in groups.items()}
    return ", ".join(f"{name} {each}".strip() for name, each in words.items())


def _excluded(case: Case) -> str:
    lower, upper = case.parameters.exclude_lower, case.parameters.exclude_upper
    return "" if lower is None or upper is None else f" outside {box(lower, upper, case.units.length)}"


def error_table(result: ValidationResult) -> list[str]:
    """The errors as lines for a terminal."""
    lines = [f"{len(result.samples)} samples, interface {result.setting.interface}, errors relative to full FE"]
    lines.append(f"{'':28}{'epsilon':>14}{'worst':>12}{'relative L2':>14}{'worst':>12}")
    for stage, words in zip(STAGES, ("on the boundary", "in the zone"), strict=True):
        for name in FIELDS:
            scores = result.scores(stage, name)
            epsilon = f"{percent(scores.mean_epsilon):>14}{percent(scores.worst_epsilon):>12}"
            l2 = f"{percent(scores.mean_relative_l2):>14}{percent(scores.worst_relative_l2):>12}"
            lines.append(f"{name + ' ' + words:<28}{epsilon}{l2}")
    worst, mean = result.sample(result.worst.index), float(result.epsilon.mean())
    times = "" if mean == 0.0 or len(result.samples) == 1 else f", {worst.epsilon / mean:.2g} times the mean"
    lines.append(f"worst sample {worst.index}: epsilon {percent(worst.epsilon)}{times}")
    bounds = result.bounds
    if bounds is not None and result.share_held is not None:
        lines.append(
            f"bound of epsilon, {100 * bounds.coverage:g} % coverage promised: held for "
            f"{result.share_held * len(result.samples):.0f} of {len(result.samples)} samples, on average "
            f"{percent(float(bounds.values.mean()))} ({bounds.basis})"
        )
        expected = float(bounds.expected.mean())
        share = "" if mean == 0.0 else f", {expected / mean:.2f} of the true mean"
        lines.append(f"epsilon that the calibration runs let expect: {percent(expected)}{share}")
    lines.append(f"levels left out of epsilon, before the wave arrives: {result.num_left_out}")
    return lines
