"""Sets that are indexed in place: a sample's JSON lies in the index, its audio in a tar, a zip or a table of others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from llaso_data import audio
from llaso_data.audio import limited
from llaso_data.errors import LLaSOError
from llaso_data.records import Sample
from llaso_data.shards import layout
from llaso_data.shards.sound_spool import Place

SPAN = "span"
"""The field of an audio in such a JSON that says which part of its file it is: start and end in seconds, channels."""
CONTENT = "content"
"""The column of the index that has the JSON."""
_TOLERANCE_S = 0.05  # manifests round, and lossy formats pad


def spans(content: Mapping[str, Any]) -> dict[str, audio.Span]:
    """The spans and channels that audios are of their parts, by the name of the part; none for whole ones.

    Raises:
        ValueError: A JSON says what is no span.
    """
    known: dict[str, audio.Span] = {}
    for entry in content.get("audios") or ():
        span = entry.get(SPAN) if isinstance(entry, dict) else None
        if span is None:
            continue
        start_s, end_s, channels = span
        known[entry["part"]] = (start_s, end_s, None if channels is None else tuple(channels))
    return known


def described(uri: str, row: Mapping[str, Any]) -> tuple[Sample, list[Place]]:
    """The sample of a row, and where its sounds are.

    Args:
        uri: The container.
        row: Of the index.

    Raises:
        LLaSOError: Its JSON is not of the form of ``shards/SPEC.md``.
    """
    try:
        content = json.loads(row[CONTENT])
        sample = layout.decode_sample(content)
        of_parts = spans(content)
        places: list[Place] = []
        for entry in content["audios"]:
            start_s, end_s, *chosen = of_parts.get(entry["part"], (None, None))
            channels = chosen[0] if chosen else None
            places.append((uri, entry["source"]["member"], start_s, end_s, channels))
    except (KeyError, TypeError, ValueError) as error:
        raise LLaSOError(f"{uri}: {row['key']}: its JSON in the index is damaged ({error})") from error
    return sample, places


def faults(uri: str, row: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a row: its JSON, or audio that is not there, cannot be decoded, or has another length."""
    try:
        sample, places = described(uri, row)
    except LLaSOError as error:
        yield str(error)
        return
    for utterance, (_, member, start_s, end_s, channels) in zip(sample.audios, places, strict=True):
        try:
            with audio.open_audio(uri, member) as file:
                data = file.read()
            pcm = limited.decode_bytes(data, audio.name_of(uri, member), span=(start_s, end_s, channels))
        except LLaSOError as error:
            yield f"{member}: {error}"
            continue
        length_s = len(pcm) / audio.SAMPLE_RATE_HZ
        if abs(length_s - (utterance.duration_s or 0.0)) > _TOLERANCE_S:
            yield f"{member} lasts {length_s:.3f} s, the index says {utterance.duration_s or 0.0:.3f} s"
    key = layout.key_of(sample, [part["ext"] for part in row["parts"]])
    if key != row["key"]:
        yield f"its contents give the key {key}"
