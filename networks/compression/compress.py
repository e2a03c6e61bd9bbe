"""Compress a trained model: a new model with factors in place of weights, and a report.

    compressed, report = compress(model, "ctd", ratio=15, sample=inputs)
    print(report.table())

Fine-tuning is the ordinary training with the compressed model.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from torch import Tensor, nn

from networks.compression.choice.groups import Group, check_groups, find_groups, select, shapes_of
from networks.compression.choice.measure import Sample, arguments, evaluating, second_moments
from networks.compression.choice.ranks import COUPLED, METHODS, Method, RankChoice, Unit, chosen_ranks
from networks.compression.choice.search import Workshop
from networks.compression.choice.weighted import Options
from networks.compression.layer.base import EXECUTIONS, CompressedLayer
from networks.compression.layer.structure import recipe_of
from networks.compression.report import Report, report_of
from networks.compression.tensor.coupled import Minimisation
from networks.core.rebuildable import is_compressed
from networks.execution.measure import choose_execution


@dataclass(frozen=True)
class CompressionOptions:
    """Settings of a compression beside its method and its size.

    Attributes:
        layers: names or patterns (``blocks.*.conv1``) of the layers to compress; None for all, or for those in groups.
        groups: layers that share, by names; None finds them, see `groups.find_groups`.
        positions: of fully connected layers that make an image (batch, position, channel), how many positions; None
            asks the model's `linear_positions()` where it has that.
        reference: a model of the same structure whose groups have equal weights W_m, or W_m by the group's first
            layer ([B] eq. 8).
        alpha: weight of the shared part's distance to W_m ([B] eq. 14).
        minimisation: of the coupled methods; its seed is that of CP as well.
        weighting: "activations" minimises the error of each layer's output on the sample, "weights" that of its weight.
            The former lowers layers' output errors, but on small trained nets at ratio 10 it did worse after
            fine-tuning as often as better (it favours the mean of the inputs), so it is not the default.
        execution: "auto" measures each layer on the sample, factorised and rebuilt dense, and takes the faster;
            without a sample it is "factorised".
    """

    layers: Iterable[str] | None = None
    groups: Iterable[Group | Sequence[str]] | None = None
    positions: Mapping[str, int] | None = None
    reference: nn.Module | Mapping[str, Tensor] | None = None
    alpha: float = 0.0
    minimisation: Minimisation = Minimisation()
    weighting: Literal["weights", "activations"] = "weights"
    execution: Literal["auto", "factorised", "dense"] = "auto"

    def __post_init__(self) -> None:
        if self.weighting not in ("weights", "activations"):
            raise ValueError(f'the weighting must be "weights" or "activations", got {self.weighting!r}')
        if self.execution not in ("auto", *EXECUTIONS):
            raise ValueError(f"the execution must be one of auto, {', '.join(EXECUTIONS)}, got {self.execution!r}")


def compress(
    model: nn.Module,
    method: Method,
    *,
    ranks: RankChoice = None,
    ratio: float | None = None,
    error: float | None = None,
    sample: Sample | None = None,
    options: CompressionOptions = CompressionOptions(),
) -> tuple[nn.Module, Report]:
    """Compress a model.

    Args:
        model: left as it is, bit for bit. Convolutions and fully connected layers are replaced, see `groups.layers`.
        method: "svd", "cp", "tucker", "tt" take layers one by one; "ctd" couples layers of equal shape ([B] Algorithm
            1), "pctd" those that agree in part as well (Algorithm 2). A layer in no group gets a train of its own.
        ranks: see `ranks.chosen_ranks`. One of ranks, ratio and error is given.
        ratio: how many times fewer parameters the whole model is to have: each nn.Parameter of the model is counted
            once, biases, normalisations and untouched layers included. Reached, or passed by as little as ranks allow;
            layers whose factors would save nothing stay dense.
        error: largest relative error of the model's output on the sample; the smallest model found by bisection over
            the ratio.
        sample: inputs, one tensor or a tuple of the model's arguments, for errors, weighting and execution.
        options: which layers, which of them share, and how they are decomposed and run.

    Returns:
        The compressed model, whose `compression` is its recipe (see `recipe`), and what was done.

    Raises:
        ValueError: a model compressed already, an impossible rank, ratio or error, unmatched groups, layers that
            cannot be compressed, or arguments that contradict each other.
    """
    if method not in METHODS:
        raise ValueError(f"the method must be one of {', '.join(METHODS)}, got {method!r}")
    if is_compressed(model):
        raise ValueError("the model is compressed already; compress the dense model that it came from")
    _check_size(ranks, ratio, error)
    weighting, execution = options.weighting, options.execution
    if sample is None and (error is not None or weighting == "activations"):
        raise ValueError("output errors are measured on a sample: give a batch of inputs as sample")
    units = units_of(model, method, options)
    moments = None
    if weighting == "activations":
        names = [name for unit in units for name in unit.group.names]
        moments = second_moments(model, names, cast(Sample, sample))
    references = _references(units, options.reference, options.alpha)
    workshop = Workshop(model, method, units, Options(options.minimisation, options.alpha, references, moments))
    if ranks is not None:
        chosen = chosen_ranks(method, ranks, units)
    elif ratio is not None:
        chosen = workshop.for_ratio(ratio)
    else:
        chosen = workshop.for_error(cast(float, error), cast(Sample, sample))
    compressed, made = workshop.build(chosen)
    measured = _execute(compressed, made, execution, sample)
    compressed.compression = {"method": method, "execution": execution}  # type: ignore[assignment]
    compressed.compression = recipe_of(compressed)  # type: ignore[assignment]
    report = report_of(model, compressed, method, weighting, units, chosen, made, sample)
    return compressed, dataclasses.replace(report, measured=measured)


def units_of(model: nn.Module, method: str, options: CompressionOptions = CompressionOptions()) -> list[Unit]:
    """Units that are decomposed: groups for coupled methods, and single layers, in the model's order."""
    layers, groups, positions = options.layers, options.groups, options.positions
    if positions is None and hasattr(model, "linear_positions"):
        positions = model.linear_positions()  # type: ignore[operator]
    if groups is not None and method not in COUPLED:
        raise ValueError(f"groups are for the coupled methods {', '.join(COUPLED)}; {method} takes layers one by one")
    shared: list[Group] = []
    if groups is not None:
        shared = check_groups(model, groups, positions=positions)
        for group in shared:
            if method == "ctd" and group.kind != "equal":
                raise ValueError(f"the group {', '.join(group.names)} agrees only in part; use the method pctd for it")
    elif method in COUPLED:
        shared = find_groups(model, layers, positions=positions, partly=method == "pctd")
    grouped = [name for group in shared for name in group.names]
    selected = select(model, grouped if groups is not None and layers is None else layers)
    selected = {**selected, **select(model, grouped)}
    if not selected:
        raise ValueError(getattr(model, "incompressible", "the model has no layer that can be compressed"))
    shapes = shapes_of(selected, positions)
    alone = [Group((name,), "alone") for name in selected if name not in grouped]
    order = {name: number for number, name in enumerate(select(model))}
    return [
        Unit(group, tuple(selected[name] for name in group.names), tuple(shapes[name] for name in group.names))
        for group in sorted((*shared, *alone), key=lambda group: order[group.name])
    ]


