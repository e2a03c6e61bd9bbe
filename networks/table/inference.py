"""A wave table made ready to predict: the left factors at every source node, the others as one product a frequency.

A place's amplitudes are then few rows of one matrix, those of the corners of its cell, and a small product at each
frequency; sources at once are rows of the same products.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from networks.core.sharing import unique_tensors
from networks.response.compiled import CompiledProducts, library
from networks.response.inference import ResponseInference
from networks.response.user_cache import cached
from networks.response.waves import DrivenWaves
from networks.table.bases.helmholtz import Helmholtz
from networks.table.bases.waves import Waves
from networks.table.generator import TableGenerator
from networks.table.spec import TableSpec

Array = NDArray[np.float64]

SINGLE_UP_TO = 256 * 2**20
"""Bytes up to which the matrix of all source nodes is kept in single precision; beyond, in half precision with a scale
for each column, which is as exact as what a file holds."""

SLOW = (Helmholtz.kind, Waves.kind)
"""Bases that take seconds to make."""

FEW = 8
"""Sources up to which the compiled loop is faster than products of the BLAS, one a frequency."""


class TableInference(ResponseInference):
    """A wave table made ready to predict quickly, with the factors that it has when this is made.

    Args:
        generator: a computed one; it is moved to the device and left in evaluation mode.
        device: where to run.
    """

    def __init__(self, generator: TableGenerator, device: str | torch.device = "cpu") -> None:
        super().__init__(generator.spec, device)
        self._generator = generator.to(self.device).eval()
        self._mesh = generator.mesh
        spec = generator.spec
        with torch.inference_mode():
            self._rows, self._scale = expanded(generator)
            products = _products(generator)
            self._columns, self._products = _padded(products, spec.ranks)
        built = library() if self.device.type == "cpu" else None
        self._multiply = None
        if built is not None:
            self._multiply = CompiledProducts(built, spec.ranks, [each.numpy() for each in products])
        self._symmetric = len(spec.symmetries) > 1

    @property
    def spec(self) -> TableSpec:
        """Specification of the generator."""
        return self._generator.spec

    def coefficients(self, sources: Array) -> Tensor:
        """Factors of cosines, then sines, of u and r: (source, 2) to (source, arc, 2, 2 frequency)."""
        return self._parts(*(torch.from_numpy(values).to(self.device) for values in self._seen(sources)))

    def prepared(self, sources: Array, signals: Array, *, every: bool) -> list[NDArray[Any]]:
        """Corners of the sources' cells, their shares, nodes of Gamma after folding, and drives."""
        return [*self._seen(sources), self.low_pass.inverse(signals, -1)]

    def mixed(self, inputs: list[Tensor], num_sources: int) -> DrivenWaves:
        """The factors from what `prepared` gives, on the device; nothing waits for the host."""
        nodes, shares, arcs, drives = inputs
        return self.waves(self._parts(nodes, shares, arcs), drives, num_sources)

    def _seen(self, sources: Array) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        folded, arcs = self._generator.sector.fold(sources)
        nodes, shares = self._mesh.rows(folded)
        return nodes, shares.astype(np.float32), arcs

    @torch.inference_mode()
    def _parts(self, nodes: Tensor, shares: Tensor, arcs: Tensor) -> Tensor:
        """(source, corner) nodes and shares to (source, arc, 2, 2 frequency)."""
        corners = self._rows.index_select(0, nodes.view(-1)).view(*nodes.shape, -1)
        if self._scale is None:
            rows = torch.bmm(shares[:, None], corners)[:, 0]
        else:
            rows = (shares[..., None] * corners).sum(1) * self._scale
        if self._multiply is not None and len(rows) <= FEW:
            return torch.from_numpy(self._multiply(rows.numpy(), arcs.numpy()))
        return self._multiplied(rows, arcs)

    def _multiplied(self, rows: Tensor, arcs: Tensor) -> Tensor:
        """Rows of left factors to (source, arc, 2, 2 frequency), without the compiled loop."""
        (num, width), count, num_arc = self._products.shape[:2], len(rows), self.spec.num_arc
        padded = rows.new_zeros(count, num * width)
        padded[:, self._columns] = rows
        out = torch.bmm(padded.view(count, num, width).transpose(0, 1), self._products)  # (frequency, source, number)
        parts = out.view(num, count, 2, 2, num_arc).permute(1, 4, 3, 2, 0)
        if self._symmetric:
            parts = torch.take_along_dim(parts, arcs[:, :, None, None, None], 1)
        return parts.reshape(count, num_arc, 2, 2 * num)


