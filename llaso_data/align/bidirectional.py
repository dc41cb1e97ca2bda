"""The backward direction: a text teacher-forced over its clip's own encoder states, in words and in characters.

Forward is free decoding; the two directions agree where the text that is given (or was heard) is also the text that
the audio makes likely, to its end.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llaso_data.align import attention, dtw
from llaso_data.align import edges as edges_of
from llaso_data.align.word_states import WordStates, build_states, group_words, word_state_spans
from llaso_data.records import Word
from llaso_data.text import word_spans
from llaso_data.text.characters import plain_apostrophes
from llaso_data.whisper.clips import BackwardScores, Clip
from llaso_data.whisper.teacher_forcing import Decoder, ForcedScores
from llaso_data.whisper.tokenizer import MAX_POSITIONS, WhisperTokenizer
from llaso_data.whisper.windows import FRAME_S

if TYPE_CHECKING:
    from llaso_data.recipe import Align

_FULL_STOPS = {"zh": "。", "ja": "。", "yue": "。", "hi": "।", "bn": "।", "ne": "।", "mr": "।", "pa": "।"}
_BEST_HEADS = 4  # chosen for each clip where those of the checkpoint are not known
_SHARPNESS = 4.0  # of the weights that the mean over paths is taken with
_MEAN_FROM_BEST = 3  # frames that the mean may lie from the best path
_LATE_S = 0.025  # how much later than labelled by hand the path's borders are
FINAL_PUNCTUATION = (".", "!", "?", "…", "。", "！", "？", "।", "؟")


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of a clip's text in characters, and the BPE tokens before it that still fit Whisper's positions."""

    clip: int
    prompt: list[int]
    tokens: list[int]
    places: list[int]  # of each token's character in the text, -1 for the space before it


def backward(decoder: Decoder, clips: Sequence[Clip], settings: Align | None) -> list[BackwardScores]:
    """Score and align every clip's text. Two decoder passes over each: BPE tokens, then characters.

    Without settings the text is scored and not aligned, in one pass.
    """
    spoken = [as_whisper_writes(clip.text) for clip in clips]
    pieces = [decoder.vocabulary.bpe_tokens(trim_end(text)) for text in spoken]
    prompts = [decoder.vocabulary.prompt(clip.language) for clip in clips]
    room = [MAX_POSITIONS - len(prompt) for prompt in prompts]
    targets = [target_tokens(decoder.vocabulary, *each) for each in zip(clips, spoken, pieces, strict=True)]
    usable = [i for i, clip in enumerate(clips) if clip.text.strip() and len(targets[i]) <= room[i]]
    forced = decoder.force(
        [prompts[i] for i in usable], [targets[i] for i in usable], [clips[i].context for i in usable]
    )
    scored = dict(zip(usable, forced, strict=True))
    spans = {i: word_spans(clips[i].text, clips[i].language) for i in usable}
    times = _align(decoder, {i: clips[i] for i in usable}, spoken, pieces, spans, settings) if settings else {}
    results = []
    for i, clip in enumerate(clips):
        if i not in scored:
            results.append(BackwardScores((), None, None, None))
            continue
        by_word = word_logprobs(scored[i].logprobs, pieces[i][1], spans[i])
        words = tuple(
            Word(
                clip.text[spans[i][a][0] : spans[i][b - 1][1]],
                times[i][a][0],
                times[i][b - 1][1],
                float(np.mean(by_word[a:b])),
            )
            for a, b in (group_words(clip.text, spans[i], clip.language) if times.get(i) else ())
        )
        results.append(
            BackwardScores(
                words,
                min(by_word, default=None),
                float(np.mean(by_word)) if by_word else None,
                end_logprob(scored[i], len(pieces[i][0])),
            )
        )
    return results


def as_whisper_writes(text: str) -> str:
    """The text as Whisper writes: plain apostrophes, and one that is in a single case with a capital in front.

    So neither letter case nor the kind of apostrophe costs it anything. The result has as many characters as the text;
    where lowering would change that, the case stays.
    """
    text = plain_apostrophes(text)
    if text != text.upper() and text != text.lower():
        return text
    lowered = text.lower()
    if len(lowered) != len(text):
        return text
    first = next((i for i, character in enumerate(lowered) if character.isalpha()), None)
    if first is None or len(lowered[first].upper()) != 1:
        return lowered
    return lowered[:first] + lowered[first].upper() + lowered[first + 1 :]


def trim_end(text: str) -> str:
    """The text without the commas, quotes and brackets after its last word or full stop: the speech ends there."""
    end = len(text)
    while end and unicodedata.category(text[end - 1])[0] in "PSZ" and text[end - 1] not in FINAL_PUNCTUATION:
        end -= 1
    return text[:end] or text


def target_tokens(
    vocabulary: WhisperTokenizer, clip: Clip, spoken: str, pieces: tuple[list[int], list[int]]
) -> list[int]:
    """The tokens, a full stop where the text has none, end of text."""
    if trim_end(spoken).endswith(FINAL_PUNCTUATION):
        return [*pieces[0], vocabulary.end]
    stop = vocabulary.tokenizer(_FULL_STOPS.get(clip.language, "."), add_special_tokens=False)["input_ids"]
    return [*pieces[0], *stop, vocabulary.end]


