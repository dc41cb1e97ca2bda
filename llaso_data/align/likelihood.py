"""The likelihood ratio of a text and of what was heard, both forced over the same encoder states.

Whisper's free hypothesis is close to the likeliest text there is. Where a transcript says something else, one of the
two is wrong, and the audio says which: log P(text | audio) - log P(hypothesis | audio) is near zero where Whisper
misheard something like it, and far below where the text has a word too many, too few or another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from llaso_data.align.bidirectional import as_whisper_writes, end_logprob, target_tokens, trim_end
from llaso_data.align.differences import Rewritten, rewrite
from llaso_data.whisper.clips import Clip
from llaso_data.whisper.teacher_forcing import Decoder, ForcedScores
from llaso_data.whisper.tokenizer import MAX_POSITIONS


def log_likelihood_ratios(
    decoder: Decoder, clips: Sequence[Clip], hypotheses: Sequence[str | None]
) -> list[float | None]:
    """For each clip the log-likelihood ratio of its text to its hypothesis where they differ most; 0.0 where nowhere.

    Each difference counts from where it starts to where the next one does, so one that the audio speaks for makes up
    for none that it speaks against. None where there is no hypothesis, or a text passes Whisper's positions.
    """
    found: list[float | None] = [None] * len(clips)
    compared: list[tuple[int, Rewritten]] = []
    for i, (clip, hypothesis) in enumerate(zip(clips, hypotheses, strict=True)):
        if hypothesis is None or not clip.text.strip():
            continue
        rewritten = rewrite(as_whisper_writes(clip.text), hypothesis, clip.language)
        if rewritten.starts:
            compared.append((i, rewritten))
        else:
            found[i] = 0.0
    sides = [_tokens(decoder, clips[i], side) for i, pair in compared for side in (pair.text, pair.hypothesis)]
    prompts = [decoder.vocabulary.prompt(clips[i].language) for i, _ in compared for _ in range(2)]
    fits = [len(p) + len(t) <= MAX_POSITIONS for p, (t, _) in zip(prompts, sides, strict=True)]
    usable = [n for n in range(len(compared)) if fits[2 * n] and fits[2 * n + 1]]
    rows = [2 * n + side for n in usable for side in (0, 1)]
    forced = decoder.force(
        [prompts[row] for row in rows],
        [sides[row][0] for row in rows],
        [clips[compared[row // 2][0]].context for row in rows],
    )
    for n, text, heard in zip(usable, forced[::2], forced[1::2], strict=True):
        i, pair = compared[n]
        own = _stretches(text, sides[2 * n][1], [a for a, _ in pair.starts])
        other = _stretches(heard, sides[2 * n + 1][1], [b for _, b in pair.starts])
        found[i] = float(np.min(own - other))
    return found


def _tokens(decoder: Decoder, clip: Clip, text: str) -> tuple[list[int], list[int]]:
    """The tokens of a text to its end, and the places of those that are its own."""
    pieces = decoder.vocabulary.bpe_tokens(trim_end(text)) if text else ([], [])
    return target_tokens(decoder.vocabulary, clip, text, pieces), pieces[1]


def _stretches(scored: ForcedScores, places: list[int], starts: list[int]) -> np.ndarray:
    """Log-probability of each stretch from one start to the next; the last goes to the end of text."""
    values = scored.logprobs[: len(places)].astype(np.float64)
    borders = [int(np.searchsorted(places, start)) for start in starts] + [len(places)]
    sums = np.array([values[a:b].sum() for a, b in pairwise(borders)])
    sums[-1] += end_logprob(scored, len(places))
    return sums
