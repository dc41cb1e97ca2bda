"""``llaso-data card``: one HTML page that shows a dataset and lets one hear it. It needs no network and no server.

The page is a pure function of the run's output, the recordings and the options: the same bytes every time.
"""

from __future__ import annotations

import shlex
from typing import Any

from llaso_data.io import outputs, storage
from llaso_data.pipeline import recipe_file
from llaso_data.pipeline.commit import manifest_uri
from llaso_data.report import clip_groups, page, sections
from llaso_data.report.card_data import Survey, survey
from llaso_data.report.clips import strokes
from llaso_data.report.effect import Curve
from llaso_data.report.figures import HEIGHT, MARGIN, histogram_figure, view
from llaso_data.report.reasons import MEASURES
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
"""What a threshold's line is called where its chart has several."""


def write_card(align: str, target: str | None = None, *, examples: int = 10, title: str | None = None) -> str:
    """Writes the card of build-align's output `align` and returns where: `target`, or ``card.html`` in the output.

    `examples` are shown of the accepted and of every rule that rejects. `title` is the page's heading; without it the
    output's folder gives the name. Raises LLaSOError where there is no finished run, or where the page would replace
    a file that is no card.
    """
    target = target or storage.join(align, "card.html")
    outputs.refuse(target, _BY, outputs.marked(f'<meta name="generator" content="{_BY}">'))
    storage.write_bytes(target, render(align, examples=examples, title=title).encode("utf-8"))
    return target


def render(align: str, *, examples: int = 10, title: str | None = None) -> str:
    """The page as text; see :func:`write_card`."""
    found = survey(align, max(0, examples))
    scripts = [page.joined("js", "charts", "card")]
    return page.render(
        "card.html.j2",
        scripts,
        **_context(align, found, title),
        css=page.joined("css", "card"),
        policy=page.policy(scripts),
        filters={"span": sections.span, "bars": strokes, "count": lambda n: f"{n:,}"},
    )


def _context(align: str, found: Survey, title: str | None) -> dict[str, Any]:
    manifest = found.manifest
    rejected, failed = sections.reasons(found)
    shown = charts(found)
    said = storage.join(align, recipe_file.NAME)
    return {
        "title": sections.name_of(align, title),
        "align": align,
        "manifest": manifest,
        "counts": manifest["counts"],
        "accepted_s": manifest["hours"]["accepted"] * 3600,
        "observed_s": manifest["hours"]["observed"] * 3600,
        "accounting": sections.accounting(found),
        "languages": sections.languages(found),
        "corpora": sections.corpora(found),
        "speakers": sections.speakers(found),
        "speaker_count": sum(1 for _, name in found.speakers if name),
        "coverage": sections.coverage(found),
        "rejected": rejected,
        "failed": failed,
        "failures": clip_groups.failures(align, found),
        "duplicates": clip_groups.duplicates(align, found),
        "groups": clip_groups.groups(align, found),
        "audit": sections.audit(certificate.of_records(align, manifest["verdicts"])),
        "charts": shown,
        "undrawn": _undrawn(found, shown),
        "payload": page.as_json(
            {
                "charts": shown,
                "margin": MARGIN,
                "accepted": manifest["counts"]["accepted"],
                "command": f"llaso-data build-align --recipe {shlex.quote(said)}",
            }
        ),
        "height": HEIGHT,
        "changed": sections.changed(manifest["recipe"]),
        "sources": sections.sources(manifest["recipe"]),
        "recipe": storage.read_bytes(said).decode("utf-8"),
        "manifest_uri": manifest_uri(align),
    }


def charts(found: Survey) -> list[dict[str, Any]]:
    """Every score that some utterance has, with its bars and what moving its thresholds does."""
    shown = []
    for name, measure in MEASURES.items():
        histogram = found.histograms.get(name)
        curves = [c for c in found.curves if c.threshold.rule.column == name and c.looked_at]
        marks = [c.threshold.current for c in curves if c.threshold.current is not None]
        ends = None if histogram is None else view(histogram, measure, marks)
        if histogram is None or ends is None:
            continue
        rejected = int(histogram.beyond.sum())
        shown.append(
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
    return sorted(shown, key=lambda chart: chart["id"] not in ("duration_s", "chars_per_s") and not chart["rejects"])


def _curve(curve: Curve, low: float, high: float, several: bool) -> dict[str, Any]:
    """The part of a curve that the axis shows, as JSON; seconds to the millisecond."""
    moving = curve.threshold
    name = moving.key.rpartition(".")[2]
    rows = [i for i, x in enumerate(moving.positions.tolist()) if low <= x <= high or x == moving.current]
    return {
        "key": moving.key,
        "name": name,
        "label": _LABELS.get(name, "") if several else "",
        "side": moving.rule.side,
        "current": moving.current,
        "alone": curve.alone,
        "positions": [round(float(moving.positions[i]), 6) for i in rows],
        "accepted": [int(curve.accepted[i]) for i in rows],
        "seconds": [round(float(curve.seconds[i]), 3) for i in rows],
    }


def _undrawn(found: Survey, shown: list[dict[str, Any]]) -> list[str]:
    """Titles of the scores that no utterance has."""
    drawn = {chart["id"] for chart in shown}
    return [MEASURES[name].title for name in found.histograms if name not in drawn]
