"""The backward direction: a text teacher-forced over its clip's own encoder states, in words and in characters.

Forward is free decoding; the two directions agree where the text that is given (or was heard) is also the text that
the audio makes likely, to its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llaso_data.align import attention, dtw
from llaso_data.asr.forced import Decoder, Forced
from llaso_data.asr.vocabulary import MAX_POSITIONS
from llaso_data.records import Word
from llaso_data.text import word_spans

if TYPE_CHECKING:
    import torch

    from llaso_data.pipeline.recipe import Align

FINAL_PUNCTUATION = (".", "!", "?", "…", "。", "！", "？", "।", "؟")
_MARGIN_FRAMES = 10  # kept around a piece of a long text: rough word times are good to about 0.2 s
_OUTSIDE = -100.0  # score of a frame that is not of a token's piece; inside, scores lie far above


@dataclass(frozen=True, slots=True)
class Clip:
    """What the backward passes need of one utterance."""

    pcm: NDArray[np.int16]
    states: torch.Tensor  # (frames, width): the clip's own slice, which words are aligned to
    context: torch.Tensor  # (frames, width): the same with silence around it, which the text is scored over
    text: str
    language: str


@dataclass(frozen=True, slots=True)
class Backward:
    """Scores and words of one clip; ``words`` is empty where the text cannot be laid over the audio."""

    words: tuple[Word, ...]
    min_word_logprob: float | None
    mean_word_logprob: float | None
    eot_logprob: float | None


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of a clip's text that fits Whisper's positions, over frames ``[first, last)``."""

    clip: int
    tokens: list[int]
    places: list[int]  # of each token's character in the text, -1 for the space before it
    first: int
    last: int


def backward(decoder: Decoder, clips: Sequence[Clip], settings: Align) -> list[Backward]:
    """Score and align every clip's text. Two decoder passes over each: BPE tokens, then characters."""
    spoken = [as_spoken(clip.text) for clip in clips]
    pieces = [decoder.vocabulary.pieces(text) for text in spoken]
    prompts = [decoder.vocabulary.prompt(clip.language) for clip in clips]
    room = [MAX_POSITIONS - len(prompt) for prompt in prompts]
    usable = [i for i, clip in enumerate(clips) if clip.text.strip() and len(pieces[i][0]) + 2 <= room[i]]
    targets = [_with_end(decoder, spoken[i], pieces[i][0]) for i in usable]
    forced = decoder.force([prompts[i] for i in usable], targets, [clips[i].context for i in usable])
    scored = dict(zip(usable, forced, strict=True))
    spans = {i: word_spans(clips[i].text, clips[i].language) for i in usable}
    times = _align(decoder, {i: clips[i] for i in usable}, spoken, pieces, spans, settings)
    results = []
    for i, clip in enumerate(clips):
        if i not in scored:
            results.append(Backward((), None, None, None))
            continue
        by_word = word_logprobs(scored[i].logprobs, pieces[i][1], spans[i])
        words = tuple(
            Word(clip.text[a:b], start, end, logprob)
            for (a, b), (start, end), logprob in zip(spans[i], times[i], by_word, strict=True)
        )
        if any(word.start_s != word.start_s for word in words):  # NaN: some of the text has no place in the audio
            words = ()
        results.append(
            Backward(
                words,
                min(by_word, default=None),
                float(np.mean(by_word)) if by_word else None,
                _end_logprob(scored[i].logprobs, len(pieces[i][0])),
            )
        )
    return results


def as_spoken(text: str) -> str:
    """A transcript in one case written the way Whisper writes, so that letter case costs it nothing.

    The result has as many characters as the text; where lowering would change that, the text stays.
    """
    if text != text.upper() and text != text.lower():
        return text
    lowered = text.lower()
    if len(lowered) != len(text):
        return text
    first = next((i for i, character in enumerate(lowered) if character.isalpha()), None)
    if first is None or len(lowered[first].upper()) != 1:
        return lowered
    return lowered[:first] + lowered[first].upper() + lowered[first + 1 :]


def _with_end(decoder: Decoder, text: str, tokens: list[int]) -> list[int]:
    """The tokens, a full stop where the text has none, end of text."""
    if text.rstrip().endswith(FINAL_PUNCTUATION):
        return [*tokens, decoder.vocabulary.end]
    stop = decoder.vocabulary.tokenizer(".", add_special_tokens=False)["input_ids"]
    return [*tokens, stop[0], decoder.vocabulary.end]


def _end_logprob(logprobs: NDArray[np.float32], tokens: int) -> float:
    """log P(the text ends here): end of text, after a full stop where the text brought none of its own."""
    return float(logprobs[tokens:].sum())


def word_logprobs(logprobs: NDArray[np.float32], places: list[int], spans: list[tuple[int, int]]) -> list[float]:
    """Mean log-probability of each word's tokens. A token that ends in a space belongs to the word after it."""
    if not spans:
        return []
    ends = np.array([end for _, end in spans])
    owner = np.minimum(np.searchsorted(ends, np.array(places), side="right"), len(spans) - 1)
    values = logprobs[: len(places)].astype(np.float64)
    sums = np.bincount(owner, weights=values, minlength=len(spans))
    counts = np.bincount(owner, minlength=len(spans))
    # One token may cover several words in scripts without spaces: they share its value.
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    filled = []
    following = 0.0
    for value in means[::-1]:
        following = following if np.isnan(value) else float(value)
        filled.append(following)
    return filled[::-1]


