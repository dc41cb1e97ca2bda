"""Open answers that a judge gave no score to: how many, where, and the lines that say so at the head of the scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from llaso_model.evaluate.kinds import KINDS, Row
from llaso_model.evaluate.metrics.base import JUDGED


def unjudged_rows(rows: Sequence[Row], sets: Sequence[Mapping[str, Any]], asked: bool) -> dict[str, Any] | None:
    """Counts the open answers that have no score of a judge.

    Args:
        rows: Scored rows.
        sets: The sets of the summary.
        asked: A judge was asked about all open answers. If not, judgements came with the data, and only sets count in
            which some answers are judged.

    Returns:
        The counts by set and system as JSON; None where no answer counts.
    """
    judged_kinds = {set_summary["name"]: set_summary for set_summary in sets if KINDS[set_summary["kind"]].is_judged}
    open_ = [row for row in rows if row.prediction.set in judged_kinds and row.prediction.expected == "answer"]
    judged_sets = {row.prediction.set for row in open_ if JUDGED.name in row.stats}
    counted = [row for row in open_ if asked or row.prediction.set in judged_sets]
    if not counted:
        return None
    totals = Counter((row.prediction.set, row.prediction.system) for row in counted)
    unjudged = Counter((row.prediction.set, row.prediction.system) for row in counted if JUDGED.name not in row.stats)
    listed = [
        {"set": set_, "system": system, "rows": n, "of": totals[set_, system], "figure": judged_kinds[set_]["primary"]}
        for (set_, system), n in sorted(unjudged.items())
    ]
    return {"rows": unjudged.total(), "of": totals.total(), "sets": listed}


def unjudged_lines(scores: Mapping[str, Any]) -> list[str]:
    """Lines for people about the answers in ``scores.json`` that are not judged; none where all are."""
    unjudged = scores.get("unjudged")
    judged_by = scores["made"].get("judged_by") or {}
    lines = []
    if unjudged and unjudged["rows"]:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in (judged_by.get("unjudged") or {}).items())
        where = ", ".join(
            f"{set_counts['set']} of {set_counts['system']} ({set_counts['rows']:,})" for set_counts in unjudged["sets"]
        )
        lines.append(
            f"Not judged: {unjudged['rows']:,} of {unjudged['of']:,} open answers{f' ({reasons})' if reasons else ''}. "
            f"The judge's figures are of the others. Without a judgement: {where}."
        )
        other = sorted({set_counts["set"] for set_counts in unjudged["sets"] if set_counts["figure"] != JUDGED.name})
        if other:
            lines.append(f"Scored by ROUGE-L, because nothing of some system was judged: {', '.join(other)}.")
    if judged_by.get("fewer_votes"):
        lines.append(f"{judged_by['fewer_votes']:,} open answers have fewer votes than were asked for.")
    return lines