def expanded(generator: TableGenerator) -> tuple[Tensor, Tensor | None]:
    """Left factors at the source nodes, frequency by frequency; from the user's cache where their basis takes long.

    Returns:
        (node, 2 rank of every frequency), real parts of a frequency before imaginary ones, and the scale of each column
        where they are in half precision.
    """
    slow = generator.spec.basis["kind"] in SLOW
    made = cached(_key(generator), lambda: _expanded(generator)) if slow else _expanded(generator)
    scale = made.get("scale")
    device = generator.left.device
    return made["rows"].to(device), None if scale is None else scale.to(device)


def _expanded(generator: TableGenerator) -> dict[str, Tensor]:
    """Rows, and their scale where they are in half precision, worked out."""
    spec = generator.spec
    total = 2 * sum(spec.ranks)
    half = 4 * spec.mesh[0] * total > SINGLE_UP_TO
    out = torch.empty(spec.mesh[0], total, dtype=torch.float16 if half else torch.float32)
    scale = torch.ones(total)
    basis, first = generator.source_basis(), 0
    for k, rank in enumerate(spec.ranks):
        left, matrix = generator.factors(k)[0].cpu(), basis.matrix(k)
        if matrix is not None:
            left = torch.as_tensor(np.asarray(matrix, np.complex64)) @ left
        both = torch.cat((left.real, left.imag), 1)
        part = slice(first, first + 2 * rank)
        if half and rank:
            scale[part] = both.abs().amax(0).clamp(min=torch.finfo(torch.float32).tiny)
            both = both / scale[part]
        out[:, part] = both
        first += 2 * rank
    return {"rows": out, "scale": scale} if half else {"rows": out}


def _key(generator: TableGenerator) -> str:
    """Digits that change with a table's numbers and with the code that expands them."""
    digest = hashlib.sha256(json.dumps([generator.spec.to_dict(), SINGLE_UP_TO], sort_keys=True).encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    for name, tensor in sorted(unique_tensors(generator).items()):
        digest.update(f"{name} {tensor.dtype}".encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def _products(generator: TableGenerator) -> list[Tensor]:
    """Right factors times patterns, (rank, 2 arc) of each frequency, complex."""
    found = []
    for k in range(generator.spec.num_frequencies):
        _, right, gamma = generator.factors(k)
        found.append(right @ gamma.to(right.dtype))
    return found


def _padded(products: list[Tensor], ranks: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Products in real numbers and as wide at every frequency.

    Returns:
        For each column of the rows its place among those of every frequency, as wide as the widest; and (frequency,
        2 rank, number), the numbers those of cosines then sines, displacement then load, and node.
    """
    num, width = len(products), 2 * max(1, *ranks)
    out = torch.zeros(num, width, 2 * products[0].shape[1], device=products[0].device)
    columns = []
    for k, (product, rank) in enumerate(zip(products, ranks, strict=True)):
        out[k, :rank] = torch.cat((product.real, -product.imag), 1)
        out[k, rank : 2 * rank] = torch.cat((-product.imag, -product.real), 1)
        columns.append(k * width + np.arange(2 * rank))
    return torch.as_tensor(np.concatenate(columns)).to(out.device), out
