"""What is wrong with how tasks are built: their templates, examples and the fields that they name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from llaso_data import text
from llaso_data.instruct.rendering import INPUT, OPTIONS, PLACE, RANGE, sides
from llaso_data.instruct.tasks import Set, Tasks, all_tasks, declared_twice, folded, merged
from llaso_data.instruct.tasks.build import ARROW, HEARD, LANGUAGE, Build
from llaso_data.instruct.wording import WORDINGS
from llaso_data.io import settings
from llaso_data.io.settings import Problem
from llaso_data.text.language_rules import LANGUAGES

_HEARD = {
    "en": re.compile(
        r"\b(?:audio|recordings?|clips?|speech|voices?|speakers?|speaking|speaks?|sounds?|notes?|hear|heard|listen\w*|"
        r"said|says?|spoken|talk\w*|utterances?|samples?|tracks?|pronounc\w+|reader|caller|person|tone|audible)\b",
        re.IGNORECASE,
    ),
    "zh": re.compile("(?<!国际)音(?!高|色|量|素)|声|听|说|讲|片段|朗读|话|采样"),
}
_READ = {
    "en": re.compile(r"\b(?:text|sentences?|passage|lines?|words|written|below|following|paragraph|script)\b", re.I),
    "zh": re.compile("文字|文本|句|段|以下|下面|下列|内容|稿"),
}
"""How a template says what goes in, by language: something that is heard, something that is read."""


def load(path: str) -> Tasks:
    """A user's own tasks together with the registry's.

    Args:
        path: A YAML file of tasks, here or on a store.

    Raises:
        LLaSOError: With every problem on a line: file, line, key, what is wrong.
    """
    known = all_tasks()

    def problems(own: Tasks) -> Iterator[Problem]:
        for section, name in declared_twice(known, own):
            yield (section, name), "there is one of this name already; take another name"
        if not own.build:
            yield ("build",), "no task says how it is built"
        yield from (one for one in problems_of(merged(known, own)) if one[0][1] in getattr(own, str(one[0][0])))

    return merged(known, settings.load(Tasks, path, extra_checks=problems))


def problems_of(tasks: Tasks) -> Iterator[Problem]:
    """Everything that is wrong with how tasks are built, with the keys that lead to it."""
    for label_set, by_language in tasks.names.items():
        for language, names in by_language.items():
            for what in _names(tasks, label_set, names):
                yield ("names", label_set, language), what
    of_text: dict[str, str] = {}
    for name, build in tasks.build.items():
        at = ("build", name)
        if declared := list(_declaration(tasks, name, build)):
            yield from (((*at, *keys), what) for keys, what in declared)
            continue
        for language, by_form in build.templates.items():
            for form, templates in by_form.items():
                for template in templates:
                    place = (*at, "templates", language, form)
                    for side in filter(None, sides(build, template)):
                        yield from ((place, f"{what}: {side}") for what in _template(tasks, build, language, side))
                    other = of_text.setdefault(_compared(template), name)
                    if other != name or templates.count(template) > 1:
                        yield place, f"it is a template of {other} already: {template}"
        for language, examples in build.examples.items():
            for example in examples:
                for what in _example(tasks, build, language, example):
                    yield (*at, "examples", language), f"{what}: {example}"


def _names(tasks: Tasks, label_set: str, names: dict[str, str]) -> Iterator[str]:
    if label_set not in tasks.labels:
        yield f"there is no label set {label_set}"
        return
    forms = tasks.forms_of(label_set)
    for label, name in names.items():
        if label not in tasks.labels[label_set]:
            yield f"{label} is no label of {label_set}"
        elif forms.get(folded(name)) != label:
            yield f"{name} is no form of {label}, so that an answer with it would not be right; add it to its forms"


def _declaration(tasks: Tasks, name: str, build: Build) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is wrong beside the templates: names that nothing has, an answer that cannot be scored."""
    if name not in tasks.tasks:
        yield (), f"there is no task {name}; add it to the section tasks"
    declared = tasks.sets.get(build.scored_as or "")
    if build.scored_as is not None and (declared is None or declared.task != name):
        yield ("scored_as",), f"{build.scored_as} is no set of the task"
        return
    form = build.answer.form
    if form == "label" and (declared is None or declared.labels not in tasks.labels):
        yield ("scored_as",), "an answer that is a label needs a set with labels"
    if form in ("number", "scores") and (declared is None or declared.range is None):
        yield ("scored_as",), f"an answer of the form {form} needs a set with a range"
    if build.answer.field not in build.needs:
        yield ("answer", "field"), f"{build.answer.field} is none of needs"
    for field, label_set in build.shows.items():
        if field == build.answer.field:
            yield ("shows", field), "it is the answer, which an instruction must not say"
        if field not in build.needs:
            yield ("shows", field), "it is none of needs"
        if label_set != LANGUAGE and label_set not in tasks.labels:
            yield ("shows", field), f"there is no label set {label_set}; or write {LANGUAGE}"
    if not build.modalities:
        yield ("modalities",), "name at least one"
    if build.input == "audio" and not set(build.modalities) <= HEARD:
        yield ("modalities",), f"audio is heard: {', '.join(sorted(HEARD))}"
    if build.asked_like is not None:
        yield from _asked_like(tasks, build, build.asked_like)
    elif not any(templates for by_form in build.templates.values() for templates in by_form.values()):
        yield ("templates",), "a task needs at least one template, or asked_like"
    for language in build.templates:
        if language not in LANGUAGES:
            yield ("templates", language), f"{language} is none of {', '.join(LANGUAGES)}"
        if build.expects == "answer" and not build.mentions.get(language):
            yield ("mentions",), f"name words of {language} of which each of its templates has one"
    yield from _expected(build)
    if build.asked_like is None:
        wrong = build.examples.keys() - build.templates
        yield from ((("examples", language), "there are no templates of it") for language in wrong)


