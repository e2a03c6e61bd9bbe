"""A generator of responses made ready to predict: what depends on the frequencies alone is worked out once.

A driven wave obeys ``x[n] = E x[n-1] + d[n]`` with ``E = exp(i omega dt)``: a recurrence in C or, without a compiler
and on a GPU, a running sum of ``d[n] E^-n``, turned by ``E^n``, in stretches.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from networks.core.prediction import Weights
from networks.response.compiled import CompiledDrive, library
from networks.response.cuda_graph import CapturedHistory
from networks.response.signal_response import LowPass
from networks.response.specification import ResponseSpecification
from networks.response.waves import Combination, DrivenWaves, Turns

Array = NDArray[np.float64]

HEAP_BLOCK = 31 * 2**20
"""Bytes of a block that is allocated and freed once. glibc keeps up to twice the largest block that was ever freed; the
rest goes back to the system and is faulted in again a page at a time, which takes longer than a prediction."""

STRETCH = 64
"""Levels whose running sum is one of single precision; from stretch to stretch it goes on in double precision. So the
phasors are few enough for a core's cache, and errors do not add up."""

MOST_KEPT = 4
"""Combinations that are kept, and CUDA graphs, one for each number of sources and each combination."""


class ResponseInference(ABC):
    """A generator of impulse responses made ready to predict quickly, on a device.

    What derives says what a kind of generator knows of its responses.

    Args:
        spec: of the generator.
        device: where to run.
    """

    def __init__(self, spec: ResponseSpecification, device: str | torch.device) -> None:
        self._frequencies, self.device = spec.num_frequencies, torch.device(device)
        self._num_levels = spec.num_levels
        self.low_pass = LowPass(spec.rate, spec.dt)
        torch.empty(HEAP_BLOCK, dtype=torch.uint8)
        step = spec.omega * spec.dt
        # of the levels of a stretch; then of whole stretches, in double precision, from the first level of one on
        levels = np.exp(1j * step[:, None] * np.arange(STRETCH))
        stretches = np.exp(1j * step[:, None] * STRETCH * np.arange(-(-spec.num_levels // STRETCH)))
        with torch.inference_mode():
            single = [torch.as_tensor(values, dtype=torch.complex64)[:, None] for values in (levels, levels.conj())]
            double = [torch.as_tensor(values) for values in (stretches, np.exp(1j * step[:, None] * STRETCH))]
            self._phasors = tuple(values.to(self.device) for values in single + double)
            self._turns = Turns(torch.as_tensor(np.stack((np.cos(step), np.sin(step)))).to(self.device), spec.dt)
        built = library() if self.device.type == "cpu" else None
        self._drive = None if built is None else CompiledDrive(built, self._turns.turn.numpy())
        self._combinations: dict[int, Combination] = {}
        self._captured: dict[tuple[int, int | None], CapturedHistory] = {}

    @property
    @abstractmethod
    def spec(self) -> ResponseSpecification:
        """Specification of the generator."""

    @abstractmethod
    def coefficients(self, sources: Array) -> Tensor:
        """Factors of cosines, then sines, of u and r: (source, 2) to (source, arc, 2, 2 frequency)."""

    @abstractmethod
    def prepared(self, sources: Array, signals: Array, *, every: bool) -> list[NDArray[Any]]:
        """Inputs of `mixed` that the host works out; with `every`, of shapes that the number of sources alone sets."""

    @abstractmethod
    def mixed(self, inputs: list[Tensor], num_sources: int) -> DrivenWaves:
        """The factors from `prepared` inputs, on the device; nothing waits for the host."""

    def mixture(self, sources: Array, signals: Array) -> DrivenWaves:
        """The factors of the fields.

        Args:
            sources: (set, source, 2); what several of them share, as in a sweep over frequencies, is predicted once.
            signals: (set, source, time + 1).
        """
        num_sources, places = signals.shape[1], sources.reshape(-1, 2)
        once, which = np.unique(places, axis=0, return_inverse=True) if len(places) > 1 else (places, None)
        if which is not None and len(once) < len(places):
            parts = self.coefficients(once).index_select(0, torch.as_tensor(which.reshape(-1)).to(self.device))
        else:
            parts = self.coefficients(places)
        drives = self.low_pass.inverse(signals.reshape(-1, signals.shape[2]), -1)
        if self._drive is not None:
            times = torch.from_numpy(self._drive(drives)).transpose(1, 2)
            return DrivenWaves(parts, times, self._turns, num_sources, self.combination)
        return self.waves(parts, torch.as_tensor(drives).to(self.device), num_sources)

    def combination(self, weights: Weights) -> Combination:
        """Factors of a combination; they are kept, as a zone asks for the same one again and again."""
        combination = self._combinations.get(id(weights))
        if combination is None:
            while len(self._combinations) >= MOST_KEPT:
                self._combinations.pop(next(iter(self._combinations)))
            combination = self._combinations[id(weights)] = Combination(weights, self._turns)
        return combination

    def history(self, sources: Array, signals: Array, weights: Weights | None = None) -> NDArray[np.float32]:
        """On a CUDA device, all levels of sources that add up, through a graph that is kept.

        Args:
            sources: (source, 2).
            signals: (source, time + 1).
            weights: of a combination that is wanted instead of the fields.

        Returns:
            (3, time, arc), or (time, arc) of a combination.
        """
        key = (len(sources), None if weights is None else id(weights))
        if key not in self._captured:
            while len(self._captured) >= MOST_KEPT:
                self._captured.pop(next(iter(self._captured)))
            self._captured[key] = CapturedHistory(self, len(sources), weights)
        return self._captured[key](sources, signals).copy()

    @torch.inference_mode()
    def waves(self, parts: Tensor, drives: Tensor, num_sources: int) -> DrivenWaves:
        """With the functions of time, (set and source, 2 frequency + 2, time)."""
        num, num_levels = self._frequencies, self._num_levels
        times = torch.empty((len(drives), 2 * num + 2, num_levels), device=self.device)
        times[:, -2], times[:, -1] = drives[:, 1:], drives[:, :-1]
        away, back, turns, step = self._phasors
        padded = functional.pad(times[:, -1], (0, -num_levels % STRETCH)).view(len(drives), 1, -1, STRETCH)
        waves = torch.mul(back, padded).cumsum_(-1)  # (source, frequency, stretch, level)
        ends = waves[..., :-1, -1] * turns[:, :-1].conj()
        waves[:, :, 1:] += (ends.cumsum_(-1) * turns[:, :-1] * step).to(waves)[..., None]
        waves *= away
        both = torch.view_as_real(waves).view(len(drives), num, -1, 2)[:, :, :num_levels]
        times[:, :-2].view(len(drives), 2, num, num_levels).copy_(both.permute(0, 3, 1, 2))
        return DrivenWaves(parts, times, self._turns, num_sources, self.combination)
