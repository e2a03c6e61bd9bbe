"""No command overwrites what it reads, or a file of another kind; every command is asked, a new one too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from roof_problems import Said, submodel, toy
from test_submodel_outputs import make

from submodel.cli.app import app
from submodel.cli.terminal.outputs import OUTPUTS
from submodel.studies.paper.page import CHART

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
# options and arguments that are read; `calibrate` rewrites the generator that it is given
READ = {"case", "dataset", "generator", "parameters", "file", "signal"}


def options_with_files() -> Iterator[tuple[str, Any]]:
    """Every option and argument of every command that takes a path."""
    for name, command in COMMANDS.items():
        yield from ((name, option) for option in command.params if option.type.name in ("path", "file"))


def test_every_path_is_known_as_read_or_written() -> None:
    assert len(list(options_with_files())) > 15
    written = {(command, option) for command, options in OUTPUTS.items() for option in options}
    taken = {(command, option.name) for command, option in options_with_files()}
    assert written < taken
    assert {option for _, option in taken - written} <= READ


def test_the_files_of_the_tables_are_those_that_are_written() -> None:
    assert CHART in OUTPUTS["reproduce"]["out"]


class Files:
    """One file of each sort that a command reads."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.values: dict[str, Path] = {
            "case": toy(folder),
            "dataset": make("dataset", folder),
            "generator": make("generator", folder),
            "parameters": make("table", folder),
        }
        (folder / "pulse.csv").write_text("0,0\n1,1\n")
        self.values["file"] = self.values["case"]

    def run(self, command: str, **written: Path) -> Said:
        """Run a command with all that it needs, and options that are written."""
        words: list[object] = [command]
        for option in COMMANDS[command].params:
            value = written.get(option.name) or self.values.get(option.name)
            if value is not None and (option.required or option.name in written or option.name in READ):
                words += [value] if option.param_type_name == "argument" else [option.opts[0], value]
        return submodel(*words)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


WRITTEN = [(command, option) for command, options in OUTPUTS.items() for option in options]
FILES = [pair for pair in WRITTEN if "" in OUTPUTS[pair[0]][pair[1]]]
FOLDERS = [pair for pair in WRITTEN if pair not in FILES]


@pytest.mark.parametrize("name", ["case", "dataset", "generator", "parameters", "pulse.csv", "other.toml"])
@pytest.mark.parametrize(("command", "option"), FILES)
def test_a_file_that_is_read_or_of_another_kind_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, option: str, name: str
) -> None:
    files = Files(tmp_path / "files")
    (tmp_path / "files" / "other.toml").write_text('name = "other"\n')
    target = files.values.get(name, tmp_path / "files" / name)
    if OUTPUTS[command][option][""] == name and name not in {each.name for each in COMMANDS[command].params}:
        pytest.skip("may take the place of an older one")
    (tmp_path / "link").symlink_to(target)
    os.link(target, tmp_path / "hard")
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    for path in (target, Path("files", target.name), tmp_path / "link", Path("hard"), Path("files/../link")):
        said = files.run(command, **{option: path})
        assert said.status == 2 and said.text.startswith("error: ") and said.text.count("\n") == 1, said.text
        assert str(path) in said.text and "choose another" in said.text
        assert contents(tmp_path) == before


@pytest.mark.parametrize(("command", "option"), FOLDERS)
def test_a_folder_with_files_of_another_kind_is_refused(tmp_path: Path, command: str, option: str) -> None:
    files = Files(tmp_path / "files")
    for name in OUTPUTS[command][option]:
        folder = tmp_path / f"of-{name}"
        folder.mkdir()
        (folder / name).write_bytes(b"name = 'mine'\x00")
        said = files.run(command, **{option: folder})
        assert said.status == 2 and f"{folder / name} exists and is no" in said.text, said.text
        assert (folder / name).read_bytes() == b"name = 'mine'\x00"


def test_an_input_in_the_folder_of_the_results_is_kept(tmp_path: Path) -> None:
    files = Files(tmp_path / "files")
    for name in ("zoomed.csv", "fields.h5"):  # sets of parameters, and a dataset that is called so
        (tmp_path / "out").mkdir(exist_ok=True)
        path = (tmp_path / "out" / name).resolve()
        path.write_bytes(files.values["parameters" if name == "zoomed.csv" else "dataset"].read_bytes())
        read = {"parameters": path} if name == "zoomed.csv" else {"dataset": path}
        said = files.run("zoom", output=tmp_path / "out", **read)
        assert said.status == 2 and f"{path} is read, and would be overwritten" in said.text
        path.unlink()


def test_two_outputs_need_two_places(tmp_path: Path) -> None:
    files = Files(tmp_path / "files")
    said = files.run("validate", report=tmp_path, json_file=tmp_path / "report.html")
    assert said.status == 2 and "would be written twice" in said.text


def test_an_unfinished_training_does_not_lie_on_its_dataset(tmp_path: Path) -> None:
    files = Files(tmp_path / "files")
    taken = tmp_path / "g.unfinished.safetensors"
    taken.write_bytes(files.values["dataset"].read_bytes())
    files.values["dataset"] = taken
    said = files.run("train", output=tmp_path / "g.safetensors")
    assert said.status == 2 and f"{taken} is read" in said.text