def _references(
    units: Sequence[Unit], reference: nn.Module | Mapping[str, Tensor] | None, alpha: float
) -> dict[str, Tensor] | None:
    """W_m of each group, by its first layer ([B] eq. 9)."""
    if reference is None:
        if alpha:
            raise ValueError(f"alpha = {alpha:g} weighs the distance to a reference: give the reference")
        return None
    firsts = [unit.group.name for unit in units if unit.group.kind == "equal"]
    if not isinstance(reference, nn.Module) and (unknown := set(reference) - set(firsts)):
        raise ValueError(f"{min(unknown)!r} is the first layer of no group of equal shapes; they are {firsts}")
    selected = {}
    for unit in units:
        if unit.group.kind != "equal":
            continue
        name = unit.group.name
        weight: Any
        if isinstance(reference, nn.Module):
            weight = reference.get_submodule(name).weight
        elif name in reference:
            weight = reference[name]
        else:
            continue
        if weight.shape != unit.modules[0].weight.shape:  # type: ignore[union-attr]
            raise ValueError(f"the reference of {name!r} has shape {tuple(weight.shape)}, not that of the layer")
        selected[name] = weight.detach()
    return selected


def _check_size(ranks: RankChoice, ratio: float | None, error: float | None) -> None:
    """Refuse but one of ranks, a ratio above 1 and an error above 0."""
    if sum(value is not None for value in (ranks, ratio, error)) != 1:
        raise ValueError("give one of ranks, ratio and error")
    if ratio is not None and not ratio > 1.0:
        raise ValueError(f"the ratio must be above 1, got {ratio}")
    if error is not None and not error > 0.0:
        raise ValueError(f"the error must be above 0, got {error}")


def _execute(model: nn.Module, made: Mapping[str, CompressedLayer], execution: str, sample: Sample | None) -> bool:
    """Set how the layers run; whether that was measured."""
    for layer in made.values():
        layer.execution = "factorised" if execution == "auto" else execution
    if execution != "auto" or sample is None or not made:
        return False
    with evaluating(model):
        choose_execution(model, *arguments(sample))
    return True
