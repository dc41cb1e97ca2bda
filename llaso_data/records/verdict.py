"""The judgement of one utterance."""

from __future__ import annotations

from dataclasses import dataclass

ACCEPTED = "accepted"
REJECTED = "rejected"
DUPLICATE = "duplicate"
FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judgement of one utterance: accepted, or the rule that did not accept it."""

    id: str
    verdict: str  # accepted | rejected | duplicate | failed
    rule: str | None = None  # e.g. confidence.avg_logprob, duplicates.audio, failed.decode
    value: float | None = None  # the score that the rule looked at
    threshold: float | None = None
    duplicate_of: str | None = None
    audited: bool = False  # drawn for tier 3
