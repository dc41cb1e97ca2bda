"""A recording cut at pauses, asked piece by piece, with its text as it comes and the words of each piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from llaso_data.audio import SAMPLE_RATE_HZ, Pcm, to_float32
from llaso_data.audio.voice_activity import speech_probabilities
from llaso_data.records import Word
from llaso_data.text.word_spans import joined, space_between
from llaso_model.answer.transcripts import Cutting, Piece, WordsOf
from llaso_model.chat_format import Message
from llaso_model.engine.requests import Answer, Request, Sampling
from llaso_model.serve.answering import Answering, in_threads

_AHEAD = 8  # pieces of one recording that are asked at once; others get their turn between them
_SPEECH = 0.5  # a frame with at least this probability is speech


@dataclass(frozen=True, slots=True)
class AnsweredPiece:
    """A piece of a recording with all that is known of it.

    Attributes:
        piece: Its place, text and words.
        answer: What the engine gave.
        speech_ratio: The share of it that is speech, 0 to 1; None: it was not measured.
    """

    piece: Piece
    answer: Answer
    speech_ratio: float | None


@dataclass(slots=True)
class Transcribing:
    """What it takes to transcribe.

    Attributes:
        answering: The engine.
        longest_s: The longest piece, in seconds: the model's window.
        cutting_threads: Find pauses.
        aligning_threads: Time words.
        words: Gives the words of a piece; None: no Whisper is known.
    """

    answering: Answering
    longest_s: float
    cutting_threads: ThreadPoolExecutor
    aligning_threads: ThreadPoolExecutor
    words: WordsOf | None = None

    def recording(
        self,
        pcm: Pcm,
        instruction: Callable[[object], Sequence[Message]],
        sampling: Sampling,
        language: str | None = None,
        times_words: bool = False,
        measures_speech: bool = False,
        streams: bool = False,
    ) -> Recording:
        """A recording that is to be transcribed.

        Args:
            pcm: 16 kHz mono samples.
            instruction: The conversation about a piece's samples.
            sampling: How answers are chosen.
            language: That is spoken; None: not known.
            times_words: Whether pieces have words.
            measures_speech: Whether pieces have their share of speech.
            streams: Whether the text is read while it comes.
        """
        words = self.words if times_words else None
        return Recording(
            self, pcm, Cutting(self.longest_s, instruction), sampling, language, words, measures_speech, streams
        )


@dataclass(slots=True)
class Recording:
    """A recording on its way. :meth:`deltas` is iterated once; ``pieces`` is complete afterwards."""

    _owner: Transcribing
    _pcm: Pcm
    _cutting: Cutting
    _sampling: Sampling
    _language: str | None
    _words: WordsOf | None
    _measures_speech: bool
    _streams: bool
    pieces: list[AnsweredPiece] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All that is said."""
        return joined(one.piece.text for one in self.pieces)

    @property
    def duration_s(self) -> float:
        """How long the recording is."""
        return len(self._pcm) / SAMPLE_RATE_HZ

    async def transcribe(self) -> None:
        """Fills ``pieces``."""
        async for _ in self.deltas():
            pass

    async def deltas(self) -> AsyncIterator[str]:
        """The text while it comes; joined it is :attr:`text`. Leaving cancels what is not answered.

        Raises:
            Busy: The engine takes no more requests.
            LLaSOError: A piece cannot be used.
        """
        spans = await in_threads(self._owner.cutting_threads, self._cutting.pieces, self._pcm)
        asking: list[_Asking] = []
        try:
            for number, span in enumerate(spans):
                while len(asking) < min(len(spans), number + _AHEAD):
                    asking.append(self._ask(spans[len(asking)], patient=bool(asking)))
                before = self.text
                async for text in _stripped(asking[number]):
                    yield space_between(before, text) + text
                    before = ""
                await self._finish(span, await asking[number].work)
        finally:
            for one in asking:
                one.work.cancel()
            await asyncio.gather(*(one.work for one in asking), return_exceptions=True)

    def _ask(self, span: tuple[int, int], patient: bool) -> _Asking:
        """Asks about a piece; a busy engine is waited for where others of the recording are asked already."""
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        request = Request(self._cutting.instruction(to_float32(self._pcm[slice(*span)])), self._sampling)

        async def work() -> Answer:
            try:
                async with self._owner.answering.ask(request, patient, self._streams) as asked:
                    async for text in asked:
                        pieces.put_nowait(text)
                    return await asked.result()
            finally:
                pieces.put_nowait(None)

        return _Asking(asyncio.ensure_future(work()), pieces)

    async def _finish(self, span: tuple[int, int], answer: Answer) -> None:
        pcm = self._pcm[slice(*span)]
        words: Sequence[Word] = ()
        ratio: float | None = None
        if self._words is not None:
            spoken = answer.text.strip()
            words = await in_threads(self._owner.aligning_threads, self._words, pcm, spoken, self._language)
        if self._measures_speech:
            probs = await in_threads(self._owner.cutting_threads, speech_probabilities, pcm)
            ratio = float((probs >= _SPEECH).mean()) if len(probs) else 0.0
        self.pieces.append(AnsweredPiece(Piece.of(span, answer, words), answer, ratio))


@dataclass(frozen=True, slots=True)
class _Asking:
    """A piece that is asked: its answer, and its text while it comes, with None at the end."""

    work: asyncio.Future[Answer]
    pieces: asyncio.Queue[str | None]


async def _stripped(asking: _Asking) -> AsyncIterator[str]:
    """The text of a piece while it comes, without space around it."""
    held, has_begun = "", False
    while (text := await asking.pieces.get()) is not None:
        text = held + text if has_begun else (held + text).lstrip()
        kept = text.rstrip()
        held = text[len(kept) :]
        if kept:
            yield kept
            has_begun = True
