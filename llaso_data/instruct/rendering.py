"""Instructions and answers of rows: pure functions of a task, a row and a seed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from llaso_data.errors import LLaSOError
from llaso_data.instruct import pronunciation
from llaso_data.instruct.tasks import Tasks, folded
from llaso_data.instruct.tasks.build import (
    ARROW,
    AUDIO,
    HEARD,
    LANGUAGE,
    SECOND_AUDIO,
    SECOND_TEXT,
    SPOKEN,
    Build,
    Expected,
    Form,
    Modality,
)
from llaso_data.instruct.wording import Wording, wording
from llaso_data.languages import language as language_code
from llaso_data.records import Provenance, digest

LANGUAGES: Mapping[str, float] = {"en": 0.9, "zh": 0.1}
"""Shares of the languages of instructions."""
EXAMPLE_SHARE = 0.25
"""Share of the written instructions that carry a worked example."""

OPTIONS, RANGE, INPUT = "options", "range", "input"
"""Places of a template that are no fields: the labels, the range of numbers, what goes in."""
PLACE = re.compile(r"\{(\w+)\}")
"""A place of a template."""


Item = TypeVar("Item")


class BadValue(LLaSOError):
    """A row's value is none that a task can have."""

    def __init__(self, field: str, why: str) -> None:
        """``field`` has the value; ``why`` is for a person."""
        super().__init__(why)
        self.field = field


@dataclass(frozen=True, slots=True)
class Template:
    """One template of a task: its name, which changes with its text, and what it is.

    ``twin`` is what is asked in its place where an answer is expected, of a task whose templates cannot be followed.
    """

    id: str
    language: str
    form: Form
    text: str
    twin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """What a row is asked.

    Attributes:
        task: Name of the task.
        template: Name of the template; None: what is heard asks by itself, and ``text`` is empty.
        language: Language of the instruction.
        form: How it is put.
        seed: The seed of the draws.
        text: The instruction.
        answer: What is right; None: the answer is audio.
        options: The labels in the order in which the instruction names them, as it calls them; empty: it names none.
        has_example: Whether the instruction carries a worked example.
        expected: What is right to do: to answer, to refuse, or to ask back.
        clips: Recordings that are heard, 1 or 2.
    """

    task: str
    template: str | None
    language: str
    form: Form | None
    seed: int
    text: str
    answer: str | None
    options: tuple[str, ...] = ()
    has_example: bool = False
    expected: Expected = "answer"
    clips: int = 1

    @property
    def provenance(self) -> Provenance:
        """What a sample says of its instruction."""
        return Provenance(template=self.template, seed=self.seed)


def templates_of(tasks: Tasks, name: str) -> list[Template]:
    """The templates of a task, in the order of its file; those of the task that it is asked like have their names."""
    owner = tasks.build[name].asked_like or name
    return [
        Template(
            f"{owner}/{language}/{form}/{digest(line, length=8)}", language, form, *sides(tasks.build[owner], line)
        )
        for language, by_form in tasks.templates_of(name).items()
        for form, texts in by_form.items()
        for line in texts
    ]


def sides(build: Build, line: str) -> tuple[str, str]:
    """A line of templates: the instruction and its twin, which is empty where there is none."""
    if build.expects == "answer":
        return line, ""
    text, _, twin = line.partition(ARROW)
    return text, twin


