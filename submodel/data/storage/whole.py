"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from submodel.case.errors import SubmodelError

UNFINISHED = ".part"


class WriteError(SubmodelError, OSError):
    """A file that cannot be written: no room, no permission, a name that is too long; the message is one sentence."""

    def __str__(self) -> str:
        return f"cannot write {self.filename} ({self.strerror}): make room there, or choose another place"


def unfinished_name(path: Path) -> Path:
    """Name of a file until it is whole; no other process uses it."""
    return path.with_name(f"{path.name}.{os.getpid()}{UNFINISHED}")


@contextmanager
def whole_file(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary name beside a file, and rename it at the end; after a failure it is removed. Local.

    A device or a pipe, such as /dev/stdout, is yielded itself.

    Args:
        path: the file.
        sync: put it on the disk before it is renamed. False where a reader compares checksums anyway.

    Raises:
        WriteError: the disk is full or fails, or the name cannot be used.
    """
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):  # these never raise
        yield path
        return
    unfinished = unfinished_name(path)
    try:
        yield unfinished
        if sync:
            with open(unfinished, "r+b") as file:
                os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        if error.filename not in (None, str(unfinished), unfinished):  # of another file than this
            raise
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise WriteError(error.errno or 0, reason, str(path)) from error
    finally:
        with suppress(OSError):  # its name is too long, or the disk fails: the error before it says so
            unfinished.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; text is UTF-8. Local.

    Raises:
        WriteError: as of `whole_file`.
    """
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, document: Any) -> None:
    """Write a document as indented JSON, as `write_whole`."""
    write_whole(path, json.dumps(document, indent=2) + "\n")
