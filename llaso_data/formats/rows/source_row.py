"""What the readers of corpus layouts have in common: an :class:`Entry`, and its way to an ``Input``."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from llaso_data import languages
from llaso_data.errors import OF_THE_MACHINE, LLaSOError
from llaso_data.formats.files.text import MAX_TEXT_BYTES, TOO_LONG, encoding_of
from llaso_data.formats.rows import vocabulary
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec
from llaso_data.records import (
    GIVEN,
    UNKNOWN,
    Attribute,
    Failure,
    Input,
    Source,
    Speaker,
    Utterance,
    utterance_id,
)
from llaso_data.uris import masked

PCM_BYTES_PER_S = 32_000
_MESSAGE_CHARACTERS = 1000  # errors may quote the row
UNSAFE = re.compile("[\ud800-\udfff\x00]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a corpus says of an utterance, in its own words; None where it is silent."""

    text: str | None = None
    language: str | None = None
    speaker: str | None = None
    gender: str | None = None
    age: str | None = None
    accent: str | None = None
    environment: str | None = None
    channels: tuple[int, ...] | None = None
    """Those that are to be heard, counted from 0; None: all."""
    channel_count: int | None = None


_SAID = tuple(one.name for one in fields(Said))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One input as its corpus describes it.

    ``path`` is relative to ``root``, posix, and with ``member`` and the span makes the id. ``where`` is the place
    that says so, relative to ``root`` too ("validated.tsv:12"); it makes the id of what is broken.
    """

    path: str
    uri: str
    root: str
    container: str
    member: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    said: Said = Said()
    size_bytes: int = 0
    version: str = ""
    failure: Failure | None = None
    where: str = ""

    @property
    def place(self) -> str:
        """``where`` in full, for messages."""
        return storage.join(self.root, self.where) if self.where else self.uri

    def audio(self) -> tuple[str, str, float, float, tuple[int, ...]]:
        """What makes the id, in an order."""
        end_s = math.inf if self.end_s is None else self.end_s
        return self.path, self.member or "", self.start_s or 0.0, end_s, self.said.channels or ()

    def order(self) -> tuple[tuple[str, str, float, float, tuple[int, ...]], str]:
        return self.audio(), self.where


@dataclass(frozen=True, slots=True)
class Tree:
    """A source opened: ``root`` is a folder's absolute URI, or a file's; ``rows`` are the folder's files.

    ``notes`` counts what a reader wants said of the source at the end, besides its entries.
    """

    root: str
    is_file: bool = False
    rows: tuple[tuple[str, int, str], ...] = ()  # (path relative to root, size in bytes, version)
    notes: Counter[str] = field(default_factory=Counter, compare=False)

    def uri(self, path: str) -> str:
        return storage.join(self.root, path)

    def note(self, what: str, count: int) -> None:
        if count:
            self.notes[what] += count

    def note_first(self, what: str, example: str) -> None:
        """Count one more of a kind; the first one is named."""
        known = next((name for name in self.notes if name.startswith(f"{what}: ")), f"{what}: {escaped(example)}")
        self.notes[known] += 1


def bad_row(root: str, container: str, where: str, detail: str, reason: str = "bad_row") -> Entry:
    """A row that names no usable input; it is counted as failed."""
    failure = Failure(reason, f"{storage.join(root, where)}: {detail}")
    return Entry(path=where, uri=container, root=root, container=container, where=where, failure=failure)


class RowError(Exception):
    """What is wrong with a row."""


def is_empty(value: Any) -> bool:
    """Whether a cell says nothing: none, an empty text, a gap in a column of numbers."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or value == ""


def guarded(make: Callable[[], Entry], root: str, container: str, where: str) -> Entry:
    """The entry of one row, file or member; whatever is wrong with it is its own failure."""
    try:
        return make()
    except Exception as error:
        return bad_row(root, container, where, fault(error))


def fault(error: Exception) -> str:
    """What is wrong with a row, by the exception that reading it ended in.

    Raises the exception itself where it is not the row's: a store or disk that failed, a package that is missing,
    memory that is not there.
    """
    elsewhere = isinstance(error, (storage.StoreError, MemoryError, ImportError))
    if elsewhere or isinstance(error.__cause__, ImportError) or getattr(error, "errno", None) in OF_THE_MACHINE:
        raise error
    said = str(error)
    if not isinstance(error, (RowError, LLaSOError)):
        said = f"it cannot be read ({type(error).__name__}: {said})"
    return " ".join(masked(said).split())[:_MESSAGE_CHARACTERS]


def extension(path: str) -> str:
    """``a/b.TXT`` → ``txt``; empty where there is none."""
    name = path.rpartition("/")[2]
    return name.rpartition(".")[2].lower() if "." in name[1:] else ""


def matcher(pattern: str) -> re.Pattern[str]:
    """A glob on posix paths as a regular expression: ``*`` stays inside a folder, ``**/`` is any depth, also none."""
    plain = re.sub(r"(\*\*/)+", "**/", re.sub(r"\*{2,}", "**", pattern))  # runs of stars would search for ever
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", plain)
    special = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    try:
        return re.compile("".join(special.get(piece) or _literal_or_set(piece) for piece in pieces), re.DOTALL)
    except re.error as error:
        raise LLaSOError(f"pattern {pattern!r}: {error}") from error


def _literal_or_set(piece: str) -> str:
    if not (piece.startswith("[") and piece.endswith("]")):
        return re.escape(piece)
    inside = re.sub(r"[\\[&~|]", r"\\\g<0>", piece[1:-1])
    return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"


