"""What is written takes the place of nothing that is read, and of no file of another sort."""

from __future__ import annotations

import os
import re
from pathlib import Path

import h5py
import pytest
import torch
from safetensors.torch import save_file
from test_submodel_dataset import write_dataset

from submodel.case.errors import CaseError
from submodel.data.manifest import shards_folder
from submodel.data.outputs import SORTS, Kind, require_output


def make(kind: str, folder: Path) -> Path:
    """A file of a sort."""
    contents = {
        "JSON": ("a.json", b'{"a": 1}'),
        "page": ("a.html", b"<!DOCTYPE html><html></html>"),
        "picture": ("a.png", b"\x89PNG\r\n\x1a\n"),
        "fields": ("a.xdmf", b'<?xml version="1.0"?>\n<Xdmf></Xdmf>'),
        "table": ("a.csv", b"set,omega\n"),
        "text": ("a.md", b"# Title\n"),
        "case": ("a.toml", b'name = "a"\n'),
        "mesh": ("a.msh", b"$MeshFormat\n"),
    }
    if kind == "dataset":
        write_dataset(folder / "a.h5")
        return folder / "a.h5"
    if kind == "zoomed runs":
        with h5py.File(folder / "zoomed.h5", "w") as file:
            file["x"] = 1
        return folder / "zoomed.h5"
    if kind == "generator":
        save_file({"a": torch.zeros(3)}, folder / "a.safetensors")
        return folder / "a.safetensors"
    name, content = contents[kind]
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize("there", [*SORTS, "case", "mesh"])
@pytest.mark.parametrize("kind", SORTS)
def test_a_file_of_another_sort_is_left_alone(tmp_path: Path, there: str, kind: Kind) -> None:
    path = make(there, tmp_path)
    before = path.read_bytes()
    if there == kind:
        require_output(path, kind=kind)
    else:
        with pytest.raises(CaseError, match=f"exists and is no file of the sort {kind}: choose another name"):
            require_output(path, kind=kind)
    assert path.read_bytes() == before


def test_an_input_is_known_by_any_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make("JSON", tmp_path)
    (tmp_path / "link.json").symlink_to(path)
    os.link(path, tmp_path / "hard.json")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    written = ["a.json", "./a.json", "link.json", "hard.json", "folder/../a.json", f"../{tmp_path.name}/a.json"]
    for name in [path, *(Path(each) for each in written)]:
        for inputs in ([name], [None, tmp_path / "none", name]):
            with pytest.raises(CaseError, match="is read, and would be overwritten"):
                require_output(path, inputs=inputs, kind="JSON")
            with pytest.raises(CaseError, match=f"{re.escape(str(name))} is read, and would be"):
                require_output(name, inputs=[path], kind="JSON")
    require_output(path, inputs=[tmp_path / "folder", None], kind="JSON")


def test_the_files_of_a_dataset_are_left_alone(tmp_path: Path) -> None:
    folder = shards_folder(make("dataset", tmp_path))
    (folder / "plan.json").write_text("{}")
    for name in ("plan.json", "new.json"):
        with pytest.raises(CaseError, match="would lie among the samples of a dataset"):
            require_output(folder / name, kind="JSON")
    before = (folder / "train-0000.h5").read_bytes()
    with pytest.raises(CaseError):
        require_output(folder / "train-0000.h5", kind="dataset")
    assert (folder / "train-0000.h5").read_bytes() == before


def test_what_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="is a folder: give a file name such as dataset.h5"):
        require_output(tmp_path, kind="dataset")
    with pytest.raises(CaseError, match=r"is a folder: give a file name such as generator"):
        require_output(Path(""), kind="generator")
    with pytest.raises(CaseError, match="cannot write .* \\(File name too long\\): choose another place"):
        require_output(tmp_path / ("a" * 252 + ".h5"), kind="dataset")
    (tmp_path / "file").write_text("")
    with pytest.raises(CaseError, match="cannot write into the folder .*file .*: choose another place"):
        require_output(tmp_path / "file" / "a.json", kind="JSON")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_new_or_empty_or_a_device_is_let_through(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_bytes(b"")
    for path in (tmp_path / "empty.json", tmp_path / "new" / "a.json", Path("/dev/stdout"), Path("/dev/null")):
        require_output(path, kind="JSON")
