"""The tasks of a run: the registry's and those of the user's files, the same in every worker."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from llaso_data.errors import LLaSOError
from llaso_data.instruct import lint
from llaso_data.instruct.rendering import Renderer, templates_of
from llaso_data.instruct.tasks import SECTIONS, Tasks, all_tasks, declared_twice, merged
from llaso_data.io import settings
from llaso_data.languages import language
from llaso_data.pipeline.instruct.mix import BALANCED, NATURAL, groups_of
from llaso_data.recipe import Instruct
from llaso_data.records import digest


def own_tasks(paths: Sequence[str]) -> Tasks:
    """What files of tasks declare, together.

    Raises:
        LLaSOError: A file has a problem, with its line; or two of them declare the same.
    """
    own = Tasks()
    for path in paths:
        lint.load(path)
        more = settings.load(Tasks, path)
        if twice := declared_twice(own, more):
            section, name = twice[0]
            raise LLaSOError(f"{path}: {section}: {name} is declared by another --task file, too")
        own = merged(own, more)
    return own


def carried(own: Tasks) -> str:
    """The user's tasks as jobs carry them; empty where there are none."""
    return own.model_dump_json() if any(getattr(own, section) for section in SECTIONS) else ""


@functools.lru_cache(2)
def tasks_of(text: str) -> Tasks:
    """The registry's tasks with those that :func:`carried` gave."""
    return merged(all_tasks(), Tasks.model_validate_json(text)) if text else all_tasks()


@functools.lru_cache(8)
def renderers_of(text: str, names: tuple[str, ...], without: tuple[str, ...]) -> tuple[Renderer, ...]:
    """Renderers of tasks, which a worker makes once.

    Args:
        text: What :func:`carried` gave.
        names: Of the tasks.
        without: Templates that are not used, by id or a prefix of it.

    Raises:
        LLaSOError: A task has no template left.
    """
    tasks = tasks_of(text)
    renderers = tuple(Renderer(tasks, name, without) for name in names)
    for one in renderers:
        if not one.languages:
            raise LLaSOError(f"task {one.name}: instruct.hold_out.templates leaves it no template")
    return renderers


def chosen(settings: Instruct, tasks: Tasks, hold_out: bool = True) -> tuple[str, ...]:
    """The names of the tasks that may be asked, in the order of the registry.

    Tasks of which half of the instructions cannot be followed are asked where they are named. Every recording could
    feed them.

    Raises:
        LLaSOError: A name is none of the tasks', or none of the mix's.
    """
    for key, names in (("tasks", settings.tasks), ("hold_out.tasks", settings.hold_out.tasks)):
        for name in names:
            if name not in tasks.build:
                raise LLaSOError(f"instruct.{key}: there is no task {name!r}; there are {', '.join(tasks.build)}")
    _check_hold_out(settings, tasks)
    mix = settings.mix if settings.eval is None else "natural"
    if mix not in (NATURAL, BALANCED):
        groups_of(mix, (), tasks)
    named = {*settings.tasks, *(() if isinstance(mix, str) else mix)}
    of_mix = None if isinstance(mix, str) else {name for name, weight in mix.items() if weight > 0}
    return tuple(
        name
        for name, build in tasks.build.items()
        if (not settings.tasks or name in settings.tasks)
        and (build.expects == "answer" or name in named if settings.eval is None else build.scored_as is not None)
        and not (hold_out and settings.eval is None and name in settings.hold_out.tasks)
        and (of_mix is None or name in of_mix or (build.capability in of_mix and name not in mix))
    )


def _check_hold_out(settings: Instruct, tasks: Tasks) -> None:
    """Raises LLaSOError where something is held out that is never met: it would be trained on without a word."""
    held = settings.hold_out
    ids = [template.id for name in tasks.build for template in templates_of(tasks, name)] if held.templates else []
    for prefix in held.templates:
        if not any(one.startswith(prefix) for one in ids):
            shape = f"ids are TASK/LANGUAGE/FORM/DIGEST, as {ids[0]}"
            raise LLaSOError(f"instruct.hold_out.templates: no template's id begins with {prefix!r}; {shape}")
    for code in held.languages:
        if (known := language(code)) != code:
            hint = f"write {known}" if known else "it is no language; write one as its code (en, zh)"
            raise LLaSOError(f"instruct.hold_out.languages: {code!r}: {hint}")


def templates_digest(tasks: Tasks, names: Sequence[str]) -> str:
    """Changes when a template, a label or an example of the tasks does."""
    declared = (tasks.build[name].model_dump_json() for name in names)
    ids = (template.id for name in names for template in templates_of(tasks, name))
    labels = (f"{name} {tasks.labels.get(name)} {tasks.names.get(name)}" for name in sorted(tasks.labels))
    return digest("templates", *names, *declared, *ids, *labels)
