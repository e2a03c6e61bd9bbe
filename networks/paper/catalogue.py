"""The family of [A]: eleven models and six variants of each, their sizes, and what the paper counts.

Source: Boukraichi et al., "A priori compression of convolutional neural networks for wave simulators", [A]
section 6 (the grid of models), 7.2 Table 1 (trainable parameters).
"""

import dataclasses
from typing import Any

MODELS: dict[str, tuple[str, str, str, str]] = {
    "fc-t": ("sampled", "global", "zone", "none"),
    "conv2d": ("global", "local", "zone", "none"),
    "conv2d-t": ("sampled", "local", "zone", "none"),
    "conv3d": ("local", "local", "zone", "none"),
    "conv2.5d": ("local", "local", "zone", "time"),
    "conv2.5db": ("local", "local", "zone", "all"),
    "fc-t-boundary": ("sampled", "global", "boundary", "none"),
    "conv1d-boundary": ("global", "local", "boundary", "none"),
    "conv1d-t-boundary": ("sampled", "local", "boundary", "none"),
    "conv2d-boundary": ("local", "local", "boundary", "none"),
    "conv1.5d-boundary": ("local", "local", "boundary", "time"),
}
"""Points (time, space, target, split) of the grid of [A] section 6, in the order of Table 1."""

TITLES: dict[str, str] = {
    "fc-t": "FC t",
    "conv2d": "Conv2D",
    "conv2d-t": "Conv2D t",
    "conv3d": "Conv3D",
    "conv2.5d": "Conv2.5D",
    "conv2.5db": "Conv2.5Db",
    "fc-t-boundary": "FC t Boundary",
    "conv1d-boundary": "Conv1D Boundary",
    "conv1d-t-boundary": "Conv1D t Boundary",
    "conv2d-boundary": "Conv2D Boundary",
    "conv1.5d-boundary": "Conv1.5D Boundary",
}
"""The models' names in the paper."""

_ZONE_3D = {"coarse": (8, 3, 3), "widths": (164, 86, 24), "kernel_size": (5, 3, 3), "stem": 16}

SIZES: dict[str, dict[str, Any]] = {
    "fc-t": {"widths": (256, 400), "head_widths": (1600, 2400)},
    "conv2d": {"coarse": (3, 3), "widths": (512, 480, 256), "kernel_size": (3, 3)},
    "conv2d-t": {"coarse": (3, 3), "widths": (128, 128, 64), "kernel_size": (3, 3)},
    "conv3d": _ZONE_3D,
    "conv2.5d": {**_ZONE_3D, "between": 1.125},
    "conv2.5db": {**_ZONE_3D, "between": 0.8},
    "fc-t-boundary": {"widths": (48, 160), "head_widths": (272, 208)},
    "conv1d-boundary": {"coarse": (8,), "widths": (384, 360, 128), "kernel_size": (5,)},
    "conv1d-t-boundary": {"coarse": (8,), "widths": (96, 78, 32), "kernel_size": (5,)},
    "conv2d-boundary": {},
    "conv1.5d-boundary": {},
}
"""Sizes of each model, entries of `GeneratorSpec`, such that the counts follow Table 1; where none is given, the
specification's own."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """One of the regularisations of [A] section 6.1.

    Attributes:
        title: its name in the paper.
        batch_norm: normalise after each layer of trunks and heads.
        shared: one trunk for all fields ([A] eq. 20).
        euler: add the Euler regularisation ([A] eq. 21) to the loss.
    """

    title: str
    batch_norm: bool = False
    shared: bool = False
    euler: bool = False

    def options(self) -> dict[str, bool]:
        """Entries of a `GeneratorSpec`."""
        return {"batch_norm": self.batch_norm, "shared": self.shared}


VARIANTS: dict[str, Variant] = {
    "basic": Variant("Basic"),
    "bn": Variant("BN", batch_norm=True),
    "e": Variant("E", euler=True),
    "sl": Variant("SL", shared=True),
    "bn-sl": Variant("BN & SL", batch_norm=True, shared=True),
    "e-sl": Variant("E & SL", euler=True, shared=True),
}
"""The six variants, in the order of the paper's tables."""

NO_EULER_WITH_BATCH_NORM = (
    "the Euler regularisation (E) cannot be combined with batch normalisation (BN): normalised by statistics of the "
    "batch, the network's outputs at neighbouring levels do not belong to one function of time, which makes the "
    "derivative in the regularisation erroneous ([A] section 6.1)"
)


def variant(name: str) -> Variant:
    """A variant by its name.

    Raises:
        ValueError: an unknown name, or one that combines E with BN.
    """
    if name in VARIANTS:
        return VARIANTS[name]
    if {"bn", "e"} <= set(name.lower().split("-")):
        raise ValueError(f"variant {name!r} is refused: {NO_EULER_WITH_BATCH_NORM}")
    raise ValueError(f"unknown variant {name!r}; there are {', '.join(VARIANTS)}")
