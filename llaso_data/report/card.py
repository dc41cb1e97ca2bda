"""``llaso-data card``: one HTML page with a dataset's numbers and sounds, which needs no network and no server.

The page depends on the run's output, the recordings and the options alone: the same input gives the same bytes.
"""

from __future__ import annotations

import shlex
from typing import Any

from llaso_data.io import outputs, storage
from llaso_data.pipeline import recipe_file
from llaso_data.pipeline.commit import manifest_uri
from llaso_data.report import clip_groups, instruct_card, instruct_tables, page, sections
from llaso_data.report.card_data import CardData, collect
from llaso_data.report.clips import waveform_path
from llaso_data.report.effect import Curve
from llaso_data.report.figures import HEIGHT, MARGIN, histogram_figure, view
from llaso_data.report.reasons import MEASURES, QUALITY
from llaso_data.shards import certificate

_BY = "llaso-data card"
_LABELS = {
    "duration_min_s": "shortest",
    "duration_max_s": "longest",
    "chars_per_s_min": "slowest",
    "chars_per_s_max": "fastest",
    "cjk_chars_per_s_max": "fastest, CJK",
    "avg_logprob_min": "heard",
    "given_avg_logprob_min": "given",
    "min_word_logprob_min": "solo",
    "eot_logprob_min": "solo",
    "llr_min": "solo",
    "packed_min_word_logprob_min": "packed",
    "packed_eot_logprob_min": "packed",
    "packed_llr_min": "packed",
}
"""The labels of threshold lines in charts that have several."""


def write_card(align: str, target: str | None = None, *, examples: int = 10, title: str | None = None) -> str:
    """Write the card of a finished run.

    Args:
        align: the output of build-align or of build-instruct.
        target: the file; None for ``card.html`` in the output.
        examples: how many to show of the accepted, and of every rule that rejects; of instruction data, of every task.
        title: the page's heading; None for the name of the output's folder.

    Returns:
        The file.

    Raises:
        LLaSOError: where there is no finished run, or where the page would replace a file that is no card.
    """
    target = target or storage.join(align, "card.html")
    outputs.refuse(target, _BY, outputs.marked(f'<meta name="generator" content="{_BY}">'))
    render_page = instruct_card.render if instruct_tables.is_built(align) else render
    storage.write_bytes(target, render_page(align, examples=examples, title=title).encode("utf-8"))
    return target


def render(align: str, *, examples: int = 10, title: str | None = None) -> str:
    """Render the page as text; the arguments are those of :func:`write_card`."""
    data = collect(align, max(0, examples))
    scripts = [page.joined("js", "listen", "charts", "card")]
    return page.render(
        "card.html.j2",
        scripts,
        **_context(align, data, title),
        css=page.joined("css", "card"),
        policy=page.policy(scripts),
        filters={"span": sections.duration_text, "bars": waveform_path, "count": lambda n: f"{n:,}"},
    )


def _context(align: str, data: CardData, title: str | None) -> dict[str, Any]:
    manifest = data.manifest
    rejected, failed = sections.reasons(data)
    drawn_charts = charts(data)
    recipe_uri = storage.join(align, recipe_file.NAME)
    return {
        "title": sections.name_of(align, title),
        "align": align,
        "manifest": manifest,
        "counts": manifest["counts"],
        "accepted_s": manifest["hours"]["accepted"] * 3600,
        "observed_s": manifest["hours"]["observed"] * 3600,
        "accounting": sections.accounting(data),
        "languages": sections.languages(data),
        "corpora": sections.corpora(data),
        "speakers": sections.speakers(data),
        "speaker_count": sum(1 for _, name in data.speakers if name),
        "coverage": sections.coverage(data),
        "rejected": rejected,
        "failed": failed,
        "failures": clip_groups.failures(align, data),
        "duplicates": clip_groups.duplicates(align, data),
        "groups": clip_groups.groups(align, data),
        "calibration": sections.calibration(manifest),
        "audit": sections.audit(certificate.of_records(align, manifest["verdicts"])),
        "charts": drawn_charts,
        "undrawn": _undrawn(data, drawn_charts),
        "payload": page.as_json(
            {
                "charts": drawn_charts,
                "margin": MARGIN,
                "accepted": manifest["counts"]["accepted"],
                "seconds": round(manifest["hours"]["accepted"] * 3600, 3),
                "command": f"llaso-data build-align --recipe {shlex.quote(recipe_uri)}",
            }
        ),
        "height": HEIGHT,
        "changed": sections.changed(manifest["recipe"]),
        "sources": sections.sources(manifest["recipe"]),
        "recipe": storage.read_bytes(recipe_uri).decode("utf-8"),
        "manifest_uri": manifest_uri(align),
    }


def charts(data: CardData) -> list[dict[str, Any]]:
    """The charts as JSON: every score that some utterance has, with its bars and the effect of its thresholds."""
    drawn = []
    for name, measure in {**MEASURES, **QUALITY}.items():
        histogram = data.histograms.get(name)
        curves = [c for c in data.curves if c.threshold.rule.column == name and c.looked_at]
        marks = [c.threshold.current for c in curves if c.threshold.current is not None]
        ends = None if histogram is None else view(histogram, measure, marks)
        if histogram is None or ends is None:
            continue
        rejected = int(histogram.beyond.sum())
        drawn.append(
            {
                "id": name,
                "title": measure.title,
                "says": measure.says,
                "unit": measure.unit,
                "missing": histogram.missing,
                "rejects": rejected,
                "figure": histogram_figure(histogram, measure, *ends),
                "thresholds": [_curve(c, *ends, several=len(curves) > 1) for c in curves],
            }
        )
    return sorted(drawn, key=lambda chart: chart["id"] not in ("duration_s", "chars_per_s") and not chart["rejects"])


def _curve(curve: Curve, low: float, high: float, several: bool) -> dict[str, Any]:
    """The part of a curve between ``low`` and ``high``, as JSON; seconds are rounded to milliseconds."""
    threshold = curve.threshold
    name = threshold.key.rpartition(".")[2]
    rows = [i for i, x in enumerate(threshold.positions.tolist()) if low <= x <= high or x == threshold.current]
    return {
        "key": threshold.key,
        "name": name,
        "label": _LABELS.get(name, "") if several else "",
        "side": threshold.rule.side,
        "current": threshold.current,
        "fitted": _by_group(threshold.by_group),
        "alone": curve.alone,
        "positions": [round(float(threshold.positions[i]), 6) for i in rows],
        "accepted": [int(curve.accepted[i]) for i in rows],
        "seconds": [round(float(curve.seconds[i]), 3) for i in rows],
    }


def _by_group(values: tuple[float | None, ...]) -> str:
    """Thresholds that differ by group, for a reader; empty where they do not."""
    numbers = [value for value in values if value is not None]
    if not values:
        return ""
    ends = [f"{value:g}".replace("-", "−") for value in (min(numbers), max(numbers))]
    shown = " to ".join(dict.fromkeys(ends))
    return f"{shown}{' or off' if None in values else ''}, by group"


def _undrawn(data: CardData, drawn_charts: list[dict[str, Any]]) -> list[str]:
    """Titles of the scores that no utterance has."""
    drawn = {chart["id"] for chart in drawn_charts}
    return [{**MEASURES, **QUALITY}[name].title for name in data.histograms if name not in drawn]
