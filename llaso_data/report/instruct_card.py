"""The card of an instruction set: what `build-instruct` wrote, in tables, and samples of each task to hear."""

from __future__ import annotations

from typing import Any

from llaso_data.io import storage
from llaso_data.languages import language_name
from llaso_data.pipeline.instruct.summary import SUMMARY
from llaso_data.pipeline.instruct.voice_quality import VoiceReport
from llaso_data.report import instruct_tables as tables
from llaso_data.report import page, sections
from llaso_data.report.clips import waveform_path
from llaso_data.report.instruct_examples import examples as draw_examples
from llaso_data.report.spoken_lines import measured


def render(out: str, *, examples: int = 10, title: str | None = None) -> str:
    """Render the page as text.

    Args:
        out: build-instruct's output.
        examples: How many to show of each task.
        title: The page's heading; None for the name of the output's folder.

    Raises:
        LLaSOError: What build-instruct says of the set cannot be read.
    """
    stated = tables.read_summary(out)
    scripts = [page.joined("js", "listen")]
    return page.render(
        "instruct.html.j2",
        scripts,
        **_context(out, stated, max(0, examples), title),
        css=page.joined("css", "card", "instruct"),
        policy=page.policy(scripts),
        filters={
            "span": sections.duration_text,
            "bars": waveform_path,
            "count": lambda n: f"{n:,}",
            "percent": _percent,
        },
    )


def _context(out: str, stated: dict[str, Any], of_each: int, title: str | None) -> dict[str, Any]:
    known = tables.known_tasks()
    rows = tables.tasks(stated, known)
    drawn, notes = draw_examples(out, stated, of_each)
    quality, not_measured = measured(out, stated["voices"]) if stated.get("voices") else (VoiceReport({}), [])
    spoken = tables.voices(stated, quality)
    languages = tables.languages(stated)
    modalities = [name for name in tables.MODALITIES if any(name in row.modalities for row in rows)]
    return {
        "title": sections.name_of(out, title),
        "out": out,
        "stated": stated,
        "samples": stated.get("samples", 0),
        "seconds": stated.get("hours", 0.0) * 3600,
        "tasks": rows,
        "modalities": {name: tables.MODALITIES[name] for name in modalities},
        "modality_names": {name: said[0] for name, said in tables.MODALITIES.items()},
        "splits": tables.splits(stated),
        "split_totals": {split: sum(of.values()) for split, of in stated.get("splits", {}).items()},
        "texts_shared": stated.get("texts_shared", 0),
        "languages": tables.ranked({language_name(code): number for code, number in languages.items()}),
        "forms": tables.ranked(stated.get("forms", {})),
        "templates": tables.ranked(stated.get("templates", {}), tables.template_texts(stated, known)),
        "shown_templates": tables.SHOWN_TEMPLATES,
        "voices": spoken,
        "with_quality": bool(quality.voices),
        "not_measured": not_measured,
        "voice_count": len({row.name for row in spoken}),
        "spoken_s": sum(row.seconds for row in spoken),
        "refused": tables.ranked(stated.get("refused", {})),
        "problems": tables.ranked(stated.get("problems", {})),
        "problem_examples": {
            reason: found[: tables.SHOWN_EXAMPLES] for reason, found in stated.get("examples", {}).items()
        },
        "not_fed": tables.not_fed(stated, known),
        "leaks": tables.leaks(stated),
        "held_out": tables.held_out(stated),
        "held_rows": tables.ranked(stated.get("held_out", {})),
        "notes": _lines(stated.get("notes", [])),
        "groups": [(row, drawn.get(row.name, [])) for row in rows if drawn.get(row.name)],
        "example_notes": notes,
        "summary_uri": storage.join(out, SUMMARY),
    }


def _lines(notes: Any) -> list[str]:
    """Notes as lines, whether they are counted or only named."""
    if isinstance(notes, dict):
        return [name if number == 1 else f"{name} ({number:,})" for name, number in notes.items()]
    return list(map(str, notes))


def _percent(share: float | None) -> str:
    if share is None:
        return ""
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.1f} %"
