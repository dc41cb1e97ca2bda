"""Tier 2: does the text say what the audio says? Both directions of decoding must agree.

The thresholds on the lowest word and on the end of text are from the injected-fault measurement in the recipe's
defaults; a clip that was decoded packed with others scores lower at its borders and has thresholds of its own.
"""

from __future__ import annotations

from llaso_data.filters.rules import Rule, above, below, flagged
from llaso_data.pipeline.recipe import Consistency

GIVEN_UNMATCHED = "given_unmatched"
"""``scores.extra``: 1 where the corpus's transcript could not be matched to this stretch of audio."""
SCRIPT_MISMATCH = "script_mismatch"
"""``scores.extra``: 1 where the text is not in a script of its language."""
PHRASE = "phrase"
"""``scores.extra``: 1 where the text is one of the phrases that Whisper invents."""


def rules(section: Consistency) -> list[Rule]:
    """The rules of tier 2 in the order in which they are tried."""
    return [
        *flagged("consistency.given_unmatched", GIVEN_UNMATCHED),
        *unscored(section),
        *(flagged("consistency.script", SCRIPT_MISMATCH) if section.script_match else []),
        *flagged("consistency.phrase", PHRASE),
        *above("consistency.repetition", "repetition", section.repetition_max),
        *packed_or_solo("min_word_logprob", section.min_word_logprob_min, section.packed_min_word_logprob_min),
        *packed_or_solo("eot_logprob", section.eot_logprob_min, section.packed_eot_logprob_min),
        *packed_or_solo("llr", section.llr_min, section.packed_llr_min),
        *above("consistency.cer", "cer", section.cer_max),
        *below("consistency.lm_delta", "lm_delta", section.lm_delta_min),
    ]


def packed_or_solo(score: str, solo: float | None, packed: float | None) -> list[Rule]:
    """One rule for clips decoded alone and one for clips of a packed window, which takes `solo` where it has none."""
    name = f"consistency.{score}"
    if packed is None:
        return below(name, score, solo)
    return [*below(name, score, solo, only="!packed"), *below(name, score, packed, only="packed")]


def unscored(section: Consistency) -> list[Rule]:
    """Given text that was never scored against the audio: its null scores would otherwise pass every rule."""
    if section.min_word_logprob_min is None and section.packed_min_word_logprob_min is None:
        return []
    return flagged("consistency.unscored", "unscored", only="given")
