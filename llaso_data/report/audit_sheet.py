"""The audit as a table for people without the page: a CSV to fill in, and the sounds beside it."""

from __future__ import annotations

import csv
import io
import os

from llaso_data import audio, storage
from llaso_data.errors import LLaSOError
from llaso_data.filters.acceptance import ANSWERS
from llaso_data.report import answers
from llaso_data.report.audit import Item, Sample
from llaso_data.report.audit_page import item_pcm
from llaso_data.report.listen import where

COLUMNS = ("item", "answer", "text", "sound", "language", "corpus", "place", "words", "id", "heard")

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would compute such a cell
_PROBLEMS_SHOWN = 10


def write(sample: Sample, target: str, auditor: str | None = None, languages: tuple[str, ...] = ()) -> str:
    """Writes the sample as CSV (UTF-8) and each sound as FLAC into a folder of the same name; says what it wrote.

    With `auditor` their answers so far are filled in. A sound that cannot be had is said in its cell.
    """
    items = [item for item in sample.items if not languages or item.stratum[0] in languages]
    given = answers.everyone(sample.align, sample.verdicts)
    mine = {} if auditor is None else given.get(answers.clean_name(auditor), {})
    folder = target.removesuffix(".csv") + "-sounds"
    rows = io.StringIO(newline="")
    writer = csv.writer(rows)
    writer.writerow(COLUMNS)
    missing = 0
    for number, item in enumerate(items, 1):
        try:
            sound = storage.join(folder, f"{number:04d}.flac")
            storage.write_bytes(sound, audio.encode(item_pcm(item), "flac"))
            said = os.path.relpath(sound, os.path.dirname(target) or ".") if storage.is_local(target) else sound
        except storage.StoreError:
            raise
        except LLaSOError as error:
            said, missing = str(error), missing + 1
        entry = mine.get(item.utterance.id)
        answer = entry.answer if entry is not None and entry.heard == item.heard else None
        writer.writerow(map(_inert, _row(number, item, said, answer or "")))
    storage.write_bytes(target, rows.getvalue().encode("utf-8-sig"))  # so that spreadsheets see that it is UTF-8
    trouble = f"; {missing} sounds cannot be had, see their cells" if missing else ""
    return f"{len(items):,} items written to {target}, their sounds to {folder}{trouble}"


def read(sample: Sample, source: str, auditor: str) -> str:
    """Saves the answers of a CSV that :func:`write` made as those of `auditor`; says how many.

    An empty cell is no answer, and takes none back. All is saved or nothing. Raises LLaSOError with every problem.
    """
    known = {item.utterance.id: item for item in sample.items}
    said: list[tuple[str, str, str | None]] = []
    problems = []
    for line, row in _rows(source):
        answer = "_".join((row.get("answer") or "").lower().replace("_", " ").split())
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
    return (str(number), answer, utterance.text or "", sound, *item.stratum, where(utterance), words, *judged)


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
