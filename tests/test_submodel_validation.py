"""What a validation keeps of its samples, and the JSON that it writes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solvers.gamma.chart import ClosedLoops
from submodel.case.case import Case
from submodel.geometry.scene import Scene
from submodel.validate.accumulator import ValidationAccumulator
from submodel.validate.result import Bounds, GeneratorInfo, Motion, Setting

CASES = Path(__file__).parents[1] / "cases"
TIMES = np.linspace(0.0, 2.0, 6)
GAMMA = ClosedLoops.polygon([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])


@pytest.fixture(scope="module")
def case() -> Case:
    return Case.load(CASES / "corner.toml")


def scene(case: Case) -> Scene:
    return Scene.of_case(case, GAMMA, GAMMA.points)


def setting(case: Case, **others: Any) -> Setting:
    generator = GeneratorInfo("g.safetensors", "conv1.5d-boundary", 1234, ("displacement", "velocity"))
    values = {
        "case": case,
        "dataset": "d.h5",
        "split": "test",
        "boundary": "generator",
        "interface": "impedance",
    }
    return Setting(**{**values, "generator": generator, **others})


def motion(error: float, nodes: int = 4, quiet: int = 2) -> Motion:
    """A motion whose ε is `error` (displacement) and twice that (velocity), after some quiet levels."""
    true = np.concatenate([np.zeros((quiet, nodes)), np.ones((len(TIMES) - quiet, nodes))])
    return Motion(true * (1 + error), true * (1 + 2 * error))


def accumulate(errors: dict[int, float]) -> ValidationAccumulator:
    accumulator = ValidationAccumulator()
    for index, error in errors.items():
        accumulator.add(
            index,
            (1.0, 0.5, 0.5),
            predicted=motion(error / 2),
            recorded=motion(0),
            zoomed=motion(error),
            full=motion(0),
        )
    return accumulator


def test_json_has_the_keys_of_the_issue_and_is_strict(case: Case) -> None:
    result = accumulate({0: 0.02, 1: 0.06, 2: 0.01}).result(setting(case), scene(case), TIMES)
    said = json.loads(json.dumps(result.to_json(), allow_nan=False))
    mean = pytest.approx(0.03, rel=1e-12)  # of 0.02, 0.06, 0.01; rounding of 1 + error only
    assert said == {
        "samples": 3,
        "parameters": 1234,
        "interface": "impedance",
        "levels_left_out": 6,
        "before": {
            "displacement": {"epsilon": pytest.approx(0.015, rel=1e-12), "relative_l2": pytest.approx(0.015)},
            "velocity": {"epsilon": mean, "relative_l2": mean},
        },
        "after": {
            "displacement": {"epsilon": mean, "relative_l2": mean},
            "velocity": {"epsilon": pytest.approx(0.06, rel=1e-12), "relative_l2": pytest.approx(0.06)},
        },
        "worst": {"sample": 1, "epsilon": pytest.approx(0.06, rel=1e-12)},
    }


def test_a_recorded_boundary_has_no_parameters(case: Case) -> None:
    recorded = setting(case, boundary="recorded", generator=None)
    said = accumulate({4: 0.0}).result(recorded, scene(case), TIMES).to_json()
    assert said["parameters"] is None
    assert said["after"]["displacement"] == {"epsilon": 0.0, "relative_l2": 0.0}
    assert said["worst"] == {"sample": 4, "epsilon": 0.0}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_best_and_worst_do_not_depend_on_the_order(case: Case, order: tuple[int, ...]) -> None:
    errors = {0: 0.02, 1: 0.06, 2: 0.01}
    result = accumulate({index: errors[index] for index in order}).result(setting(case), scene(case), TIMES)
    assert (result.best.index, result.worst.index) == (2, 1)
    assert [sample.index for sample in result.samples] == [0, 1, 2]
    np.testing.assert_allclose(result.worst.zoomed[-1], 1.06, rtol=1e-15)
    np.testing.assert_allclose(result.best.trace_predicted[-1], 1.005, rtol=1e-15)
    assert result.scores("after", "displacement").worst_epsilon == result.sample(1).epsilon


def test_what_is_kept_is_a_copy(case: Case) -> None:
    accumulator, reused = ValidationAccumulator(), motion(0.1)
    accumulator.add(0, (1, 2, 3), predicted=reused, recorded=motion(0), zoomed=reused, full=motion(0))
    reused.displacement[:] = 7.0
    kept = accumulator.result(setting(case), scene(case), TIMES).worst
    np.testing.assert_allclose(kept.zoomed[-1], 1.1, rtol=1e-15)
    np.testing.assert_allclose(kept.trace_predicted[-1], 1.1, rtol=1e-15)


def test_memory_does_not_grow_with_the_fields() -> None:
    accumulator = accumulate({index: 0.01 * (index % 7 + 1) for index in range(50)})
    kept = [value for value in vars(accumulator).values() if hasattr(value, "zoomed")]
    assert len(kept) == 2
    assert not any(hasattr(sample, "zoomed") for sample in accumulator._samples.values())


def test_bounds_and_the_sample_in_the_middle(case: Case) -> None:
    result = accumulate({0: 0.02, 1: 0.06, 2: 0.01, 5: 0.03}).result(setting(case), scene(case), TIMES)
    assert result.median_index == 5  # of the two in the middle the larger one
    np.testing.assert_allclose(result.epsilon, [0.02, 0.06, 0.01, 0.03], rtol=1e-12)
    assert result.share_held is None and "bound" not in result.to_json()
    bounded = replace(
        result, bounds=Bounds(0.9, np.array([0.03, 0.05, 0.02, 0.04]), np.full(4, 0.02), "split conformal on 70 runs")
    )
    assert bounded.share_held == 0.75 and bounded.bounds is not None
    assert bounded.to_json()["bound"] == {
        "coverage": 0.9,
        "held": 0.75,
        "mean": pytest.approx(0.035),
        "expected": pytest.approx(0.02),
        "basis": bounded.bounds.basis,
    }
    with pytest.raises(ValueError, match="3 bounds for 4 samples: give one each"):
        replace(result, bounds=Bounds(0.9, np.ones(3), np.ones(3), "split conformal on 70 runs"))


def test_refusals(case: Case) -> None:
    with pytest.raises(ValueError, match="no sample was validated"):
        ValidationAccumulator().result(setting(case), scene(case), TIMES)
    with pytest.raises(ValueError, match="sample 0 was added before"):
        accumulator = accumulate({0: 0.1})
        accumulator.add(0, (1, 2, 3), predicted=motion(0), recorded=motion(0), zoomed=motion(0), full=motion(0))
    with pytest.raises(ValueError, match=r"sample 3: .*got \(6, 5\) and \(6, 4\)"):
        ValidationAccumulator().add(
            3, (1, 2, 3), predicted=motion(0, 5), recorded=motion(0), zoomed=motion(0), full=motion(0)
        )
    with pytest.raises(ValueError, match="boundary='recorded' with generator=set"):
        setting(case, boundary="recorded")
    with pytest.raises(ValueError, match="boundary='generator' with generator=None"):
        setting(case, generator=None)


def test_scene_outlines_and_the_axis_along_gamma(case: Case) -> None:
    corners = [(0, 0), (4, 0), (4, 4), (0, 4), (1, 1), (2, 1), (2, 2), (1, 2)]
    two = ClosedLoops.polygon(corners, np.repeat([0, 1], 4))
    with_hole = Scene.of_case(case, two, two.points, defect=(3.0, 3.0, 0.1))
    assert [outline.shape for outline in with_hole.gamma.outlines()] == [(5, 2), (5, 2)]
    np.testing.assert_array_equal(with_hole.gamma.outlines()[1][[0, -1]], [(1, 1), (1, 1)])
    np.testing.assert_array_equal(with_hole.gamma.axis(), [0, 4, 8, 12, 16, 17, 18, 19])
    assert (with_hole.length_unit, with_hole.time_unit) == (case.units.length, case.units.time)
    np.testing.assert_array_equal(with_hole.domain_outline[0][2], (1.0, 1.0))
    with pytest.raises(ValueError, match=r"got \(2, 2\)"):
        Scene.of_case(case, two, two.points[:2])
