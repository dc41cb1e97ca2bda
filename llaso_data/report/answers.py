"""What auditors said, kept durably: one file for each, ``audit/<verdicts>/<auditor>/answers.json`` in the output.

Every answer rewrites its auditor's file whole (see :func:`llaso_data.storage.whole`), on a disk or as one small object
on a store, before anyone is told that it is saved. The file is a log: the last entry of an item counts, and one that
takes an answer back says null. A file belongs to one process at a time, by a lock on its folder.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from llaso_data import lock, storage
from llaso_data.errors import LLaSOError
from llaso_data.filters.acceptance import ANSWERS
from llaso_data.records import digest

FORMAT = "llaso-answers"
FORMAT_VERSION = 1
LONGEST_NAME = 60

_FILE = "answers.json"


@dataclass(frozen=True, slots=True)
class Answer:
    """One entry of the log: which item, what was heard (:attr:`llaso_data.report.audit.Item.heard`), what was said.

    ``answer`` is None where an earlier one is taken back; ``at`` is UTC to the second, ISO 8601.
    """

    id: str
    heard: str
    answer: str | None
    at: str


class Auditor:
    """An auditor at work: holds the file, and adds to it. Made by :func:`at_work`."""

    def __init__(self, uri: str, verdicts: str, name: str, held: lock.Held) -> None:
        self.name = name
        self._uri, self._verdicts, self._held = uri, verdicts, held
        self._log = list(_load(uri)[1]) if storage.exists(uri) else []

    @property
    def answers(self) -> dict[str, Answer]:
        return standing(self._log)

    def say(self, said: Sequence[tuple[str, str, str | None]]) -> None:
        """Adds (id, heard, answer) entries; when this returns they are on the disk or store.

        Raises StoreError where they cannot be written, LockedError where another process took over; the answers are
        then as they were before.
        """
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        log = [*self._log, *(Answer(*entry, now) for entry in said)]
        self._held.check()
        storage.write_json(self._uri, _dump(self._verdicts, self.name, log))
        self._log = log


@contextmanager
def at_work(align: str, verdicts: str, name: str) -> Iterator[Auditor]:
    """The auditor of that name, with what was answered before. Raises LockedError where the name is in use."""
    name = clean_name(name)
    folder = storage.join(_folder(align, verdicts), _slug(name))
    with lock.exclusive(folder, f"audit by {name}") as held:
        yield Auditor(storage.join(folder, _FILE), verdicts, name, held)


def everyone(align: str, verdicts: str) -> dict[str, dict[str, Answer]]:
    """By auditor, in the order of names, the answers that stand, by item. Raises LLaSOError for a damaged file."""
    folder = _folder(align, verdicts)
    found = dict(
        _load(storage.join(folder, row["path"])) for row in storage.listing(folder) if row["path"].endswith(f"/{_FILE}")
    )
    return {name: standing(log) for name, log in sorted(found.items())}


def standing(log: Sequence[Answer]) -> dict[str, Answer]:
    """The last answer of every item, without what was taken back, in the order in which they were given."""
    last: dict[str, Answer] = {}
    for entry in log:
        last.pop(entry.id, None)
        last[entry.id] = entry
    return {id_: entry for id_, entry in last.items() if entry.answer is not None}


def clean_name(name: str) -> str:
    """A name as it is stored: without spaces around, one between words. Raises LLaSOError for what is no name."""
    clean = " ".join(unicodedata.normalize("NFC", name).split())
    if not clean or len(clean) > LONGEST_NAME or not clean.isprintable():
        raise LLaSOError(f"an auditor's name has 1 to {LONGEST_NAME} printable characters; got {name[:80]!r}")
    return clean


def _slug(name: str) -> str:
    """A folder for a name: legible, and another one for every name."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return "-".join(filter(None, (re.sub("[^a-z0-9]+", "-", plain).strip("-")[:32], digest("auditor", name, length=8))))


def _folder(align: str, verdicts: str) -> str:
    return storage.join(storage.absolute(align), "audit", verdicts)


def _dump(verdicts: str, name: str, log: Sequence[Answer]) -> dict[str, Any]:
    head = {"format": FORMAT, "format_version": FORMAT_VERSION, "verdicts": verdicts, "auditor": name}
    return {**head, "answers": [asdict(entry) for entry in log]}


def _load(uri: str) -> tuple[str, list[Answer]]:
    """(auditor, log) of a file. Raises LLaSOError."""
    try:
        said = storage.read_json(uri)
        if said["format"] != FORMAT or said["format_version"] > FORMAT_VERSION:
            raise ValueError(f"format {said['format']}, version {said['format_version']}")
        log = [Answer(**{name: row[name] for name in Answer.__slots__}) for row in said["answers"]]
        if not all(entry.answer is None or entry.answer in ANSWERS for entry in log):
            raise ValueError("an answer that is none")
        return clean_name(said["auditor"]), log
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LLaSOError(f"{uri} is not an auditor's answers ({error}); move it away, or put back its copy") from error
