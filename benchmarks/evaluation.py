"""Errors of predicted boundary data, on Γ and after the zoom: one measure for every generator and baseline.

The definitions are those of `submodel validate`: ε is [A] eq. 22 averaged over time, relative L2 errors run over space
and time; each is given as mean and worst over the samples. The zone is run serially.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from solvers.gamma.condition import CONDITIONS
from solvers.gamma.trace import Trace
from submodel.case.case import Case
from submodel.case.sampling import Split
from submodel.data.dataset import Dataset
from submodel.geometry.metrics import FieldErrors, field_errors
from submodel.solve import from_case as build

FIELDS = ("displacement", "velocity", "load")

Fields = NDArray[np.floating[Any]]
Predict = Callable[[NDArray[np.float64]], Fields]


def evaluate(
    case: Case,
    dataset: Dataset,
    predict: Predict,
    interface: str,
    *,
    fields: tuple[str, ...] = FIELDS,
    split: Split = "test",
    refine: int = 1,
) -> dict[str, Any]:
    """Errors of a predictor over a split.

    Args:
        case: The case.
        dataset: Holds the truth, fields in the zone too.
        predict: Parameters ``(sample, 3)`` to fields on Γ ``(sample, field, time, arc)``.
        interface: Interface condition of the zone; impedance needs the load.
        fields: What `predict` yields, in this order. A velocity that is not among them is made from the displacement.
        split: Which samples.
        refine: Into how many the zone's edges are divided.

    Returns:
        ``gamma`` and ``zone``: for each field the scores of `scores`; ``seconds`` of prediction and zone runs, all
        samples.

    Raises:
        ValueError: An interface condition needs a field that is not predicted.
    """
    start = time.perf_counter()
    predicted = np.asarray(predict(dataset.parameters(split)))
    seconds = time.perf_counter() - start
    out = evaluate_fields(case, dataset, predicted, interface, fields=fields, split=split, refine=refine)
    out["seconds"]["prediction"] = seconds
    return out


def evaluate_all(
    case: Case,
    dataset: Dataset,
    predict: Predict,
    *,
    fields: tuple[str, ...] = FIELDS,
    split: Split = "test",
    refine: int = 1,
) -> dict[str, Any]:
    """As `evaluate`, under every interface condition that the predicted fields allow, after one prediction."""
    start = time.perf_counter()
    predicted = np.asarray(predict(dataset.parameters(split)))
    seconds = time.perf_counter() - start
    out: dict[str, Any] = {}
    for interface in CONDITIONS:
        if interface == "dirichlet" or "load" in fields:
            out[interface] = evaluate_fields(
                case, dataset, predicted, interface, fields=fields, split=split, refine=refine
            )
            out[interface]["seconds"]["prediction"] = seconds
    return out


def evaluate_fields(
    case: Case,
    dataset: Dataset,
    predicted: Fields,
    interface: str,
    *,
    fields: tuple[str, ...] = FIELDS,
    split: Split = "test",
    refine: int = 1,
) -> dict[str, Any]:
    """As `evaluate`, of fields ``(sample, field, time, arc)`` that were predicted before."""
    if interface == "impedance" and "load" not in fields:
        raise ValueError(f"the impedance condition needs the load, and {', '.join(fields)} are predicted")
    num = dataset.num_samples(split)
    if predicted.shape[:2] != (num, len(fields)):
        raise ValueError(f"{num} samples of {len(fields)} fields were to be predicted, got shape {predicted.shape}")
    zone = build.zone_model(case, MPI.COMM_SELF, condition=interface, refine=refine)
    gamma, times = dataset.gamma, dataset.times
    on_gamma: dict[str, list[FieldErrors]] = {name: [] for name in FIELDS}
    in_zone: dict[str, list[FieldErrors]] = {"displacement": [], "velocity": []}
    elapsed = 0.0
    for index in range(num):
        given = {name: predicted[index, i].astype(np.float64) for i, name in enumerate(fields)}
        given.setdefault("velocity", np.gradient(given["displacement"], times, axis=0))
        for name, true in dataset.trace(split, index).items():
            if name in given:
                on_gamma[name].append(field_errors(given[name], true))
        start = time.perf_counter()
        run = zone.run(Trace(times, gamma, **given))
        elapsed += time.perf_counter() - start
        truth = dataset.zone_fields(split, index)
        for name, values, true in zip(in_zone, (run.displacement, run.velocity), truth, strict=True):
            found = zone.at(values, dataset.zone_points)
            if found is not None:
                in_zone[name].append(field_errors(found, true))
    return {
        "interface": interface,
        "samples": num,
        "gamma": {name: scores(errors) for name, errors in on_gamma.items() if errors},
        "zone": {name: scores(errors) for name, errors in in_zone.items()},
        "seconds": {"zone": elapsed},
    }


def scores(errors: Iterable[FieldErrors]) -> dict[str, float]:
    """Mean and worst over the samples: of ε averaged over time, and of the relative L2 error."""
    each = list(errors)
    epsilon, l2 = [e.mean_epsilon for e in each], [e.relative_l2 for e in each]
    return {
        "epsilon": float(np.mean(epsilon)),
        "epsilon_worst": float(np.max(epsilon)),
        "relative_l2": float(np.mean(l2)),
        "relative_l2_worst": float(np.max(l2)),
    }


HEADER = (
    "form",
    "numbers",
    "training",
    "a run's prediction",
    "interface",
    "Γ: L2 u",
    "L2 v",
    "L2 r",
    "zone: ε u",
    "L2 u",
    "worst",
    "L2 v",
    "worst",
)


def markdown(rows: Iterable[dict[str, Any]]) -> str:
    """A table of results, one line a form and interface.

    Args:
        rows: Each with ``form``, ``parameters`` (a number or None), ``training`` (seconds or None) and ``errors`` as
            `evaluate_all` returns them; or with ``form`` and ``skipped``, the reason.
    """
    lines = [_line(HEADER), _line(["---"] * len(HEADER))]
    for row in rows:
        if "skipped" in row:
            lines.append(_line([row["form"], f"skipped: {row['skipped']}", *[""] * (len(HEADER) - 2)]))
            continue
        for interface, found in row["errors"].items():
            gamma, zone = found["gamma"], found["zone"]
            prediction = found["seconds"].get("prediction")
            lines.append(
                _line(
                    [
                        row["form"],
                        "" if row.get("parameters") is None else f"{row['parameters'] / 1e6:.2f} M",
                        "" if row.get("training") is None else f"{row['training']:.0f} s",
                        "" if prediction is None else f"{1e3 * prediction / found['samples']:.1f} ms",
                        interface,
                        *(_per_cent(gamma.get(name, {}).get("relative_l2")) for name in FIELDS),
                        _per_cent(zone["displacement"]["epsilon"]),
                        _per_cent(zone["displacement"]["relative_l2"]),
                        _per_cent(zone["displacement"]["relative_l2_worst"]),
                        _per_cent(zone["velocity"]["relative_l2"]),
                        _per_cent(zone["velocity"]["relative_l2_worst"]),
                    ]
                )
            )
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _per_cent(fraction: float | None) -> str:
    if fraction is None:
        return "—"
    return f"{100 * fraction:.0f} %" if fraction >= 0.1 else f"{100 * fraction:.2f} %"
