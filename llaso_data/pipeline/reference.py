"""Pages of the documentation that are generated from the code.

``python -m llaso_data.pipeline.reference > docs/recipe.md`` writes the recipe's reference from its classes.
``python -m llaso_data.pipeline.reference docs/sources.md docs/convert.md docs/tasks.md`` updates the lists of layouts
and of tasks in these pages.
"""

from __future__ import annotations

import inspect
import json
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from llaso_data.errors import LLaSOError
from llaso_data.formats import LAYOUTS, Layout
from llaso_data.formats.writing.writer import FIELDS
from llaso_data.instruct import listing
from llaso_data.instruct.tasks import all_tasks
from llaso_data.instruct.tasks.build import Capability
from llaso_data.recipe import Recipe

CHOICES: dict[str, Callable[[], list[str]]] = {"sources[].type": LAYOUTS.choices}
"""Recipe keys whose values are names of a registry, and the function that lists those names."""
_BEGIN, _END = "<!-- {}: written by llaso_data.pipeline.reference -->\n", "<!-- end of {} -->\n"

INTRODUCTION = """\
# The recipe

This page is written by `python -m llaso_data.pipeline.reference > docs/recipe.md`; a test compares the two.

A recipe is a YAML 1.2 file. Every key is optional but those marked *required*; `pipelines/build_align.yaml` shows all
of them with their defaults. A wrong key or value is reported with file, line and the allowed names. `--set a.b=c`
overrides one key, with the value read as YAML: `--set judge.confidence.avg_logprob_min=-0.8`,
`--set sources.0.language=fr`, `--set judge.consistency.cer_max=null`. An override wins over the recipe's file.

- `observe` and what a source says of its records decide what is observed: changing them transcribes again.
- `judge` decides the verdicts: changing it judges again, in seconds, and transcribes nothing. A threshold that is
  `null` is off.
- `shard` decides the shards. `run` says on which machines, and changes no result but for floating-point differences
  between devices.
"""


def recipe_reference() -> str:
    """The page, in Markdown: one table for each section."""
    pages = [INTRODUCTION]
    for path, model in sections(Recipe, ""):
        rows = [_row(path, name, info) for name, info in model.model_fields.items() if not _is_section(info.annotation)]
        if not rows:
            continue
        pages.append(f"## {f'`{path}`' if path else 'Top level'}\n")
        if path and model.__doc__:
            pages.append(inspect.cleandoc(model.__doc__) + "\n")
        pages.append("| key | type | default | meaning |\n| --- | --- | --- | --- |\n" + "\n".join(rows) + "\n")
    return "\n".join(pages)


