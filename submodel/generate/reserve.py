"""The place of a dataset: what lies there, and the manifest that it follows.

There is no lock: ranks that outlive a killed mpirun would hold it. Two generations of one manifest write the same
bytes, each under names of its own until they are whole; one of another manifest is refused.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from submodel.data.dataset import READERS
from submodel.data.manifest import MANIFEST_FILE, DatasetError, Manifest, shards_folder
from submodel.data.outputs import require_file
from submodel.data.storage.whole import UNFINISHED, unfinished_name, write_whole

AnyManifest = TypeVar("AnyManifest", bound=Manifest)


def begun(path: Path, asked: AnyManifest) -> tuple[AnyManifest, bool]:
    """Find what lies at a dataset's place; nothing is changed. Local.

    Args:
        path: the dataset.
        asked: what it is to hold.

    Returns:
        The manifest, that which was begun if there is one, and whether the joining file is there and whole.

    Raises:
        DatasetError: something else lies there, or it was begun with other arguments.
        CaseError: it cannot be written.
    """
    folder = shards_folder(path)
    if path.suffix == folder.suffix:
        raise DatasetError(f"{path} would be taken for the folder of its samples: choose another ending, .h5")
    if not path.parent.is_dir():
        raise DatasetError(f"there is no folder {path.parent}: create it, or choose another -o")
    if os.path.isdir(path):
        raise DatasetError(f"{path} is a folder: name a file, such as {path / 'dataset.h5'}")
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise DatasetError(f"cannot write {folder} (it is a file): choose another -o")
    beside, joining = _beside(path, folder, type(asked)), None
    if os.path.exists(path):
        try:
            joining = _of_dataset(path, asked)
        except DatasetError as error:
            if beside is None:  # with a manifest beside it, a damaged file is written anew
                raise DatasetError(f"{path} exists and is in the way: {error}; or choose another -o") from error
    elif beside is None and os.path.isdir(folder) and any(folder.iterdir()):
        raise DatasetError(f"{folder} exists and holds no plan of a dataset: choose another -o, or delete it")
    for manifest in (beside, joining):
        if manifest and (difference := manifest.difference(asked)):
            raise DatasetError(f"{path} {difference}: choose another -o, or delete {path} and {folder}")
    first = beside or joining or asked
    if joining != first:
        require_file(path, "dataset.h5")
    return first, joining == first


@contextmanager
def claimed(path: Path, manifest: Manifest) -> Iterator[None]:
    """Claim a dataset's place, and let go of it after a failure before which no sample was made. Local.

    Raises:
        DatasetError: as `tidy`.
    """
    folder, new = shards_folder(path), tidy(path, manifest)
    try:
        yield
    except BaseException:
        if new and not path.exists() and not any(folder.glob("*.h5")):
            with suppress(OSError):  # another generation is at work there
                (folder / MANIFEST_FILE).unlink(missing_ok=True)
                folder.rmdir()
        raise


def tidy(path: Path, manifest: Manifest) -> bool:
    """Remove what dead processes left unfinished; write the manifest where there is none, and say whether. Local.

    Raises:
        DatasetError: another generation has just begun there, or it cannot be written.
    """
    folder = shards_folder(path)
    try:
        folder.mkdir(exist_ok=True)
        _clear(folder)
        _clear(path.parent, path.name + ".")
        new = not (folder / MANIFEST_FILE).exists()
        if new:
            _write(folder / MANIFEST_FILE, manifest)
    except OSError as error:
        raise DatasetError(f"cannot write {error.filename or folder} ({error.strerror}): choose another -o") from error
    return new


def renew(path: Path, manifest: Manifest) -> None:
    """Write a manifest that has become more in place of the one beside a dataset's shards. Local.

    Raises:
        WriteError: it cannot be written.
    """
    write_whole(shards_folder(path) / MANIFEST_FILE, manifest.to_json())


def _beside(path: Path, folder: Path, kind: type[AnyManifest]) -> AnyManifest | None:
    """The manifest beside the shards."""
    file = folder / MANIFEST_FILE
    if not os.path.exists(file):
        return None
    try:
        return kind.from_json(file.read_text())
    except ValueError as error:
        raise DatasetError(
            f"{file} is damaged or of another submodel ({error}): delete it if {path} exists, else delete {folder}"
        ) from error


def _of_dataset(path: Path, asked: AnyManifest) -> AnyManifest:
    """The manifest in a joining file, of the kind that is asked for."""
    reader = next(reader for reader in READERS if isinstance(asked, reader.KIND))
    with reader.open_master(path) as dataset:
        manifest: AnyManifest = dataset.manifest  # type: ignore[assignment]
        return manifest


def _write(path: Path, manifest: Manifest) -> None:
    """Write a manifest, whole, unless another generation has written one in the meantime."""
    unfinished = unfinished_name(path)
    unfinished.write_text(manifest.to_json())
    try:
        os.link(unfinished, path)
    except FileExistsError as error:
        raise DatasetError(f"another generation has just begun in {path.parent}: start this one again") from error
    except OSError:  # a file system without links
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _clear(folder: Path, prefix: str = "") -> None:
    """Remove what processes that are no more have left unfinished."""
    for left in folder.glob(f"{glob.escape(prefix)}*{UNFINISHED}"):
        number = left.name.removesuffix(UNFINISHED).rpartition(".")[2]
        if not (number.isdigit() and _runs(int(number))):
            left.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """True where there is such a process on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True
