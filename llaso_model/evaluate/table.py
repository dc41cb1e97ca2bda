"""What ``llaso-model score`` prints: the overall score, tasks by systems, and how closed questions were answered."""

from __future__ import annotations

from typing import Any

from llaso_model.evaluate import unjudged
from llaso_model.evaluate.labels import KINDS


def print_scores(said: dict[str, Any], out: str) -> None:
    """Prints a table of the scores in ``scores.json``'s form."""
    from rich.console import Console
    from rich.table import Table

    systems = said["systems"]
    table = Table(title=f"{said['rows']:,} answers: scores out of 100, with 95 % intervals", title_justify="left")
    table.add_column("")
    for system in systems:
        table.add_column(system, justify="right")
    for one in said["tasks"]:
        table.add_row(one["title"], *(_cell(one["scores"].get(system)) for system in systems))
    table.add_section()
    overall = said["overall"]
    if overall["common_tasks"]:
        name = f"Overall, {len(overall['common_tasks'])} common tasks"
        table.add_row(name, *(_cell(overall["common"].get(system)) for system in systems))
    if len(overall["common_tasks"]) < len(said["tasks"]):
        name = f"Overall, all {len(said['tasks'])} tasks"
        table.add_row(name, *(_cell(overall["all"].get(system)) for system in systems))
    table.add_section()
    for kind in KINDS:
        counts = [said["abstention"][system] for system in systems]
        table.add_row(f"closed answers: {kind}", *(_share(count[kind], sum(count.values())) for count in counts))
    console = Console()
    for line in [*said.get("notes", []), *unjudged.lines(said)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(table)
    for skipped in said["skipped"]:
        console.print(f"not scored: {skipped}", markup=False)
    console.print(f"written to {out}; see it with: llaso-model report {out}", markup=False)


def _cell(figure: dict[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return "–"
    value = f"{100 * figure['value']:.1f}"
    return value if figure["low"] is None else f"{value} [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %" if total else "–"
