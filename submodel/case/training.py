"""The table [training] of a case file: which boundary generator is made, and for how long or how well."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, ValidationInfo, model_validator

from submodel.case.errors import CaseError
from submodel.case.models import COMMON, families_taking, family_of
from submodel.case.sections import Section

Variant = Literal["basic", "bn", "e", "sl", "bn-sl", "e-sl"]
Rays = Literal["auto", "none", "direct", "walls"]
Basis = Literal["auto", "nodes", "spline", "helmholtz", "waves"]
TRAINING_SECONDS = 120.0  # where a case says nothing else
TOLERANCE = 0.01  # of a table, where a case says nothing else


def tolerance_of(value: str | float) -> float:
    """A tolerance as a fraction: a number as it is, words such as "1%" or "0.01" read.

    Raises:
        ValueError: The words are no number, or it is not above 0 and below 1.
    """
    if isinstance(value, str):
        words = value.strip()
        try:
            fraction = float(words.removesuffix("%").rstrip()) / (100.0 if words.endswith("%") else 1.0)
        except ValueError:
            raise ValueError(f'"{value}" is no tolerance: write "1%" or 0.01') from None
    else:
        fraction = float(value)
    if not 0.0 < fraction < 1.0:
        raise ValueError(f'a tolerance is above 0 and below 100 %, got {value}: write "1%" or 0.01')
    return fraction


def _read(value: Any) -> Any:
    """A tolerance as a fraction; what is neither a number nor words stays, to be refused by its type."""
    return tolerance_of(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else value


Tolerance = Annotated[float, BeforeValidator(_read)]


class OperatorSize(Section):
    """Size of an operator generator; a number that is left out suits any case."""

    frequencies: PositiveInt | None = Field(
        default=None, description="of the response's amplitudes: 0, 1, 2, ... cycles in a period", examples=[40]
    )
    period: float | None = Field(
        default=None, gt=1, description="in durations of a run; the shorter, the fewer frequencies", examples=[1.25]
    )
    rank: PositiveInt | None = Field(default=None, description="learnt time functions of a field", examples=[16])
    width: PositiveInt | None = Field(default=None, description="channels of the network", examples=[24])
    depth: PositiveInt | None = Field(default=None, description="layers of the network", examples=[2])


def _seconds(keys: dict[str, Any]) -> float | None:
    """Default length of a training in seconds, from the keys above it."""
    return TRAINING_SECONDS if keys.get("epochs") is None and keys.get("model") != "table" else None


class Training(Section):
    """Model and training of the boundary generator; every key has a default."""

    model: str = Field(
        default="operator",
        description="the operator generator, the wave table, or a model of the paper",
        examples=["operator"],
    )
    variant: Variant = Field(
        default="basic",
        description="of a model of the paper: bn batch normalisation, e Euler regularisation, sl shared layers",
        examples=["sl"],
    )
    compressible: bool = Field(
        default=False,
        description="train a model of the paper so that its weights have low ranks, for submodel compress",
        examples=[True],
    )
    rays: Rays = Field(
        default="auto",
        description="rays whose travel times the operator generator is given",
        examples=["direct"],
    )
    size: OperatorSize | None = Field(
        default=None, description="of the operator generator, where a smaller one will do or a larger one is needed"
    )
    tolerance: Tolerance = Field(
        default=TOLERANCE,
        description="of the wave table: mean relative L2 error of u on the zone's boundary, a fraction or in %",
        examples=["1%"],
    )
    basis: Basis = Field(
        default="auto", description="functions over the source area that the wave table is made of", examples=["spline"]
    )
    numbers: PositiveInt | None = Field(
        default=None, description="that the wave table may store; left out, as many as its tolerance needs"
    )
    fields: tuple[Literal["displacement", "velocity", "load"], ...] = Field(
        default=("displacement", "velocity", "load"),  # the load is what the impedance condition needs
        min_length=1,
        description="predicted fields",
        examples=[["displacement"]],
    )
    epochs: PositiveInt | None = Field(default=None, description="length of the training", examples=[500])
    seconds: PositiveFloat | None = Field(
        default_factory=_seconds,
        description="length of the training in wall time; the wave table is computed and has none",
        examples=[120.0],
    )
    batch_size: PositiveInt = Field(default=4, description="samples a step", examples=[4])
    validation: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="share of the training samples held out; left out, 0.1 for a model of the paper, 0.2 for rays of "
        "the walls from 10 to 49 samples, else none",
        examples=[0.1],
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of weights and batches", examples=[0])

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> Self:
        own = family_of(self.model)
        stored = bool(info.context and info.context.get("stored"))  # holds every key, those left out as well
        for key in sorted(set() if stored else self.model_fields_set - COMMON - own.keys):
            others = " or ".join(family.title for family in families_taking(key))
            value = getattr(self, key)
            shown = "" if isinstance(value, Section) else f" = {json.dumps(value)}"
            raise ValueError(
                f'training.{key}{shown} does not go with model = "{self.model}", which has no use for it: leave it '
                f"out, or choose {others} for the model"
            )
        if self.epochs is not None and self.seconds is not None:
            raise ValueError(
                f"training.epochs = {self.epochs} and seconds = {self.seconds:g} exclude each other: give one"
            )
        if self.variant.startswith("e") and not {"displacement", "velocity"} <= set(self.fields):
            raise ValueError(
                f'training.variant = "{self.variant}" compares displacement with velocity: write both among '
                "training.fields, or another variant"
            )
        if len(set(self.fields)) != len(self.fields):
            raise ValueError(f"training.fields = {list(self.fields)} names a field twice: name each once")
        return self

    def predicted(self) -> tuple[str, ...]:
        """Fields that the model predicts: those of the case, without the default load for a model of the zone.

        Raises:
            CaseError: The load is asked for of a model of the zone's inside, which has none.
        """
        if self.model not in family_of(self.model).zone_models or "load" not in self.fields:
            return self.fields
        if "fields" in self.model_fields_set:
            raise CaseError(
                f"{self.model} predicts the zone's inside, where there is no load on Γ: "
                'write fields = ["displacement", "velocity"]'
            )
        return tuple(name for name in self.fields if name != "load")
