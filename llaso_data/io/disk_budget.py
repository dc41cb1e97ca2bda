"""Room on a disk that all processes of this machine share: whoever needs some waits until the budget has it.

Each holder has a folder of its own, whose name says how many bytes it may hold and whose lock (``flock``) says that its
owner lives. What a killed process left is removed, and its room given on, by the next one that asks. Those who wait are
served in the order in which they came, so that a large request is not passed by small ones for ever.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from llaso_data.errors import LLaSOError
from llaso_data.io import flock, storage

_ROOM = re.compile(r"room-(\d+)-[0-9a-f]+")
_TICKET = re.compile(r"ticket-(\d+)-[0-9a-f]+")
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
_LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Room:
    """A folder to write to, and how many bytes all holders had together when it was given."""

    folder: str
    in_use_bytes: int


def parse_size(text: str) -> int:
    """``100GB``, ``1.5 TiB`` or ``2000000`` in bytes.

    Raises:
        LLaSOError: It is no size, or none at all.
    """
    match = _SIZE.fullmatch(text)
    unit = _UNITS.get(match[2].upper()) if match else None
    size_bytes = 0 if match is None or unit is None else int(float(match[1]) * unit)
    if not size_bytes:
        raise LLaSOError(f"{text!r} is no size; write one such as 100GB, 1.5TiB or 2000000 (bytes)")
    return size_bytes


def half_of_free(base: str) -> int:
    """The budget where none is said: half of what is free on the disk of a folder, in bytes."""
    return shutil.disk_usage(base).free // 2


@contextmanager
def room(base: str, size_bytes: int, budget_bytes: int) -> Iterator[Room]:
    """Wait for room on the disk, and hold it; the folder and all that is in it are gone afterwards.

    Args:
        base: Folder on a disk of this machine. All who name it share the budget.
        size_bytes: How much will be written at most.
        budget_bytes: What all holders may have together.

    Raises:
        LLaSOError: More is asked for than the whole budget; the disk knows no locks.
        StoreError: The disk is full, or the folder may not be written to.
    """
    if size_bytes > budget_bytes:
        raise LLaSOError(f"{size_bytes:,} bytes of scratch are needed, and the disk budget is {budget_bytes:,}")
    shared = os.path.join(base, f"llaso-disk-{os.getuid()}")
    with storage.writing(f"scratch in {shared}", base):
        os.makedirs(shared, exist_ok=True)
        folder, descriptor, in_use_bytes = _wait(shared, size_bytes, budget_bytes)
    try:
        yield Room(folder, in_use_bytes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


@contextmanager
def temporary_files_in(folder: str) -> Iterator[None]:
    """Inside of this block the temporary files of this process are made in a folder."""
    before, tempfile.tempdir = tempfile.tempdir, folder
    try:
        yield
    finally:
        tempfile.tempdir = before


def _wait(shared: str, size_bytes: int, budget_bytes: int) -> tuple[str, int, int]:
    """The folder of a room, its lock's descriptor, and what all rooms have together."""
    mine: str | None = None
    descriptor = -1
    try:
        while True:
            with flock.locked(os.path.join(shared, "lock")):
                rooms, tickets = _alive(shared, _ROOM), _alive(shared, _TICKET)
                if mine is None:
                    number = 1 + max(tickets.values(), default=0)
                    mine, descriptor = _made(shared, f"ticket-{number}-{secrets.token_hex(4)}", is_folder=False)
                    tickets[os.path.basename(mine)] = number
                is_first = min(tickets, key=lambda name: (tickets[name], name)) == os.path.basename(mine)
                in_use_bytes = sum(rooms.values()) + size_bytes
                if is_first and in_use_bytes <= budget_bytes:
                    name = f"room-{size_bytes}-{secrets.token_hex(4)}"
                    return (*_made(shared, name, is_folder=True), in_use_bytes)
            time.sleep(_LOOK_EVERY_S)
    except OSError as error:
        if error.errno in flock.UNSUPPORTED:
            raise LLaSOError(f"{shared}: this disk has no locks; name another one with --scratch") from error
        raise
    finally:
        if mine is not None:
            with suppress(FileNotFoundError):
                os.remove(mine)
            os.close(descriptor)


def _made(shared: str, name: str, is_folder: bool) -> tuple[str, int]:
    """Make a folder or a file and lock it. Nobody looks meanwhile: the lock of all is held."""
    path = os.path.join(shared, name)
    if is_folder:
        os.mkdir(path)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    else:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
    flock.lock(descriptor, wait=True)
    return path, descriptor


def _alive(shared: str, kind: re.Pattern[str]) -> dict[str, int]:
    """Name → number of those whose owner lives; what dead owners left is removed."""
    alive: dict[str, int] = {}
    for name in os.listdir(shared):
        if (match := kind.fullmatch(name)) is None:
            continue
        path = os.path.join(shared, name)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # given back just now
            continue
        try:
            if not flock.lock(descriptor, wait=False):
                alive[name] = int(match[1])
            elif os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(FileNotFoundError):
                    os.remove(path)
        finally:
            os.close(descriptor)
    return alive
