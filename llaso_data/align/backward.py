"""The backward direction: a clip's text is teacher-forced over the clip's encoder states.

One pass over BPE tokens gives the scores, and one over characters gives the word times. The forward direction is free
decoding. Both directions agree if the text, given or transcribed, is likely for this audio, and so is its end.
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
from llaso_data.align.edges import refine_edges
from llaso_data.align.word_states import WordStates, build_states, group_words, word_state_spans
from llaso_data.records import Word
from llaso_data.text import letters, word_spans
from llaso_data.text.characters import plain_apostrophes
from llaso_data.whisper.clips import BackwardScores, Clip
from llaso_data.whisper.teacher_forcing import Decoder, ForcedScores
from llaso_data.whisper.tokenizer import MAX_POSITIONS, WhisperTokenizer
from llaso_data.whisper.windows import FRAME_S

if TYPE_CHECKING:
    from llaso_data.recipe import Align

_FULL_STOPS = {"zh": "。", "ja": "。", "yue": "。", "hi": "।", "bn": "।", "ne": "।", "mr": "।", "pa": "।"}
_SELECTED_HEADS = 4  # for each clip, where the checkpoint's heads for characters are not known
_SHARPNESS = 4.0  # factor on the scores before the mean over paths is taken
_MAX_FROM_BEST = 3  # frames that the mean path may lie from the best one
_PATH_DELAY_S = 0.025  # how much later the path's boundaries are than those that people label
FINAL_PUNCTUATION = (".", "!", "?", "…", "。", "！", "？", "।", "؟")

_Tokens = tuple[list[int], list[int]]  # BPE tokens of a text, and the offset of each one's last character
_Spans = list[tuple[int, int]]  # words in characters: [start, end)
_Times = list[tuple[float, float]]  # words in seconds


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of a clip's text that is teacher-forced in characters in one sequence."""

    clip: int
    prompt: list[int]  # with as many BPE tokens of the text before the stretch as fit
    tokens: list[int]
    offsets: list[int]  # of each token's character in the text, -1 for the space before it


def score_backward(decoder: Decoder, clips: Sequence[Clip], settings: Align | None) -> list[BackwardScores]:
    """Score every clip's text and align its words, in two decoder passes: BPE tokens, then characters.

    Args:
        decoder: Teacher-forces the texts.
        clips: The clips with their texts.
        settings: The recipe's section; None scores without aligning, in one pass.

    Returns:
        Scores and words of each clip. All are empty if the clip has no text, or one with more tokens than Whisper has
        positions. The words are empty if the audio has fewer frames than the text has sounds.
    """
    texts = [in_whisper_style(clip.text) for clip in clips]
    bpe = [decoder.vocabulary.bpe_tokens(trim_end(text)) for text in texts]
    prompts = [decoder.vocabulary.prompt(clip.language) for clip in clips]
    targets = [
        target_tokens(decoder.vocabulary, clip.language, text, tokens)
        for clip, text, (tokens, _) in zip(clips, texts, bpe, strict=True)
    ]
    usable = [
        i for i, clip in enumerate(clips) if clip.text.strip() and len(prompts[i]) + len(targets[i]) <= MAX_POSITIONS
    ]
    forced = force_over_context(decoder, [clips[i] for i in usable], [targets[i] for i in usable])
    scores = dict(zip(usable, forced, strict=True))
    spans = {i: word_spans(clips[i].text, clips[i].language) for i in usable}
    times = _align(decoder, {i: clips[i] for i in usable}, texts, bpe, spans, settings) if settings else {}
    results = []
    for i, clip in enumerate(clips):
        if i not in scores:
            results.append(BackwardScores((), None, None, None))
            continue
        tokens, offsets = bpe[i]
        logprobs = word_logprobs(scores[i].logprobs, offsets, spans[i])
        words = tuple(
            Word(
                clip.text[spans[i][a][0] : spans[i][b - 1][1]],
                times[i][a][0],
                times[i][b - 1][1],
                float(np.mean(logprobs[a:b])),
            )
            for a, b in (group_words(clip.text, spans[i], clip.language) if times.get(i) else ())
        )
        # Signs between spaces ("...", "[.]", "-") are seldom said.
        said = [value for value, span in zip(logprobs, spans[i], strict=True) if letters(clip.text[slice(*span)])]
        said = said or logprobs
        results.append(
            BackwardScores(
                words,
                min(said, default=None),
                float(np.mean(said)) if said else None,
                end_logprob(scores[i], len(tokens)),
            )
        )
    return results


