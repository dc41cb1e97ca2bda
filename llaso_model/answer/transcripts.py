"""Recordings cut at pauses, asked piece by piece through an engine, and put together again in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from llaso_data.asr.segment import speech_spans
from llaso_data.audio import SAMPLE_RATE_HZ, Pcm, to_float32
from llaso_data.audio.voice_activity import speech_probabilities
from llaso_data.errors import LLaSOError
from llaso_data.recipe import Segment
from llaso_data.records import Word
from llaso_data.text.word_spans import joined
from llaso_model.answer.sources import Asked
from llaso_model.answer.subtitles import Cue, cues_of_words
from llaso_model.chat_format import Message
from llaso_model.engine.engine import Engine
from llaso_model.engine.handle import Handle
from llaso_model.engine.requests import Answer, Request, Sampling

WordsOf = Callable[[Pcm, str, "str | None"], tuple[Word, ...]]


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a recording, its answer, and the words of that, whose times are those of the recording.

    Attributes:
        start_s: Where it begins.
        end_s: Where it ends.
        text: The answer.
        finish_reason: Why the answer ended.
        words: Empty where they were not asked for, or could not be aligned.
    """

    start_s: float
    end_s: float
    text: str
    finish_reason: str
    words: tuple[Word, ...] = ()

    @classmethod
    def of(cls, span: tuple[int, int], answer: Answer, words: Iterable[Word] = ()) -> Piece:
        """A piece of a recording.

        Args:
            span: Where it lies, in samples.
            answer: What was answered about it.
            words: With times from the piece's own beginning.
        """
        start_s, end_s = (sample / SAMPLE_RATE_HZ for sample in span)
        own = tuple(Word(one.text, one.start_s + start_s, one.end_s + start_s, one.logprob) for one in words)
        return cls(start_s, end_s, answer.text.strip(), answer.finish_reason, own)

    def cues(self) -> list[Cue]:
        """The piece as subtitles: by its words, or whole."""
        if self.words:
            return cues_of_words(self.text, self.words)
        return [Cue(self.start_s, self.end_s, self.text)] if self.text.strip() else []


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a model says to one recording or sample.

    Attributes:
        name: See :class:`Asked`.
        duration_s: Of the recording; None: a sample of shards.
        language: See :class:`Asked`.
        pieces: In order.
        problem: Why it was not answered; None: it was.
        unaligned: How many pieces have a text and no word times, where these were asked for.
    """

    name: str
    duration_s: float | None = None
    language: str | None = None
    pieces: tuple[Piece, ...] = ()
    problem: str | None = None
    unaligned: int = 0

    @property
    def text(self) -> str:
        """The pieces' texts, joined by spaces where their scripts have them."""
        return joined(piece.text.strip() for piece in self.pieces)

    def as_json(self) -> dict[str, Any]:
        """A JSON object; what is not known is left out."""
        if self.problem is not None:
            return {"audio": self.name, "error": self.problem}
        words = [
            {"word": word.text, "start_s": round(word.start_s, 3), "end_s": round(word.end_s, 3)}
            for piece in self.pieces
            for word in piece.words
        ]
        segments = [
            {
                "start_s": round(piece.start_s, 3),
                "end_s": round(piece.end_s, 3),
                "text": piece.text,
                "finish_reason": piece.finish_reason,
            }
            for piece in self.pieces
        ]
        known = {"duration_s": self.duration_s and round(self.duration_s, 3), "language": self.language}
        said = {"audio": self.name, "text": self.text, **{name: value for name, value in known.items() if value}}
        if self.duration_s is None:
            return {**said, "finish_reason": self.pieces[0].finish_reason}
        return {**said, "segments": segments, **({"words": words} if words else {})}


