"""What the audit's page shows, as HTML and JSON. It never shows a score, a hypothesis or what others answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llaso_data import audio
from llaso_data.audio import Pcm, limited
from llaso_data.errors import LLaSOError
from llaso_data.filters.acceptance import GOOD, LIMIT
from llaso_data.languages import language_name
from llaso_data.records import UNKNOWN
from llaso_data.report import page as pages
from llaso_data.report.audit import Item, Sample, Status
from llaso_data.report.clip_groups import direction, where
from llaso_data.report.clips import as_sound, pieces, strokes
from llaso_data.report.sections import name_of
from llaso_data.shards.certificate import conclusion, upper

_BARS, _BARS_PER_S = 270, 33  # of a waveform: four pixels each, in a short one and in a long one that scrolls


def page(
    sample: Sample, items: Sequence[Item], auditor: str | None, title: str | None, status: Status
) -> tuple[str, str]:
    """(the page, its Content-Security-Policy)."""
    scripts = [pages.joined("js", "asking", "audit_result", "audit")]
    policy = pages.policy(scripts, "connect-src 'self'")
    said = {
        "auditor": auditor,
        "align": sample.align,
        "items": [{"id": item.utterance.id, "language": _language(item), "corpus": item.stratum[1]} for item in items],
    }
    html = pages.render(
        "audit.html.j2",
        scripts,
        css=pages.joined("css", "audit"),
        policy=policy,
        payload=pages.as_json(said),
        title=name_of(sample.align, title),
        items=len(items),
        drawn=len(sample.items),
        population=sample.population,
        allowed=sample.allowed,
        limit=f"{100 * LIMIT:g}\u00a0%",
        languages=sorted({_language(item) for item in items}),
        auditors=[{"name": name, "judged": len(given)} for name, given in status.auditors.items()],
        filters={"count": lambda n: f"{n:,}"},
    )
    return html, policy


def item(shown: Item) -> dict[str, Any]:
    """One item as JSON: text in pieces of (text, start_s, end_s); its sound, or ``trouble`` that says why not."""
    utterance = shown.utterance
    text = utterance.text or ""
    said = {
        "id": utterance.id,
        "lang": utterance.language or "",
        "dir": direction(text),
        "place": where(utterance),
        "text": [
            [part, None, None] if word is None else [part, word.start_s, word.end_s]
            for part, word in pieces(text, utterance.words)
        ],
        "trouble": "",
    }
    try:
        pcm = item_pcm(shown)
    except LLaSOError as error:
        return {**said, "trouble": str(error)}
    sound = as_sound(pcm, max(_BARS, round(_BARS_PER_S * len(pcm) / audio.SAMPLE_RATE_HZ)))
    shape = {"path": strokes(sound.bars), "bars": len(sound.bars)}
    return {**said, **shape, "opus": sound.opus, "seconds": round(sound.seconds, 3)}


def item_pcm(shown: Item) -> Pcm:
    """All of the item's sound, and the very sound that build-align heard. Raises LLaSOError."""
    utterance = shown.utterance
    found = limited.decode_source(utterance.source)
    if audio.audio_id(found) != utterance.audio_id:
        raise LLaSOError(f"{where(utterance)}: the sound is not the one that build-align heard; put the file back")
    return found


def result(status: Status) -> dict[str, Any]:
    """Where the audit stands, as JSON; numbers as they are read."""
    said = status.certificate
    if said is None:
        return {"open": len(status.open), "languages": sorted({_language(item) for item in status.open})}
    return {
        "open": 0,
        "passed": said["passed"],
        "census": said["items"] == said["population"],
        "conclusion": conclusion(said),
        "defects": said["defects"],
        "items": said["items"],
        "population": said["population"],
        "allowed": said["plan"]["allowed"],
        "upper": upper(said),
        "answers": said["answers"],
        "strata": [
            {
                "name": language_name(row["language"]) if row["language"] != UNKNOWN else "language unknown",
                "corpus": row["corpus"],
                "population": row["population"],
                "items": row["items"],
                "defects": row["defects"],
                "upper": upper(row),
                "passed": row["passed"],
            }
            for row in said["strata"]
        ],
        "auditors": said["auditors"],
        "agreement": said["agreement"],
        "bad": [row["id"] for row in said["sample"] if row["answer"] != GOOD],
        "certificate": f"{status.sample.align}/certificate.json",
        "align": status.sample.align,
    }


def _language(item: Item) -> str:
    code = item.utterance.language
    return language_name(code) if code else "language unknown"
