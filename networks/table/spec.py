"""Everything that determines a wave table but its numbers."""

import dataclasses
import itertools
from typing import Any, ClassVar, Literal

from networks.response.specification import ResponseSpecification
from networks.response.symmetry import Pair, SymmetryMap


@dataclasses.dataclass(frozen=True)
class TableSpec(ResponseSpecification):
    """A wave table: problem first, sizes of its factors after; these are empty until it is computed.

    Attributes:
        num_levels: time levels N of a run.
        dt: time between levels.
        rate: of both poles of the low-pass, rad per unit of time.
        band: lowest and highest angular frequency that the loss counts, rad per unit of time.
        points: nodes of Gamma in canonical order, unit of length, from the origin.
        num_frequencies: K, of the amplitudes.
        period: of the slowest of them, in durations of a run.
        origin: point near Gamma that `points`, the source mesh and `symmetries` are counted from, in double precision.
        symmetries: the problem's; the identity first, or none at all. With them the source mesh need not cover more
            than one sector.
        element: of the source mesh, see `networks.table.source_mesh.SourceMesh`.
        degree: of its elements.
        mesh: nodes and cells of the source mesh.
        patch: nodes and cells of the medium around the source area that a basis is made of; None where it needs none.
        basis: description of the basis of the left factors, as `networks.table.bases.catalogue.basis_from` takes it.
        sizes: of each frequency, functions of its basis n_k.
        ranks: of each frequency, columns p_k of its left factor.
        patterns: of each band, patterns q_b on Gamma.
        entries: complex numbers of all left factors.
        share: neighbouring frequencies of a band, which share patterns.
        runs: direct and reciprocal runs that it was computed from.
        loads: those of the reciprocal runs.
        model: "table".
    """

    family: ClassVar[str] = "table"

    num_frequencies: int
    origin: Pair = (0.0, 0.0)
    period: float = 1.25
    symmetries: tuple[SymmetryMap, ...] = ()
    element: Literal["p1", "gll"] = "p1"
    degree: int = 1
    mesh: tuple[int, int] = (0, 0)
    patch: tuple[int, int] | None = None
    basis: dict[str, Any] = dataclasses.field(default_factory=lambda: {"kind": "nodes"})
    sizes: tuple[int, ...] = ()
    ranks: tuple[int, ...] = ()
    patterns: tuple[int, ...] = ()
    entries: int = 0
    share: int = 8
    runs: tuple[int, int] = (0, 0)
    loads: tuple[int, ...] = ()
    model: str = "table"

    def __post_init__(self) -> None:
        self.settle()
        for name in ("mesh", "sizes", "ranks", "patterns", "runs", "loads"):
            object.__setattr__(self, name, tuple(int(value) for value in getattr(self, name)))
        if self.patch is not None:
            object.__setattr__(self, "patch", tuple(int(value) for value in self.patch))
        object.__setattr__(self, "basis", dict(self.basis))
        self.check("degree", "share")
        if self.model != "table":
            raise ValueError(f"a wave table's model is 'table', got {self.model!r}")
        if self.element not in ("p1", "gll"):
            raise ValueError(f"a source mesh is of p1 or gll elements, got {self.element!r}")
        if self.num_frequencies > self.period_levels // 2:
            raise ValueError(
                f"{self.num_frequencies} frequencies are more than {self.period_levels} levels of a period show: "
                f"{self.period_levels // 2} at most"
            )
        num = self.num_frequencies
        if self.computed and (
            len(self.sizes) != num or len(self.ranks) != num or len(self.patterns) != -(-num // self.share)
        ):
            raise ValueError(
                f"{num} frequencies need as many sizes and ranks, and patterns for every {self.share} of them: got "
                f"{len(self.sizes)}, {len(self.ranks)} and {len(self.patterns)}"
            )

    @property
    def computed(self) -> bool:
        """True where the sizes of its factors are known."""
        return bool(self.ranks)

    @property
    def corners(self) -> int:
        """Nodes of a cell of the source mesh."""
        return 3 if self.element == "p1" else (self.degree + 1) ** 2

    @property
    def right_starts(self) -> list[int]:
        """Places where the right factors begin among their numbers, and their end; their triangles are known."""
        ranks = [(rank, self.patterns[k // self.share]) for k, rank in enumerate(self.ranks)]
        return [0, *itertools.accumulate(p * q - p * (p + 1) // 2 for p, q in ranks)]

    @property
    def gamma_starts(self) -> list[int]:
        """Places where patterns of the bands begin among their numbers, and their end; their own nodes are known."""
        return [0, *itertools.accumulate(q * (2 * self.num_arc - q) for q in self.patterns)]
