"""The answers that people give on a page: one log for each person, in a folder of its own.

Every new entry rewrites the person's file whole (see :func:`llaso_data.io.storage.whole`), on a disk or as one small
object on a store, before the page says that it is saved. After a kill at any moment the file is the old one or the new
one. Nothing is removed from a log: the last entry of an item counts, and an entry may take an answer back. A log
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

MAX_NAME_LENGTH = 60

Entry = dict[str, Any]
"""One line of a log: plain JSON, with ``at``, the time of :func:`now`."""

W = TypeVar("W")


@dataclass(frozen=True, slots=True)
class WorkKind:
    """A kind of log.

    Attributes:
        format: the value of the file's ``format``.
        version: the newest ``format_version`` that is read.
        who: what the people are called: auditor, rater.
        work: what they do.
        entries: what the file holds: answers, ratings.
        check: gives an entry as it was written; raises ValueError, KeyError or TypeError for a bad one.
    """

    format: str
    version: int
    who: str
    work: str
    entries: str
    check: Callable[[Entry], Entry]

    @property
    def file(self) -> str:
        """The name of the log's file."""
        return f"{self.entries}.json"


class WorkLog:
    """A person's log while it is this process's. Made by :func:`at_work`."""

    def __init__(self, kind: WorkKind, uri: str, name: str, head: Mapping[str, Any], held: lock.Held) -> None:
        self.name = name
        self._kind, self._uri, self._held = kind, uri, held
        self._head = {"format": kind.format, "format_version": kind.version, kind.who: name, **head}
        self.entries = load(uri, kind)[1] if storage.exists(uri) else []

    def add(self, entries: Sequence[Entry]) -> None:
        """Add entries; when this returns they are on the disk or store. After an error the log is as before.

        Raises:
            StoreError: where they cannot be written.
            LockedError: where another process took over.
        """
        log = [*self.entries, *entries]
        self._held.check()
        storage.write_json(self._uri, {**self._head, self._kind.entries: log})
        self.entries = log


@contextmanager
def open_log(folder: str, kind: WorkKind, name: str, head: Mapping[str, Any]) -> Iterator[WorkLog]:
    """Open a person's log, with the earlier entries.

    Args:
        folder: has all logs of the kind.
        kind: of the log.
        name: the person's.
        head: further fields at the top of the file.

    Raises:
        LockedError: where another process has the log open.
        LLaSOError: for a bad name or a damaged file.
    """
    name = clean_name(name, kind)
    own = storage.join(storage.absolute(folder), _slug(name, kind))
    with lock.exclusive(own, f"{kind.work} by {name}") as held:
        yield WorkLog(kind, storage.join(own, kind.file), name, head, held)


def read_all(folder: str, kind: WorkKind) -> dict[str, list[Entry]]:
    """Read every person's log, in the order of names.

    Several files may have the same person's name, because a folder was copied. Then their entries count in the order of
    their times.

    Raises:
        LLaSOError: for a damaged file.
    """
    logs: dict[str, list[Entry]] = {}
    for row in storage.listing(folder):
        if row["path"].endswith(f"/{kind.file}"):
            name, log = load(storage.join(folder, row["path"]), kind)
            logs[name] = merge(logs[name], log) if name in logs else log
    return dict(sorted(logs.items()))


def merge(*logs: Sequence[Entry]) -> list[Entry]:
    """Merge logs of one person by time. Each keeps its order, even where a clock was set back."""
    timed = (zip(itertools.accumulate((entry["at"] for entry in log), max), log, strict=True) for log in logs)
    return [entry for _, entry in sorted(itertools.chain.from_iterable(timed), key=lambda pair: pair[0])]


def last_entries(log: Sequence[Entry], key: str) -> list[Entry]:
    """The last entry of each item, in the order in which they were given; ``key`` is the field with the item."""
    entries: dict[str, Entry] = {}
    for entry in log:
        entries.pop(entry[key], None)
        entries[entry[key]] = entry
    return list(entries.values())


def load(uri: str, kind: WorkKind) -> tuple[str, list[Entry]]:
    """Read a log.

    Returns:
        The person's name and the entries.

    Raises:
        LLaSOError: for a damaged file; with its name, and the number of the entry.
    """
    try:
        content = storage.read_json(uri)
        if content["format"] != kind.format or content["format_version"] > kind.version:
            raise ValueError(f"format {content['format']}, version {content['format_version']}")
        log = [_check_entry(entry, number, kind) for number, entry in enumerate(content[kind.entries], 1)]
        return clean_name(content[kind.who], kind), log
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LLaSOError(
            f"{uri} is not {_with_article(kind.who)}'s {kind.entries} ({error}); move it away, or put back its copy"
        ) from error


def _check_entry(entry: Any, number: int, kind: WorkKind) -> Entry:
    try:
        return kind.check(entry)
    except (ValueError, KeyError, TypeError, AttributeError, LLaSOError) as error:
        raise ValueError(f"entry {number}: {error}") from error


def now() -> str:
    """UTC to the second, ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def clean_name(name: str, kind: WorkKind) -> str:
    """A name as it is stored: without spaces around, with one between words.

    Raises:
        LLaSOError: for what is no name.
    """
    clean = " ".join(unicodedata.normalize("NFC", name).split())
    if not clean or len(clean) > MAX_NAME_LENGTH or not clean.isprintable():
        raise LLaSOError(
            f"{_with_article(kind.who)}'s name has 1 to {MAX_NAME_LENGTH} printable characters; got {name[:80]!r}"
        )
    return clean


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _slug(name: str, kind: WorkKind) -> str:
    """A legible folder name, different for every person's name."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    legible = re.sub("[^a-z0-9]+", "-", plain).strip("-")[:32]
    return "-".join(filter(None, (legible, digest(kind.who, name, length=8))))


class Roster(Generic[W]):
    """The people who work on a server's page. Their logs are open from their first request until it is closed."""

    def __init__(self, kind: WorkKind, opened: Callable[[str], AbstractContextManager[W]]) -> None:
        self._kind, self._opened = kind, opened
        self._work: dict[str, W] = {}
        self._open = ExitStack()
        self._lock = threading.Lock()

    def of(self, name: str) -> W:
        """The open log of a person.

        Raises:
            LockedError: where another process has it open.
        """
        name = clean_name(name, self._kind)
        with self._lock:
            if name not in self._work:
                self._work[name] = self._open.enter_context(self._opened(name))
            return self._work[name]

    def close(self) -> None:
        """Close all logs."""
        self._open.close()
