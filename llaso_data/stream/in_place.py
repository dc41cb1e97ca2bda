"""Samples of sets that are indexed in place: their JSON lies in the index, their audio in tars, zips and tables."""

from __future__ import annotations

import json
from dataclasses import replace

from llaso_data import audio
from llaso_data.errors import AudioError
from llaso_data.shards.layout import JSON_PART
from llaso_data.stream.fetch import BadSample, Parts
from llaso_data.stream.sample import StreamSample


def completed(sample: StreamSample, content: str) -> StreamSample | BadSample:
    """A sample with its JSON as a part, and with those of its audios that no offset leads to.

    Args:
        sample: With the parts that were read from a tar.
        content: Its JSON, from the index.
    """
    parts: Parts = {**sample.parts, JSON_PART: content.encode()}
    try:
        entries = json.loads(content)["audios"]
        for entry in entries:
            if not parts.get(entry["part"]):
                with audio.open_audio(sample.shard, entry["source"]["member"]) as file:
                    parts[entry["part"]] = file.read()
    except AudioError as error:
        return BadSample(sample.key, sample.shard, error.detail)
    except (KeyError, TypeError, ValueError) as error:
        return BadSample(sample.key, sample.shard, f"its JSON in the index is damaged ({error})")
    return replace(sample, parts=parts)