def force_over_context(decoder: Decoder, clips: Sequence[Clip], targets: Sequence[Sequence[int]]) -> list[ForcedScores]:
    """Scores of targets after the prompt of each clip's language, over its context; each is forced once."""
    names = [
        (tuple(decoder.vocabulary.prompt(clip.language)), tuple(tokens))
        for clip, tokens in zip(clips, targets, strict=True)
    ]
    new = [(clip, name) for clip, name in zip(clips, names, strict=True) if name not in clip.forced]
    forced = decoder.force(
        [prompt for _, (prompt, _) in new], [tokens for _, (_, tokens) in new], [clip.context for clip, _ in new]
    )
    for (clip, name), scores in zip(new, forced, strict=True):
        clip.forced[name] = scores
    return [clip.forced[name] for clip, name in zip(clips, names, strict=True)]


def in_whisper_style(text: str) -> str:
    """The text in Whisper's style, so that letter case and the kind of apostrophe do not lower its likelihood.

    Apostrophes become the plain one. A text in a single case becomes lower case with a capital in front. The result has
    as many characters as the text; where lower case would change that, the case stays.
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
    """The text without commas, quotes and brackets after its last word or full stop, because the speech ends there."""
    end = len(text)
    while end and unicodedata.category(text[end - 1])[0] in "PSZ" and text[end - 1] not in FINAL_PUNCTUATION:
        end -= 1
    return text[:end] or text


def target_tokens(vocabulary: WhisperTokenizer, language: str, text: str, tokens: list[int]) -> list[int]:
    """The tokens to teacher-force: a text's BPE ``tokens``, a full stop if the text has none, and end of text."""
    if trim_end(text).endswith(FINAL_PUNCTUATION):
        return [*tokens, vocabulary.end]
    full_stop = vocabulary.tokenizer(_FULL_STOPS.get(language, "."), add_special_tokens=False)["input_ids"]
    return [*tokens, *full_stop, vocabulary.end]


def end_logprob(scores: ForcedScores, tokens: int) -> float:
    """Log-probability that a text ends after its ``tokens``: at once or, if a full stop was added, after that."""
    appended = float(scores.logprobs[tokens:].sum())
    if len(scores.logprobs) == tokens + 1:
        return appended
    return float(np.logaddexp(scores.end_logprobs[tokens], appended))


def word_logprobs(logprobs: NDArray[np.float32], offsets: list[int], spans: list[tuple[int, int]]) -> list[float]:
    """Mean log-probability of each word's tokens.

    Args:
        logprobs: Of the text's BPE tokens, and of more after them.
        offsets: For each token the offset in the text of its last character. One that is a space belongs to the word
            after it.
        spans: ``(start, end)`` of the words in the text.

    Returns:
        A value for each word. Where no token ends in a word, as in scripts without spaces, it has that of the next.
    """
    if not spans:
        return []
    ends = np.array([end for _, end in spans])
    word_of_token = np.minimum(np.searchsorted(ends, np.array(offsets), side="right"), len(spans) - 1)
    values = logprobs[: len(offsets)].astype(np.float64)
    sums = np.bincount(word_of_token, weights=values, minlength=len(spans))
    counts = np.bincount(word_of_token, minlength=len(spans))
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
    texts: list[str],
    bpe: list[_Tokens],
    spans: dict[int, _Spans],
    settings: Align,
) -> dict[int, _Times]:
    """Start and end of every word in seconds. A clip whose text has more sounds than frames gets none."""
    pieces: list[_Piece] = []
    states: dict[int, WordStates] = {}
    for i, clip in clips.items():
        own_pieces = _pieces(decoder.vocabulary, i, clip.language, texts[i], bpe[i], spans[i])
        states[i] = build_states(texts[i], [offset for piece in own_pieces for offset in piece.offsets], spans[i])
        if 0 < int((~states[i].pause_N).sum()) < clip.states.frames:
            pieces += own_pieces
    forced = decoder.force(
        [piece.prompt for piece in pieces],
        [[*piece.tokens, decoder.vocabulary.end] for piece in pieces],
        [clips[piece.clip].states for piece in pieces],
        heads=attention.CANDIDATE_HEADS,
        alignment_heads=True,
        score=False,
    )
    times: dict[int, _Times] = {i: [] for i in clips}
    for i, group in groupby(zip(pieces, forced, strict=True), key=lambda pair: pair[0].clip):
        attention_HTS = _join_pieces([scores for _, scores in group])
        times[i] = _word_times(attention_HTS, states[i], spans[i], clips[i].pcm, settings)
    return times


