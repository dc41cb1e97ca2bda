"""What the columns of a table of texts mean: a form says which fields of tasks a row gives."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llaso_data.formats.rows.labels import label_value
from llaso_data.formats.rows.source_row import RowError, is_empty
from llaso_data.formats.text_sets.exchanges import asked, first_exchange
from llaso_data.formats.text_sets.translations import by_language, language_columns

INSTRUCTIONS, CONTEXTS = ("instruction",), ("input", "context")
OUTPUTS = ("output", "response", "completion", "answer")
QUESTIONS, ANSWERS = ("question",), ("answer", "answers", "response", "output")
PROMPTS = ("prompt", "query")
TALKS = ("messages", "conversations", "conversation")
SOURCES = ("source", "src", "source_text", "src_text", "text", "sentence")
_SURE_SOURCES = SOURCES[:4]
TARGETS = ("translation", "target", "tgt", "target_text", "tgt_text")
SOURCE_LANGUAGES = ("source_language", "source_lang", "src_language", "src_lang", "language", "lang", "locale")
TARGET_LANGUAGES = ("target_language", "target_lang", "tgt_language", "tgt_lang")
DOCUMENTS = ("text", "document", "article", "dialogue", "passage")
SUMMARIES = ("summary", "highlights", "abstract")
TEXTS = ("text", "sentence")
LANGUAGES = ("language", "lang", "locale")


@dataclass(frozen=True, slots=True)
class Said:
    """What a row says: fields of tasks, the language of what goes in, and what is to be noted of the row."""

    labels: dict[str, Any]
    language: Any = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """How rows with some columns are read.

    Attributes:
        name: What rows of the form are, in words.
        used: The columns that are read.
        make: What a row says: one thing, or several. Raises RowError for a row that says nothing of the kind.
    """

    name: str
    used: frozenset[str]
    make: Callable[[Mapping[str, Any]], Iterable[Said]] = field(repr=False)


class _Columns:
    """The columns of a row, by their names in small letters."""

    def __init__(self, columns: Iterable[str]) -> None:
        self.by_name: dict[str, str] = {}
        for column in columns:
            self.by_name.setdefault(str(column).strip().lower(), column)

    def of(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(self.by_name[name] for name in names if name in self.by_name)


@functools.lru_cache(256)
def form_of(columns: tuple[str, ...]) -> Form | None:
    """The form of a row by the names of its columns; None: it is none of texts."""
    known = _Columns(columns)
    return next((form for make in _FORMS if (form := make(known)) is not None), None)


def _talk(known: _Columns) -> Form | None:
    talks = known.of(TALKS)
    if not talks:
        return None
    languages = known.of(LANGUAGES)

    def make(row: Mapping[str, Any]) -> Iterable[Said]:
        question, answer, notes = first_exchange(_first(row, talks, TALKS[0]))
        return (Said(asked(question, answer), _language(row, languages), notes),)

    return Form("conversations", frozenset((*talks, *languages)), make)


def _translations(known: _Columns) -> Form | None:
    """``translation`` with a text for each language, or beside the text that it translates."""
    sources, targets = known.of(SOURCES), known.of(TARGETS)
    languages, into = known.of(SOURCE_LANGUAGES), known.of(TARGET_LANGUAGES)
    mapped = known.of(("translation",))
    named = known.of(_SURE_SOURCES) and targets
    if not mapped and not named and not (sources and targets and into):
        return None
    used = frozenset((*sources, *targets, *languages, *into))

    def make(row: Mapping[str, Any]) -> Iterable[Said]:
        both = _object(row.get(mapped[0])) if mapped else None
        if both is not None:
            return [Said(labels, language) for labels, language in by_language(both)]
        text = _text(row, tuple(one for one in sources if one not in targets), "text")
        labels = {"text": text, "translation": _text(row, targets, "translation")}
        if (language := _language(row, into)) is not None:
            labels["target_language"] = language
        return (Said(labels, _language(row, languages)),)

    return Form("translations", used, make)


def _instructions(known: _Columns) -> Form | None:
    instructions, outputs, contexts = known.of(INSTRUCTIONS), known.of(OUTPUTS), known.of(CONTEXTS)
    if not instructions or not outputs:
        return None
    languages = known.of(LANGUAGES)

    def make(row: Mapping[str, Any]) -> Iterable[Said]:
        labels = {"instruction": _text(row, instructions, "instruction"), "output": _text(row, outputs, "output")}
        if context := _optional(row, contexts, CONTEXTS[0]):
            labels["context"] = context
        return (Said(labels, _language(row, languages)),)

    return Form("instructions", frozenset((*instructions, *outputs, *contexts, *languages)), make)


def _questions(known: _Columns) -> Form | None:
    questions, answers, contexts = known.of(QUESTIONS), known.of(ANSWERS), known.of(("context", "passage"))
    if not questions or not answers:
        return None
    languages = known.of(LANGUAGES)

    def make(row: Mapping[str, Any]) -> Iterable[Said]:
        question, answer = _text(row, questions, "question"), _answer(_first(row, answers, "answer"))
        if context := _optional(row, contexts, "context"):
            labels = {"instruction": question, "context": context, "output": answer}
        else:
            labels = {"question": question, "answer": answer}
        return (Said(labels, _language(row, languages)),)

    return Form("questions", frozenset((*questions, *answers, *contexts, *languages)), make)


def _prompts(known: _Columns) -> Form | None:
    prompts, outputs = known.of(PROMPTS), known.of(OUTPUTS)
    if not prompts or not outputs:
        return None
    languages = known.of(LANGUAGES)

    def make(row: Mapping[str, Any]) -> Iterable[Said]:
        labels = asked(_text(row, prompts, "prompt"), _text(row, outputs, "response"))
        return (Said(labels, _language(row, languages)),)

    return Form("prompts", frozenset((*prompts, *outputs, *languages)), make)


def _summaries(known: _Columns) -> Form | None:
    documents, summaries, languages = known.of(DOCUMENTS), known.of(SUMMARIES), known.of(LANGUAGES)
    if not documents or not summaries:
        return None

    def make(row: Mapping[str, Any]) -> Iterable[Said]:
        labels = {"text": _text(row, documents, "text"), "summary": _text(row, summaries, "summary")}
        return (Said(labels, _language(row, languages)),)

    return Form("summaries", frozenset((*documents, *summaries, *languages)), make)


def _pairs(known: _Columns) -> Form | None:
    """Columns that are called by languages."""
    columns = language_columns(known.by_name.values())
    if len(columns) < 2:
        return None

    def make(row: Mapping[str, Any]) -> Iterable[Said]:
        texts = {code: row.get(column) for code, column in columns.items()}
        return [Said(labels, language) for labels, language in by_language(texts)]

    return Form("translations", frozenset(columns.values()), make)


_FORMS = (_talk, _translations, _instructions, _questions, _summaries, _prompts, _pairs)


def text_and_language(columns: tuple[str, ...]) -> Form:
    """The form of rows whose labels are columns of their names: a text, if there is one, and its language."""
    known = _Columns(columns)
    texts, languages = known.of(TEXTS), known.of(LANGUAGES)

    def make(row: Mapping[str, Any]) -> Iterable[Said]:
        text = _optional(row, texts, "text")
        return (Said({"text": text} if text else {}, _language(row, languages)),)

    return Form("labels", frozenset((*texts, *languages)), make)


def _first(row: Mapping[str, Any], columns: tuple[str, ...], name: str) -> Any:
    for column in columns:
        if not is_empty(value := row.get(column)):
            return value
    raise RowError(f"`{columns[0] if columns else name}` is empty")


def _text(row: Mapping[str, Any], columns: tuple[str, ...], name: str) -> str:
    value = label_value(_first(row, columns, name))
    if value is None:
        raise RowError(f"`{columns[0]}` is empty")
    if not isinstance(value, (str, int, float)):
        raise RowError(f"`{columns[0]}` is a text; got {'a list' if isinstance(value, list) else 'an object'}")
    return str(value)


def _optional(row: Mapping[str, Any], columns: tuple[str, ...], name: str) -> str | None:
    filled = tuple(column for column in columns if label_value(row.get(column)) is not None)
    return _text(row, filled, name) if filled else None


def _language(row: Mapping[str, Any], columns: tuple[str, ...]) -> str | None:
    return next((value for column in columns if isinstance(value := row.get(column), str) and value.strip()), None)


def _object(value: Any) -> Mapping[str, Any] | None:
    """An object, also as its JSON, which a CSV has; None: it is another value."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, Mapping) else None


def _answer(value: Any) -> str:
    """The first of the answers: a text, a list of them, or SQuAD's ``{"text": […]}``."""
    for _ in range(4):
        if isinstance(value, Mapping) and "text" in value:
            value = value["text"]
        elif isinstance(value, (list, tuple)):
            if not value:
                raise RowError("the question has no answer")
            value = value[0]
    answer = label_value(value)
    if not isinstance(answer, (str, int, float)):
        raise RowError("an answer is a text, or a list of texts")
    return str(answer)
