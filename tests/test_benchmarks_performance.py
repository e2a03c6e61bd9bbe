"""The page of performance figures: rendered from reports, true to those that are kept; and the runner of scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import measure  # noqa: E402
import performance  # noqa: E402
import performance_page  # noqa: E402
from measure import Claim, Report, Table  # noqa: E402
from performance import Ran, Script, main, run_all, summary  # noqa: E402
from performance_page import RenderError, render  # noqa: E402

COMMANDS = {"zone": "./run python3 benchmarks/zone.py", "peers": "./run python3 benchmarks/peers.py"}
FRAME = "\n".join(f"text\n<!-- {name} -->\nold\n<!-- end {name} -->" for name in ("claims", *COMMANDS, "others"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Reports of a script of the list and of another one."""
    monkeypatch.setattr(measure, "machine", lambda: {"processor": "Abacus 3", "cores": 2, "load": 0.5})
    zone = Report("zone", "./run python3 benchmarks/zone.py")
    zone.claim(Claim("a zone step, against C", 1.23456, 1.5, at_least=False))
    zone.claim(Claim("zone runs at once | one by one", 3.0, 5.0))
    zone.claim(Claim("a step", 4321.0, unit="ns"))
    zone.table(Table("steps", ("size", "seconds", "how"), [(33, 0.000123456, "compiled"), (65, 1.0, "compiled")]))
    zone.note("the machine was busy")
    zone.write(tmp_path / "zone.json")
    Report("on_a_gpu", "./run python3 benchmarks/gpu.py").write(tmp_path / "on_a_gpu.json")
    return tmp_path


def between(page: str, name: str) -> str:
    return page.partition(f"<!-- {name} -->\n")[2].partition(f"<!-- end {name} -->")[0].strip()


def test_claims_are_one_table_with_targets(folder: Path) -> None:
    assert between(render(FRAME, folder, COMMANDS), "claims").splitlines() == [
        "1 of 2 targets are reached. Measured on Abacus 3, 2 cores.",
        "",
        "| claim | measured | target | reached | command |",
        "| --- | --- | --- | --- | --- |",
        "| a zone step, against C | 1.23 times | ≤ 1.5 times | yes | `./run python3 benchmarks/zone.py` |",
        "| zone runs at once \\| one by one | 3.00 times | ≥ 5 times | **no** | `./run python3 benchmarks/zone.py` |",
        "| a step | 4321 ns |  |  | `./run python3 benchmarks/zone.py` |",
    ]


def test_a_section_has_command_tables_and_notes(folder: Path) -> None:
    assert between(render(FRAME, folder, COMMANDS), "zone").splitlines() == [
        "`./run python3 benchmarks/zone.py`",
        "",
        "**steps**",
        "",
        "| size | seconds | how |",
        "| ---: | ---: | --- |",
        "| 33 | 0.000123 | compiled |",
        "| 65 | 1.00 | compiled |",
        "",
        "- the machine was busy",
    ]


def test_what_was_not_measured_is_said_and_other_reports_are_kept(folder: Path) -> None:
    page = render(FRAME, folder, COMMANDS)
    assert between(page, "peers") == "Not measured here: `./run python3 benchmarks/peers.py`"
    assert between(page, "others") == "`./run python3 benchmarks/gpu.py`"
    assert page.count("text\n") == 4 and "old" not in page


def test_rendering_again_changes_nothing(folder: Path, tmp_path: Path) -> None:
    page = render(FRAME, folder, COMMANDS)
    assert render(page, folder, COMMANDS) == page
    empty = render(page, tmp_path / "nothing", COMMANDS)
    assert between(empty, "claims") == "Nothing was measured yet: `./run benchmarks`" and between(empty, "others") == ""


def test_machines_that_differ_are_told_apart(folder: Path) -> None:
    path = folder / "on_a_gpu.json"
    path.write_text(path.read_text().replace("Abacus 3", "Abacus 4").replace('"cores": 2', '"cores": 1'))
    said = "zone: measured on Abacus 3, 2 cores. on_a_gpu: measured on Abacus 4, 1 core."
    assert said in render(FRAME, folder, COMMANDS)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda frame: frame.replace("<!-- zone -->", ""),
        lambda frame: frame.replace("<!-- end zone -->", ""),
        lambda frame: frame + "<!-- zone -->",
        lambda frame: frame.replace("end zone", "wend zone").replace("<!-- zone", "<!-- end zone").replace("wend ", ""),
    ],
)
def test_a_marker_that_is_missing_is_named(folder: Path, wrong: Callable[[str], str]) -> None:
    with pytest.raises(RenderError, match="needs the marker <!-- zone --> once, and <!-- end zone --> once after it"):
        render(wrong(FRAME), folder, COMMANDS)