def _join_pieces(pieces: list[ForcedScores]) -> NDArray[np.float32]:
    """Attention rows of all pieces of a text, for the heads that every piece has, and one row for end of text."""
    shared_heads = sorted(set(pieces[0].heads).intersection(*(piece.heads for piece in pieces)))
    rows = []
    for n, piece in enumerate(pieces):
        assert piece.attention_HTS is not None
        chosen_HTS = piece.attention_HTS[[piece.heads.index(head) for head in shared_heads]]
        rows.append(attention.input_rows(chosen_HTS, last=n == len(pieces) - 1))
    return np.concatenate(rows, axis=1)


def _word_times(
    attention_HTS: NDArray[np.float32], states: WordStates, spans: _Spans, pcm: NDArray[np.int16], settings: Align
) -> _Times:
    """Start and end of every word, from the best path through the attention (a row for every token and the end)."""
    energy_S = attention.frame_energy(pcm, attention_HTS.shape[2])
    if len(attention_HTS) > _SELECTED_HEADS:
        attention_HTS = attention.select_heads(attention_HTS, states, energy_S, settings.energy, _SELECTED_HEADS)
    score_NS = attention.state_scores(attention_HTS, states, energy_S, settings.energy, settings.median)
    best = dtw.best_path(score_NS, states.pause_N, settings.dtw)
    mean = dtw.mean_path(score_NS * _SHARPNESS, states.pause_N)
    start_s = np.clip(mean, best - _MAX_FROM_BEST, best + _MAX_FROM_BEST) * FRAME_S - _PATH_DELAY_S
    word_states = word_state_spans(states, spans)
    path_times = np.array([(start_s[span[0]], start_s[span[1]]) for span in word_states if span is not None])
    edges = iter(refine_edges(path_times, pcm).tolist())
    times: _Times = []
    for span in word_states:
        # A word without a sound, such as a dash, has no length and lies at the end of the word before.
        previous_end = times[-1][1] if times else 0.0
        times.append(tuple(next(edges)) if span is not None else (previous_end, previous_end))
    return times


def _pieces(
    vocabulary: WhisperTokenizer, clip: int, language: str, text: str, bpe: _Tokens, spans: _Spans
) -> list[_Piece]:
    """Divide the text into as few pieces of whole words as possible, each short enough for Whisper's positions.

    Nearly every text is one piece. A piece is forced over all frames. Its prompt ends with as many BPE tokens of the
    text before it as fit, so that Whisper's attention continues from there. If a single word does not fit, the result
    is empty.
    """
    prompt = vocabulary.prompt(language)
    free = MAX_POSITIONS - len(prompt)
    tokens, offsets = vocabulary.character_tokens(text)
    if len(tokens) <= free:
        return [_Piece(clip, prompt, tokens, offsets)]
    word_starts = np.searchsorted(offsets, [start for start, _ in spans])
    longest = int(np.diff([*word_starts, len(tokens)]).max()) + 1  # and the space before the piece
    if longest >= free:
        return []
    count = -(-len(tokens) // (free - longest))
    boundaries = {int(np.searchsorted(word_starts, len(tokens) * k / count)) for k in range(count)} | {len(spans)}
    pieces = []
    for first, last in pairwise(sorted(boundaries)):
        start, end = spans[first][0], spans[last - 1][1]
        preceding = [
            token
            for token, offset in zip(*bpe, strict=True)
            if offset < start and (offset < 0 or not text[offset].isspace())
        ]
        piece_tokens, piece_offsets = vocabulary.character_tokens(text[start:end])
        context = preceding[-(free - len(piece_tokens)) :] if start and free > len(piece_tokens) else []
        in_text = [offset + start if offset >= 0 else -1 for offset in piece_offsets]
        pieces.append(_Piece(clip, [*prompt, *context], piece_tokens, in_text))
    return pieces