def _expected(build: Build) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is wrong with a task whose templates cannot be followed."""
    if build.expects == "answer":
        if build.replies:
            yield ("replies",), "they are for tasks that expect a refusal or a question back"
        return
    for language, by_form in build.templates.items():
        if not build.replies.get(language):
            yield ("replies",), f"name right answers in {language}"
        if not any(sides(build, line)[1] for lines in by_form.values() for line in lines):
            yield (
                ("templates", language),
                f"no template has a twin that can be followed; write it after {ARROW.strip()}",
            )


def _asked_like(tasks: Tasks, build: Build, name: str) -> Iterator[tuple[tuple[str, ...], str]]:
    other = tasks.build.get(name)
    if build.templates:
        yield ("asked_like",), "a task has templates of its own, or those of another"
    elif other is None or other.asked_like is not None or other.expects != build.expects:
        yield ("asked_like",), f"there is no task {name} with templates of its own"
    elif set(places_of(tasks, build)) != set(places_of(tasks, other)) or build.clips != other.clips:
        has = " ".join(f"{{{place}}}" for place in places_of(tasks, other)) or "no places"
        yield ("asked_like",), f"the templates of {name} do not fit: they have {has}, and {other.clips} recordings"


def _template(tasks: Tasks, build: Build, language: str, template: str) -> Iterator[str]:
    places = PLACE.findall(template)
    plain = PLACE.sub(" ", template)
    if "{" in plain or "}" in plain:
        yield "a brace is left; a place is written {name}"
    wanted = places_of(tasks, build)
    for place in dict.fromkeys(places):
        if place == build.answer.field:
            yield f"{{{place}}} is the answer"
        elif place not in wanted:
            known = " ".join(f"{{{one}}}" for one in wanted)
            yield f"{{{place}}} is no place of the task; it has {known or 'none'}"
    if missing := [place for place in wanted if place not in places]:
        yield f"{{{missing[0]}}} is missing"
    if INPUT in places and language not in WORDINGS:
        yield f"{{{INPUT}}} is for templates in {', '.join(WORDINGS)}"
    if not is_of(plain, language):
        yield f"it is not in {LANGUAGES[language].name}"
    mentions = build.mentions.get(language, ())
    if mentions and not any(_has(word, template, language) for word in mentions):
        yield f"it does not say what it asks for; it needs one of {', '.join(mentions)}"
    if INPUT not in places and (says := _says_input(build).get(language)) and not says.search(plain):
        yield "it does not say what goes in, such as the recording"


def places_of(tasks: Tasks, build: Build) -> list[str]:
    """The places that every template of a task has, and no others."""
    places = list(build.shows)
    if build.answer.form == "label" and build.closed:
        places.append(OPTIONS)
    if build.answer.form in ("number", "scores"):
        places.append(RANGE)
    if {modality in HEARD for modality in build.modalities} == {True, False}:
        places.append(INPUT)
    return places


def _says_input(build: Build) -> dict[str, re.Pattern[str]]:
    return _HEARD if set(build.modalities) & HEARD else _READ


def _has(word: str, template: str, language: str) -> bool:
    """Whether a template has a word; in languages with spaces as the beginning of one of its words."""
    if not text.is_spaced(language):
        return word in template
    return re.search(rf"(?<!\w){re.escape(word)}", template, re.IGNORECASE) is not None


def is_of(written: str, language: str) -> bool:
    """Whether a text can be of a language by its letters; in languages of the Latin script all are of that script."""
    if LANGUAGES[language].scripts == ("Latin",):
        return all(unicodedata.name(one, "LATIN").startswith("LATIN") for one in written if one.isalpha())
    return text.scripts_match(written, language)


def _example(tasks: Tasks, build: Build, language: str, example: str) -> Iterator[str]:
    given, arrow, answer = example.partition(ARROW)
    if not given.strip() or not answer.strip() or not arrow:
        yield f"write what goes in, then {ARROW.strip()}, then what comes out"
        return
    declared = tasks.sets.get(build.scored_as or "", Set(task="", kind=""))
    if build.answer.form == "label" and declared.labels:
        names = [tasks.name_of(declared.labels, label, language) for label in tasks.labels[declared.labels]]
        if answer not in names:
            yield f"{answer} is none of {', '.join(names)}"
    if build.answer.form == "number" and declared.range:
        low, high = declared.range
        if not answer.isdigit() or not low <= int(answer) <= high:
            yield f"{answer} is no number from {low:g} to {high:g}"


def _compared(template: str) -> str:
    """A template without case, spaces and punctuation."""
    return "".join(character for character in PLACE.sub("x", template).casefold() if character.isalnum())
