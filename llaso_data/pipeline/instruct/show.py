"""What a person sees of build-instruct: its summary, a preview."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from llaso_data.pipeline.convert.show import print_remarks
from llaso_data.pipeline.instruct.preview import InstructPreview
from llaso_data.pipeline.instruct.summary import InstructSummary
from llaso_data.pipeline.summary_tables import values_table

_PROBLEMS_SHOWN = 3
_SHORT = 240


def print_summary(summary: InstructSummary, console: Console | None = None) -> None:
    """Print what was built: samples by task, what was refused and why, what voices did."""
    console = console or Console()
    tasks = {
        name: sum(count for languages in modalities.values() for count in languages.values())
        for name, modalities in summary.tasks.items()
    }
    modalities: dict[str, int] = {}
    for of_task in summary.tasks.values():
        for modality, languages in of_task.items():
            modalities[modality] = modalities.get(modality, 0) + sum(languages.values())
    voices = {
        f"{voice} {language}": f"{done['lines']} lines, {done['rejected']} misheard, "
        f"{done['errors']} of {done['words']} words wrong"
        for voice, languages in summary.voices.items()
        for language, done in languages.items()
    }
    stated = {
        "rows": summary.rows,
        "problems": summary.problems,
        "held out": {name: len(said) for name, said in summary.hold_out.items() if said},
        "left out": summary.held_out,
        "samples": summary.samples,
        "tasks": tasks,
        "modalities": modalities,
        "splits": {name: sum(of_split.values()) for name, of_split in summary.splits.items() if name},
        "refused": summary.refused,
        "left out, as another split has the text": summary.texts_shared,
        "voices": voices,
        "hours": summary.hours,
    }
    shown = {name: value for name, value in stated.items() if value or name in ("rows", "samples")}
    console.print(values_table(shown, plain=not console.is_terminal))
    for line in leak_lines(summary):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for reason, details in summary.examples.items():
        for detail in details[:_PROBLEMS_SHOWN]:
            console.print(f"{reason}: {detail}", highlight=False, markup=False, soft_wrap=True)
    print_remarks(summary.notes, summary.not_carried, summary.to, console)
    console.print(summary.out, highlight=False, markup=False, soft_wrap=True)


def leak_lines(summary: InstructSummary) -> list[str]:
    """What the search for leaks found, a line for each set and kind."""
    return [
        f"left out, as {other} has it: {count} rows by {kind}"
        for found in summary.leakage.values()
        for other, counts in found["counts"].items()
        for kind, count in counts.items()
        if count
    ]


def print_preview(result: InstructPreview, console: Console | None = None) -> None:
    """Print which tasks are fed, why others are not, and samples of each."""
    console = console or Console()

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    for path, count in result.rows.items():
        say(f"{path}: {count} rows" + ("" if result.whole else " of the first"))
    say(f"voices speak {', '.join(result.voiced) or 'no language'}")
    if result.layers:
        _print_layers(result, say)
    for one in result.tasks if not result.layers else ():
        if not one.rows:
            continue
        samples = ", ".join(f"{count} {name}".strip() for name, count in one.samples.items()) or "0"
        say(f"\n{one.name}: {one.title}; {one.rows} rows, {samples} samples, asked as {', '.join(one.modalities)}")
        for why, count in one.lacks.items():
            say(f"  not of {count} rows: {why}")
        if one.lacks_example:
            say(f"  {_short(one.lacks_example)}")
        for modality, prompt, answer in one.examples:
            say(f"  {modality}: {_short(prompt)}\n    → {_short(answer)}")
    say("\nnot fed:")
    for one in result.tasks:
        if not one.rows:
            say(f"  {one.name}: {'; '.join(f'{why} ({count} rows)' for why, count in one.lacks.items()) or 'no rows'}")
            if one.lacks_example:
                say(f"    {_short(one.lacks_example)}")
    for name, counts in (("held out by", result.held_out), ("would not be spoken", result.unspeakable)):
        for why, count in counts.items():
            say(f"{name} {why}: {count}")
    if result.texts_shared:
        say(f"left out, as another split has the text: {result.texts_shared}")
    for why in result.not_asked[:_PROBLEMS_SHOWN]:
        say(f"not asked: {why}")
    for reason, details in result.problems.examples.items():
        say(f"{reason}: {result.problems.counts[reason]}")
        for detail in details[:_PROBLEMS_SHOWN]:
            say(f"  {detail}")
    for note, count in result.notes.items():
        say(f"{note} ({count})")


def _print_layers(result: InstructPreview, say: Callable[[str], None]) -> None:
    """What a test set would have, layer by layer."""
    say("a test set; nothing of it is for training")
    if result.rows_tested is not None:
        say(f"the test split has {result.rows_tested} rows")
    lacks = {one.name: one for one in result.tasks}
    for layer in result.layers:
        asked = "" if layer.asked is None else f"{layer.asked} samples asked for, "
        say(f"\nlayer {layer.name}: {asked}{layer.found} found")
        for name, (number, found) in layer.tasks.items():
            wanted = "" if number is None else f"{number} asked for, "
            why = "; ".join(f"{why} in {rows} rows" for why, rows in lacks[name].lacks.items())
            say(f"  {name}: {wanted}{found} found" + (f" ({why})" if why and found < (number or 0) else ""))
        for why in layer.short:
            say(f"  short of {why}")
        for how, prompt, answer in layer.examples:
            say(f"  {how}: {_short(prompt)}\n    → {_short(answer)}")


def _short(text: str) -> str:
    line = " ⏎ ".join(text.splitlines())
    return line if len(line) <= _SHORT else line[:_SHORT] + "…"