def clean_text(data: bytes, where: str) -> tuple[str | None, Failure | None]:
    """A transcript file's text, on one line; None where it is empty. Not UTF-8 is a failure that names the byte."""
    if len(data) > MAX_TEXT_BYTES:
        return None, too_long(where)
    try:
        encoding = encoding_of(data[:4])
        text = " ".join(data.decode(encoding).split())
    except UnicodeDecodeError as error:
        name = encoding.removesuffix("-sig").upper()
        detail = f"{where}: not {name} (byte 0x{data[error.start]:02x} at {error.start}); save it as UTF-8"
        return None, Failure("bad_text", detail)
    if "\0" in text:
        return None, Failure("bad_text", f"{where}: it holds NUL characters, as UTF-16 does; save it as UTF-8")
    return text or None, None


def too_long(where: str) -> Failure:
    return Failure("bad_text", f"{where}: {TOO_LONG}; no transcript is, take it out")


def given_language(spec: SourceSpec) -> str | None:
    """The recipe's language as a code; LLaSOError where it is none."""
    if spec.language is None:
        return None
    code = languages.language(spec.language)
    if code is None:
        raise LLaSOError(f"{spec.path}: {_no_language(spec.language)}")
    return code


def _no_language(said: str) -> str:
    return f"{said[:80]!r} is no language; write one, as its code (en, zh, hsb, nan-TW) or its English name"


def _language(entry: Entry, spec: SourceSpec) -> tuple[str | None, Failure | None]:
    """The language that the row states, else the recipe's; a word that is none fails, and is never replaced."""
    said = entry.said.language
    if said is None or languages.is_unsaid(said):
        return given_language(spec), None
    code = languages.language(said)
    return code, None if code else Failure("bad_language", f"{escaped(entry.place)}: {_no_language(said)}")


def check_given(spec: SourceSpec) -> None:
    """Raises LLaSOError where the recipe itself says of a source what the vocabulary does not have."""
    given_language(spec)
    if spec.gender is not None and vocabulary.gender(spec.gender) == UNKNOWN:
        choices = ", ".join(vocabulary.GENDERS[:-1])
        raise LLaSOError(f"{spec.path}: gender {spec.gender!r} is not known; give one of {choices}")
    if spec.age is not None and vocabulary.age_range(spec.age) == UNKNOWN:
        raise LLaSOError(f"{spec.path}: age {spec.age!r} is not known; give years (34) or a decade (30-39)")


def to_input(entry: Entry, spec: SourceSpec, corpus: str) -> Input:
    """The entry in the records' vocabulary; what it does not say, the recipe may."""
    entry, failure = _storable(entry)
    said = entry.said
    language, wrong = _language(entry, spec)
    failure = failure or wrong
    chosen = said.channels or ()
    one = chosen[0] if len(chosen) == 1 else None
    averaged = chosen if len(chosen) > 1 else None
    channel = averaged if one is None else one
    id = utterance_id(corpus, entry.path, entry.member, entry.start_s, entry.end_s, channel=channel)
    if entry.failure is not None and entry.failure.reason == "bad_row":
        id = utterance_id(corpus, f"{entry.path}#{entry.where}", entry.member)
    utterance = Utterance(
        id=id,
        recording=id,
        source=Source(
            corpus=corpus,
            uri=entry.uri,
            member=entry.member,
            start_s=entry.start_s,
            end_s=entry.end_s,
            channels=said.channel_count,
            channel=one,
            averaged=averaged,
        ),
        language=language,
        language_origin=GIVEN if language else UNKNOWN,
        text=said.text,
        text_origin=GIVEN if said.text else UNKNOWN,
        speaker=Speaker(
            id=_attribute(said.speaker, spec.speaker, str.strip),
            gender=_attribute(said.gender, spec.gender, vocabulary.gender),
            age_range=_attribute(said.age, spec.age, vocabulary.age_range),
            accent=_attribute(said.accent, spec.accent, vocabulary.accent),
        ),
        environment=_attribute(said.environment, spec.environment, vocabulary.environment),
        failure=failure,
    )
    size_bytes = entry.size_bytes
    if entry.end_s is not None:  # many rows may share one long file
        size_bytes = min(size_bytes, round((entry.end_s - (entry.start_s or 0.0)) * PCM_BYTES_PER_S))
    return Input(utterance=utterance, container=entry.container, size_bytes=size_bytes, version=entry.version)


def _attribute(row: str | None, given: str | None, to_value: Callable[[str], str]) -> Attribute:
    for said in (row, given):
        value = UNKNOWN if said is None else to_value(said) or UNKNOWN
        if value != UNKNOWN:
            return Attribute(value, GIVEN)
    return Attribute()


def _storable(entry: Entry) -> tuple[Entry, Failure | None]:
    """The entry with nothing that UTF-8 cannot hold: names and texts may carry stray bytes, a record may not."""
    failure = entry.failure
    uri, member, container = escaped(entry.uri), entry.member and escaped(entry.member), escaped(entry.container)
    if (uri, member, container) != (entry.uri, entry.member, entry.container):
        failure = failure or Failure(
            "bad_name", f"{uri if member is None else f'{uri}!{member}'}: not UTF-8; rename it"
        )
        entry = replace(entry, uri=uri, member=member, container=container)
    unsafe = [name for name in _SAID if isinstance(value := getattr(entry.said, name), str) and UNSAFE.search(value)]
    if unsafe:
        detail = f"{escaped(entry.place)}: {', '.join(unsafe)} is not UTF-8 text; save it as UTF-8"
        failure = failure or Failure("bad_text", detail)
        entry = replace(entry, said=replace(entry.said, **dict.fromkeys(unsafe)))
    return entry, failure and Failure(failure.reason, escaped(masked(failure.detail)))


def escaped(name: str) -> str:
    """Lone surrogates (bytes of a name that is not UTF-8) and NUL made visible."""
    if name.isascii() and "\x00" not in name:
        return name
    return name.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
