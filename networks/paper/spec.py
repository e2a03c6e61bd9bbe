"""The one specification of all generators: a point of the grid of [A] section 6, and sizes."""

import dataclasses
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from networks.core.fields import FIELDS
from networks.core.specification import Specification
from networks.paper.catalogue import MODELS, SIZES
from networks.paper.catalogue import variant as find_variant


@dataclasses.dataclass(frozen=True)
class GeneratorSpec(Specification):
    """Everything that determines a generator but its numbers.

    A generator's trunk and heads work on an image whose axes are those that are local: time, then arc (boundary) or
    y and x (zone). Time that is global stands in the channels; time that is sampled is one more input.
    The default sizes are those of conv1.5d-boundary; `named` knows every model's.

    Attributes:
        num_levels, num_arc: shape of a target: time levels, and nodes of the one closed loop Gamma or of the zone.
        fields: outputs, in this order; some of "displacement", "velocity", "load".
        num_parameters: length of a parameter vector, 3 for (omega, x_s, y_s).
        time, space, target, split: the point of the grid of [A] section 6; `split` says which kernel axes are
            decomposed: none, time from space, or all from each other.
        grid: rows (y) and columns (x) of the zone's nodes, numbered along x first; for convolutions on the zone.
        shared: one trunk for all fields ([A] eq. 20), or one each.
        batch_norm: normalise after each layer of trunks and heads.
        coarse: points of the first grid, one number an axis; each further stage doubles them.
        widths: channels of each stage; of a model without convolutions, widths of the trunk's layers.
        head_widths: widths of the heads' layers before the last, of a model without convolutions.
        depth: convolutions of each stage.
        kernel_size: taps along each axis.
        between: channels between the factors of a kernel split over three axes, per channel of the thinner side.
        stem: width of the fully connected layer before the first grid.
        time_features: frequencies of the sines and cosines that enter beside a sampled time.
        reference: parameter vector that others are counted from, in double precision: far from the user's own origin,
            single precision holds differences only. Zero by default.
    """

    family: ClassVar[str] = "paper"

    num_levels: int
    num_arc: int
    fields: tuple[str, ...] = ("displacement", "velocity")
    num_parameters: int = 3
    time: Literal["sampled", "local", "global"] = "local"
    space: Literal["local", "global"] = "local"
    target: Literal["zone", "boundary"] = "boundary"
    split: Literal["none", "time", "all"] = "time"
    grid: tuple[int, int] | None = None
    shared: bool = True
    batch_norm: bool = False
    coarse: tuple[int, ...] = (8, 8)
    widths: tuple[int, ...] = (96, 48, 32)
    head_widths: tuple[int, ...] = ()
    depth: int = 2
    kernel_size: tuple[int, ...] = (5, 5)
    between: float = 1.0
    stem: int = 64
    time_features: int = 16
    reference: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("fields", "coarse", "widths", "head_widths", "kernel_size", "reference"):  # JSON brings lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.reference) not in (0, self.num_parameters):
            raise ValueError(f"reference must hold {self.num_parameters} parameters, got {self.reference!r}")
        if self.grid is not None:
            object.__setattr__(self, "grid", tuple(self.grid))
        _ = self.model  # raises where no model stands
        if not self.fields or len(set(self.fields)) != len(self.fields) or not set(self.fields) <= set(FIELDS):
            raise ValueError(f"fields must be distinct and among {', '.join(FIELDS)}, got {self.fields!r}")
        self._check_counts()
        self._check_axes()
        if self.num_levels < 4 or self.num_arc < 4:
            raise ValueError(f"an image needs 4 levels and 4 nodes at least, got {self.num_levels} x {self.num_arc}")
        if not self.between > 0:
            raise ValueError(f"between must be positive, got {self.between!r}")

    def _check_counts(self) -> None:
        for name in ("num_levels", "num_arc", "num_parameters", "depth", "stem", "time_features"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive integers, got {getattr(self, name)!r}")
        for name in ("coarse", "widths", "head_widths", "kernel_size"):
            if any(type(v) is not int or v < 1 for v in getattr(self, name)):
                raise ValueError(f"{name} must be positive integers, got {getattr(self, name)!r}")
        if not self.widths:
            raise ValueError("widths must be positive integers, one a stage at least, got ()")

    def _check_axes(self) -> None:
        for name in ("coarse", "kernel_size"):
            if self.axes and len(getattr(self, name)) != len(self.axes):
                raise ValueError(
                    f"{name} must hold {len(self.axes)} integers ({', '.join(self.axes)}), got {getattr(self, name)!r}"
                )
        if self.target == "boundary" or self.space == "global":
            return
        if self.grid is None:
            raise ValueError(
                f"{self.model} convolves over the zone, so its nodes must form a regular grid: give grid=(rows, "
                "columns), or choose fc-t or a boundary model where they form none"
            )
        if len(self.grid) != 2 or min(self.grid) < 2 or self.grid[0] * self.grid[1] != self.num_arc:
            raise ValueError(f"grid must hold the rows and columns of {self.num_arc} nodes, got {self.grid!r}")

    @classmethod
    def named(cls, model: str, *, num_levels: int, num_arc: int | None = None, **options: Any) -> Self:
        """The specification of a model by its name.

        Args:
            model: a name of `MODELS`.
            num_levels: time levels.
            num_arc: nodes of the target; of a zone with a grid it may be left out.
            options: the other attributes; `variant`, a name of `VARIANTS`, sets `shared` and `batch_norm`.

        Raises:
            ValueError: an unknown model or variant, or a bad value.
        """
        if model not in MODELS:
            raise ValueError(f"unknown model {model!r}; there are {', '.join(MODELS)}")
        if "variant" in options:
            options = {**find_variant(options["variant"]).options(), **options}
            del options["variant"]
        if num_arc is None:
            if options.get("grid") is None:
                raise ValueError(f"the number of nodes of {model} is not known: give num_arc or grid")
            num_arc = options["grid"][0] * options["grid"][1]
        time, space, target, split = MODELS[model]
        if not cls._convolves_zone(space, target):
            options = {**options, "grid": None}
        sizes = {"coarse": (), "kernel_size": ()} if space == "global" else {}
        point: dict[str, Any] = {"time": time, "space": space, "target": target, "split": split}
        return cls(num_levels, num_arc, **{**point, **sizes, **SIZES[model], **options})

    @staticmethod
    def _convolves_zone(space: str, target: str) -> bool:
        return space == "local" and target == "zone"

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

    def relative(self, parameters: ArrayLike) -> NDArray[np.float64]:
        """Parameter vectors (..., parameter) as they are counted from the reference."""
        values = np.asarray(parameters, np.float64)
        return values - np.array(self.reference) if self.reference else values

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the image's axes, those that are local; none for a model without convolutions."""
        time = ("time",) if self.time == "local" else ()
        if self.space == "global":
            return time
        return time + (("arc",) if self.target == "boundary" else ("y", "x"))

    @property
    def image(self) -> tuple[int, ...]:
        """Points of the target along `axes`."""
        nodes = self.grid if self.grid is not None else (self.num_arc,)
        return ((self.num_levels,) if self.time == "local" else ()) + (nodes if self.space == "local" else ())