def test_a_report_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "peers.json").write_text("{")
    with pytest.raises(RenderError, match="peers.json is not JSON .*: run its script again"):
        render(FRAME, folder, COMMANDS)
    (folder / "peers.json").write_text(json.dumps({"command": "", "claims": [], "tables": []}))
    with pytest.raises(RenderError, match="peers.json lacks machine, notes: run its script again"):
        render(FRAME, folder, COMMANDS)


def test_the_page_is_what_the_kept_reports_say() -> None:
    page = performance_page.PAGE.read_text(encoding="utf-8")
    commands = {script.name: script.command for script in performance.SCRIPTS}
    assert page == render(page, measure.FOLDER, commands), "render it again: ./run benchmarks --render"


# ---- the runner, with scripts that only write what they were given ------------------------------------------------

WRITES = (
    "import json, os, sys; path = sys.argv[sys.argv.index('--output') + 1]; threads = os.environ['OMP_NUM_THREADS']\n"
    "json.dump({'command': ' '.join(sys.argv[1:2]), 'machine': {}, 'claims': [], 'tables': [], 'notes': [threads,"
    " '--quick' in sys.argv]}, open(path, 'w'))\n"
)


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Script, ...]:
    """Scripts of which the third writes nothing, the second fails, and the fourth is not there."""
    sources = {"one": WRITES, "broken": "raise SystemExit(3)", "silent": ""}
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.setattr(performance, "BENCHMARKS", tmp_path)
    return Script("one", ("--size",)), Script("broken"), Script("silent"), Script("absent")


def test_a_failure_stops_none_of_the_others(scripts: tuple[Script, ...], tmp_path: Path) -> None:
    kept, said = tmp_path / "kept", list[str]()
    kept.mkdir()
    (kept / "silent.json").write_text("an older report")
    done = run_all(scripts, kept, said.append)
    assert [ran.fault for ran in done] == [
        None,
        "exit status 3",
        "wrote no silent.json",
        "there is no benchmarks/absent.py",
    ]
    assert json.loads((kept / "one.json").read_text()) == {
        "command": "--size", "machine": {}, "claims": [], "tables": [], "notes": ["1", False],
    }  # fmt: skip
    assert (kept / "silent.json").read_text() == "an older report"
    assert "1 of 4, 0 s so far: ./run python3 benchmarks/one.py --size" in said[0]
    assert "---- broken FAILED: exit status 3" in said
    assert summary(done)[-1].startswith("FAILED: broken (exit status 3), silent (wrote no silent.json), absent (")


def test_figures_are_not_replaced_by_none(
    scripts: tuple[Script, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As where the peers of an earlier run are not installed now."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "one.json").write_text('{"claims": [1]}')
    run_all(scripts[:1], kept, print)
    assert (kept / "one.json").read_text() == '{"claims": [1]}'
    assert "one: no claims could be measured, the figures that are kept stay" in capfd.readouterr().out


def test_a_quick_look_keeps_nothing(
    scripts: tuple[Script, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.py").write_text("import sys; print('quick' if '--quick' in sys.argv else 'slow')\n" + WRITES)
    monkeypatch.setattr(performance, "SCRIPTS", scripts)
    monkeypatch.setattr(performance, "FOLDER", tmp_path / "kept")
    monkeypatch.setattr(performance, "PAGE", tmp_path / "page.md")
    assert main(["--quick", "--only", "one"]) == 0
    out = capfd.readouterr().out
    assert out.index("1 of 1") < out.index("quick") < out.index("1 script in")
    assert not (tmp_path / "kept").exists() and not (tmp_path / "page.md").exists()


def test_the_page_is_rendered_and_failures_are_the_exit_status(
    scripts: tuple[Script, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    names = ("claims", *(script.name for script in scripts), "others")
    page.write_text("\n".join(f"<!-- {name} -->\n<!-- end {name} -->" for name in names))
    monkeypatch.setattr(performance, "SCRIPTS", scripts)
    monkeypatch.setattr(performance, "FOLDER", tmp_path / "kept")
    monkeypatch.setattr(performance, "PAGE", page)
    assert main(["--only", "one", "broken"]) == 1
    assert "FAILED: broken (exit status 3)" in capfd.readouterr().out
    text = page.read_text()
    assert "`--size`" in text and "Not measured here: `./run python3 benchmarks/broken.py`" in text
    page.write_text("nothing")
    assert main(["--render"]) == 1
    assert "error: the page needs the marker <!-- claims -->" in capfd.readouterr().out


def test_too_much_time_names_the_slowest() -> None:
    times = {"a": 10.0, "b": 400.0, "c": 300.0, "d": 299.0}
    done = [Ran(Script(name), seconds, None) for name, seconds in times.items()]
    assert summary(done)[1] == "warning: that is more than 15 minutes; the slowest: b (400 s), c (300 s), d (299 s)"
    assert summary(done[:2]) == ["2 scripts in 410 s"]
