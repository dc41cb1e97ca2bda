"""Local files and folders that appear under their name at once and whole, and what a killed process left of them.

What is being written lies beside its final place under a hidden name, which says whose process writes it:
``.NAME.PID-HEX.tmp`` of a file, ``.NAME.PID-HEX.part`` of a folder. Errors are the system's own (OSError);
:mod:`llaso_data.io.storage` has the same for files on any store, with errors for the user.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FILE = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp")


@contextmanager
def whole_file(path: str) -> Iterator[str]:
    """A path beside ``path`` to write to; on leaving without an error the file is on the disk under its name.

    What had the name is replaced. The folder is made where it is not there.
    """
    temporary = _beside(path, "tmp")
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    try:
        yield temporary
        synced(temporary)
        publish(temporary, path)
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.remove(temporary)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder beside ``folder`` to write into; on leaving without an error it gets that name, whole.

    What had the name is removed then. What killed processes left of such folders is removed first. Its files get the
    permissions of new files, whatever wrote them: safetensors writes for the owner only, and who serves a model is
    often another user than who trained it.
    """
    _sweep_folders(folder)
    written, replaced = (Path(_beside(folder, "part")) for _ in range(2))
    written.mkdir(parents=True)
    try:
        yield written
        _permit(written)
        with suppress(FileNotFoundError):
            folder.rename(replaced)
        try:
            publish(written, folder)
        except OSError:
            replaced.rename(folder)
            raise
    finally:
        for left in (written, replaced):
            shutil.rmtree(left, ignore_errors=True)


def publish(temporary: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Give a file, or a folder, its name, and see to it that the disk knows the name when this returns.

    The content is the caller's to sync. A file of that name is replaced, a folder of that name must be empty.
    """
    os.replace(temporary, path)
    synced(os.path.dirname(path) or ".")


def synced(path: str | os.PathLike[str]) -> None:
    """Wait until what was written to a file, or renamed in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_files(folder: str) -> None:
    """Remove what killed processes left of :func:`whole_file` right in a folder.

    A writer that is still alive loses its file: its rename then fails, and nothing appears under the final name.
    """
    for name in filter(_FILE.fullmatch, os.listdir(folder)):
        with suppress(FileNotFoundError):  # its writer was alive after all, and is done
            os.remove(os.path.join(folder, name))


def lives(pid: int) -> bool:
    """Whether a process of this machine is there, be it another user's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # another user's
    return True


def process_space() -> str:
    """This boot of the machine and this process's namespace, in which a process id counts; empty if it is unknown."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _sweep_folders(folder: Path) -> None:
    left = re.compile(rf"\.{re.escape(folder.name)}\.(\d+)-[0-9a-f]{{8}}\.part")
    for name in os.listdir(folder.parent) if folder.parent.is_dir() else ():
        if (match := left.fullmatch(name)) and not lives(int(match[1])):
            shutil.rmtree(folder.parent / name, ignore_errors=True)


def _permit(folder: Path) -> None:
    """Gives files that only their owner may read the permissions that the folder was made with."""
    permitted = folder.stat().st_mode & 0o666
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o777 == 0o600:
            path.chmod(permitted)


def _beside(path: str | os.PathLike[str], ending: str) -> str:
    """A name for what is being written, which no other process takes."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.{os.getpid()}-{secrets.token_hex(4)}.{ending}")
