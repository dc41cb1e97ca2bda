"""What people say on a page, kept durably: a log for each person, in a folder of their own.

Every entry rewrites its person's file whole (see :func:`llaso_data.io.storage.whole`), on a disk or as one small object
on a store, before anyone is told that it is saved: after a kill at any moment it is the file before or the file after.
Nothing is ever taken out of a log: the last entry of an item counts, and one that takes an answer back says so. A log
belongs to one process at a time, by a lock on its folder.
"""

from __future__ import annotations

import datetime
import itertools
import re
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from llaso_data.errors import LLaSOError
from llaso_data.io import lock, storage
from llaso_data.records import digest

LONGEST_NAME = 60

Entry = dict[str, Any]
"""One line of a log: plain JSON, with ``at``, the time of :func:`now`."""

W = TypeVar("W")


@dataclass(frozen=True, slots=True)
class WorkKind:
    """A kind of log. ``who`` is what its people are called, ``work`` what they do, ``entries`` what the file holds.

    ``check`` gives an entry as it was written; it raises ValueError, KeyError or TypeError for one that is none.
    """

    format: str
    version: int
    who: str
    work: str
    entries: str
    check: Callable[[Entry], Entry]

    @property
    def file(self) -> str:
        return f"{self.entries}.json"


class WorkLog:
    """A person's log while it is this process's. Made by :func:`at_work`."""

    def __init__(self, kind: WorkKind, uri: str, name: str, head: Mapping[str, Any], held: lock.Held) -> None:
        self.name = name
        self._kind, self._uri, self._held = kind, uri, held
        self._head = {"format": kind.format, "format_version": kind.version, kind.who: name, **head}
        self.entries = load(uri, kind)[1] if storage.exists(uri) else []

    def add(self, entries: Sequence[Entry]) -> None:
        """Adds entries; when this returns they are on the disk or store.

        Raises StoreError where they cannot be written, LockedError where another process took over; the log is then
        as it was before.
        """
        log = [*self.entries, *entries]
        self._held.check()
        storage.write_json(self._uri, {**self._head, self._kind.entries: log})
        self.entries = log


@contextmanager
def at_work(folder: str, kind: WorkKind, name: str, head: Mapping[str, Any]) -> Iterator[WorkLog]:
    """The log of that person below ``folder``, with what they said before; ``head`` is said at the file's top.

    Raises LockedError where the name is in use.
    """
    name = clean_name(name, kind)
    own = storage.join(storage.absolute(folder), _slug(name, kind))
    with lock.exclusive(own, f"{kind.work} by {name}") as held:
        yield WorkLog(kind, storage.join(own, kind.file), name, head, held)


def everyone(folder: str, kind: WorkKind) -> dict[str, list[Entry]]:
    """Every person's log, in the order of names. Raises LLaSOError for a damaged file.

    Where several files say that they are one person's, because a folder was copied, their entries count in the order
    of their times.
    """
    found: dict[str, list[Entry]] = {}
    for row in storage.listing(folder):
        if row["path"].endswith(f"/{kind.file}"):
            name, log = load(storage.join(folder, row["path"]), kind)
            found[name] = merged(found[name], log) if name in found else log
    return dict(sorted(found.items()))


def merged(*logs: Sequence[Entry]) -> list[Entry]:
    """Several logs of one person as one, by time; each keeps its order, also where a clock was put back."""
    timed = (zip(itertools.accumulate((entry["at"] for entry in log), max), log, strict=True) for log in logs)
    return [entry for _, entry in sorted(itertools.chain.from_iterable(timed), key=lambda pair: pair[0])]


def last(log: Sequence[Entry], key: str) -> list[Entry]:
    """The last entry of every item, in the order in which they were given; ``key`` is where an entry names its item."""
    found: dict[str, Entry] = {}
    for entry in log:
        found.pop(entry[key], None)
        found[entry[key]] = entry
    return list(found.values())


def load(uri: str, kind: WorkKind) -> tuple[str, list[Entry]]:
    """(person, log) of a file. Raises LLaSOError with the file, and the line or the entry."""
    try:
        said = storage.read_json(uri)
        if said["format"] != kind.format or said["format_version"] > kind.version:
            raise ValueError(f"format {said['format']}, version {said['format_version']}")
        log = [_checked(entry, number, kind) for number, entry in enumerate(said[kind.entries], 1)]
        return clean_name(said[kind.who], kind), log
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LLaSOError(
            f"{uri} is not {_a(kind.who)}'s {kind.entries} ({error}); move it away, or put back its copy"
        ) from error


def _checked(entry: Any, number: int, kind: WorkKind) -> Entry:
    try:
        return kind.check(entry)
    except (ValueError, KeyError, TypeError, AttributeError, LLaSOError) as error:
        raise ValueError(f"entry {number}: {error}") from error


def now() -> str:
    """UTC to the second, ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def clean_name(name: str, kind: WorkKind) -> str:
    """A name as it is stored: without spaces around, one between words. Raises LLaSOError for what is no name."""
    clean = " ".join(unicodedata.normalize("NFC", name).split())
    if not clean or len(clean) > LONGEST_NAME or not clean.isprintable():
        raise LLaSOError(f"{_a(kind.who)}'s name has 1 to {LONGEST_NAME} printable characters; got {name[:80]!r}")
    return clean


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _slug(name: str, kind: WorkKind) -> str:
    """A folder for a name: legible, and another one for every name."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    legible = re.sub("[^a-z0-9]+", "-", plain).strip("-")[:32]
    return "-".join(filter(None, (legible, digest(kind.who, name, length=8))))


class Roster(Generic[W]):
    """Who works on a server's page: a person's log is the server's from their first request until it is closed."""

    def __init__(self, kind: WorkKind, opened: Callable[[str], AbstractContextManager[W]]) -> None:
        self._kind, self._opened = kind, opened
        self._work: dict[str, W] = {}
        self._open = ExitStack()
        self._lock = threading.Lock()

    def of(self, name: str) -> W:
        """The work of that name. Raises LockedError where another process has it."""
        name = clean_name(name, self._kind)
        with self._lock:
            if name not in self._work:
                self._work[name] = self._open.enter_context(self._opened(name))
            return self._work[name]

    def close(self) -> None:
        self._open.close()
