"""Base of what determines a generator beside its numbers: a frozen dataclass that becomes JSON and comes back."""

import dataclasses
from typing import Any, Self


@dataclasses.dataclass(frozen=True)
class Specification:
    """Plain values, checked when made; each family of generators derives its own."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises:
            ValueError: an unknown or missing key, or a bad value.
        """
        fields = dataclasses.fields(cls)
        if unknown := sorted(set(values) - {field.name for field in fields}):
            raise ValueError(f"unknown entries in a generator's specification: {', '.join(unknown)}")
        needed = {field.name for field in fields if field.default is dataclasses.MISSING}
        if missing := sorted(needed - set(values)):
            raise ValueError(f"missing entries in a generator's specification: {', '.join(missing)}")
        return cls(**values)
