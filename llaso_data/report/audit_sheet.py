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
from llaso_data.report.audit import Item, Sample
from llaso_data.report.audit_page import item_pcm
from llaso_data.report.clip_groups import where

COLUMNS = ("item", "answer", "text", "sound", "language", "corpus", "place", "words", "id", "heard")

_BY = "llaso-data audit --export"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would compute such a cell
_PROBLEMS_SHOWN = 10


def write(sample: Sample, target: str, auditor: str | None = None, languages: tuple[str, ...] = ()) -> str:
    """Writes the sample as CSV (UTF-8) and each sound as FLAC into a folder of the same name; says what it wrote.

    With `auditor` their answers so far are filled in. A sound that cannot be had is said in its cell. Raises
    LLaSOError where the table is there already and says something else, for somebody may have filled it in, or where
    a sound would replace another file.
    """
    items = [item for item in sample.items if not languages or item.stratum[0] in languages]
    given = answers.everyone(sample.align, sample.verdicts)
    mine = {} if auditor is None else given.get(answers.clean_name(auditor), {})
    said = [_answer_of(item, mine) for item in items]
    silent = [_row(number, item, "", answer) for number, (item, answer) in enumerate(zip(items, said, strict=True), 1)]
    outputs.refuse(target, _BY, lambda uri: _says_no_more(uri, silent), "--export")
    folder = target.removesuffix(".csv") + "-sounds"
    sounds = _sounds(items, folder, target)
    rows = io.StringIO(newline="")
    writer = csv.writer(rows)
    writer.writerow(COLUMNS)
    for number, (item, sound, answer) in enumerate(zip(items, sounds, said, strict=True), 1):
        cell = str(sound) if isinstance(sound, LLaSOError) else sound
        writer.writerow(_row(number, item, cell, answer))
    storage.write_bytes(target, rows.getvalue().encode("utf-8-sig"))  # so that spreadsheets see that it is UTF-8
    missing = sum(isinstance(sound, LLaSOError) for sound in sounds)
    trouble = f"; {missing} sounds cannot be had, see their cells" if missing else ""
    return f"{len(items):,} items written to {target}, their sounds to {folder}{trouble}"


def _sounds(items: list[Item], folder: str, target: str) -> list[str | LLaSOError]:
    """Each item's sound as the table names it, written into the folder, or why it cannot be had.

    A file that is there already must be the very sound; such files are looked at before any is written.
    """
    there = {row["path"] for row in storage.listing(folder)}
    names = [f"{number:04d}.flac" for number in range(1, len(items) + 1)]
    found: dict[str, str | LLaSOError] = {}
    for name, item in sorted(zip(names, items, strict=True), key=lambda one: one[0] not in there):
        uri = storage.join(folder, name)
        try:
            data = audio.encode(item_pcm(item), "flac")
        except storage.StoreError:
            raise
        except LLaSOError as error:
            found[name] = error
            continue
        if name not in there:
            storage.write_bytes(uri, data)
        elif storage.read_bytes(uri) != data:
            raise outputs.foreign(uri, _BY, "--export")
        found[name] = os.path.relpath(uri, os.path.dirname(target) or ".") if storage.is_local(target) else uri
    return [found[name] for name in names]


def _says_no_more(uri: str, rows: Sequence[tuple[str, ...]]) -> bool:
    """Whether a table that is there has the rows of the new one, their sounds aside, and no answer besides."""
    try:
        old = [row for _, row in _rows(uri)]
    except LLaSOError:
        return False
    new = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    bare = {"answer": "", "sound": ""}
    return [{**row, **bare} for row in old] == [{**row, **bare} for row in new] and all(
        _normalized(before["answer"]) in ("", after["answer"]) for before, after in zip(old, new, strict=True)
    )


def _answer_of(item: Item, said: Mapping[str, Answer]) -> str:
    entry = said.get(item.utterance.id)
    return entry.answer or "" if entry is not None and entry.heard == item.heard else ""


def read(sample: Sample, source: str, auditor: str) -> str:
    """Saves the answers of a CSV that :func:`write` made as those of `auditor`; says how many.

    An empty cell is no answer, and takes none back. All is saved or nothing. Raises LLaSOError with every problem.
    """
    known = {item.utterance.id: item for item in sample.items}
    said: list[tuple[str, str, str | None]] = []
    problems = []
    for line, row in _rows(source):
        answer = _normalized(row.get("answer"))
        item = known.get(row.get("id") or "")
        if not answer:
            continue
        if answer not in ANSWERS:
            problems.append(f"{source}:{line}: {row['answer']!r} is none of {', '.join(ANSWERS)}")
        elif item is None or item.heard != row.get("heard"):
            problems.append(f"{source}:{line}: is not of the sample that {sample.align} has now; export it again")
        else:
            said.append((item.utterance.id, item.heard, answer))
    if problems:
        more = len(problems) - _PROBLEMS_SHOWN
        shown = [*problems[:_PROBLEMS_SHOWN], *([f"… and {more} more"] if more > 0 else [])]
        raise LLaSOError("\n".join(shown))
    with answers.at_work(sample.align, sample.verdicts, auditor) as work:
        now = work.answers
        new = [entry for entry in said if entry[0] not in now or now[entry[0]].answer != entry[2]]
        if new:
            work.say(new)
    return f"{len(said):,} answers of {work.name} read from {source}, {len(new):,} of them new"


def _row(number: int, item: Item, sound: str, answer: str) -> tuple[str, ...]:
    utterance = item.utterance
    words = " ".join(f"{word.text}[{word.start_s:.2f}-{word.end_s:.2f}]" for word in utterance.words)
    judged = (utterance.id, item.heard)
    cells = (str(number), answer, utterance.text or "", sound, *item.stratum, where(utterance), words, *judged)
    return tuple(map(_inert, cells))


def _normalized(answer: str | None) -> str:
    """An answer as people type it, as it is stored."""
    return "_".join((answer or "").lower().replace("_", " ").split())


def _inert(cell: str) -> str:
    """What a spreadsheet would take for a formula is kept from it by an apostrophe."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _rows(source: str) -> list[tuple[int, dict[str, str]]]:
    """(line, cells by column) of a CSV, however a spreadsheet separated it. Raises LLaSOError."""
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
