"""The recipe of a compressed model, as JSON.

A recipe says which layers of a dense model are replaced by what, and which of them share. It turns a fresh dense
model into an empty compressed one, into which tensors are loaded; sharing is intact afterwards.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from networks.compression.layer.base import CompressedLayer
from networks.compression.layer.shared import Branch
from networks.compression.layer.trains import layer_from_structure

VERSION = 1


def names_of(model: nn.Module, module: nn.Module) -> list[str]:
    """All names under which a model holds a module."""
    return [name for name, other in model.named_modules(remove_duplicate=False) if other is module]


def replace(model: nn.Module, names: Iterable[str], module: nn.Module) -> None:
    """Put a module in place of those that stand under some names.

    Raises:
        ValueError: a name that the model does not have.
    """
    for name in names:
        parent, _, child = name.rpartition(".")
        try:
            model.get_submodule(name)
            setattr(model.get_submodule(parent), child, module)
        except AttributeError as error:
            raise ValueError(f"the model has no layer {name!r}: the recipe belongs to another model") from error


def recipe_of(model: nn.Module) -> dict[str, Any]:
    """The recipe of a compressed model, as plain values for JSON; empty lists for a dense one.

    What else its `compression` says (method, execution) stays in it.
    """
    shared: list[Branch] = []
    layers = []
    for module in model.modules():
        if not isinstance(module, CompressedLayer):
            continue
        part, number = getattr(module, "shared", None), None
        if part is not None:
            if all(part is not other for other in shared):
                shared.append(part)
            number = next(i for i, other in enumerate(shared) if other is part)
        layers.append(
            {
                "names": names_of(model, module),
                "structure": module.structure(),
                "shared": number,
                "execution": module.execution,
            }
        )
    entries = {"version": VERSION, "layers": layers, "shared": [{"structure": part.structure()} for part in shared]}
    return {**getattr(model, "compression", {}), **entries}


def apply_recipe(model: nn.Module, recipe: Mapping[str, Any]) -> nn.Module:
    """Replace layers of a fresh dense model by empty factors, in place; for loading.

    Args:
        model: of the structure that was compressed; its weights do not matter.
        recipe: of `recipe_of`, also after JSON.

    Returns:
        The same model.

    Raises:
        ValueError: a recipe of another version or another model.
    """
    if recipe.get("version") != VERSION:
        raise ValueError(f"the recipe has version {recipe.get('version')}, not {VERSION}: compress the model again")
    shared = [Branch.from_structure(entry["structure"]) for entry in recipe["shared"]]
    for entry in recipe["layers"]:
        part = None if entry["shared"] is None else shared[entry["shared"]]
        layer = layer_from_structure(entry["structure"], part)
        layer.execution = entry["execution"]
        try:
            dense = model.get_submodule(entry["names"][0])
        except AttributeError as error:
            raise ValueError(f"the model has no layer {entry['names'][0]!r}: another model's recipe") from error
        if (like := next(dense.parameters(), None)) is not None:
            layer.to(like)
        layer.train(dense.training)
        replace(model, entry["names"], layer)
    model.compression = dict(recipe)  # type: ignore[assignment]
    return model
