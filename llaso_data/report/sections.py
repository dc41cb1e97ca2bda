"""The words and tables of the dataset card, as plain values that the page's template prints."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llaso_data.filters.acceptance import ANSWERS
from llaso_data.filters.rates import in_percent, sentence
from llaso_data.io import storage
from llaso_data.languages import language_name
from llaso_data.recipe import Recipe
from llaso_data.records import ASR, ESTIMATED, GIVEN, UNKNOWN
from llaso_data.report.card_data import ATTRIBUTES, CardData
from llaso_data.report.reasons import FAILURES, why
from llaso_data.shards.certificate import Standing, upper

SHOWN = 12  # rows of a table before it folds
_FOLDED = 300  # rows of a fold
_UNSPECIFIC = ("align", "out", "output")
_ATTRIBUTE_NAMES = dict(
    zip(("language", *ATTRIBUTES), ("Language", "Speaker", "Gender", "Age", "Accent", "Environment"), strict=True)
)


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a table.

    Attributes:
        name: of what is counted.
        seconds: of audio.
        number: of utterances.
        share: of the longest row, from 0 to 1.
        code: stands beside the name.
        unknown: whether it counts what has no name.
    """

    name: str
    seconds: float
    number: int
    share: float
    code: str = ""
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class FoldedTable:
    """A table.

    Attributes:
        rows: that are visible.
        folded: that are folded away.
        left: how many more there are.
        left_s: the seconds of those.
    """

    rows: list[TableRow]
    folded: list[TableRow]
    left: int = 0
    left_s: float = 0.0


def duration_text(seconds: float) -> str:
    """A duration for a reader, in hours, minutes or seconds."""
    size = abs(seconds)
    if size >= 3600:
        decimals = 0 if size >= 360_000 else 1 if size >= 36_000 else 2
        return f"{seconds / 3600:,.{decimals}f} h"
    if size >= 60:
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.0f} s" if size >= 10 else f"{seconds:.1f} s"


def name_of(align: str, title: str | None) -> str:
    """The page's title: ``title``, else the name of the output's folder, or of its parent for names such as ``out``."""
    if title:
        return title
    parts = [part for part in storage.absolute(align).split("/") if part]
    return parts[-2] if len(parts) > 1 and parts[-1] in _UNSPECIFIC else parts[-1]


def folded(rows: Iterable[TableRow]) -> FoldedTable:
    """Make a table of rows: longest first, equal ones by name."""
    ordered = sorted(rows, key=lambda row: (-row.seconds, -row.number, row.name, row.code))
    longest = max((row.seconds for row in ordered), default=0.0) or 1.0
    scaled = [TableRow(r.name, r.seconds, r.number, r.seconds / longest, r.code, r.unknown) for r in ordered]
    shown = len(scaled) if len(scaled) <= SHOWN + 2 else SHOWN
    rest = scaled[shown + _FOLDED :]
    return FoldedTable(scaled[:shown], scaled[shown : shown + _FOLDED], len(rest), sum(row.seconds for row in rest))


def languages(data: CardData) -> FoldedTable:
    """The languages of the accepted utterances."""
    names = {code: language_name(code) for code in data.languages}
    return folded(
        TableRow(names[code], s.accepted_s, s.accepted, 0, code if names[code] != code else "", code == UNKNOWN)
        for code, s in data.languages.items()
        if s.accepted
    )


def corpora(data: CardData) -> FoldedTable:
    """The corpora of the accepted utterances, with the licences that their records name."""
    return folded(
        TableRow(name, s.accepted_s, s.accepted, 0, ", ".join(sorted(data.licenses.get(name, {}))))
        for name, s in data.corpora.items()
        if s.accepted
    )


def speakers(data: CardData) -> tuple[FoldedTable, str]:
    """The speakers with the most speech, and sentences on how speech is distributed over speakers."""
    known = {key: s for key, s in data.speakers.items() if key[1]}
    unknown = data.speakers.get(("", ""))
    several = len({corpus for corpus, _ in known}) > 1
    rows = folded(
        TableRow(name, s.accepted_s, s.accepted, 0, corpus if several else "") for (corpus, name), s in known.items()
    )
    sentences = []
    if known:
        spans: list[float] = sorted((s.accepted_s for s in known.values()), reverse=True)
        median = f"the one in the middle has {duration_text(statistics.median(spans))}" if len(spans) > 2 else ""
        counted = f"{len(spans):,} speaker{'s' if len(spans) > 1 else ''}"
        sentences.append(f"{counted}; {median}." if median else f"{counted}.")
        if len(spans) > 10 and spans[0] > 0:
            sentences.append(f"The ten with the most speech hold {sum(spans[:10]) / sum(spans):.0%}.")
        if several:
            sentences.append("Speakers are told apart within a corpus.")
    if estimated := data.origins.get("speaker.id", {}).get(ESTIMATED, 0):
        sentences.append(f"Of {estimated:,} utterances the speaker is estimated from the voice.")
    if unknown is not None and unknown.inputs:
        part = f"{unknown.inputs:,} utterances, {duration_text(unknown.accepted_s)}"
        sentences.append(f"Of {part}, the speaker is unknown." if known else f"The speaker is unknown ({part}).")
    return rows, " ".join(sentences)


