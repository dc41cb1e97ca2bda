"""Which transcriptions are in doubt, so that the clip is decoded again."""

from __future__ import annotations

from llaso_data.asr.window_decoder import Transcription
from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.records import GIVEN, Utterance
from llaso_data.text import cer, letters

_MIN_ATTENTION_SHARE = 0.35  # of the attention of a clip's tokens, what lies in its own slot
_MIN_AVG_LOGPROB = -1.0
_MIN_TOKEN_LOGPROB = -6.0
_MAX_LETTERS_PER_S = 30.0
_MIN_LETTERS_PER_S = 1.0
_SILENCE_S = 1.0  # of a clip that may hold no letter, before the lower rate applies
_MAX_CER = 0.5  # of a given text to the hypothesis of a packed window
# What packed clips are seldom under, and right ones are rejected for: alone most of these are as sure as others.
_SURE_AVG_LOGPROB = -1.2
_SURE_WORD_LOGPROB = -10.0
_SURE_EOT_LOGPROB = -5.0


def is_doubtful(transcription: Transcription, samples: int) -> bool:
    """Whether a packed clip's share of its window's text is in doubt.

    It is where the clip got no text, where too little of its tokens' attention lies in its own slot, and where its
    tokens are unlikely, or its letters too many or too few for its length.

    Args:
        transcription: What the clip got.
        samples: Length of the clip at 16 kHz.
    """
    avg_logprob, min_token_logprob = transcription.avg_logprob, transcription.min_token_logprob
    if not transcription.hypothesis or avg_logprob is None or min_token_logprob is None:
        return True
    count, seconds = letters(transcription.hypothesis), samples / SAMPLE_RATE_HZ
    return (
        transcription.attention_share < _MIN_ATTENTION_SHARE
        or avg_logprob < _MIN_AVG_LOGPROB
        or min_token_logprob < _MIN_TOKEN_LOGPROB
        or count > _MAX_LETTERS_PER_S * seconds
        or count < _MIN_LETTERS_PER_S * (seconds - _SILENCE_S)
    )


def needs_redecoding(utterance: Utterance) -> bool:
    """Whether a packed clip's given text is unlike its hypothesis, or less likely than it, or its scores are low.

    Whisper transcribes a clip better alone, and is surer of it. A text that the solo hypothesis contradicts is wrong
    more often than not. Scores that are not known yet are not low.
    """
    if not utterance.text or utterance.decoding != "packed":
        return False
    scores = utterance.scores
    if (
        _is_under(scores.avg_logprob, _SURE_AVG_LOGPROB)
        or _is_under(scores.min_word_logprob, _SURE_WORD_LOGPROB)
        or _is_under(scores.eot_logprob, _SURE_EOT_LOGPROB)
    ):
        return True
    if utterance.text_origin != GIVEN:
        return False
    return _is_under(scores.llr, 0.0) or cer(utterance.text, utterance.hypothesis or "", utterance.language) > _MAX_CER


def _is_under(score: float | None, limit: float) -> bool:
    return score is not None and score < limit