class Renderer:
    """Makes the instructions of one task. Made once for a task: its templates and labels are looked up then."""

    def __init__(self, tasks: Tasks, name: str, without: Sequence[str] = ()) -> None:
        """Look up templates and labels.

        Args:
            tasks: With what they say of the task.
            name: A task that ``tasks`` says how to build.
            without: Templates that are not used, by id; a prefix of ids names several.

        Raises:
            LLaSOError: It is no such task.
        """
        if name not in tasks.build:
            raise LLaSOError(f"task {name} has no templates; those that have are {', '.join(tasks.build)}")
        self.name, self.build = name, tasks.build[name]
        self._tasks = tasks
        declared = tasks.sets[self.build.scored_as] if self.build.scored_as else None
        self._label_set = declared.labels if declared and self.build.answer.form == "label" else None
        self._range = declared.range if declared else None
        shown = [one for one in (self._label_set, *self.build.shows.values()) if one and one != LANGUAGE]
        self._forms = {label_set: tasks.forms_of(label_set) for label_set in shown}
        self._templates: dict[str, list[Template]] = {}
        for template in templates_of(tasks, name):
            if not template.id.startswith(tuple(without)):
                self._templates.setdefault(template.language, []).append(template)

    @property
    def languages(self) -> frozenset[str]:
        """The languages in which the task has templates."""
        return frozenset(self._templates)

    def refuses(self, fields: Mapping[str, Any]) -> BadValue | None:
        """Why a row with all fields cannot be asked: a value is none that the task can have. None: it can be asked."""
        try:
            language = next(iter(self._templates))
            self._answer(fields, language)
            for field in self.build.shows:
                self._shown(field, fields[field], language)
        except BadValue as error:
            return error
        return None

    def lacks(self, fields: Mapping[str, Any], modality: Modality = "text_audio") -> list[str]:
        """The fields that a row lacks to be asked in a modality; empty: nothing."""
        return self.build.lacks(fields, modality)

    def __call__(
        self,
        fields: Mapping[str, Any],
        row_id: str,
        seed: int = 0,
        modality: Modality = "text_audio",
        languages: Mapping[str, float] = LANGUAGES,
        example_share: float = EXAMPLE_SHARE,
        answerable: bool | None = None,
    ) -> Instruction:
        """The instruction and the answer of a row: a pure function of its arguments and of the task.

        Nothing of the text depends on the answer. A spoken instruction has no worked example. Of a task whose templates
        cannot be followed, half of the rows get a twin that can be: other words, or the same of two recordings. The
        draws of both are the same.

        Args:
            fields: The row's fields, as :func:`llaso_data.instruct.fields.fields_of` gives them.
            row_id: Decides the draws, together with the seed.
            seed: Decides the draws.
            modality: One of the task's.
            languages: Shares of the languages of instructions, of which those count that the task has templates in;
                where it has none of them, its own languages are drawn alike.
            example_share: Share of written instructions with a worked example, 0 to 1.
            answerable: Of such a task, whether it is the twin; None: drawn.

        Raises:
            LLaSOError: The task is not asked in the modality, the row lacks a field, or a value is none that the task
                can have.
        """
        if modality not in self.build.modalities:
            raise LLaSOError(f"task {self.name} is asked as {', '.join(self.build.modalities)}, not as {modality}")
        if lacking := self.lacks(fields, modality):
            raise LLaSOError(
                f"task {self.name} needs {', '.join(lacking)}; the row has {', '.join(fields) or 'nothing'}"
            )
        key = (self.name, seed, row_id)
        language = self._language(languages, key)
        if self.build.asks_itself and modality == AUDIO:
            return self._own(fields, language, seed)
        template = self._template(language, fields, key)
        if self.build.expects == "answer":
            answerable = True
        elif answerable is None:
            answerable = _share(("answerable", *key)) < 0.5
        words = wording(language)
        names = self._option_names(language, key)
        asked = template.twin if answerable and template.twin else template.text
        text = self._filled(asked, language, fields, modality, names, key)
        example = None
        if modality not in SPOKEN and _share(("example", *key)) < example_share:
            example = self._example(language, words, key)
        return Instruction(
            task=self.name,
            template=template.id,
            language=language,
            form=template.form,
            seed=seed,
            text=text if example is None else f"{text}\n{example}",
            answer=self._right(template, answerable, fields, language, key),
            options=tuple(names),
            has_example=example is not None,
            expected="answer" if answerable else self.build.expects,
            clips=2 if answerable and self._needs_second(template) else self.build.clips,
        )

    def _template(self, language: str, fields: Mapping[str, Any], key: tuple[Any, ...]) -> Template:
        templates = self._templates[language]
        if not fields.keys() >= {SECOND_AUDIO, SECOND_TEXT}:  # else the words alone would tell that one cannot answer
            templates = [one for one in templates if not self._needs_second(one)]
        return _pick(templates, "template", *key)

    def _needs_second(self, template: Template) -> bool:
        """Whether a template can be followed where there are two recordings, and only there."""
        return self.build.expects != "answer" and not template.twin

    def _right(
        self, template: Template, answerable: bool, fields: Mapping[str, Any], language: str, key: tuple[Any, ...]
    ) -> str | None:
        if not answerable:
            return _pick(self.build.replies[language], "reply", *key)
        return str(fields[SECOND_TEXT]) if self._needs_second(template) else self._answer(fields, language)

    def itself(self, fields: Mapping[str, Any], seed: int = 0) -> Instruction:
        """The instruction and the answer of a row that asks by itself: without a template, the text is the row's.

        Raises:
            LLaSOError: A value is none that the task can have.
        """
        return replace(self._own(fields, "en", seed), text=str(fields[self.build.input]))

    def _own(self, fields: Mapping[str, Any], language: str, seed: int) -> Instruction:
        answer = self._answer(fields, language)
        return Instruction(
            task=self.name, template=None, language=language, form=None, seed=seed, text="", answer=answer
        )

    def _language(self, languages: Mapping[str, float], key: tuple[Any, ...]) -> str:
        shares = {name: share for name, share in languages.items() if share > 0 and name in self._templates}
        shares = shares or dict.fromkeys(self._templates, 1.0)
        point = _share(("language", *key)) * sum(shares.values())
        for name, share in shares.items():
            point -= share
            if point < 0:
                return name
        return name

    def _option_names(self, language: str, key: tuple[Any, ...]) -> list[str]:
        if self._label_set is None or not self.build.closed:
            return []
        labels = _shuffled(list(self._tasks.labels[self._label_set]), "options", *key)
        return [self._tasks.name_of(self._label_set, label, language) for label in labels]

    def _filled(
        self,
        text: str,
        language: str,
        fields: Mapping[str, Any],
        modality: Modality,
        options: Sequence[str],
        key: tuple[Any, ...],
    ) -> str:
        words = wording(language)

        def of_place(match: re.Match[str]) -> str:
            place = match[1]
            if place == OPTIONS:
                return words.options(options)
            if place == INPUT:
                return _pick(words.audio if modality in HEARD else words.text, "input", *key)
            if place == RANGE:
                assert self._range is not None
                return words.range.format(lowest=self._range[0], highest=self._range[1])
            return self._shown(place, fields[place], language)

        return PLACE.sub(of_place, text)

    def _shown(self, field: str, value: Any, language: str) -> str:
        label_set = self.build.shows[field]
        if label_set == LANGUAGE:
            if language_code(str(value)) is None:
                what = f"{str(value)[:80]!r} is no language; write one as its code (en, zh) or its English name"
                raise BadValue(field, f"task {self.name}: {field} {what}")
            return wording(language).language(str(value))
        return self._name(label_set, field, value, language)

    def _name(self, label_set: str, field: str, value: Any, language: str) -> str:
        label = self._forms[label_set].get(folded(str(value)))
        if label is None:
            raise BadValue(
                field,
                f"task {self.name}: {field} {str(value)[:80]!r} is no label of {label_set}; they are "
                f"{', '.join(self._tasks.labels[label_set])}",
            )
        return self._tasks.name_of(label_set, label, language)

    def _example(self, language: str, words: Wording, key: tuple[Any, ...]) -> str | None:
        examples = self.build.examples.get(language, ())
        if not examples:
            return None
        given, _, answer = _pick(examples, "which example", *key).partition(ARROW)
        return words.example.format(given=given, answer=answer)

    def _answer(self, fields: Mapping[str, Any], language: str) -> str | None:
        field, form = self.build.answer.field, self.build.answer.form
        value = fields[field]
        if form == "audio":
            return None
        if self._label_set is not None:
            return self._name(self._label_set, field, value, language)
        if form == "number":
            return self._number(field, value)
        if form == "scores" and not isinstance(value, str):
            return pronunciation.written(value, str(fields.get("text", "")), self._range)
        return str(value)

    def _number(self, field: str, value: Any) -> str:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        assert self._range is not None
        if not self._range[0] <= number <= self._range[1]:
            limits = f"{self._range[0]:g} to {self._range[1]:g}"
            raise BadValue(field, f"task {self.name}: {field} {str(value)[:80]!r} is no number from {limits}")
        return f"{round(number)}"


def _share(key: tuple[Any, ...]) -> float:
    """A number from 0 to 1, without 1, that looks random."""
    return int(digest(*key, length=12), 16) / 16**12


def _pick(items: Sequence[Item], *key: Any) -> Item:
    return items[int(digest(*key), 16) % len(items)]


def _shuffled(items: list[str], *key: Any) -> list[str]:
    """The items in an order that depends on the key, and not on the order in which they come."""
    return sorted(items, key=lambda item: digest(*key, item))
