"""Tier 2: does the text say what the audio says? Both directions of decoding must agree.

The thresholds on the lowest word and on the end of text are from a first measurement of injected faults; a clip that
was decoded packed with others scores lower at its borders and has thresholds of its own. The likelihood ratio of the
text to what was heard promises more, and is off until ``bench/filters.py`` has fitted it (docs/filters.md).
"""

from __future__ import annotations

from llaso_data.filters.rules import Rule, above, apart, below, flagged
from llaso_data.recipe import Consistency
from llaso_data.records import GIVEN_UNMATCHED

SCRIPT_MISMATCH = "script_mismatch"
"""``scores.extra``: 1 where the text is not in a script of its language."""
MARKUP = "markup"
"""``scores.extra``: 1 where the text has something in brackets that no scheme of markup knows."""
PHRASE = "phrase"
"""``scores.extra``: 1 where the text is one of the phrases that Whisper invents."""


def rules(section: Consistency) -> list[Rule]:
    """The rules of tier 2 in the order in which they are tried."""
    return [
        *flagged("consistency.given_unmatched", GIVEN_UNMATCHED),
        *unscored(section),
        *(flagged("consistency.markup", MARKUP) if section.markup else []),
        *(flagged("consistency.script", SCRIPT_MISMATCH) if section.script_match else []),
        *flagged("consistency.phrase", PHRASE),
        *above("consistency.repetition", "repetition", section.repetition_max),
        *apart(
            "consistency.min_word_logprob",
            "min_word_logprob",
            section.min_word_logprob_min,
            "packed",
            section.packed_min_word_logprob_min,
        ),
        *apart(
            "consistency.eot_logprob", "eot_logprob", section.eot_logprob_min, "packed", section.packed_eot_logprob_min
        ),
        *apart("consistency.llr", "llr", section.llr_min, "packed", section.packed_llr_min),
        *above("consistency.cer", "cer", section.cer_max),
        *above("consistency.surplus", "surplus", section.surplus_max),
        *below("consistency.lm_delta", "lm_delta", section.lm_delta_min),
    ]


def unscored(section: Consistency) -> list[Rule]:
    """Given text that was never scored against the audio: its null scores would otherwise pass every rule.

    But for languages of which Whisper has no token, and where the recipe has nothing scored: these are accepted
    unjudged, and counted.
    """
    if section.min_word_logprob_min is None and section.packed_min_word_logprob_min is None:
        return []
    return flagged("consistency.unscored", "unscored", only="given")
