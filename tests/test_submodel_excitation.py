"""Excitations: what options and files spell, what is refused, and which signals a band holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from roof_problems import toy

from solvers.time.signals import Chirp, Ricker, Signal, Sine, Tabulated
from submodel.case.case import Case
from submodel.case.errors import CaseError
from submodel.case.excitation import (
    Excitation,
    check_band,
    describe,
    largest_outside,
    outside_band,
    read_excitation,
    read_table,
)

HERE, THERE = (0.6, 0.7), (0.5, 0.5)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case.load(toy(tmp_path))


@pytest.fixture
def reference() -> Case:
    return Case.load(Path(__file__).parents[1] / "cases" / "paper2d.toml")


def table(folder: Path, text: str) -> Path:
    path = folder / "signal.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_signal_is_the_cases_where_none_is_said(case: Case) -> None:
    assert read_excitation(case, [HERE], omegas=[2.5]) == Excitation((HERE,), (Sine(2.5),))
    assert Excitation.of_parameters(case, np.array([2.5, *HERE])) == Excitation((HERE,), (Sine(2.5),))


def test_several_sources_have_one_signal_or_one_each(case: Case, tmp_path: Path) -> None:
    same = read_excitation(case, [HERE, THERE], ["ricker"], [2.0])
    assert same.signals == (Ricker(2.0), Ricker(2.0))
    each = read_excitation(case, [HERE, THERE], ["sine"], [2.0, 3.0])
    assert each.signals == (Sine(2.0), Sine(3.0))
    file = table(tmp_path, "t, s\n0, 0\n1, 1\n2, 0\n")
    mixed = read_excitation(case, [HERE, THERE, THERE], [str(file), "chirp", "sine"], [2.0, 2.5], [3.0])
    assert mixed.signals == (Tabulated((0, 1, 2), (0, 1, 0), "linear"), Chirp(2.0, 3.0, 2.0), Sine(2.5))
    np.testing.assert_array_equal(mixed.points, [HERE, THERE, THERE])
    said = (
        "table of 3 samples up to t = 2 at (0.6, 0.7); chirp, omega 2 to 3 at (0.5, 0.5); sine, omega 2.5 at (0.5, 0.5)"
    )
    assert mixed.words() == said
    assert describe(Ricker(2.0)) == "Ricker pulse, omega 2"


def test_parameters_are_those_of_the_cases_own_signal(case: Case) -> None:
    own = read_excitation(case, [HERE, THERE], ["sine"], [2.0, 3.0]).parameters(case)
    np.testing.assert_array_equal(own, [[2.0, *HERE], [3.0, *THERE]])
    assert read_excitation(case, [HERE], ["ricker"], [2.0]).parameters(case) is None
    assert read_excitation(case, [HERE, THERE], ["sine", "ricker"], [2.0]).parameters(case) is None


def test_samples_reach_one_level_past_the_end(case: Case) -> None:
    samples = read_excitation(case, [HERE, THERE], ["sine", "ricker"], [2.0]).samples(case)
    assert samples.shape == (2, 42)
    np.testing.assert_allclose(samples[0], np.sin(2.0 * 0.05 * np.arange(42)), rtol=0.0, atol=1e-14)


def test_a_table_is_read_with_names_comments_and_any_separator(case: Case, tmp_path: Path) -> None:
    for text in ("# from the lab\ntime;force\n0;0\n1;2\n2;0\n", "0 0\n1\t2\n\n2 0", "0,0\n1,2\n2,0\n"):
        assert read_table(table(tmp_path, text), case) == Tabulated((0, 1, 2), (0, 2, 0), "linear")
    levels = np.sin(np.arange(41) * 0.05)
    column = read_table(table(tmp_path, "\n".join(map(repr, levels.tolist()))), case)
    assert column.kind == "cubic" and column.end == pytest.approx(2.0)
    samples = Excitation((HERE,), (column,)).samples(case)
    np.testing.assert_allclose(samples[0, :41], levels, rtol=0.0, atol=1e-14)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no numbers: give a CSV file with columns t and s"),
        ("t,s\n", "holds no numbers"),
        ("0,0\n1,x\n", "line 2: '1,x' is not a row of numbers"),
        ("0,0,0\n1,1,1\n", r"rows of \[3\] columns: give two, t and s"),
        ("0,0\n1\n", r"rows of \[1, 2\] columns"),
        ("0,0\n1,nan\n2,inf\n", "2 numbers that are not finite"),
        ("0\n1\n0\n", "one column of 3 samples, the run 41 levels"),
        ("0,0\n1,1\n1,2\n2,0\n", "the times of a table must increase"),
    ],
)
def test_tables_that_cannot_be_used(case: Case, tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CaseError, match=words):
        read_table(table(tmp_path, text), case)


def test_files_that_cannot_be_read(case: Case, tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"cannot read the signal .*none.csv \(No such file or directory\)"):
        read_table(tmp_path / "none.csv", case)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CaseError, match="it is not text"):
        read_table(tmp_path / "binary.csv", case)


def test_signals_that_a_run_cannot_take(case: Case, tmp_path: Path) -> None:
    for text, words in (
        ("0,1\n1,2\n2,0\n", r"signal 1 has s\(0\) = 1, at rest it must begin with 0: prepend a sample 0"),
        ("0,0\n1,2\n1.5,0\n", "signal 1 ends at t = 1.5, the run at t = 2: add samples, zeros"),
        ("3,0\n4,1\n5,0\n", "signal 1 is zero or not finite at the levels of the run"),
    ):
        excitation = Excitation((HERE,), (read_table(table(tmp_path, text), case),))
        with pytest.raises(CaseError, match=words):
            excitation.samples(case)


def test_options_that_do_not_fit_together(case: Case) -> None:
    for arguments, words in (
        (([],), "no source was given: say --source X Y"),
        (([HERE], ["square"], [2.0]), "--signal square: give sine, ricker, chirp or the name of a CSV file"),
        (([HERE], ["sine"]), "--omega is given 0 time.s. for 1 sine"),
        (([HERE, THERE], ["sine"], [2.0, 2.0, 2.0]), "--omega is given 3 time.s. for 2 sine"),
        (([HERE, THERE, THERE], ["sine", "sine"], [2.0]), "--signal is given 2 time.s. for 3 source"),
        (([HERE], ["chirp"], [2.0]), "--omega-end is given 0 time.s. for 1 chirp"),
        (([HERE], ["sine"], [2.0], [3.0]), "--omega-end is given 1 time.s. for 0 chirp"),
        (([HERE], ["signal.csv"], [2.0]), "--omega is given 1 time.s. for 0 sine"),
        (([(0.0, 0.1)], ["sine"], [2.0]), "lies in the zone"),
        (([(0.0, 1.1)], ["sine"], [2.0]), "outside the domain"),
    ):
        with pytest.raises(CaseError, match=words):
            read_excitation(case, *arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="omega must be positive"):
        read_excitation(case, [HERE], ["sine"], [-2.0])
    with pytest.raises(CaseError, match=r"2 source.s. with 1 signal"):
        Excitation((HERE, THERE), (Sine(1.0),))
    with pytest.raises(CaseError, match=r"0 source.s. with 0 signal"):
        Excitation((), ())


def test_energy_outside_a_band_is_that_of_the_spectrum() -> None:
    """A sum of two tones, many periods of each: a quarter of the energy is the second's."""
    dt = 0.01
    t = np.arange(4001) * dt
    samples = 2.0 * np.sin(20.0 * t) + np.sin(60.0 * t)
    assert outside_band(samples, dt, (10.0, 30.0)) == pytest.approx(0.2, abs=0.01)  # 1 / (4 + 1)
    assert outside_band(samples, dt, (10.0, 70.0)) < 0.005
    assert outside_band(7.0 * samples, dt, (10.0, 30.0)) == pytest.approx(outside_band(samples, dt, (10.0, 30.0)))
    assert outside_band(samples, dt, (0.0, np.inf)) == 0.0


def test_every_sine_of_the_band_passes_and_others_do_not(reference: Case) -> None:
    band = reference.parameters.omega
    limit = largest_outside(reference, band)
    assert 0.0 < limit < 0.1
    for omega in np.random.default_rng(0).uniform(*band, 50):
        assert check_band(reference, Excitation((HERE,), (Sine(omega),)), band, extrapolate=False) == []
    inside: tuple[Signal, ...] = (Chirp(band[0], band[1], 2.0), Chirp(band[1], band[0], 2.0), Ricker(2.5 * np.pi))
    for signal in inside:
        assert check_band(reference, Excitation((HERE,), (signal,)), band, extrapolate=False) == []
    outside: tuple[Signal, ...] = (Sine(1.5 * band[1]), Chirp(band[0], 2.0 * band[1], 2.0), Ricker(band[1]))
    for signal in outside:
        excitation = Excitation((HERE,), (signal,))
        with pytest.raises(CaseError, match="% of the energy of the signal .* outside the trained band.*--extrapolate"):
            check_band(reference, excitation, band, extrapolate=False)
        (warning,) = check_band(reference, excitation, band, extrapolate=True)
        assert "nothing is known of the error" in warning and "%" in warning
