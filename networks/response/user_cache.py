"""Tensors that take long to work out and little to read, kept in the user's cache between processes.

Files are written whole or not at all, and checked when they are read; what is damaged is worked out again. The folder
may be deleted at any time. The files used longest ago go where it outgrows its bound.
"""

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError  # type: ignore[attr-defined]
from torch import Tensor

from networks.core.tensor_file import CheckpointError, read_tensors, write_tensors

logger = logging.getLogger(__name__)

KIND = "submodel-cache"
LARGEST = 2**29
"""Bytes of the folder at most; one file takes half of them at most."""

Tensors = dict[str, Tensor]


def folder() -> Path:
    """Where the files are, `$XDG_CACHE_HOME/submodel-tables`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "submodel-tables"


def cached(key: str, make: Callable[[], Tensors]) -> Tensors:
    """Tensors by a key that stands for everything that they depend on.

    Args:
        key: letters and digits; it becomes a file's name.
        make: works them out.
    """
    path = folder() / f"{key}.safetensors"
    try:
        if path.exists():
            tensors, document = read_tensors(path, KIND)
            if document == {"key": key}:
                with contextlib.suppress(OSError):
                    os.utime(path)  # used last
                return tensors
    except (CheckpointError, OSError) as error:
        logger.info("worked out again: %s", error)
    made = make()
    if sum(each.numel() * each.element_size() for each in made.values()) <= LARGEST // 2:
        try:
            write_tensors(path, KIND, made, {"key": key})
            _shrink()
        except (OSError, SafetensorError) as error:
            logger.info("not kept for the next time: %s", error)
    return made


def _shrink() -> None:
    """Delete the files used longest ago until the rest is within the bound; other processes may do the same."""
    files = []
    for path in folder().iterdir():
        with contextlib.suppress(OSError):
            state = path.stat()
            files.append((state.st_mtime, state.st_size, path))
    total = 0
    for _, size, path in sorted(files, reverse=True):
        total += size
        if total > LARGEST:
            path.unlink(missing_ok=True)