@dataclass(frozen=True, slots=True)
class Cutting:
    """How recordings are cut.

    Attributes:
        longest_s: Longer ones are cut at pauses into pieces of at most this; None: none is cut.
        instruction: The conversation about a piece's samples.
    """

    longest_s: float | None
    instruction: Callable[[Any], Sequence[Message]]

    def pieces(self, pcm: Pcm) -> list[tuple[int, int]]:
        """The stretches that are asked, in samples. A recording without speech, if it is cut at all, has none."""
        if self.longest_s is None or len(pcm) <= self.longest_s * SAMPLE_RATE_HZ:
            return [(0, len(pcm))]
        settings = Segment(longer_than_s=min(self.longest_s, 30.0), max_s=max(min(self.longest_s, 28.0), 1.01))
        return speech_spans(speech_probabilities(pcm), len(pcm), settings)


@dataclass(slots=True)
class _Answering:
    """What was asked, its pieces in samples, and their handles."""

    asked: Asked
    spans: list[tuple[int, int]] = field(default_factory=list)
    handles: list[Handle] = field(default_factory=list)
    problem: str | None = None


def transcripts(
    engine: Engine, asked: Iterable[Asked], cutting: Cutting, sampling: Sampling, words: WordsOf | None = None
) -> Iterator[Transcript]:
    """What a model says to recordings and samples, in their order.

    Few more are read than the engine answers at once. The engine decodes in this thread, so the same recordings give
    the same answers.

    Args:
        engine: Answers.
        asked: What is asked. A problem of one is in its transcript, and the others go on.
        cutting: How recordings are cut.
        sampling: How answers are chosen.
        words: Gives the words of a piece with their times, from (its samples, its text, the language); None: no word
            times.
    """
    under_way: deque[_Answering] = deque()
    for one in asked:
        under_way.append(_begun(engine, one, cutting, sampling))
        while engine.waiting >= engine.limits.slots:
            engine.step()
        while under_way and all(handle.ended for handle in under_way[0].handles):
            yield _ended(under_way.popleft(), words)
    while engine.step():
        while under_way and all(handle.ended for handle in under_way[0].handles):
            yield _ended(under_way.popleft(), words)
    while under_way:
        yield _ended(under_way.popleft(), words)


def _begun(engine: Engine, asked: Asked, cutting: Cutting, sampling: Sampling) -> _Answering:
    answering = _Answering(asked, problem=asked.problem)
    if asked.problem is not None:
        return answering
    try:
        conversations: Iterable[Sequence[Message]]
        if asked.pcm is None:
            conversations = [asked.conversation or ()]
        else:
            answering.spans = cutting.pieces(asked.pcm)
            sound = to_float32(asked.pcm)
            conversations = (cutting.instruction(sound[first:last]) for first, last in answering.spans)
        for conversation in conversations:
            while engine.waiting >= engine.limits.slots:
                engine.step()
            answering.handles.append(engine.submit(Request(conversation, sampling)))
    except LLaSOError as error:
        answering.problem = str(error)
        for handle in answering.handles:
            handle.cancel()
    return answering


def _ended(answering: _Answering, words: WordsOf | None) -> Transcript:
    asked = answering.asked
    if answering.problem is not None:
        return Transcript(asked.name, problem=answering.problem)
    try:
        answers = [handle.result() for handle in answering.handles]
        if asked.pcm is None:
            pieces = [Piece.of((0, 0), answers[0])]
            return Transcript(asked.name, language=asked.language, pieces=tuple(pieces))
        pieces = []
        for span, answer in zip(answering.spans, answers, strict=True):
            pcm = asked.pcm[slice(*span)]
            timed = words(pcm, answer.text.strip(), asked.language) if words is not None else ()
            pieces.append(Piece.of(span, answer, timed))
    except LLaSOError as error:
        return Transcript(asked.name, problem=str(error))
    unaligned = 0 if words is None else sum(bool(piece.text) and not piece.words for piece in pieces)
    duration_s = len(asked.pcm) / SAMPLE_RATE_HZ
    return Transcript(asked.name, duration_s, asked.language, tuple(pieces), unaligned=unaligned)