def _align(
    decoder: Decoder,
    clips: dict[int, Clip],
    spoken: list[str],
    pieces: list[tuple[list[int], list[int]]],
    spans: dict[int, list[tuple[int, int]]],
    settings: Align,
) -> dict[int, list[tuple[float, float]]]:
    """Start and end of every word in seconds; NaN for a clip whose text cannot be laid over its frames."""
    jobs: list[_Piece] = []
    for i, clip in clips.items():
        parts = _pieces(decoder, clip, spoken[i], pieces[i], spans[i], settings)
        tokens = [decoder.vocabulary.characters(spoken[i][a:b]) for a, b, _, _ in parts]
        fits = all(
            len(ids) + len(decoder.vocabulary.prompt(clip.language)) <= MAX_POSITIONS and len(ids) < d - c
            for (ids, _), (_, _, c, d) in zip(tokens, parts, strict=True)
        )
        if fits and sum(len(ids) for ids, _ in tokens) < clip.states.shape[0]:
            jobs += [
                _Piece(i, ids, [p + a if p >= 0 else -1 for p in places], c, d)
                for (ids, places), (a, _, c, d) in zip(tokens, parts, strict=True)
            ]
    forced = decoder.force(
        [decoder.vocabulary.prompt(clips[job.clip].language) for job in jobs],
        [[*job.tokens, decoder.vocabulary.end] for job in jobs],
        [clips[job.clip].states[job.first : job.last] for job in jobs],
        heads=settings.heads,
        named=True,
    )
    edges: dict[int, dict[int, tuple[float, float]]] = {i: {} for i in clips}
    for i, group in groupby(zip(jobs, forced, strict=True), key=lambda pair: pair[0].clip):
        edges[i] = _character_edges(list(group), clips[i], spoken[i], settings)
    return {i: _word_times(edges[i], spans[i], len(clips[i].pcm)) for i in clips}


def _character_edges(
    pieces: list[tuple[_Piece, Forced]], clip: Clip, text: str, settings: Align
) -> dict[int, tuple[float, float]]:
    """First and last frame of every character that has tokens: one path over all pieces of the text."""
    frames = int(clip.states.shape[0])
    energy = attention.energy(clip.pcm, frames, settings.energy)
    rows: list[NDArray[np.float32]] = []
    places: list[int] = []
    for n, (piece, result) in enumerate(pieces):
        assert result.attention_HTS is not None
        silent = np.array([p < 0 or text[p].isspace() for p in piece.places] + [True])
        score = attention.score(result.attention_HTS, settings.median, silent, energy[piece.first : piece.last])
        count = len(score) if n == len(pieces) - 1 else len(score) - 1  # the text ends once
        padding = ((0, 0), (piece.first, frames - piece.last))
        rows.append(np.pad(score[:count], padding, constant_values=_OUTSIDE))
        places += piece.places
    starts = dtw.path(np.concatenate(rows), settings.dtw)
    edges: dict[int, tuple[float, float]] = {}
    for place, first, last in zip(places, starts[:-2], starts[1:-1], strict=True):
        if place >= 0:
            edges[place] = (edges.get(place, (float(first), 0.0))[0], float(last))
    return edges


def _word_times(
    edges: dict[int, tuple[float, float]], spans: list[tuple[int, int]], samples: int
) -> list[tuple[float, float]]:
    """From characters' frames to words' seconds, inside the clip; NaN for a word that no piece covered."""
    duration_s = samples / 16_000
    times = []
    for a, b in spans:
        known = [edges[p] for p in range(a, b) if p in edges]
        if not known:
            times.append((float("nan"), float("nan")))
            continue
        first, last = min(k[0] for k in known), max(k[1] for k in known)
        times.append((min(first * attention.FRAME_S, duration_s), min(last * attention.FRAME_S, duration_s)))
    return times


def _pieces(
    decoder: Decoder,
    clip: Clip,
    spoken: str,
    bpe: tuple[list[int], list[int]],
    spans: list[tuple[int, int]],
    settings: Align,
) -> list[tuple[int, int, int, int]]:
    """Cut a text whose characters pass Whisper's positions at word borders, by the rough times of its BPE tokens.

    Each piece is (characters [a, b), frames [c, d)); nearly every text is one piece over all frames.
    """
    frames = int(clip.states.shape[0])
    limit = MAX_POSITIONS - 8
    count = len(decoder.vocabulary.characters(spoken)[0])
    tokens, places = bpe
    if count <= limit or len(spans) < 2 or len(tokens) >= frames:
        return [(0, len(spoken), 0, frames)]
    prompt = decoder.vocabulary.prompt(clip.language)
    forced = decoder.force(
        [prompt], [[*tokens, decoder.vocabulary.end]], [clip.states], heads=settings.heads, named=True
    )[0]
    assert forced.attention_HTS is not None
    silent = np.array([False] * len(tokens) + [True])
    rough = dtw.path(attention.score(forced.attention_HTS, 7, silent, np.zeros(frames, dtype=np.float32)))
    parts = -(-count // limit) + 1
    borders = sorted({round(len(spans) * k / parts) for k in range(parts + 1)})
    cuts = []
    for k in borders[1:-1]:
        token = next((t for t, place in enumerate(places) if place >= spans[k][0]), len(places) - 1)
        cuts.append(int(rough[token]))
    starts, ends = [0, *cuts], [*cuts, frames]
    return [
        (
            spans[borders[k]][0],
            spans[borders[k + 1] - 1][1],
            max(0, starts[k] - _MARGIN_FRAMES),
            min(frames, ends[k] + _MARGIN_FRAMES),
        )
        for k in range(len(borders) - 1)
    ]
