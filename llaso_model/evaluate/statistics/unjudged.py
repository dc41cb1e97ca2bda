"""Open answers that a judge gave no score to: how many, where, and the lines that say so at the head of the scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from llaso_model.evaluate.kinds import KINDS, Row
from llaso_model.evaluate.metrics.base import JUDGED


def unjudged_rows(rows: Sequence[Row], sets: Sequence[Mapping[str, Any]], asked: bool) -> dict[str, Any] | None:
    """The open answers without a score of the judge's, by set and system; None where no judge was asked.

    Of judgements that came with the data, only sets count of which some were judged. ``sets`` are those of the summary.
    """
    named = {one["name"]: one for one in sets if KINDS[one["kind"]].is_judged}
    open_ = [row for row in rows if row.prediction.set in named and row.prediction.expected != "refusal"]
    judged_sets = {row.prediction.set for row in open_ if JUDGED.name in row.stats}
    counted = [row for row in open_ if asked or row.prediction.set in judged_sets]
    if not counted:
        return None
    of = Counter((row.prediction.set, row.prediction.system) for row in counted)
    without = Counter((row.prediction.set, row.prediction.system) for row in counted if JUDGED.name not in row.stats)
    listed = [
        {"set": set_, "system": system, "rows": n, "of": of[set_, system], "figure": named[set_]["primary"]}
        for (set_, system), n in sorted(without.items())
    ]
    return {"rows": without.total(), "of": of.total(), "sets": listed}


def unjudged_lines(said: Mapping[str, Any]) -> list[str]:
    """What ``scores.json`` says of answers without a judgement, for people; nothing where all are judged."""
    unjudged = said.get("unjudged")
    by = said["made"].get("judged_by") or {}
    told = []
    if unjudged and unjudged["rows"]:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in (by.get("unjudged") or {}).items())
        where = ", ".join(f"{one['set']} of {one['system']} ({one['rows']:,})" for one in unjudged["sets"])
        told.append(
            f"Not judged: {unjudged['rows']:,} of {unjudged['of']:,} open answers{f' ({reasons})' if reasons else ''}. "
            f"The judge's figures are of the others. Without a judgement: {where}."
        )
        other = sorted({one["set"] for one in unjudged["sets"] if one["figure"] != JUDGED.name})
        if other:
            told.append(f"Scored by ROUGE-L, because nothing of some system was judged: {', '.join(other)}.")
    if by.get("fewer_votes"):
        told.append(f"{by['fewer_votes']:,} open answers have fewer votes than were asked for.")
    return told