def accounting(data: CardData) -> list[dict[str, Any]]:
    """The inputs by their verdicts; the numbers add up."""
    counts, hours = data.manifest["counts"], data.manifest["hours"]
    whole = max(1, counts["inputs"])
    says = {
        "accepted": "a pair of sound and text",
        "rejected": "by a rule",
        "duplicates": "the same audio again",
        "failed": "could not be observed",
    }
    return [
        {
            "name": name,
            "says": says[name],
            "number": counts[name],
            "share": counts[name] / whole,
            "time": duration_text(hours[name] * 3600) if name in hours else "",
        }
        for name in says
    ]


def reasons(data: CardData) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rules that rejected, and the reasons of failures, the most frequent first."""
    most = max((s.inputs for s in data.by_rule.values()), default=1)
    rows: list[dict[str, Any]] = [
        {
            "rule": rule,
            "why": why(rule),
            "number": s.inputs,
            "time": duration_text(s.seconds),
            "share": s.inputs / most,
        }
        for rule, s in sorted(data.by_rule.items(), key=lambda item: (-item[1].inputs, item[0]))
        if not rule.startswith("duplicates.")
    ]
    failed = [row for row in rows if row["rule"].startswith("failed.")]
    for row in failed:
        row["ours"] = row["rule"].removeprefix("failed.") in FAILURES
    return [row for row in rows if row not in failed], failed


def coverage(data: CardData) -> list[dict[str, Any]]:
    """For every attribute the share of accepted utterances by its origin, and the most frequent values."""
    whole = max(1, data.manifest["counts"]["accepted"])
    rows = []
    for key, name in _ATTRIBUTE_NAMES.items():
        origins = dict(data.origins.get(key, {}))
        parts = [
            {"kind": kind, "name": label, "number": origins.pop(origin, 0)}
            for origin, kind, label in (
                (GIVEN, "given", "given by the corpus"),
                (ASR, "stage", "heard by Whisper"),
                (ESTIMATED, "stage", "estimated from the sound"),
            )
        ]
        unknown = origins.pop(UNKNOWN, 0)
        parts += [{"kind": "stage", "name": f"by {stage}", "number": n} for stage, n in sorted(origins.items())]
        parts.append({"kind": "unknown", "name": "unknown", "number": unknown})
        for part in parts:
            part["share"] = part["number"] / whole
        rows.append(
            {
                "name": name,
                "parts": [part for part in parts if part["number"]],
                "known": 1 - unknown / whole if data.manifest["counts"]["accepted"] else 0.0,
                "values": _most_frequent(data.values.get(key, {})),
            }
        )
    return rows


def _most_frequent(values: Mapping[str, int]) -> str:
    known = sorted(((n, name) for name, n in values.items() if name != UNKNOWN), key=lambda item: (-item[0], item[1]))
    parts = [f"{name} {n:,}" for n, name in known[:4]]
    if len(known) > 4:
        parts.append(f"{len(known) - 4:,} more")
    return " · ".join(parts)


def changed(recipe: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Key, value and default of the recipe's values that differ from the defaults, without its sources."""
    values = dict(_flat({k: v for k, v in recipe.items() if k != "sources"}))
    defaults = dict(_flat(Recipe().model_dump(mode="json")))
    return [
        (key, _text(value), _text(defaults.get(key))) for key, value in values.items() if value != defaults.get(key)
    ]


def sources(recipe: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The first sources: the path, and the other values of the recipe."""
    return [
        (source["path"], ", ".join(f"{k}: {v}" for k, v in source.items() if v is not None and k != "path"))
        for source in [_non_default(source) for source in recipe["sources"][:_FOLDED]]
    ]


def _non_default(source: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {"type": "auto", "pattern": "**/*"}
    return {key: value for key, value in source.items() if defaults.get(key) != value}


def audit(standing: Standing) -> dict[str, Any]:
    """What a page shows of an audit and its certificate."""
    certificate = standing.certificate
    fields: dict[str, Any] = {"certified": standing.certified, "why": standing.why, "certificate": certificate}
    if certificate is not None:
        largest = sorted(certificate["strata"], key=lambda row: (-row["population"], row["language"], row["corpus"]))
        fields["strata"] = [
            {**row, "name": language_name(row["language"]), "upper": upper(row)} for row in largest[:_FOLDED]
        ]
        fields["left"] = len(largest[_FOLDED:])
        fields["faults"] = ", ".join(
            f"{certificate['answers'][answer]:,} {answer.replace('_', ' ')}"
            for answer in ANSWERS[1:]
            if certificate["answers"][answer]
        )
        fields["dates"] = (
            min(a["first"] for a in certificate["auditors"])[:10],
            max(a["last"] for a in certificate["auditors"])[:10],
        )
    return fields


def calibration(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a page shows of what is right and rejected: a sentence, and the groups with the most clips first."""
    fields: dict[str, Any] = {"why": sentence(manifest), "groups": [], "left": 0}
    stated = manifest.get("calibration")
    if stated is not None:
        groups = sorted(stated["groups"], key=lambda group: (-group["false_alarms"]["pairs"], group["language"]))
        fields["groups"] = [
            {
                "name": language_name(group["language"]),
                "corpus": group["corpus"],
                "texts": "given" if group["texts"] == GIVEN else "by Whisper",
                "pairs": group["false_alarms"]["pairs"],
                "false_alarms": in_percent(group["false_alarms"]),
                "recall": "–" if group["mean_recall"] is None else f"{100 * group['mean_recall']:.0f} %",
            }
            for group in groups[:_FOLDED]
        ]
        fields["left"] = len(groups[_FOLDED:])
    return fields


def _flat(section: Mapping[str, Any], above: Sequence[str] = ()) -> Iterable[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, (*above, key))
        else:
            yield ".".join((*above, key)), value


def _text(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