def end_logprob(scored: ForcedScores, tokens: int) -> float:
    """log P(the text ends here): end of text at once or, where the text brought no full stop of its own, after one."""
    after = float(scored.logprobs[tokens:].sum())
    return after if len(scored.logprobs) == tokens + 1 else float(np.logaddexp(scored.end_logprobs[tokens], after))


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
    following = float(values[-1]) if len(values) else 0.0
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
    """Start and end of every word in seconds; none for a clip whose text cannot be laid over its frames."""
    jobs: list[_Piece] = []
    states: dict[int, WordStates] = {}
    for i, clip in clips.items():
        cut = _pieces(decoder.vocabulary, i, clip.language, spoken[i], pieces[i], spans[i])
        places = [place for piece in cut for place in piece.places]
        states[i] = build_states(spoken[i], places, spans[i])
        if 0 < int((~states[i].pause_N).sum()) < clip.states.frames:
            jobs += cut
    forced = decoder.force(
        [job.prompt for job in jobs],
        [[*job.tokens, decoder.vocabulary.end] for job in jobs],
        [clips[job.clip].states for job in jobs],
        heads=attention.CANDIDATE_HEADS,
        alignment_heads=True,
        score=False,
    )
    times: dict[int, list[tuple[float, float]]] = {i: [] for i in clips}
    for i, group in groupby(zip(jobs, forced, strict=True), key=lambda pair: pair[0].clip):
        attention_HTS = _over_pieces([result for _, result in group])
        times[i] = _word_times(attention_HTS, states[i], spans[i], clips[i].pcm, settings)
    return times


def _over_pieces(pieces: list[ForcedScores]) -> NDArray[np.float32]:
    """The rows of all pieces of one text, of the heads that every piece has, and one row for end of text."""
    shared = sorted(set(pieces[0].heads).intersection(*(piece.heads for piece in pieces)))
    rows = []
    for n, piece in enumerate(pieces):
        assert piece.attention_HTS is not None
        chosen = piece.attention_HTS[[piece.heads.index(head) for head in shared]]
        rows.append(attention.input_rows(chosen, last=n == len(pieces) - 1))
    return np.concatenate(rows, axis=1)


def _word_times(
    attention_HTS: NDArray[np.float32],
    states: WordStates,
    spans: list[tuple[int, int]],
    pcm: NDArray[np.int16],
    settings: Align,
) -> list[tuple[float, float]]:
    """Where the path through the attention puts the words; ``attention_HTS`` has a row for every token and the end."""
    energy = attention.frame_energy(pcm, attention_HTS.shape[2])
    if len(attention_HTS) > _BEST_HEADS:
        attention_HTS = attention.select_heads(attention_HTS, states, energy, settings.energy, _BEST_HEADS)
    score = attention.state_scores(attention_HTS, states, energy, settings.energy, settings.median)
    best = dtw.best_path(score, states.pause_N, settings.dtw)
    mean = dtw.mean_path(score * _SHARPNESS, states.pause_N)
    frames = np.clip(mean, best - _MEAN_FROM_BEST, best + _MEAN_FROM_BEST)
    at_s = frames * FRAME_S - _LATE_S
    words = word_state_spans(states, spans)
    spoken = [word for word in words if word is not None]
    edges = iter(edges_of.refine_edges(np.array([(at_s[a], at_s[b]) for a, b in spoken]), pcm).tolist())
    times: list[tuple[float, float]] = []
    for word in words:
        # A word that is not said, a dash for one, has its place and no length.
        before = times[-1][1] if times else 0.0
        times.append(tuple(next(edges)) if word is not None else (before, before))
    return times


def _pieces(
    vocabulary: WhisperTokenizer,
    clip: int,
    language: str,
    spoken: str,
    bpe: tuple[list[int], list[int]],
    spans: list[tuple[int, int]],
) -> list[_Piece]:
    """The text in as few pieces of whole words as fit Whisper's positions in characters; nearly always one.

    Each is read over all frames, after as many of the BPE tokens before it as there is room for: Whisper then looks
    where it would go on reading. None where one word alone does not fit.
    """
    prompt = vocabulary.prompt(language)
    room = MAX_POSITIONS - len(prompt)
    tokens, places = vocabulary.character_tokens(spoken)
    if len(tokens) <= room:
        return [_Piece(clip, prompt, tokens, places)]
    starts = np.searchsorted(places, [a for a, _ in spans])
    longest = int(np.diff([*starts, len(tokens)]).max()) + 1  # and the space before the piece
    if longest >= room:
        return []
    parts = -(-len(tokens) // (room - longest))
    borders = {int(np.searchsorted(starts, len(tokens) * k / parts)) for k in range(parts)} | {len(spans)}
    found = []
    for first, last in pairwise(sorted(borders)):
        a, b = spans[first][0], spans[last - 1][1]
        before = [t for t, place in zip(*bpe, strict=True) if place < a and (place < 0 or not spoken[place].isspace())]
        ids, own = vocabulary.character_tokens(spoken[a:b])
        context = before[-(room - len(ids)) :] if a and room > len(ids) else []
        found.append(_Piece(clip, [*prompt, *context], ids, [p + a if p >= 0 else -1 for p in own]))
    return found
