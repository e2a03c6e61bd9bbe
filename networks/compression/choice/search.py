"""Compressed copies of one model: for given ranks, for a ratio, for an error; decompositions are made once."""

import copy
import dataclasses
import math
from collections.abc import Sequence

from torch import nn

from networks.compression.choice.measure import Sample, num_parameters, output_error
from networks.compression.choice.methods import decompose
from networks.compression.choice.ranks import Ranks, Unit
from networks.compression.choice.selection import Candidate, candidates, choose, front, loss
from networks.compression.choice.weighted import Options, squared_errors, weighted
from networks.compression.layer.base import CompressedLayer
from networks.compression.layer.structure import names_of, replace

SHARES = (None, 0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Shared ranks as multiples of own ones that are tried for all groups; None leaves each group its own."""
BISECTIONS = 8
TRIAL_SWEEPS = 4
"""Sweeps of the coupled methods where shares are compared; the last word has as many as asked."""


class Workshop:
    """Makes compressed copies of a model.

    Args:
        model: dense; left as it is.
        method: one of `ranks.METHODS`.
        units: what is decomposed.
        options: settings of the decompositions beside the ranks.
    """

    def __init__(self, model: nn.Module, method: str, units: Sequence[Unit], options: Options) -> None:
        self.model, self.method, self.units, self.options = model, method, units, options
        few = min(TRIAL_SWEEPS, options.minimisation.sweeps)
        quick = dataclasses.replace(options.minimisation, start="tt-svd", sweeps=few)
        self._trial = dataclasses.replace(options, minimisation=quick)
        self._made: dict[tuple[int, Ranks, int], list[CompressedLayer]] = {}
        self._candidates: list[list[Candidate]] | None = None

    def build(
        self, ranks: Sequence[Ranks | None], *, trial: bool = False
    ) -> tuple[nn.Module, dict[str, CompressedLayer]]:
        """A copy of the model with layers of these ranks, and those by name; None leaves a unit dense.

        For a trial the coupled methods take few sweeps.
        """
        options = self._trial if trial else self.options
        made: dict[str, CompressedLayer] = {}
        places: dict[str, list[str]] = {}
        for number, (unit, chosen) in enumerate(zip(self.units, ranks, strict=True)):
            if chosen is None:
                continue
            new = copy.deepcopy(self._decomposed(number, chosen, options))  # all of a group together: they share
            trained = any(m.weight.requires_grad for m in unit.modules)  # type: ignore[union-attr]
            for name, dense, layer in zip(unit.group.names, unit.modules, new, strict=True):
                layer.train(dense.training).requires_grad_(trained)
                made[name], places[name] = layer, names_of(self.model, dense)
        compressed = copy.deepcopy(self.model)
        for name, layer in made.items():
            replace(compressed, places[name], layer)
        return compressed, made

    def for_ratio(self, ratio: float) -> list[Ranks | None]:
        """Ranks with which the whole model has `ratio` times fewer parameters.

        Raises:
            ValueError: the smallest ranks do not reach it.
        """
        return self._best(ratio, SHARES)[1]

    def _best(self, ratio: float, shares: Sequence[float | None]) -> tuple[float | None, list[Ranks | None]]:
        """The share that loses least at a ratio, and its ranks; losses are compared by decomposing."""
        budget = self._budget(ratio)
        coupled = any(unit.shared for unit in self.units)
        best: tuple[float, float | None, list[Ranks | None]] | None = None
        for share in dict.fromkeys(shares) if coupled else (None,):
            chosen = choose(self._curve(share), budget, self._weights())
            if chosen is None:
                continue
            ranks = [candidate.ranks for candidate in chosen]
            lost = self._error(ranks) if coupled and len(shares) > 1 else 0.0
            if best is None or lost < best[0]:
                best = lost, share, ranks
        if best is None:
            raise ValueError(
                f"the ratio {ratio:g} is out of reach: with the smallest ranks it is {self.largest_ratio():.4g}; ask "
                "for less, or let more layers be compressed"
            )
        return best[1:]

    def for_error(self, error: float, sample: Sample) -> list[Ranks | None]:
        """Ranks of the smallest model whose output error on the sample is at most `error`.

        Raises:
            ValueError: no compressed model has so small an error.
        """
        low, high = 0.0, math.log(self.largest_ratio())
        shares = (None, self._best(math.exp(0.5 * high), SHARES)[0])
        if self._holds(high, shares, error, sample):
            low = high
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self._holds(middle, shares, error, sample) else (low, middle)
        for back in range(BISECTIONS):  # the trials' few sweeps may have been lucky
            ranks = self._best(math.exp(low - 0.02 * back) * (1 - 1e-12), shares)[1]
            if all(chosen is None for chosen in ranks):
                break
            if output_error(self.model, self.build(ranks)[0], sample) <= error:
                return ranks
        raise ValueError(
            f"no compressed model has an output error of {error:g} on the sample: allow more, or give ranks"
        )

    def _holds(self, log_ratio: float, shares: Sequence[float | None], error: float, sample: Sample) -> bool:
        """True where a trial at a ratio keeps the error."""
        ranks = self._best(math.exp(log_ratio) * (1 - 1e-12), shares)[1]
        return output_error(self.model, self.build(ranks, trial=True)[0], sample) <= error

    def largest_ratio(self) -> float:
        """The ratio of the whole model with the smallest ranks."""
        smallest = sum(curve[0].size for curve in self._curve(None))
        return num_parameters(self.model) / (self._untouched() + smallest)

    def _budget(self, ratio: float) -> int:
        """Numbers that the units may store together."""
        return math.floor(num_parameters(self.model) / ratio + 1e-9) - self._untouched()

    def _untouched(self) -> int:
        return num_parameters(self.model) - sum(unit.numel for unit in self.units)

    def _weights(self) -> list[float]:
        """Weights of the units' errors: each layer's counts the same."""
        return [float(len(unit.modules)) for unit in self.units]

    def _curve(self, share: float | None) -> list[list[Candidate]]:
        if self._candidates is None:
            self._candidates = [candidates(self.method, unit, weighted(unit, self.options)) for unit in self.units]
        return [front(curve, unit, share) for curve, unit in zip(self._candidates, self.units, strict=True)]

    def _error(self, ranks: Sequence[Ranks | None]) -> float:
        """Loss of a choice of ranks, by decomposing: losses of all layers, summed."""
        total = 0.0
        for number, (unit, chosen) in enumerate(zip(self.units, ranks, strict=True)):
            if chosen is not None:
                errors = squared_errors(unit, self._decomposed(number, chosen, self._trial), self.options)
                total += sum(loss(error) for error in errors)
        return total

    def _decomposed(self, number: int, ranks: Ranks, options: Options) -> list[CompressedLayer]:
        key = number, ranks, id(options)
        if key not in self._made:
            self._made[key] = decompose(self.method, self.units[number], ranks, options)
        return self._made[key]
