"""What auditors said, kept durably: a log for each, ``audit/<verdicts>/<auditor>/answers.json`` in the output.

:mod:`llaso_data.report.worklog` says how it is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from llaso_data.filters.acceptance import ANSWERS
from llaso_data.io import storage
from llaso_data.report import worklog
from llaso_data.report.worklog import Entry, WorkLog


@dataclass(frozen=True, slots=True)
class Answer:
    """One entry of the log: which item, what was heard (:attr:`llaso_data.report.audit.Item.heard`), what was said.

    ``answer`` is None where an earlier one is taken back; ``at`` is UTC to the second, ISO 8601.
    """

    id: str
    heard: str
    answer: str | None
    at: str


def _checked(entry: Entry) -> Entry:
    found = {name: entry[name] for name in Answer.__slots__}
    if found["answer"] is not None and found["answer"] not in ANSWERS:
        raise ValueError("an answer that is none")
    return {**found, "at": str(found["at"])}


KIND = worklog.WorkKind("llaso-answers", 1, "auditor", "audit", "answers", _checked)


class Auditor:
    """An auditor at work: holds the log, and adds to it. Made by :func:`at_work`."""

    def __init__(self, log: WorkLog) -> None:
        self._log = log

    @property
    def name(self) -> str:
        return self._log.name

    @property
    def answers(self) -> dict[str, Answer]:
        return standing(self._log.entries)

    def say(self, said: Sequence[tuple[str, str, str | None]]) -> None:
        """Adds (id, heard, answer) entries; raises as :meth:`llaso_data.report.worklog.Log.add` does."""
        now = worklog.now()
        self._log.add([asdict(Answer(*entry, now)) for entry in said])


@contextmanager
def at_work(align: str, verdicts: str, name: str) -> Iterator[Auditor]:
    """The auditor of that name, with what was answered before. Raises LockedError where the name is in use."""
    with worklog.at_work(_folder(align, verdicts), KIND, name, {"verdicts": verdicts}) as log:
        yield Auditor(log)


def everyone(align: str, verdicts: str) -> dict[str, dict[str, Answer]]:
    """By auditor, in the order of names, the answers that stand, by item. Raises LLaSOError for a damaged file."""
    return {name: standing(log) for name, log in worklog.everyone(_folder(align, verdicts), KIND).items()}


def standing(log: Sequence[Entry]) -> dict[str, Answer]:
    """The last answer of every item, without what was taken back, in the order in which they were given."""
    return {entry["id"]: Answer(**entry) for entry in worklog.last(log, "id") if entry["answer"] is not None}


def clean_name(name: str) -> str:
    """A name as it is stored. Raises LLaSOError for what is no name."""
    return worklog.clean_name(name, KIND)


def _folder(align: str, verdicts: str) -> str:
    return storage.join(storage.absolute(align), "audit", verdicts)
