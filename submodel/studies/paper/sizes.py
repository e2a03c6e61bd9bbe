"""The models of [A], eleven in six variants, with the paper's sizes beside ours."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from networks.paper.catalogue import MODELS
from networks.paper.printed_tables import MODEL_TITLES, TABLES, VARIANT_TITLES
from submodel.geometry.zone_target import Sizes
from submodel.learn.paper_spec import FIELDS, count_parameters, specification

REFERENCE = Sizes(num_levels=256, num_arc=128, num_zone=33 * 33, grid=(33, 33))
"""Sizes of the reference problem, cases/paper2d.toml; [A] gives none."""
TOLERANCE = 0.15
"""A ratio that is farther than this from the paper's is remarked upon."""
DECOMPOSED = {"conv2.5d": "conv3d", "conv2.5db": "conv3d", "conv1.5d-boundary": "conv2d-boundary"}
"""Models with decomposed convolutions, and the dense model of each."""
SHARED = {"sl": "basic", "bn-sl": "bn", "e-sl": "e"}
"""Variants with shared layers, and the separate one of each."""
EULER = {"e": "basic", "e-sl": "sl"}
"""Variants with Euler regularisation, which adds no weights, and that without of each."""


@dataclass(frozen=True)
class Size:
    """Trainable numbers of a model in a variant.

    Attributes:
        model, variant: names.
        ours: how many it has here.
        paper: millions in [A] Table 1.
    """

    model: str
    variant: str
    ours: int
    paper: float

    @property
    def ratio(self) -> float:
        """Ours over the paper's."""
        return self.ours / (1e6 * self.paper)

    @property
    def remark(self) -> str:
        """Words on a deviation that is too large; empty on others."""
        return _remark(self.ratio)


@dataclass(frozen=True)
class Ratio:
    """A ratio between two models or two variants.

    Attributes:
        what: "decomposed / dense" or "shared / separate".
        above, below: what is divided by what.
        ours, paper: its value here and in [A] Table 1.
    """

    what: str
    above: str
    below: str
    ours: float
    paper: float

    @property
    def deviation(self) -> float:
        """Relative, of ours from the paper's."""
        return self.ours / self.paper - 1.0

    @property
    def remark(self) -> str:
        """Words on a deviation that is too large; empty on others."""
        return _remark(self.ours / self.paper)


@dataclass(frozen=True)
class Listing:
    """All models."""

    sizes: tuple[Size, ...]
    ratios: tuple[Ratio, ...]

    def size(self, model: str, variant: str) -> Size:
        """That of one model.

        Raises:
            KeyError: there is none.
        """
        for size in self.sizes:
            if (size.model, size.variant) == (model, variant):
                return size
        raise KeyError(f"{model}, {variant}")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "reference": asdict(REFERENCE) | {"fields": FIELDS},
            "models": [asdict(size) | {"ratio": size.ratio, "remark": size.remark} for size in self.sizes],
            "ratios": [asdict(ratio) | {"deviation": ratio.deviation, "remark": ratio.remark} for ratio in self.ratios],
        }


def listing() -> Listing:
    """Count all models at the reference problem's sizes."""
    counts = count_all(REFERENCE)
    sizes = []
    for (model, variant), ours in counts.items():
        paper = TABLES[1].value(model, variant)
        sizes.append(Size(model, variant, ours, paper))
    return Listing(tuple(sizes), tuple(_ratios(counts)))


def count_all(sizes: Sizes) -> dict[tuple[str, str], int]:
    """Trainable numbers of all models that can be built for these sizes, by model and variant."""
    counts = {}
    for model, (_, space, target, _) in MODELS.items():
        if target == "zone" and space == "local" and sizes.grid is None:
            continue
        for variant in VARIANT_TITLES:
            plain = EULER.get(variant)
            if plain is None:
                counts[model, variant] = count_parameters(specification(model, variant, sizes))
            else:
                counts[model, variant] = counts[model, plain]
    return counts


def _ratios(counts: dict[tuple[str, str], int]) -> list[Ratio]:
    paper = TABLES[1].value
    ratios = []
    for above, below in DECOMPOSED.items():
        for variant in VARIANT_TITLES:
            ours = counts[above, variant] / counts[below, variant]
            theirs = paper(above, variant) / paper(below, variant)
            ratios.append(Ratio("decomposed / dense", f"{above} {variant}", f"{below} {variant}", ours, theirs))
    for model in MODEL_TITLES:
        for shared, separate in SHARED.items():
            ours = counts[model, shared] / counts[model, separate]
            theirs = paper(model, shared) / paper(model, separate)
            ratios.append(Ratio("shared / separate", f"{model} {shared}", f"{model} {separate}", ours, theirs))
    return ratios


def _remark(ratio: float) -> str:
    return f"deviates by {100.0 * (ratio - 1.0):+.0f} %" if abs(ratio - 1.0) > TOLERANCE else ""
