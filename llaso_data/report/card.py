"""``llaso-data card``: one HTML page that shows a dataset and lets one hear it. It needs no network and no server.

The page is a pure function of the run's output, the recordings and the options: the same bytes every time.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import shlex
from typing import Any

from llaso_data import storage
from llaso_data.pipeline.commit import manifest_uri
from llaso_data.report import listen, sections
from llaso_data.report.card_data import Survey, survey
from llaso_data.report.effect import Curve
from llaso_data.report.figures import HEIGHT, MARGIN, histogram_figure, view
from llaso_data.report.reasons import MEASURES

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


def write_card(align: str, page: str | None = None, *, examples: int = 10, title: str | None = None) -> str:
    """Writes the card of build-align's output `align` and returns where: `page`, or ``card.html`` in the output.

    `examples` are shown of the accepted and of every rule that rejects. `title` is the page's heading; without it the
    output's folder gives the name. Raises LLaSOError where there is no finished run.
    """
    target = page or storage.join(align, "card.html")
    storage.write_bytes(target, render(align, examples=examples, title=title).encode("utf-8"))
    return target


def render(align: str, *, examples: int = 10, title: str | None = None) -> str:
    """The page as text; see :func:`write_card`."""
    import jinja2

    found = survey(align, max(0, examples))
    scripts = {"card": _asset("card.js"), "plotly": _plotly()}
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(span=sections.span, bars=_path, count=lambda n: f"{n:,}")
    template = environment.get_template("card.html.j2")
    return template.render(
        **_context(align, found, title),
        css=_asset("card.css"),
        scripts=scripts,
        policy=_policy(list(scripts.values())),
    )


def _context(align: str, found: Survey, title: str | None) -> dict[str, Any]:
    manifest = found.manifest
    rejected, failed = sections.reasons(found)
    shown = charts(found)
    said = storage.join(align, "recipe.yaml")
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
        "failures": listen.failures(align, found),
        "duplicates": listen.duplicates(align, found),
        "groups": listen.groups(align, found),
        "charts": shown,
        "undrawn": _undrawn(found, shown),
        "payload": listen.as_json(
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
                "low": ends[0],
                "high": ends[1],
                "log": measure.axis == "log",
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


def _path(bars: tuple[int, ...]) -> str:
    """The waveform as an SVG path in a box of 100 units' height: one upright stroke for each bar."""
    return "".join(f"M{i} {50 - max(1, bar // 2)}v{2 * max(1, bar // 2)}" for i, bar in enumerate(bars))


def _asset(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _plotly() -> str:
    """Plotly's own bundle of bars and lines: a quarter of the whole library, and read in a seventh of the time."""
    return _asset("plotly-basic.min.js")


def _policy(scripts: list[str]) -> str:
    """A Content-Security-Policy that lets exactly these scripts run and nothing reach the network.

    Plotly makes a style sheet of its own, so styles cannot be named by their hashes.
    """
    hashes = [base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii") for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; media-src blob:; "
        "base-uri 'none'; form-action 'none'"
    )
