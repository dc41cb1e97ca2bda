"""Auditors' answers, one log for each auditor: ``audit/<verdicts>/<auditor>/answers.json`` in the output.

:mod:`llaso_data.report.worklog` says how logs are kept.
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
    """One entry of the log.

    Attributes:
        id: of the item.
        heard: what was judged, as :attr:`llaso_data.report.audit.Item.heard`.
        answer: one of ``ANSWERS``; None takes an earlier one back.
        at: UTC to the second, ISO 8601.
    """

    id: str
    heard: str
    answer: str | None
    at: str


def _check_entry(entry: Entry) -> Entry:
    fields = {name: entry[name] for name in Answer.__slots__}
    if fields["answer"] is not None and fields["answer"] not in ANSWERS:
        raise ValueError("an answer that is none")
    return {**fields, "at": str(fields["at"])}


KIND = worklog.WorkKind("llaso-answers", 1, "auditor", "audit", "answers", _check_entry)


class Auditor:
    """An auditor whose log is open in this process. Made by :func:`open_answers`."""

    def __init__(self, log: WorkLog) -> None:
        self._log = log

    @property
    def name(self) -> str:
        """The auditor's, as it is stored."""
        return self._log.name

    @property
    def answers(self) -> dict[str, Answer]:
        """The answers that count, by id of the item."""
        return current_answers(self._log.entries)

    def add(self, new_answers: Sequence[tuple[str, str, str | None]]) -> None:
        """Add entries (id, heard, answer); raises as :meth:`llaso_data.report.worklog.WorkLog.add` does."""
        now = worklog.now()
        self._log.add([asdict(Answer(*entry, now)) for entry in new_answers])


@contextmanager
def open_answers(align: str, verdicts: str, name: str) -> Iterator[Auditor]:
    """Open an auditor's log, with the earlier answers.

    Args:
        align: build-align's output.
        verdicts: the name of the verdicts.
        name: the auditor's.

    Raises:
        LockedError: where another process has the log open.
        LLaSOError: for a bad name or a damaged file.
    """
    with worklog.open_log(_folder(align, verdicts), KIND, name, {"verdicts": verdicts}) as log:
        yield Auditor(log)


def read_all(align: str, verdicts: str) -> dict[str, dict[str, Answer]]:
    """The answers that count: auditor → id of the item → answer, in the order of auditors' names.

    Raises:
        LLaSOError: for a damaged file.
    """
    return {name: current_answers(log) for name, log in worklog.read_all(_folder(align, verdicts), KIND).items()}


def current_answers(log: Sequence[Entry]) -> dict[str, Answer]:
    """The last answer of each item, in the order in which they were given; without those that were taken back."""
    return {entry["id"]: Answer(**entry) for entry in worklog.last_entries(log, "id") if entry["answer"] is not None}


def clean_name(name: str) -> str:
    """An auditor's name as it is stored.

    Raises:
        LLaSOError: for what is no name.
    """
    return worklog.clean_name(name, KIND)


def _folder(align: str, verdicts: str) -> str:
    return storage.join(storage.absolute(align), "audit", verdicts)
