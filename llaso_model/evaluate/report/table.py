"""What ``llaso-model score`` prints: the overall score, tasks by systems, and how closed questions were answered.

No figure is ever cut: systems that do not fit beside each other come in further tables, and names are folded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llaso_model.evaluate.extract.labels import ANSWER_KINDS
from llaso_model.evaluate.statistics import unjudged

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Line = tuple[str, list[str]]
"""What a line of the table is called, and its cell of every system."""

_COLUMN_PADDING = 3  # what a column takes beside its text: a border and two spaces
_WIDEST_NAME = 30  # of a system, where it is not folded
_NARROWEST = 8  # of the column that says what a line is


def print_scores(scores: dict[str, Any], out: str) -> None:
    """Prints scores as tables, with all notes about them.

    Args:
        scores: The content of ``scores.json``.
        out: The folder that they were written to, for the message.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for line in [*scores.get("remarks", []), *scores.get("notes", []), *unjudged.unjudged_lines(scores)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    heading = f"{scores['rows']:,} answers: scores out of 100, with 95 % intervals"
    console.print(Text(heading, "italic"), soft_wrap=True)
    _print(console, scores["systems"], _sections(scores))
    for skipped in scores["skipped"]:
        console.print(f"not scored: {skipped}", markup=False, soft_wrap=True)
    console.print(f"written to {out}; see it with: llaso-model report {out}", markup=False, soft_wrap=True)


def _sections(scores: dict[str, Any]) -> list[list[Line]]:
    systems, overall, tasks = scores["systems"], scores["overall"], scores["tasks"]
    by_task = [(task["title"], [_cell(task["scores"].get(system)) for system in systems]) for task in tasks]
    in_all = []
    if overall["common_tasks"]:
        name = f"Overall, {len(overall['common_tasks'])} common tasks"
        in_all.append((name, [_cell(overall["common"].get(system)) for system in systems]))
    if len(overall["common_tasks"]) < len(tasks):
        name = f"Overall, all {len(tasks)} tasks"
        in_all.append((name, [_cell(overall["all"].get(system)) for system in systems]))
    counts = [scores["abstention"][system] for system in systems]
    closed = [
        (f"closed answers: {kind}", [_share(count[kind], sum(count.values())) for count in counts])
        for kind in ANSWER_KINDS
    ]
    layers = [
        (f"Layer {entry['name']}", [_layer_cell(entry["systems"][system]) for system in systems])
        for entry in scores.get("layers", [])
    ]
    return [by_task, in_all, *([layers] if layers else []), closed]


def _print(console: Console, systems: list[str], sections: list[list[Line]]) -> None:
    """Prints tables of as many systems as fit. Where not even one fits, the table is wider than the terminal."""
    from rich.cells import cell_len
    from rich.console import Console

    lines = [line for section in sections for line in section]
    figures = [max(cell_len(cells[i]) for _, cells in lines) for i in range(len(systems))]
    widths = [
        max(figure, min(cell_len(name), _WIDEST_NAME if len(systems) == 1 else figure))
        for figure, name in zip(figures, systems, strict=True)
    ]
    label = max(cell_len(name) for name, _ in lines)
    room = console.width - 1
    label = max(_NARROWEST, min(label, room - _COLUMN_PADDING - max(widths) - _COLUMN_PADDING))
    at = 0
    while at < len(systems):
        left, end = room - label - _COLUMN_PADDING, at
        while end < len(systems) and (end == at or widths[end] + _COLUMN_PADDING <= left):
            left -= widths[end] + _COLUMN_PADDING
            end += 1
        table = _table(systems[at:end], widths[at:end], label, [[(n, c[at:end]) for n, c in s] for s in sections])
        needed = room - left + 1
        (console if needed <= console.width else Console(width=needed)).print(table)
        at = end


def _table(systems: list[str], widths: list[int], label: int, sections: list[list[Line]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("", width=label, overflow="fold")
    for system, width in zip(systems, widths, strict=True):  # as text: a name in brackets is no markup
        table.add_column(Text(system, overflow="fold"), justify="right", width=width, overflow="fold")
    for section in sections:
        for name, cells in section:
            table.add_row(Text(name, overflow="fold"), *(Text(cell, no_wrap=True) for cell in cells))
        table.add_section()
    return table


def _cell(figure: dict[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return "–"
    value = f"{100 * figure['value']:.1f}"
    return value if figure["low"] is None else f"{value} [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"


def _layer_cell(told: dict[str, Any]) -> str:
    mark = {True: "passed", False: "not passed", None: "–"}[told["passed"]]
    return f"{_cell(told['score'])} {mark}"


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %" if total else "–"
