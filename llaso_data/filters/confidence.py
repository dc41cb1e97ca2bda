"""Tier 1: was there speech, and was Whisper sure of it? Each rule looks at one score of the utterance."""

from __future__ import annotations

from llaso_data.filters.rules import STANDS_OUT, UNHEARD, Rule, above, below, flagged
from llaso_data.recipe import Confidence
from llaso_data.records import NO_SPEECH

CJK = frozenset({"zh", "ja", "ko", "yue"})
"""Languages whose letters are syllables or words: their rate has a limit of its own."""


def rules(section: Confidence) -> list[Rule]:
    """The rules of tier 1 in the order in which they are tried.

    Three have no threshold in the recipe, because without them something would pass unseen: a score that is not
    a number compares false with every threshold, and where nothing was said there is nothing to score.
    """
    return [
        *flagged("confidence.not_a_number", "not_a_number"),
        *flagged("confidence.no_speech", NO_SPEECH),
        *duration(section),
        *above("confidence.no_speech_prob", "no_speech_prob", section.no_speech_prob_max),
        *flagged("confidence.no_text", "no_text"),
        *below("confidence.rms_dbfs", "rms_dbfs", section.rms_dbfs_min),
        *above("confidence.clipped_ratio", "clipped_ratio", section.clipped_ratio_max),
        *above("confidence.border_db", "border_db", section.border_db_max, only=STANDS_OUT),
        *below("confidence.language_prob", "language_prob", section.language_prob_min),
        *_likelihood(section),
        *above("confidence.compression_ratio", "compression_ratio", section.compression_ratio_max),
        *below("confidence.chars_per_s_min", "chars_per_s", section.chars_per_s_min),
        *above("confidence.chars_per_s_max", "chars_per_s", section.chars_per_s_max, only="!cjk"),
        *above("confidence.cjk_chars_per_s_max", "chars_per_s", section.cjk_chars_per_s_max, only="cjk"),
    ]


def _likelihood(section: Confidence) -> list[Rule]:
    """The limits of the hypothesis's likelihood.

    Where given texts have one of their own, it is for those in which Whisper hears other words: words that it is not
    sure of, and that are those of the transcript, are no chance.
    """
    name, column = "confidence.avg_logprob", "avg_logprob"
    if section.given_avg_logprob_min is None:
        return below(name, column, section.avg_logprob_min)
    return [
        *below(name, column, section.avg_logprob_min, only="!given"),
        *below(name, column, section.given_avg_logprob_min, only=UNHEARD),
    ]


def duration(section: Confidence) -> list[Rule]:
    """The limits of the length; a length that is not known counts as too short."""
    low, high = section.duration_min_s, section.duration_max_s
    return [
        Rule("confidence.duration_min_s", "duration_s", 0.0 if low is None else low, "below", null_violates=True),
        *above("confidence.duration_max_s", "duration_s", high),
    ]
