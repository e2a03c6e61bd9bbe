"""Report of a compression: ranks, parameters, errors and execution, layer by layer and for the whole model."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from networks.compression.choice.measure import Sample, layer_errors, num_parameters, output_error, weight_error
from networks.compression.choice.ranks import Ranks, Unit
from networks.compression.layer.base import CompressedLayer

COLUMNS = ("layer", "method", "shape", "ranks", "group", "before", "after", "weight error", "output error", "execution")


@dataclass(frozen=True)
class LayerReport:
    """One layer.

    Attributes:
        name: in the model.
        method: "tt" and so on, "dense" where it was left as it is.
        shape: (L1, F, L2) of the folded weight.
        ranks: (r1, r2) of its own part; (0, 0) where it has none.
        shared_ranks: (r1, r2) of what it shares; (0, 0) where it shares nothing.
        group: first layer of the group that it shares with, None where it is alone.
        before: numbers of its dense weight; biases are not counted.
        after: numbers that it stores; what a group shares is counted at the group's first layer.
        weight_error: Frobenius norm of the difference of the weights, relative to that of the dense one.
        output_error: of its output on the sample, for the dense model's inputs, in the same sense; None without one.
        execution: "factorised" or "dense".
    """

    name: str
    method: str
    shape: tuple[int, int, int]
    ranks: tuple[int, int]
    shared_ranks: tuple[int, int]
    group: str | None
    before: int
    after: int
    weight_error: float
    output_error: float | None
    execution: str


@dataclass(frozen=True)
class Report:
    """A whole model.

    Attributes:
        method: of the compression.
        weighting: "weights" or "activations".
        layers: one entry a layer, those left dense included.
        parameters_before, parameters_after: trainable numbers of the model, each Parameter once: biases,
            normalisations and the layers that were not touched included.
        output_error: norm of the difference of the model's outputs on the sample, relative to the dense ones; None
            without a sample.
        measured: whether `execution` was chosen by measurement.
    """

    method: str
    weighting: str
    layers: tuple[LayerReport, ...]
    parameters_before: int
    parameters_after: int
    output_error: float | None
    measured: bool

    @property
    def touched(self) -> tuple[LayerReport, ...]:
        """Layers that were compressed."""
        return tuple(layer for layer in self.layers if layer.method != "dense")

    @property
    def ratio(self) -> float:
        """Weights before to those after, over the layers that were compressed ([B] eq. 20 and 28)."""
        after = sum(layer.after for layer in self.touched)
        return sum(layer.before for layer in self.touched) / after if after else 1.0

    @property
    def model_ratio(self) -> float:
        """Trainable numbers of the model before to those after."""
        return self.parameters_before / self.parameters_after

    def table(self) -> str:
        """The report as a Markdown table and a line of totals."""
        rows = [COLUMNS, *(_row(layer) for layer in self.layers)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        lines = ["| " + " | ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)) + " |" for row in rows]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join([*lines, "", self.summary()])

    def summary(self) -> str:
        """Totals, in one line."""
        output = "" if self.output_error is None else f"; output error {self.output_error:.3g} on the sample"
        execution_words = "chosen by measurement" if self.measured else "not measured"
        return (
            f"{self.method} ({self.weighting}): {self.parameters_before} -> {self.parameters_after} trainable numbers, "
            f"{self.model_ratio:.2f} times fewer; {self.ratio:.2f} times over the {len(self.touched)} compressed "
            f"layers{output}; execution {execution_words}"
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON, with both ratios."""
        return {**dataclasses.asdict(self), "ratio": self.ratio, "model_ratio": self.model_ratio}


def report_of(
    model: nn.Module,
    compressed: nn.Module,
    method: str,
    weighting: str,
    units: Sequence[Unit],
    ranks: Sequence[Ranks | None],
    made: Mapping[str, CompressedLayer],
    sample: Sample | None,
) -> Report:
    """The report on each layer and on the model."""
    errors = {} if sample is None else layer_errors(model, made, sample)
    entries: list[LayerReport] = []
    counted: set[int] = set()
    for unit, chosen in zip(units, ranks, strict=True):
        for member, name in enumerate(unit.group.names):
            shape, layer = unit.shapes[member], made.get(name)
            after = shape.numel if layer is None else _stored(layer, counted)
            entries.append(
                LayerReport(
                    name,
                    method if layer is not None else "dense",
                    shape.folded,
                    chosen.own[member] if chosen else (0, 0),
                    chosen.shared if chosen else (0, 0),
                    unit.group.name if unit.shared and chosen else None,
                    shape.numel,
                    after,
                    0.0 if layer is None else weight_error(unit.modules[member], layer),
                    None if sample is None else errors.get(name, 0.0),
                    "dense" if layer is None else layer.execution,
                )
            )
    return Report(
        method,
        weighting,
        tuple(entries),
        num_parameters(model),
        num_parameters(compressed),
        None if sample is None else output_error(model, compressed, sample),
        False,
    )


def _stored(layer: CompressedLayer, counted: set[int]) -> int:
    """Numbers of a layer's factors but those counted already, which join them: a group's at its first layer."""
    new = [factor for factor in layer.factors() if id(factor) not in counted]
    counted.update(map(id, new))
    return sum(factor.numel() for factor in new)


def _row(layer: LayerReport) -> tuple[str, ...]:
    own, shared = _ranks(layer.ranks), _ranks(layer.shared_ranks)
    return (
        layer.name,
        layer.method,
        "x".join(map(str, layer.shape)),
        "" if layer.method == "dense" else own if layer.shared_ranks == (0, 0) else f"{shared} + {own}",
        layer.group or "",
        str(layer.before),
        str(layer.after),
        f"{layer.weight_error:.3g}",
        "" if layer.output_error is None else f"{layer.output_error:.3g}",
        layer.execution,
    )


def _ranks(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"({pair[0]}, {pair[1]})"
