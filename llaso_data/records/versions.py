"""The fields of the first format of the stored records, and those that were added later."""

from __future__ import annotations

import dataclasses
import functools

FORMAT_VERSION = 1
"""Increased when the meaning of a stored field changes; part of every block's digest."""

FIRST_FORMAT: dict[str, frozenset[str]] = {
    name: frozenset(fields.split())
    for name, fields in {
        "Attribute": "value origin",
        "Source": "corpus uri member start_s end_s sampling_rate_hz channels",
        "Word": "text start_s end_s logprob",
        "Speaker": "id gender age_range accent",
        "Scores": "avg_logprob min_token_logprob no_speech_prob language_prob compression_ratio chars_per_s "
        "min_word_logprob mean_word_logprob eot_logprob llr cer wer surplus repetition lm_logprob lm_delta "
        "speech_ratio rms_dbfs clipped_ratio border_db extra",
        "Failure": "reason detail",
        "Utterance": "id recording source audio_id duration_s language language_origin text text_origin hypothesis "
        "words speaker environment decoding scores failure",
        "Verdict": "id verdict rule value threshold duplicate_of audited",
        "ContentPart": "type",
        "Message": "role content",
        "Sample": "task messages audios language",
    }.items()
}
"""The fields that records had at first, by record. Nothing is added to a record that is here.

Every other field is None by default. A field that is None appears in no JSON, id or block name, and may be missing in
stored files. So a later field renames no block, and no audio is observed again for it.
"""

LATER = b"llaso.later"
"""Marks a later field in the Arrow schema."""


@functools.cache
def is_later(record: type, name: str) -> bool:
    """Whether a field is not one of the first format (:data:`FIRST_FORMAT`)."""
    return not any(name in FIRST_FORMAT.get(base.__name__, ()) for base in record.__mro__)


@functools.cache
def field_names(record: type) -> tuple[str, ...]:
    """The names of a record's fields, sorted."""
    return tuple(sorted(field.name for field in dataclasses.fields(record)))
