"""The protocol of a basis, and the plainest: the nodes themselves."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.complex64] | NDArray[np.float32]


class Basis(Protocol):
    """Functions over the source nodes, of each frequency its own.

    Attributes:
        kind: its name in a table's file.
        ordered: the first columns of a matrix matter most, so that left vectors may end early.
    """

    kind: ClassVar[str]
    ordered: ClassVar[bool]

    def matrix(self, k: int) -> Matrix | None:
        """Orthonormal columns (S, n_k); None where the nodes themselves are the basis."""
        ...

    def description(self) -> dict[str, Any]:
        """Everything but the area that makes the basis again: strings and numbers, as JSON takes them."""
        ...


class Nodes:
    """Values at the nodes: any medium, exact, and the most numbers."""

    kind: ClassVar[str] = "nodes"
    ordered: ClassVar[bool] = False

    def matrix(self, k: int) -> None:
        """No matrix: it would be the identity."""
        return

    def description(self) -> dict[str, Any]:
        """Its kind alone."""
        return {"kind": self.kind}
