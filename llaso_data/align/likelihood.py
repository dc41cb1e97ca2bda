"""The likelihood ratio of a text to a hypothesis, both teacher-forced over the same encoder states.

Whisper's free hypothesis is close to the likeliest text. Where a transcript says something else, one of the two is
wrong, and the audio tells which: log P(text | audio) - log P(hypothesis | audio) is near zero where Whisper took a word
for a similar one, and far below zero where the text has a word too many, too few or another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from llaso_data.align.backward import end_logprob, force_over_context, in_whisper_style, target_tokens, trim_end
from llaso_data.align.differences import Rewritten, rewrite
from llaso_data.whisper.clips import Clip
from llaso_data.whisper.teacher_forcing import Decoder, ForcedScores
from llaso_data.whisper.tokenizer import MAX_POSITIONS


def log_likelihood_ratios(
    decoder: Decoder, clips: Sequence[Clip], hypotheses: Sequence[str | None]
) -> list[float | None]:
    """For each clip the lowest log-likelihood ratio of its text to its hypothesis, over their differences.

    Each difference is scored from its start to the start of the next one. So a difference that the audio confirms does
    not make up for one that it contradicts.

    Args:
        decoder: Teacher-forces both texts.
        clips: The clips with their texts.
        hypotheses: What Whisper transcribed of each clip.

    Returns:
        Natural logarithms; 0.0 where the words are the same, None where there is no hypothesis or no text, or where one
        is longer than Whisper's positions.
    """
    llrs: list[float | None] = [None] * len(clips)
    compared: list[tuple[int, Rewritten]] = []
    for i, (clip, hypothesis) in enumerate(zip(clips, hypotheses, strict=True)):
        if hypothesis is None or not clip.text.strip():
            continue
        rewritten = rewrite(in_whisper_style(clip.text), hypothesis, clip.language)
        if rewritten.starts:
            compared.append((i, rewritten))
        else:
            llrs[i] = 0.0
    sides = [_tokens(decoder, clips[i], side) for i, pair in compared for side in (pair.text, pair.hypothesis)]
    prompts = [decoder.vocabulary.prompt(clips[i].language) for i, _ in compared for _ in range(2)]
    fits = [len(p) + len(t) <= MAX_POSITIONS for p, (t, _) in zip(prompts, sides, strict=True)]
    usable = [n for n in range(len(compared)) if fits[2 * n] and fits[2 * n + 1]]
    rows = [2 * n + side for n in usable for side in (0, 1)]
    forced = force_over_context(
        decoder, [clips[compared[row // 2][0]] for row in rows], [sides[row][0] for row in rows]
    )
    for n, text_scores, hypothesis_scores in zip(usable, forced[::2], forced[1::2], strict=True):
        i, pair = compared[n]
        text_logprobs = _stretch_logprobs(text_scores, sides[2 * n][1], [a for a, _ in pair.starts])
        hypothesis_logprobs = _stretch_logprobs(hypothesis_scores, sides[2 * n + 1][1], [b for _, b in pair.starts])
        llrs[i] = float(np.min(text_logprobs - hypothesis_logprobs))
    return llrs


def _tokens(decoder: Decoder, clip: Clip, text: str) -> tuple[list[int], list[int]]:
    """The target tokens of a text, and the offsets in it of those that are its own."""
    tokens, offsets = decoder.vocabulary.bpe_tokens(trim_end(text)) if text else ([], [])
    return target_tokens(decoder.vocabulary, clip.language, text, tokens), offsets


def _stretch_logprobs(scores: ForcedScores, offsets: list[int], starts: list[int]) -> np.ndarray:
    """Log-probability of each stretch from one start to the next; the last goes to the end of text."""
    logprobs = scores.logprobs[: len(offsets)].astype(np.float64)
    boundaries = [int(np.searchsorted(offsets, start)) for start in starts] + [len(offsets)]
    sums = np.array([logprobs[a:b].sum() for a, b in pairwise(boundaries)])
    sums[-1] += end_logprob(scores, len(offsets))
    return sums
