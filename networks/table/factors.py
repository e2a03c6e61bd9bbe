"""The numbers of a wave table: amplitudes at each frequency as a product of three factors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complexfloating[Any, Any]]


@dataclass(frozen=True)
class Factors:
    """Factors whose product, ``left[k] @ right[k] @ gamma[k // band]``, maps basis functions to amplitudes on Γ.

    Attributes:
        left: of each frequency, (n_k, p_k) complex: from functions of the source area's basis, or its nodes.
        right: of each frequency, (p_k, q_b) complex.
        gamma: of each band, (q_b, 2 arc) real: patterns on Γ of displacement, then load, unweighted.
        band: neighbouring frequencies that share patterns.
        lengths: of each frequency, (p_k,) rows of each column of `left`, the first ones, that are not zero; None where
            all are stored.

    Raises:
        ValueError: shapes that do not fit one another.
    """

    left: Sequence[Complex]
    right: Sequence[Complex]
    gamma: Sequence[NDArray[np.floating[Any]]]
    band: int = 8
    lengths: Sequence[NDArray[np.integer[Any]]] | None = None

    def __post_init__(self) -> None:
        num = len(self.left)
        if not num or len(self.right) != num or self.band < 1 or len(self.gamma) != -(-num // self.band):
            raise ValueError(
                f"{num} left factors need as many right ones and patterns for every {self.band} frequencies: "
                f"got {len(self.right)} and {len(self.gamma)}"
            )
        columns = {patterns.shape[1] for patterns in self.gamma}
        if len(columns) != 1 or columns.pop() % 2:
            raise ValueError("patterns on Γ must be of displacement and load at the same nodes")
        for k, (left, right) in enumerate(zip(self.left, self.right, strict=True)):
            if left.shape[1] != right.shape[0] or right.shape[1] != len(self.gamma[k // self.band]):
                raise ValueError(
                    f"factors of frequency {k} do not multiply: {left.shape}, {right.shape}, "
                    f"{self.gamma[k // self.band].shape}"
                )
            if self.lengths is not None and np.shape(self.lengths[k]) != left.shape[1:]:
                raise ValueError(f"each of the {left.shape[1]} columns of frequency {k} needs a length")

    @property
    def num_frequencies(self) -> int:
        """Frequencies K."""
        return len(self.left)

    @property
    def num_arc(self) -> int:
        """Nodes of Γ."""
        return self.gamma[0].shape[1] // 2

    @property
    def numbers(self) -> int:
        """Real numbers of all factors, two for a complex one; of `left` those within its lengths."""
        left = sum(each.size for each in self.left)
        if self.lengths is not None:
            left = sum(int(np.sum(each)) for each in self.lengths)
        return 2 * (left + sum(each.size for each in self.right)) + sum(each.size for each in self.gamma)

    def amplitudes(self, k: int) -> Complex:
        """Amplitudes at a frequency of the basis functions, (n_k, 2 arc)."""
        return np.asarray(self.left[k] @ self.right[k] @ self.gamma[k // self.band])
