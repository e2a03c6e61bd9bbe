"""Check that results can be written where they are wanted, and take the place of nothing else, before the work."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from submodel.case.errors import CaseError
from submodel.data.manifest import shards_folder
from submodel.data.storage.checksum import CROSS, DATASET, RECIPROCAL
from submodel.data.storage.whole import unfinished_name

Kind = Literal["dataset", "zoomed runs", "generator", "JSON", "page", "picture", "fields", "table", "text"]


@dataclass(frozen=True)
class _Sort:
    """A sort of file.

    Args:
        example: a name for one.
        fits: tells by a file's first bytes, and its path, that it is one.
    """

    example: str
    fits: Callable[[bytes, Path], bool]


def _is_json(head: bytes, path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return head.lstrip()[:1] in (b"{", b"[")


SEALS = tuple(kind.encode() for kind in (DATASET, RECIPROCAL, CROSS))
SORTS: dict[Kind, _Sort] = {
    "dataset": _Sort("dataset.h5", lambda head, path: head.startswith(SEALS)),
    "zoomed runs": _Sort("zoomed.h5", lambda head, path: head.startswith(b"\x89HDF\r\n\x1a\n")),
    "generator": _Sort("generator.safetensors", lambda head, path: head[8:9] == b"{" and head[7:8] == b"\0"),
    "JSON": _Sort("errors.json", _is_json),
    "page": _Sort("report.html", lambda head, path: head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html"))),
    "picture": _Sort("picture.png", lambda head, path: head.startswith((b"\x89PNG", b"GIF8"))),
    "fields": _Sort("fields.xdmf", lambda head, path: head.startswith(b"<?xml") and b"<Xdmf" in head),
    "table": _Sort("table.csv", lambda head, path: path.suffix == ".csv" and b"\0" not in head),
    "text": _Sort("tables.md", lambda head, path: path.suffix in (".md", ".txt") and b"\0" not in head),
}
HEAD_SIZE = 512  # bytes by which a file is known


def require_output(path: Path, *, inputs: Iterable[Path | None] = (), kind: Kind) -> None:
    """See that a file can be written and takes the place of nothing but an older one of its kind. Local.

    Its folder is made if need be. A device or a pipe, such as /dev/stdout, is let through.

    Args:
        path: the file to write.
        inputs: files that are read; None stands for one that was not named.
        kind: what is to be written.

    Raises:
        CaseError: it is one of the inputs, by whatever path; a file of another kind is there, or one that belongs to
            a dataset; or it cannot be written.
    """
    for read in inputs:
        if read is not None and _is_same(path, read):
            raise CaseError(f"{path} is read, and would be overwritten: choose another name for what is written")
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        return
    require_file(path, SORTS[kind].example)
    if path.resolve().parent.suffix == shards_folder(path).suffix:
        raise CaseError(f"{path} would lie among the samples of a dataset: choose another folder")
    if path.is_file() and not _fits(path, kind):
        raise CaseError(f"{path} exists and is no file of the sort {kind}: choose another name, or move it away")


def _is_same(first: Path, second: Path) -> bool:
    """True where two paths lead to one file, through links, and in any case where the file system ignores it."""
    try:
        return os.path.samefile(first, second)
    except OSError:  # one of them is not there
        return os.path.realpath(first) == os.path.realpath(second)


def _fits(path: Path, kind: Kind) -> bool:
    """True where a file is of a kind, or empty."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_SIZE)
        return not head or SORTS[kind].fits(head, path)
    except OSError:  # what cannot be read is not ours
        return False


def require_file(path: Path, example: str) -> None:
    """See that a file can be written; its folder is made if need be. Local.

    Args:
        path: the file.
        example: a name for it, for the message.

    Raises:
        CaseError: it cannot.
    """
    if os.path.isdir(path):
        raise CaseError(f"{path} is a folder: give a file name such as {example}")
    require_folder(path.parent)
    _probe(unfinished_name(path), f"cannot write {path}")


def require_folder(path: Path) -> None:
    """See that files can be written into a folder, which is made if need be. Local.

    Raises:
        CaseError: they cannot.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CaseError(f"cannot write into the folder {path} ({error.strerror}): choose another place") from error
    _probe(path / ".submodel-probe", f"cannot write into the folder {path}")


def _probe(path: Path, refusal: str) -> None:
    """Make a file and remove it."""
    try:
        path.touch()
        path.unlink(missing_ok=True)  # of several ranks, another may have been first
    except OSError as error:
        raise CaseError(f"{refusal} ({error.strerror}): choose another place") from error