def sections(model: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """(dotted path, class) of a section and all below it; ``[]`` marks the items of a list."""
    yield path, model
    for name, info in model.model_fields.items():
        kind = _inner(info.annotation)
        if _is_section(kind):
            below = f"{path}.{name}" if path else name
            yield from sections(kind, below + "[]" * (typing.get_origin(info.annotation) is tuple))


def with_layouts(page: str) -> str:
    """A page whose lists of layouts or of tasks, each between two comments, are updated from their tables.

    Raises:
        LLaSOError: The page has no such comments.
    """
    found = False
    for name, table in _LISTS.items():
        begin, end = _BEGIN.format(name), _END.format(name)
        before, begins, rest = page.partition(begin)
        _, ends, after = rest.partition(end)
        if begins and ends:
            found = True
            page = f"{before}{begin}{table()}{end}{after}"
    if not found:
        begin, end = (comment.format("layouts").strip() for comment in (_BEGIN, _END))
        raise LLaSOError(f"the page has no lines {begin} and {end}")
    return page


def _read_layouts() -> str:
    rows = "".join(
        f"| `{layout.name}` | {layout.recognised_by} | {layout.unit} | {layout.container} |\n"
        for layout in LAYOUTS.values()
    )
    return f"| `type` | recognised by | one input is | container |\n|---|---|---|---|\n{rows}"


def _converted_layouts() -> str:
    """Every layout in the order of the alphabet: whether it is written, what it then holds, and where its sound is."""
    rows = "".join(_converted_row(LAYOUTS[name]) for name in sorted(LAYOUTS))
    return f"| `--to` | what it is | written | fields it holds | sound |\n|---|---|---|---|---|\n{rows}"


def _converted_row(layout: Layout) -> str:
    writer = layout.writer
    if writer is None:
        read = "only read" if layout.read_texts is None else "[`build-instruct`](build-instruct.md#texts) reads it"
        return f"| `{layout.name}` | {layout.title} | {read} | | |\n"
    named = [f"`{field}`" for field in FIELDS if field in writer.holds]
    fields = "all" if len(named) == len(FIELDS) else " ".join(named)
    pointers = {"spans": writer.spans, "channels": writer.channels, "members of archives": writer.members}
    points = ", ".join(["files", *(name for name, can in pointers.items() if can)])
    sound = "inside" if writer.inside else f"points to {points}"
    return f"| `{layout.name}` | {layout.title} | yes | {fields} | {sound} |\n"


def _tasks() -> str:
    """The tasks that instructions are built of, by the group that they count to."""
    tasks = all_tasks()
    order = list(typing.get_args(Capability))
    names = sorted(tasks.build, key=lambda name: order.index(tasks.build[name].capability))
    rows = "".join(
        f"| `{name}` | {tasks.tasks[name].title} | `{build.capability}` | "
        f"{', '.join(f'`{field}`'.replace(' or ', '` or `') for field in listing.needs_of(build))} | "
        f"{listing.answer_of(tasks, name)} | {' '.join(f'`{modality}`' for modality in build.modalities)} |\n"
        for name, build in ((name, tasks.build[name]) for name in names)
    )
    return f"| task | what | group | a row needs | answer | asked as |\n|---|---|---|---|---|---|\n{rows}"


_LISTS: dict[str, Callable[[], str]] = {"layouts": _read_layouts, "conversions": _converted_layouts, "tasks": _tasks}
"""What the comments of a page call a list, and the function that writes it."""


def _row(path: str, name: str, info: FieldInfo) -> str:
    choices = CHOICES.get(f"{path}.{name}")
    default = "*required*" if info.default is PydanticUndefined and info.default_factory is None else _default(info)
    kind = ", ".join(f"`{choice}`" for choice in choices()) if choices else _type(info.annotation)
    kind += "".join(_limits(info))
    return f"| `{name}` | {kind} | {default} | {info.description or ''} |"


def _default(info: FieldInfo) -> str:
    value: Any = info.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_defaults=True)
    return f"`{json.dumps(value)}`"


def _type(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if inner is type(None) else _type(inner) for inner in arguments)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin is tuple:
        inner = arguments[0]
        return "list of sections" if _is_section(inner) else f"list of {_type(inner)}"
    if origin is dict:
        return f"mapping of {_type(arguments[0])} to {_type(arguments[1])}"
    if _is_section(kind):
        return "section"
    names = {str: "string", int: "integer", float: "number", bool: "boolean", Any: "anything"}
    return names[kind]


def _limits(info: FieldInfo) -> Iterator[str]:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    for limit in info.metadata:
        for name, sign in signs.items():
            if isinstance(limit, annotated_types.BaseMetadata) and hasattr(limit, name):
                yield f", {sign} {getattr(limit, name):g}"


def _inner(kind: Any) -> Any:
    """The items of a list; of a section that may be null, the section."""
    if typing.get_origin(kind) is tuple:
        return typing.get_args(kind)[0]
    return next(filter(_is_section, typing.get_args(kind)), kind)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


if __name__ == "__main__":
    for page in map(Path, sys.argv[1:]):
        page.write_text(with_layouts(page.read_text(encoding="utf-8")), encoding="utf-8")
    if len(sys.argv) == 1:
        print(recipe_reference(), end="")
