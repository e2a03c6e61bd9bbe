"""The one specification of all generators: a point of the grid of [A] section 6, and sizes."""

import dataclasses
from typing import Any, Literal, Self

FIELDS = ("displacement", "velocity", "load")

MODELS: dict[str, tuple[str, str, str, str]] = {
    "conv2d-boundary": ("local", "local", "boundary", "none"),
    "conv1.5d-boundary": ("local", "local", "boundary", "time"),
}
"""Points (time, space, target, split) of the grid of [A] section 6 that are built."""


@dataclasses.dataclass(frozen=True)
class GeneratorSpec:
    """Everything that determines a generator but its numbers.

    The default sizes follow [A] Table 1: on 256 levels and 128 nodes 2.22 M weights dense and 1.11 M decomposed with
    separate trunks, 1.12 M and 0.57 M with a shared one; the paper has 2.19, 1.18, 1.13 and 0.61.

    Attributes:
        num_levels, num_arc: shape of the image: time levels, nodes of the one closed loop Gamma.
        fields: outputs, in this order; some of "displacement", "velocity", "load".
        num_parameters: length of a parameter vector, 3 for (omega, x_s, y_s).
        time, space, target, split: the point of the grid of [A] section 6; `split` says which kernel axes are
            decomposed. `named` fills them.
        shared: one trunk for all fields ([A] eq. 20), or one each.
        batch_norm: normalise after each convolution of the trunk.
        coarse: time levels and arc nodes of the first grid; each further stage doubles both.
        widths: channels of each stage.
        depth: convolutions of each stage.
        kernel_size: taps along time and arc.
        stem: width of the fully connected layer before the first grid.
    """

    num_levels: int
    num_arc: int
    fields: tuple[str, ...] = ("displacement", "velocity")
    num_parameters: int = 3
    time: Literal["sampled", "local", "global"] = "local"
    space: Literal["local", "global"] = "local"
    target: Literal["zone", "boundary"] = "boundary"
    split: Literal["none", "time", "all"] = "time"
    shared: bool = True
    batch_norm: bool = False
    coarse: tuple[int, int] = (8, 8)
    widths: tuple[int, ...] = (96, 48, 32)
    depth: int = 2
    kernel_size: tuple[int, int] = (5, 5)
    stem: int = 64

    def __post_init__(self) -> None:
        for name in ("fields", "coarse", "widths", "kernel_size"):  # JSON brings lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.fields or len(set(self.fields)) != len(self.fields) or not set(self.fields) <= set(FIELDS):
            raise ValueError(f"fields must be distinct and among {', '.join(FIELDS)}, got {self.fields!r}")
        counts = {
            "num_levels": (self.num_levels,),
            "num_arc": (self.num_arc,),
            "num_parameters": (self.num_parameters,),
            "coarse": self.coarse,
            "widths": self.widths,
            "depth": (self.depth,),
            "kernel_size": self.kernel_size,
            "stem": (self.stem,),
        }
        for name, values in counts.items():
            if not values or any(type(v) is not int or v < 1 for v in values):
                raise ValueError(f"{name} must be positive integers, got {getattr(self, name)!r}")
        for name in ("coarse", "kernel_size"):
            if len(getattr(self, name)) != 2:
                raise ValueError(f"{name} must hold two integers (time, arc), got {getattr(self, name)!r}")
        if self.num_levels < 4 or self.num_arc < 4:
            raise ValueError(f"an image needs 4 levels and 4 nodes at least, got {self.num_levels} x {self.num_arc}")

    @classmethod
    def named(cls, model: str, *, num_levels: int, num_arc: int, **options: Any) -> Self:
        """The specification of a model by its name.

        Args:
            model: "conv2d-boundary" (dense kernels) or "conv1.5d-boundary" (time split off).
            num_levels, num_arc, options: the other attributes.

        Raises:
            ValueError: an unknown model or a bad value.
        """
        if model not in MODELS:
            raise ValueError(f"unknown model {model!r}; there are {', '.join(MODELS)}")
        time, space, target, split = MODELS[model]
        return cls(num_levels, num_arc, time=time, space=space, target=target, split=split, **options)  # type: ignore[arg-type]

    @property
    def model(self) -> str:
        """The model's name.

        Raises:
            ValueError: no model stands at this point of the grid.
        """
        point = (self.time, self.space, self.target, self.split)
        for name, known in MODELS.items():
            if known == point:
                return name
        raise ValueError(
            f"no model is built for time={self.time!r}, space={self.space!r}, target={self.target!r}, "
            f"split={self.split!r}; there are {', '.join(MODELS)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises:
            ValueError: an unknown or missing key, or a bad value.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown entries in a generator's specification: {', '.join(unknown)}")
        if missing := sorted({"num_levels", "num_arc"} - set(values)):
            raise ValueError(f"missing entries in a generator's specification: {', '.join(missing)}")
        return cls(**values)
