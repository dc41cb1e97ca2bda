"""The tasks of speech-language models: one registry, for building instructions and for evaluation.

A task is a YAML file here. It declares what is asked and how answers are scored; there is no code of a task::

    tasks:    the task: title, the paper's short name, group (linguistic, semantic, speaker, content, generation,
              refusal), layer (basic, tasks or robustness), its place in reports, and the instruction of samples that
              have none of their own; {labels} and {answer} are the set's.
    labels:   label sets; a label and the other forms in which answers and references name it (synonyms, inflections,
              known typos, other scripts). Matching ignores case and is word-bounded; the longest form wins.
    names:    by label set and language, what an instruction and its answer call a label; one of its forms. A label
              without a name is called as it is
    sets:     rows that are scored alike, such as a file of LLaSO-Eval, by its name without "_test": the task, the kind
              of score, and by kind
      labels      the label set
      match       anywhere (default), or named: only where the answer is or quotes the label, or says "the command is"
      others      forms that name something outside of the label set: they compete with a label, and alone are none
      ignore      regular expressions of stretches that name no answer, such as the range that the prompt allows
      range       [lowest, highest] number that may be an answer
      speaker     a regular expression whose groups are the speaker in the audio's path; where it finds none, the row
                  says it
    build:    how instruction data are built of rows, by task (:mod:`llaso_data.instruct.tasks.build` has its keys):
              what goes in, the fields that it needs, the answer, the set as which the answers are scored, templates and
              worked examples. :mod:`llaso_data.instruct.rendering` makes instructions of it

A file of one's own (``--tasks FILE``) has the same keys, for any number of tasks.
"""

from __future__ import annotations

import importlib.resources
import re
from typing import Literal, get_args

from pydantic import Field

from llaso_data.errors import LLaSOError
from llaso_data.instruct.tasks.build import Build, Form
from llaso_data.io import settings
from llaso_data.recipe import Part
from llaso_data.registry import Registry

Layer = Literal["basic", "tasks", "generalisation", "robustness"]
LAYERS: tuple[Layer, ...] = get_args(Layer)
"""The layers of evaluation: basic ability, the tasks, what was not trained on, and what makes it hard."""


class Task(Part):
    """One of the tasks: its names, and where it stands in a report. Those of equal place stand as they are named."""

    place: int = 1000
    title: str
    short: str
    group: Literal["linguistic", "semantic", "speaker", "content", "generation", "refusal"]
    layer: Layer = "tasks"
    instruction: str = ""


class Set(Part):
    """Rows that are scored alike. ``kind`` names a kind of score; who scores checks it."""

    task: str
    kind: str
    labels: str | None = None
    match: Literal["anywhere", "named"] = "anywhere"
    others: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    range: tuple[float, float] | None = None
    unit: str = ""
    language: str | None = None
    speaker: str | None = None

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest number that an answer can be, of a set that declares them."""
        assert self.range is not None
        return self.range

    def speaker_in(self, path: str) -> str | None:
        """The speaker that an audio's path names, as :attr:`speaker` says; None: it names none."""
        match = re.search(self.speaker, path) if self.speaker else None
        return "/".join(filter(None, match.groups())) if match else None


class Tasks(Part):
    """Tasks with their label sets and their sets of rows: what a file of them says, or several together."""

    tasks: dict[str, Task] = Field(default_factory=dict)
    labels: dict[str, dict[str, tuple[str, ...]]] = Field(default_factory=dict)
    names: dict[str, dict[str, dict[str, str]]] = Field(default_factory=dict)
    sets: dict[str, Set] = Field(default_factory=dict)
    build: dict[str, Build] = Field(default_factory=dict)

    def instruction(self, name: str) -> str:
        """What a sample of a set is asked that has no instruction of its own; its labels or limits are named in it."""
        declared = self.sets[name]
        labels = ", ".join(self.labels[declared.labels]) if declared.labels else ""
        limits = "" if declared.range is None else f"a whole number from {declared.range[0]:g} to {declared.range[1]:g}"
        instruction = self.tasks[declared.task].instruction
        return instruction.replace("{labels}", labels).replace("{answer}", limits or f"one of: {labels}")

    def forms_of(self, label_set: str) -> dict[str, str]:
        """Every form of every label of a set, as :func:`folded` gives it, to the label; the first label has a form."""
        forms: dict[str, str] = {}
        for label, others in self.labels[label_set].items():
            for form in (label, *others):
                forms.setdefault(folded(form), label)
        return forms

    def name_of(self, label_set: str, label: str, language: str) -> str:
        """What instructions of a language and their answers call a label."""
        return self.names.get(label_set, {}).get(language, {}).get(label, label)

    def templates_of(self, name: str) -> dict[str, dict[Form, tuple[str, ...]]]:
        """The templates of a task by language and form: its own, or those of the task that it is asked like."""
        build = self.build[name]
        return build.templates if build.asked_like is None else self.build[build.asked_like].templates

    def set_of(self, name: str) -> str | None:
        """The set that a file's stem, a set's or a task's own name means; None where there is none.

        A task that has a single set may be named instead of it.
        """
        stem = re.sub(r"_test$", "", name)
        if stem in self.sets:
            return stem
        of_task = [key for key, declared in self.sets.items() if declared.task == name]
        return of_task[0] if len(of_task) == 1 else None


def folded(form: str) -> str:
    """A form of a label as forms are compared: without case, with spaces for hyphens and underscores."""
    return " ".join(re.sub(r"[-_]", " ", form).casefold().split())


def _register_files() -> None:
    for file in importlib.resources.files(__name__).iterdir():
        name, _, extension = file.name.rpartition(".")
        if extension == "yaml":
            with importlib.resources.as_file(file) as path:
                TASKS.register(name, settings.load(Tasks, str(path)))


TASKS: Registry[Tasks] = Registry("task", group="llaso.tasks", register_own=_register_files)
"""What each task declares, by the task's name."""

SECTIONS = tuple(Tasks.model_fields)
"""The sections of a file of tasks."""


def all_tasks() -> Tasks:
    """All tasks of the registry together, by their places.

    Raises:
        LLaSOError: Two of them declare a task, a label set or a set under one name.
    """
    declared = sorted(
        TASKS.items(), key=lambda item: min((task.place for task in item[1].tasks.values()), default=1000)
    )
    together = Tasks()
    for name, tasks in declared:
        if twice := declared_twice(together, tasks):
            raise LLaSOError(f"task {name}: {twice[0][0]}: {twice[0][1]} is declared by another task, too")
        together = merged(together, tasks)
    return together


def declared_twice(tasks: Tasks, more: Tasks) -> list[tuple[str, str]]:
    """What both declare, as (section, name)."""
    return [
        (name, key) for name in SECTIONS for key in sorted(getattr(tasks, name).keys() & getattr(more, name).keys())
    ]


def merged(tasks: Tasks, more: Tasks) -> Tasks:
    """Both together; of what both declare, the second's."""
    return tasks.model_copy(update={name: {**getattr(tasks, name), **getattr(more, name)} for name in SECTIONS})
