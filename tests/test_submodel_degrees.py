"""Degrees of the elements: a case that loads can run."""

from __future__ import annotations

from pathlib import Path

import pytest
from roof_problems import toy

from solvers.space.assembly import Discretization
from submodel.case.case import Case, CaseError
from submodel.solve import from_case as build


@pytest.mark.parametrize("degree", [1, 8, 9, 10])
def test_a_degree_that_a_case_takes_is_one_that_the_solvers_take(degree: int, tmp_path: Path) -> None:
    path = toy(tmp_path)
    path.write_text(path.read_text().replace('element = "p1"', f'element = "gll"\ndegree = {degree}'))
    if degree <= 8:
        assert build.discretization(Case.load(path)).degree == degree
        return
    with pytest.raises(CaseError, match=f"degree should be less than or equal to 8, got {degree}"):
        Case.load(path)
    with pytest.raises(ValueError, match=f"cannot have degree {degree}"):
        Discretization("gll", degree)
