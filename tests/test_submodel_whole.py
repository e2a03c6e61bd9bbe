"""A file is written whole or not at all, and what keeps it from being written is one sentence."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import h5py
import pytest

from submodel.data.storage.whole import WriteError, whole_file


def test_a_file_has_its_name_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with whole_file(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
        assert unfinished.parent == path.parent
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), whole_file(path) as unfinished:
        unfinished.write_text("ne")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_is_one_sentence(tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    path = tmp_path / "a.txt"
    with pytest.raises(WriteError) as caught, whole_file(path) as unfinished:
        unfinished.write_text("new")
    assert str(caught.value) == (
        f"cannot write {path} ({os.strerror(code)}): make room there, or choose another place"
    )
    assert caught.value.errno == code
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("hdf5", [False, True])
def test_a_name_that_is_too_long_is_one_sentence(tmp_path: Path, hdf5: bool) -> None:
    path = tmp_path / ("a" * 252 + ".h5")
    with pytest.raises(WriteError, match=r"^cannot write .*aaa\.h5 \(File name too long\): "), whole_file(path) as file:
        if hdf5:
            h5py.File(file, "w").close()
        file.write_text("new")
    assert not list(tmp_path.iterdir())


def test_an_error_about_another_file_stays_itself(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none"), whole_file(tmp_path / "a.txt") as unfinished:
        unfinished.write_text((tmp_path / "none").read_text())
    assert not list(tmp_path.iterdir())


def test_a_pipe_is_written_itself(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with whole_file(tmp_path / "pipe") as name:
        assert name == tmp_path / "pipe"
    assert (tmp_path / "pipe").is_fifo()
