"""The content of the audit's page, as HTML and JSON. It has no score, no hypothesis and no answers of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llaso_data import audio
from llaso_data.audio import Pcm, limited
from llaso_data.errors import LLaSOError
from llaso_data.filters.acceptance import GOOD, LIMIT
from llaso_data.filters.rates import in_percent
from llaso_data.languages import language_name
from llaso_data.records import UNKNOWN
from llaso_data.report import page as pages
from llaso_data.report.audit import AuditSample, Item, Status
from llaso_data.report.clip_groups import direction, place_of_utterance
from llaso_data.report.clips import encode_sound, text_pieces, waveform_path
from llaso_data.report.sections import name_of
from llaso_data.shards.certificate import conclusion, upper

_BARS, _BARS_PER_S = 270, 33  # of a waveform: four pixels each, in a short one and in a long one that scrolls


def page(
    sample: AuditSample, items: Sequence[Item], auditor: str | None, title: str | None, status: Status
) -> tuple[str, str]:
    """Render the page.

    Args:
        sample: what is audited.
        items: those of it that the page shows.
        auditor: the name that the page begins with; None where it asks for one.
        title: the page's heading; None for the name of the output's folder.
        status: how far the audit is.

    Returns:
        The HTML and its Content-Security-Policy.
    """
    scripts = [pages.joined("js", "asking", "audit_result", "audit")]
    policy = pages.policy(scripts, "connect-src 'self'")
    content = {
        "auditor": auditor,
        "align": sample.align,
        "items": [{"id": item.utterance.id, "language": _language(item), "corpus": item.stratum[1]} for item in items],
    }
    html = pages.render(
        "audit.html.j2",
        scripts,
        css=pages.joined("css", "audit"),
        policy=policy,
        payload=pages.as_json(content),
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


def item(shown_item: Item) -> dict[str, Any]:
    """An item as JSON: its text in pieces (text, start_s, end_s); its sound, or in ``trouble`` why there is none."""
    utterance = shown_item.utterance
    text = utterance.text or ""
    fields = {
        "id": utterance.id,
        "lang": utterance.language or "",
        "dir": direction(text),
        "place": place_of_utterance(utterance),
        "text": [
            [part, None, None] if word is None else [part, word.start_s, word.end_s]
            for part, word in text_pieces(text, utterance.words)
        ],
        "trouble": "",
    }
    try:
        pcm = item_pcm(shown_item)
    except LLaSOError as error:
        return {**fields, "trouble": str(error)}
    sound = encode_sound(pcm, max(_BARS, round(_BARS_PER_S * len(pcm) / audio.SAMPLE_RATE_HZ)))
    shape = {"path": waveform_path(sound.bars), "bars": len(sound.bars)}
    return {**fields, **shape, "opus": sound.opus, "seconds": round(sound.seconds, 3)}


def item_pcm(item: Item) -> Pcm:
    """Decode all of an item's sound.

    Returns:
        int16 samples at 16 kHz, shape (samples,).

    Raises:
        LLaSOError: where it cannot be decoded, or is not the sound that build-align decoded.
    """
    utterance = item.utterance
    pcm = limited.decode_source(utterance.source)
    if audio.audio_id(pcm) != utterance.audio_id:
        raise LLaSOError(
            f"{place_of_utterance(utterance)}: the audio is not what build-align read; put the original file back"
        )
    return pcm


def result(status: Status) -> dict[str, Any]:
    """How far the audit is, as JSON, with numbers as a reader sees them."""
    certificate = status.certificate
    if certificate is None:
        return {"open": len(status.open), "languages": sorted({_language(item) for item in status.open})}
    return {
        "open": 0,
        "passed": certificate["passed"],
        "census": certificate["items"] == certificate["population"],
        "conclusion": conclusion(certificate),
        "defects": certificate["defects"],
        "items": certificate["items"],
        "population": certificate["population"],
        "allowed": certificate["plan"]["allowed"],
        "upper": upper(certificate),
        "answers": certificate["answers"],
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
            for row in certificate["strata"]
        ],
        "auditors": certificate["auditors"],
        "agreement": certificate["agreement"],
        "bad": [row["id"] for row in certificate["sample"] if row["answer"] != GOOD],
        "rejected": _rejected(certificate),
        "certificate": f"{status.sample.align}/certificate.json",
        "align": status.sample.align,
    }


def _rejected(certificate: Mapping[str, Any]) -> str:
    """The share of right clips that the rules reject, for a reader, or that it is not known."""
    said = certificate.get("false_alarms")  # the first version has none
    return "not measured" if said is None else in_percent(said)


def _language(item: Item) -> str:
    code = item.utterance.language
    return language_name(code) if code else "language unknown"
