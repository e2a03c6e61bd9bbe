"""The benchmark of peers times nothing but the same wave: ours always, peers where they are installed. Needs FEniCS."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import peers  # noqa: E402
from measure import Report  # noqa: E402
from peer_codes import Problem  # noqa: E402

PROBLEM = Problem(peers.CHECKED_SIZE)


@pytest.fixture(scope="module")
def expected() -> NDArray[np.float64]:
    """Fields of the simple step."""
    return peers.simple_fields(PROBLEM, 16)


def test_sources_differ_and_all_waves_arrive(expected: NDArray[np.float64]) -> None:
    assert np.all(np.abs(expected).max(axis=(1, 2)) > 0.0)
    assert len({PROBLEM.source(sample) for sample in range(16)}) == 16
    assert np.all(np.abs(np.diff(expected, axis=0)).max(axis=(1, 2)) > 0.0)
    assert not expected[:, [0, -1]].any() and not expected[:, :, [0, -1]].any()


def test_our_codes_agree(expected: NDArray[np.float64]) -> None:
    for code in peers.ours(PROBLEM):
        peers.compare(code, expected[: code.num_samples])  # raises beyond the tolerances that stand there


@pytest.mark.parametrize("name", peers.PEERS)
def test_peers_agree(name: str, expected: NDArray[np.float64]) -> None:
    module, set_up, _ = peers.PEERS[name]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{name} is not installed")
    for code in set_up(PROBLEM):
        peers.compare(code, expected[: code.num_samples])


def test_another_wave_is_refused(expected: NDArray[np.float64]) -> None:
    code = peers.ours(PROBLEM)[0]
    louder = replace(code, on_grid=lambda state: 1.001 * code.on_grid(state))
    with pytest.raises(ValueError, match="PETSc differs by 0.001 .* see that it is set up for the same problem"):
        peers.compare(louder, expected[:1])


def test_missing_peers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None if module == "deepwave" else object())
    report = Report("peers", "")
    assert peers.present(report) == ["ngsolve", "scikit-fem", "devito"]
    (note,) = report.notes
    assert "deepwave is missing" in note and "pip install --no-deps deepwave" in note


def test_times_become_claims_where_there_is_a_peer() -> None:
    ours = peers.ours(PROBLEM)
    theirs = replace(ours[0], library="scikit-fem", what="their step")
    times = {code.name: 100.0 for code in ours} | {theirs.name: 250.0}
    report = Report("peers", "")
    peers.claims([*ours, theirs], times, 513, report)
    assert [(claim.measured, claim.target, claim.reached) for claim in report.claims] == [(2.5, 3.0, False)] * 2
    report.claims.clear()
    peers.claims([*ours, theirs], times, 129, report)
    assert all(claim.target is None for claim in report.claims)
