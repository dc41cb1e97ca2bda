"""The audit as a table for people without the page: a CSV to fill in, and the sounds beside it."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence

from llaso_data import audio
from llaso_data.errors import LLaSOError
from llaso_data.filters.acceptance import ANSWERS
from llaso_data.io import outputs, storage
from llaso_data.report import answers
from llaso_data.report.answers import Answer
from llaso_data.report.audit import AuditSample, Item
from llaso_data.report.audit_page import item_pcm
from llaso_data.report.clip_groups import place_of_utterance

COLUMNS = ("item", "answer", "text", "sound", "language", "corpus", "place", "words", "id", "heard")

_BY = "llaso-data audit --export"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would compute such a cell
_PROBLEMS_SHOWN = 10


def write(sample: AuditSample, target: str, auditor: str | None = None, languages: tuple[str, ...] = ()) -> str:
    """Write the sample as CSV (UTF-8), and each sound as FLAC into a folder of the same name.

    Args:
        sample: what is audited.
        target: the CSV.
        auditor: whose answers so far are filled in; None for no answers.
        languages: those to write, as codes; empty for all.

    Returns:
        A sentence that says what was written. Where a sound cannot be decoded, its cell says why.

    Raises:
        LLaSOError: where the table exists and has other rows or answers (somebody may have filled it in), or where a
            sound would replace another file.
    """
    items = [item for item in sample.items if not languages or item.stratum[0] in languages]
    answers_by_auditor = answers.read_all(sample.align, sample.verdicts)
    own_answers = {} if auditor is None else answers_by_auditor.get(answers.clean_name(auditor), {})
    cells = [_answer_of(item, own_answers) for item in items]
    rows_without_sound = [
        _row(number, item, "", answer) for number, (item, answer) in enumerate(zip(items, cells, strict=True), 1)
    ]
    outputs.refuse(target, _BY, lambda uri: _adds_no_answer(uri, rows_without_sound), "--export")
    folder = target.removesuffix(".csv") + "-sounds"
    sounds = _sounds(items, folder, target)
    rows = io.StringIO(newline="")
    writer = csv.writer(rows)
    writer.writerow(COLUMNS)
    for number, (item, sound, answer) in enumerate(zip(items, sounds, cells, strict=True), 1):
        cell = str(sound) if isinstance(sound, LLaSOError) else sound
        writer.writerow(_row(number, item, cell, answer))
    storage.write_bytes(target, rows.getvalue().encode("utf-8-sig"))  # so that spreadsheets see that it is UTF-8
    missing = sum(isinstance(sound, LLaSOError) for sound in sounds)
    trouble = f"; {missing} sounds cannot be had, see their cells" if missing else ""
    return f"{len(items):,} items written to {target}, their sounds to {folder}{trouble}"


def _sounds(items: list[Item], folder: str, target: str) -> list[str | LLaSOError]:
    """Write each item's sound into the folder; gives its name for the table, or why it cannot be decoded.

    A file that exists already must be the same sound. Such files are compared before any is written.
    """
    existing = {row["path"] for row in storage.listing(folder)}
    names = [f"{number:04d}.flac" for number in range(1, len(items) + 1)]
    results: dict[str, str | LLaSOError] = {}
    for name, item in sorted(zip(names, items, strict=True), key=lambda one: one[0] not in existing):
        uri = storage.join(folder, name)
        try:
            data = audio.encode(item_pcm(item), "flac")
        except storage.StoreError:
            raise
        except LLaSOError as error:
            results[name] = error
            continue
        if name not in existing:
            storage.write_bytes(uri, data)
        elif storage.read_bytes(uri) != data:
            raise outputs.foreign(uri, _BY, "--export")
        results[name] = os.path.relpath(uri, os.path.dirname(target) or ".") if storage.is_local(target) else uri
    return [results[name] for name in names]


def _adds_no_answer(uri: str, rows: Sequence[tuple[str, ...]]) -> bool:
    """Whether an existing table has the rows of the new one, apart from the sounds, and no other answers."""
    try:
        old = [row for _, row in _rows(uri)]
    except LLaSOError:
        return False
    new = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    blank = {"answer": "", "sound": ""}
    return [{**row, **blank} for row in old] == [{**row, **blank} for row in new] and all(
        _normalize_answer(before["answer"]) in ("", after["answer"]) for before, after in zip(old, new, strict=True)
    )


def _answer_of(item: Item, own_answers: Mapping[str, Answer]) -> str:
    entry = own_answers.get(item.utterance.id)
    return entry.answer or "" if entry is not None and entry.heard == item.heard else ""


def read(sample: AuditSample, source: str, auditor: str) -> str:
    """Save the answers of a CSV that :func:`write` made. All are saved, or none.

    Args:
        sample: what is audited.
        source: the CSV. An empty cell is no answer, and takes none back.
        auditor: whose answers they are.

    Returns:
        A sentence that says how many were read.

    Raises:
        LLaSOError: with the file and line of every problem.
    """
    known = {item.utterance.id: item for item in sample.items}
    answers_read: list[tuple[str, str, str | None]] = []
    problems = []
    for line, row in _rows(source):
        answer = _normalize_answer(row.get("answer"))
        item = known.get(row.get("id") or "")
        if not answer:
            continue
        if answer not in ANSWERS:
            problems.append(f"{source}:{line}: {row['answer']!r} is none of {', '.join(ANSWERS)}")
        elif item is None or item.heard != row.get("heard"):
            problems.append(f"{source}:{line}: is not of the sample that {sample.align} has now; export it again")
        else:
            answers_read.append((item.utterance.id, item.heard, answer))
    if problems:
        more = len(problems) - _PROBLEMS_SHOWN
        shown = [*problems[:_PROBLEMS_SHOWN], *([f"… and {more} more"] if more > 0 else [])]
        raise LLaSOError("\n".join(shown))
    with answers.open_answers(sample.align, sample.verdicts, auditor) as work:
        before = work.answers
        new = [entry for entry in answers_read if entry[0] not in before or before[entry[0]].answer != entry[2]]
        if new:
            work.add(new)
    return f"{len(answers_read):,} answers of {work.name} read from {source}, {len(new):,} of them new"


def _row(number: int, item: Item, sound: str, answer: str) -> tuple[str, ...]:
    utterance = item.utterance
    words = " ".join(f"{word.text}[{word.start_s:.2f}-{word.end_s:.2f}]" for word in utterance.words)
    judged = (utterance.id, item.heard)
    cells = (
        str(number),
        answer,
        utterance.text or "",
        sound,
        *item.stratum,
        place_of_utterance(utterance),
        words,
        *judged,
    )
    return tuple(map(_escape_formula, cells))


def _normalize_answer(answer: str | None) -> str:
    """An answer as it is stored, of one as people type it."""
    return "_".join((answer or "").lower().replace("_", " ").split())


def _escape_formula(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe goes before what looks like one."""
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell


def _rows(source: str) -> list[tuple[int, dict[str, str]]]:
    """The line and the cells by column of each row of a CSV, whichever separator a spreadsheet chose."""
    try:
        text = storage.read_bytes(source).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise LLaSOError(f"{source}: no such file") from error
    except UnicodeDecodeError as error:
        raise LLaSOError(f"{source}: is not UTF-8 text; save it as CSV UTF-8") from error
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    missing = {"id", "heard", "answer"} - set(reader.fieldnames or ())
    if missing:
        raise LLaSOError(f"{source}:1: lacks the column {', '.join(sorted(missing))}; fill in what --export wrote")
    try:
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise LLaSOError(f"{source}:{reader.line_num}: {error}") from error
