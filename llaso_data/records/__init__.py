"""The records of LLaSO: one :class:`Utterance` per stretch of speech, one :class:`Sample` per conversation.

Every record is a frozen dataclass. The Arrow schema is derived from the dataclasses, so each field is declared once. A
record holds no audio: its :class:`Source` is a pointer (URI, member, start, end). ``docs/records.md`` explains every
field.
"""

from __future__ import annotations

from llaso_data.records import pickling
from llaso_data.records.arrow import completed, from_dict, from_table, schema, to_dict, to_table
from llaso_data.records.digests import canonical, digest, utterance_id
from llaso_data.records.sample import ROLES, SPLITS, ContentPart, Message, Provenance, Sample, modality
from llaso_data.records.utterance import (
    ASR,
    ESTIMATED,
    GIVEN,
    GIVEN_UNMATCHED,
    NO_SCORES,
    NO_SPEECH,
    NOT_SCORED,
    SCORE_DECIMALS,
    TIME_DECIMALS,
    UNJUDGED,
    UNKNOWN,
    Attribute,
    Failure,
    Input,
    Scores,
    Source,
    Speaker,
    Utterance,
    Word,
    failed,
    ids,
    rounded,
)
from llaso_data.records.verdict import ACCEPTED, DUPLICATE, FAILED, REJECTED, Verdict
from llaso_data.records.versions import FIRST_FORMAT, FORMAT_VERSION, LATER

for _record in (Attribute, ContentPart, Message, Provenance, Sample, Scores, Source, Speaker, Utterance, Word):
    pickling.register(_record)

__all__ = [
    "ACCEPTED",
    "ASR",
    "DUPLICATE",
    "ESTIMATED",
    "FAILED",
    "FIRST_FORMAT",
    "FORMAT_VERSION",
    "GIVEN",
    "GIVEN_UNMATCHED",
    "LATER",
    "NOT_SCORED",
    "NO_SCORES",
    "NO_SPEECH",
    "REJECTED",
    "ROLES",
    "SCORE_DECIMALS",
    "SPLITS",
    "TIME_DECIMALS",
    "UNJUDGED",
    "UNKNOWN",
    "Attribute",
    "ContentPart",
    "Failure",
    "Input",
    "Message",
    "Provenance",
    "Sample",
    "Scores",
    "Source",
    "Speaker",
    "Utterance",
    "Verdict",
    "Word",
    "canonical",
    "completed",
    "digest",
    "failed",
    "from_dict",
    "from_table",
    "ids",
    "modality",
    "rounded",
    "schema",
    "to_dict",
    "to_table",
    "utterance_id",
]
