"""See that results can be written where they are wanted, before the work that makes them."""

from __future__ import annotations

from pathlib import Path

from submodel.case.case import CaseError


def require_file(path: Path, example: str) -> None:
    """See that a file can be written; its folder is made if need be.

    Args:
        path: The file.
        example: A name for it, for the message.

    Raises:
        CaseError: It cannot.
    """
    if path.is_dir():
        raise CaseError(f"{path} is a folder: give a file name such as {example}")
    require_folder(path.parent)


def require_folder(path: Path) -> None:
    """See that files can be written into a folder, which is made if need be.

    Raises:
        CaseError: They cannot.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".submodel-probe"
        probe.touch()
        probe.unlink(missing_ok=True)  # of several ranks, another may have been first
    except OSError as error:
        raise CaseError(f"cannot write into the folder {path} ({error.strerror}): choose another place") from error
