"""Compress a trained model: a new model with factors in place of weights, and a report.

    compressed, report = compress(model, "ctd", ratio=15, sample=inputs)
    print(report.table())

Fine-tuning is the ordinary training with the compressed model.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from networks.compression.groups import Group, check_groups, find_groups, select, shapes_of
from networks.compression.layers import CompressedLayer
from networks.compression.measure import Sample, layer_errors, output_error, weight_error
from networks.compression.methods import Options, decompose
from networks.compression.ranks import COUPLED, METHODS, Given, Method, Ranks, Unit, count, given_ranks
from networks.compression.recipe import is_compressed, names_of, recipe_of, replace
from networks.compression.report import LayerReport, Report


def compress(
    model: nn.Module,
    method: Method,
    *,
    ranks: Given = None,
    ratio: float | None = None,
    error: float | None = None,
    sample: Sample | None = None,
    layers: Iterable[str] | None = None,
    groups: Iterable[Group | Sequence[str]] | None = None,
    positions: Mapping[str, int] | None = None,
    reference: nn.Module | Mapping[str, Tensor] | None = None,
    alpha: float = 0.0,
    start: str = "tt-svd",
    seed: int = 0,
    weighting: Literal["weights", "activations"] = "weights",
    execution: Literal["auto", "factorised", "dense"] = "auto",
) -> tuple[nn.Module, Report]:
    """Compress a model."""
    _check(model, method, ranks, ratio, error, execution)
    units = units_of(model, method, layers, groups, positions)
    options = Options(start, seed, alpha, _references(units, reference))
    chosen = given_ranks(method, ranks, units)
    compressed, made = build(model, method, units, chosen, options)
    _execute(compressed, made, execution, sample)
    compressed.compression = recipe_of(compressed)  # type: ignore[assignment]
    return compressed, report_of(model, compressed, method, weighting, units, chosen, made, sample)


def units_of(
    model: nn.Module,
    method: str,
    layers: Iterable[str] | None,
    groups: Iterable[Group | Sequence[str]] | None,
    positions: Mapping[str, int] | None,
) -> list[Unit]:
    """What is decomposed: groups for coupled methods, and single layers, in the model's order."""
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
    found = select(model, grouped if groups is not None and layers is None else layers)
    found = {**found, **select(model, grouped)}
    if not found:
        raise ValueError("the model has no layer that can be compressed")
    shapes = shapes_of(found, positions)
    alone = [Group((name,), "alone") for name in found if name not in grouped]
    order = {name: number for number, name in enumerate(select(model))}
    return [
        Unit(group, tuple(found[name] for name in group.names), tuple(shapes[name] for name in group.names))
        for group in sorted((*shared, *alone), key=lambda group: order[group.name])
    ]


def build(
    model: nn.Module, method: str, units: Sequence[Unit], ranks: Sequence[Ranks | None], options: Options
) -> tuple[nn.Module, dict[str, CompressedLayer]]:
    """A copy of the model with compressed layers, and those by name."""
    compressed, made = copy.deepcopy(model), {}
    for unit, chosen in zip(units, ranks, strict=True):
        if chosen is None:
            continue
        new = decompose(method, unit, chosen, options)
        for name, dense, layer in zip(unit.group.names, unit.modules, new, strict=True):
            layer.train(dense.training)
            replace(compressed, names_of(model, dense), layer)
            made[name] = layer
    return compressed, made


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
    """What was done to each layer, and to the model."""
    errors = {} if sample is None else layer_errors(model, made, sample)
    entries: list[LayerReport] = []
    for unit, chosen in zip(units, ranks, strict=True):
        for member, name in enumerate(unit.group.names):
            shape, layer = unit.shapes[member], made.get(name)
            after = shape.numel if chosen is None else _stored(method, unit, chosen, member)
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
        trainable(model),
        trainable(compressed),
        None if sample is None else output_error(model, compressed, sample),
        False,
    )


def trainable(model: nn.Module) -> int:
    """Trainable numbers of a model, each Parameter once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _stored(method: str, unit: Unit, ranks: Ranks, member: int) -> int:
    """Numbers of one layer; what the group shares is counted at its first."""
    own = count("tt" if unit.shared else method, _single(unit, member), Ranks((ranks.own[member],)))
    if not unit.shared:
        return own
    shape, (r1, r2) = unit.shapes[member], ranks.shared
    outer = {"input": shape.first * r1, "output": shape.last * r2, "equal": 0}[unit.group.kind]
    if member:
        return own + outer
    return count(method, unit, ranks) - sum(_stored(method, unit, ranks, m) for m in range(1, len(unit.shapes)))


def _single(unit: Unit, member: int) -> Unit:
    group = Group((unit.group.names[member],), "alone")
    return Unit(group, (unit.modules[member],), (unit.shapes[member],))


def _references(units: Sequence[Unit], reference: nn.Module | Mapping[str, Tensor] | None) -> dict[str, Tensor] | None:
    """W_m of each group, by its first layer ([B] eq. 9)."""
    if reference is None:
        return None
    found = {}
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
        found[name] = weight.detach()
    return found


def _check(
    model: nn.Module, method: str, ranks: Given, ratio: float | None, error: float | None, execution: str
) -> None:
    if method not in METHODS:
        raise ValueError(f"the method must be one of {', '.join(METHODS)}, got {method!r}")
    if is_compressed(model):
        raise ValueError("the model is compressed already; compress the dense model that it came from")
    if sum(value is not None for value in (ranks, ratio, error)) != 1:
        raise ValueError("give one of ranks, ratio and error")
    if ranks is None:
        raise ValueError("ranks are not chosen by ratio or error yet; give ranks")
    if execution not in ("auto", "factorised", "dense"):
        raise ValueError(f'the execution must be "auto", "factorised" or "dense", got {execution!r}')


def _execute(model: nn.Module, made: Mapping[str, CompressedLayer], execution: str, sample: Sample | None) -> None:
    """Set how the layers run."""
    for layer in made.values():
        layer.execution = "factorised" if execution == "auto" else execution
