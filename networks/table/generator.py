"""The wave table as a network: a linear map from where a source is to amplitudes on Γ, its factors the weights.

``amplitudes(x) = sum over the corners i of x's cell of w_i(x) Phi_k[i] L_k R_k G_band`` at each frequency k: a
separable kernel, source x Γ, as the decomposed convolutions of [A] are, with factors that neighbouring frequencies,
displacement and load share, as [B] couples them; both are computed here instead of trained, and may be trained after.

Sources: [A] Boukraichi et al., "A priori compression of convolutional neural networks for wave simulators"; [B] coupled
tensor decomposition for compact network representation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from networks.core.sharing import load_unique, unique_tensors
from networks.response.symmetry import Sector
from networks.table.bases.area import Area, Patch
from networks.table.bases.basis import Basis
from networks.table.bases.catalogue import basis_from
from networks.table.factors import Factors, canonical
from networks.table.source_mesh import SourceMesh
from networks.table.spec import TableSpec

Array = NDArray[np.float64]

FACTORS = ("left", "right", "gamma")
LARGEST = 2.0**15
"""Largest number of a block as it is stored: half precision has its full digits from there down to 2^-14."""


class TableGenerator(nn.Module):
    """Sources to responses on Gamma, by a product of factors.

    Args:
        spec: what to build; its factors begin as zeros.

    Raises:
        ValueError: a specification without sizes.
    """

    incompressible = (
        "a wave table consists of truncated factors already: make one of fewer numbers from the same runs, by a larger "
        "tolerance or by numbers = N"
    )
    """Reason why a compression of its layers is refused."""

    left: nn.Parameter
    right: nn.Parameter
    gamma: nn.Parameter
    nodes: Tensor
    cells: Tensor
    lengths: Tensor
    rows: Tensor
    pivots: Tensor
    ratios: Tensor

    def __init__(self, spec: TableSpec) -> None:
        super().__init__()
        if not spec.computed:
            raise ValueError("this wave table has no factors yet: compute it from runs, with submodel train or build")
        self.spec, self.sector = spec, Sector(spec)
        self.left = nn.Parameter(torch.zeros(spec.entries, 2))
        self.right = nn.Parameter(torch.zeros(spec.right_starts[-1], 2))
        self.gamma = nn.Parameter(torch.zeros(spec.gamma_starts[-1]))
        counts = {"lengths": sum(spec.ranks), "rows": sum(spec.ranks), "pivots": sum(spec.patterns)}
        for name, count in {**counts, "ratios": len(spec.patterns)}.items():
            self.register_buffer(name, torch.zeros(count, dtype=torch.int32))
        self._areas("", spec.mesh, spec.corners)
        if spec.patch is not None:
            self._areas("patch_", spec.patch, spec.corners)
            self.register_buffer("patch_speed", torch.ones(spec.patch[1], dtype=torch.float64))
        self._made: dict[str, Any] = {}

    def _areas(self, prefix: str, sizes: tuple[int, int], corners: int) -> None:
        self.register_buffer(f"{prefix}nodes", torch.zeros(sizes[0], 2, dtype=torch.float64))
        self.register_buffer(f"{prefix}cells", torch.zeros(sizes[1], corners, dtype=torch.int32))

    @classmethod
    def of(
        cls, spec: TableSpec, factors: Factors, mesh: SourceMesh, basis: Mapping[str, Any], patch: Patch | None = None
    ) -> "TableGenerator":
        """A table of computed factors, rounded to what a file holds.

        Args:
            spec: of the problem.
            factors: over the basis.
            mesh: of the source area, from the specification's origin.
            basis: its description.
            patch: medium around the source area, from the origin; None where the basis needs none.
        """
        form = canonical(factors)
        factors, lengths = form.factors, form.factors.lengths or []
        own = replace(
            spec,
            element=mesh.element,
            degree=mesh.degree,
            mesh=(len(mesh.nodes), len(mesh.cells)),
            patch=None if patch is None else (len(patch.nodes), len(patch.cells)),
            basis=dict(basis),
            num_frequencies=factors.num_frequencies,
            sizes=tuple(len(each) for each in factors.left),
            ranks=tuple(each.shape[1] for each in factors.left),
            patterns=tuple(len(each) for each in factors.gamma),
            entries=sum(int(each.sum()) for each in lengths),
            share=factors.band,
        )
        made = cls(own)
        tensors: dict[str, Any] = {"nodes": mesh.nodes, "cells": mesh.cells}
        if patch is not None:
            tensors |= {"patch_nodes": patch.nodes, "patch_cells": patch.cells, "patch_speed": patch.speed}
        tensors |= {"lengths": np.concatenate(lengths), "rows": np.concatenate(form.rows)}
        tensors |= {"pivots": np.concatenate(form.nodes), "ratios": np.array(form.ratios)}
        columns = [
            left[:length, column]
            for left, own_lengths in zip(factors.left, lengths, strict=True)
            for column, length in enumerate(own_lengths)
        ]
        rights = [each.ravel()[_free(each.shape, rows)] for each, rows in zip(factors.right, form.rows, strict=True)]
        tensors["left"], tensors["right"] = _pairs(columns), _pairs(rights)
        gammas = [np.delete(each, nodes, 1).ravel() for each, nodes in zip(factors.gamma, form.nodes, strict=True)]
        tensors["gamma"] = np.concatenate(gammas)
        load_unique(made, {name: torch.as_tensor(np.ascontiguousarray(values)) for name, values in tensors.items()})
        made.round()
        return made.eval()

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the predicted fields."""
        return self.spec.fields

    @property
    def num_parameters(self) -> int:
        """Real numbers of the factors."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def num_stored(self) -> int:
        """All numbers of its file: factors, their scales and lengths, the meshes and the medium."""
        return sum(tensor.numel() for tensor in self.packed().values())

    @property
    def mesh(self) -> SourceMesh:
        """Mesh of the source area, from the origin."""
        spec = self.spec
        if "mesh" not in self._made:
            nodes, cells = self.nodes.cpu().numpy(), self.cells.cpu().numpy()
            self._made["mesh"] = SourceMesh(nodes, cells, spec.element, spec.degree, spec.origin)
        found: SourceMesh = self._made["mesh"]
        return found

    @property
    def basis(self) -> Tensor:
        """(time + 1, coefficient) cosines and sines of the frequencies at the levels."""
        t = self.spec.dt * np.arange(self.spec.num_levels + 1)[:, None]
        omega = self.spec.omega
        return torch.as_tensor(np.concatenate((np.cos(t * omega), np.sin(t * omega[1:])), 1)).to(self.left.device)

    def source_basis(self) -> Basis:
        """Basis of the left factors, made anew."""
        spec = self.spec
        patch = None
        if spec.patch is not None:
            names = ("patch_nodes", "patch_cells", "patch_speed")
            nodes, cells, speed = (getattr(self, name).cpu().numpy() for name in names)
            patch = Patch(nodes, cells.astype(np.int64), speed)
        area = Area(self.nodes.cpu().numpy(), spec.omega, spec.dt, spec.num_levels, patch)
        return basis_from(dict(spec.basis), area)

    def factors(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Left (n, p), right (p, q) and patterns (q, 2 arc) of a frequency, the former two complex."""
        spec, places = self.spec, self._places()
        band = k // spec.share
        n, p, q = spec.sizes[k], spec.ranks[k], spec.patterns[band]
        starts, ends = (places["left"], spec.right_starts, spec.gamma_starts), (k, k, band)
        flat = [
            values[start[end] : start[end + 1]]
            for values, start, end in zip((self.left, self.right, self.gamma), starts, ends, strict=True)
        ]
        entries, free = (torch.view_as_complex(each) for each in flat[:2])
        left = entries.new_zeros(n * p).index_put((places["entries"][k],), entries).view(n, p)
        own = self.rows[places["first"][k] : places["first"][k + 1]].long()
        right = entries.new_zeros(p, q).index_put((torch.arange(p, device=own.device), own), entries.new_ones(()))
        right = right.flatten().index_put((places["free"][k],), free).view(p, q)
        return left, right, self._patterns(band, flat[2])

    def _patterns(self, band: int, free: Tensor) -> Tensor:
        """Patterns on Gamma of a band, (q, 2 arc)."""
        q, num = self.spec.patterns[band], 2 * self.spec.num_arc
        first = sum(self.spec.patterns[:band])
        own = self.pivots[first : first + q].long()
        others = torch.ones(num, dtype=torch.bool, device=own.device).index_fill(0, own, False).nonzero()[:, 0]
        whole = free.new_zeros(q, num).index_put((torch.arange(q, device=own.device), own), free.new_ones(()))
        whole = whole.index_copy(1, others, free.view(q, num - q))
        load = whole.new_full((num // 2,), 1.0).ldexp(self.ratios[band])
        return torch.cat((whole[:, : num // 2], whole[:, num // 2 :] * load), 1)

    def _places(self) -> dict[str, Any]:
        """Where the factors of each frequency begin, and where the entries of the left and right ones stand in them."""
        spec = self.spec
        if "places" not in self._made or self._made["places"]["device"] != self.lengths.device:
            device = self.lengths.device
            lengths, rows = self.lengths.cpu().numpy(), self.rows.cpu().numpy()
            first = np.concatenate(([0], np.cumsum(spec.ranks)))
            entries, free, sums = [], [], [0]
            for k, rank in enumerate(spec.ranks):
                own = lengths[first[k] : first[k + 1]]
                column = np.repeat(np.arange(rank), own)
                row = np.arange(own.sum()) - np.repeat(np.cumsum(own) - own, own)
                entries.append(row * rank + column)
                free.append(_free((rank, spec.patterns[k // spec.share]), rows[first[k] : first[k + 1]]))
                sums.append(sums[-1] + int(own.sum()))
            with torch.inference_mode(False):  # a prediction may ask first, and training after
                made = {name: [torch.as_tensor(each, device=device) for each in places]
                        for name, places in (("entries", entries), ("free", free))}  # fmt: skip
            self._made["places"] = {"device": device, "left": sums, "first": first, **made}
        found: dict[str, Any] = self._made["places"]
        return found

    def amplitudes(self, sources: Tensor) -> Tensor:
        """Responses to sources, (source, 2) to (source, 2, coefficient, arc): of displacement and load.

        ``basis @ amplitudes`` are the low-passed responses at the levels 0 .. num_levels.
        """
        folded, arcs = self.sector.fold(sources.detach().cpu().numpy().astype(np.float64))
        nodes, shares = self.mesh.rows(folded)
        device, basis, spec = self.left.device, self.source_basis(), self.spec
        index, weights = torch.as_tensor(nodes, device=device), torch.as_tensor(shares, device=device)
        found = []
        for k in range(spec.num_frequencies):
            left, right, gamma = self.factors(k)
            matrix = basis.matrix(k)
            if matrix is not None:
                corners = torch.as_tensor(matrix[nodes.ravel()], device=device).to(left.dtype)
                rows = (corners @ left).view(*index.shape, -1)
            else:
                rows = left[index]
            rows = (rows * weights.to(left.real.dtype)[..., None]).sum(1)
            found.append(rows @ right @ gamma.to(left.dtype))
        values = torch.stack(found, 1).unflatten(2, (2, -1)).transpose(1, 2)  # (source, 2, frequency, arc)
        both = torch.cat((values.real, -values.imag[:, :, 1:]), 2)
        order = torch.as_tensor(arcs, device=device)[:, None, None].expand_as(both)
        return torch.take_along_dim(both, order, -1)

    def forward(self, sources: Tensor) -> Tensor:
        """Low-passed responses, (source, 2) to (source, 2, level, arc), one level past the end."""
        amplitudes = self.amplitudes(sources)
        return self.basis.to(amplitudes.dtype) @ amplitudes

    def blocks(self) -> dict[str, list[int]]:
        """Where blocks of factors begin that have a scale each."""
        return {"left": self._places()["left"], "right": self.spec.right_starts, "gamma": self.spec.gamma_starts}

    @torch.no_grad()
    def packed(self) -> dict[str, Tensor]:
        """Tensors of a file: factors in half precision with a power of two for each block where that changes no number.

        `round` sees to it; a table that was trained further keeps single precision until then.
        """
        tensors = unique_tensors(self)
        blocks = self.blocks()
        halves = {name: _halved(tensors[name], blocks[name]) for name in FACTORS}
        if any(not torch.equal(_whole(*halves[name], blocks[name]), tensors[name]) for name in FACTORS):
            return tensors
        for name in FACTORS:
            tensors[name], tensors[f"{name}_scale"] = halves[name]
        return tensors

    @torch.no_grad()
    def unpack(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the numbers of a file, in place.

        Raises:
            ValueError: they are those of another table.
        """
        plain = dict(tensors)
        scales = {name: plain.pop(f"{name}_scale", None) for name in FACTORS}
        if "lengths" in plain and plain["lengths"].shape == self.lengths.shape:
            self.lengths.copy_(plain["lengths"])  # blocks depend on them
            self._made = {}
        for name, scale in scales.items():
            if scale is not None:
                plain[name] = _whole(plain[name], scale, self.blocks()[name])
        load_unique(self, plain)
        self._made = {}

    @torch.no_grad()
    def round(self) -> None:
        """Round the factors to numbers that a file holds in half precision."""
        for name in FACTORS:
            parameter, blocks = getattr(self, name), self.blocks()[name]
            parameter.copy_(_whole(*_halved(parameter.detach(), blocks), blocks))

    def _apply(self, *args: Any, **kwargs: Any) -> "TableGenerator":
        self._made = {}
        moved: TableGenerator = super()._apply(*args, **kwargs)
        return moved

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": {}}


def _pairs(parts: Sequence[NDArray[np.complexfloating]]) -> NDArray[np.float32]:
    """Complex numbers one after the other as real and imaginary parts, (n, 2)."""
    values = np.concatenate((np.zeros(0), *parts))
    return np.stack((values.real, values.imag), -1).astype(np.float32)


def _free(shape: tuple[int, ...], rows: NDArray[np.integer]) -> NDArray[np.int64]:
    """Places in a right factor (p, q), row by row, of numbers that are not 0 or 1 by its triangle."""
    known = np.zeros(shape, bool)
    known[:, rows] = np.tril(np.ones((shape[0], len(rows)), bool))
    return np.flatnonzero(~known)


def _halved(values: Tensor, starts: list[int]) -> tuple[Tensor, Tensor]:
    """Numbers in half precision and the exponent of 2 of each block of rows."""
    out, exponents = torch.empty_like(values, dtype=torch.float16), []
    for first, last in zip(starts, starts[1:], strict=False):
        block = values[first:last]
        largest = float(block.abs().max()) if block.numel() else 0.0
        exponent = int(np.ceil(np.log2(largest / LARGEST))) if largest > 0 else 0
        out[first:last] = torch.ldexp(block, torch.tensor(-exponent)).half()
        exponents.append(exponent)
    return out, torch.tensor(exponents, dtype=torch.int16)


def _whole(values: Tensor, exponents: Tensor, starts: list[int]) -> Tensor:
    """Numbers in single precision of those in half precision."""
    out = values.float()
    for number, (first, last) in enumerate(zip(starts, starts[1:], strict=False)):
        out[first:last] = torch.ldexp(out[first:last], exponents[number].to(torch.int32))
    return out
