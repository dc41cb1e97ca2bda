"""One stretch of speech that is transcribed while it goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llaso_data.audio import SAMPLE_RATE_HZ, Pcm, to_float32
from llaso_data.audio.voice_activity import speech_probabilities
from llaso_data.text.word_spans import space_between
from llaso_model.chat_format import Message
from llaso_model.engine.requests import Answer, Request, Sampling
from llaso_model.serve.answering import Answering, in_threads
from llaso_model.serve.live.policies import Hypothesis, Policy, word_boundaries

STEP_S = 0.32
"""New audio after which there is a new hypothesis."""
_FIRST_S = 0.6  # of audio before the first hypothesis
_LONGEST_S = 24.0  # of audio that is transcribed together; then it is cut at a pause
_SEARCHED_S = 8.0  # at the end of which a pause is looked for
_TOKENS_PER_S = 12  # nobody says more; some scripts take several for a letter
_FRAME_S = 0.032
_PAUSE_FRAMES = 7  # a moving mean over so many frames of speech probability is lowest in a pause


def most_tokens(samples: int) -> int:
    """The most tokens of a hypothesis: a model that repeats itself must not hold up what is said next."""
    return 16 + round(_TOKENS_PER_S * samples / SAMPLE_RATE_HZ)


@dataclass(frozen=True, slots=True)
class LiveModel:
    """What items share.

    Attributes:
        answering: The engine.
        processor: The model's.
        stop_tokens: End answers.
        policy: Confirms words.
        threads: Find pauses.
    """

    answering: Answering
    processor: Any
    stop_tokens: frozenset[int]
    policy: Policy
    threads: Any


@dataclass(slots=True)
class LiveItem:
    """Audio that is appended, and the text that is confirmed. Its methods belong to one event loop.

    Attributes:
        model: See :class:`LiveModel`.
        instruction: The conversation about samples.
        confirmed: Called with each piece of text that is confirmed, and the seconds since its audio was there.
        text: All that is confirmed.
        audio_s: How much audio it has, in seconds.
        prompt_tokens: That its hypotheses have read.
        answer_tokens: That they have.
    """

    model: LiveModel
    instruction: Callable[[Any], Sequence[Message]]
    confirmed: Callable[[str, float], Awaitable[None]]
    text: str = ""
    audio_s: float = 0.0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    _window: Pcm = field(default_factory=lambda: np.zeros(0, np.int16))
    _window_text: str = ""
    _begun: tuple[int, ...] = ()
    _before: Hypothesis | None = None
    _paused_at: int = 0  # samples of the window
    _has_ended: bool = False
    _ended_quietly: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def unread_s(self) -> float:
        """How much audio waits to be transcribed, with what may still change."""
        return len(self._window) / SAMPLE_RATE_HZ

    def append(self, pcm: Pcm) -> None:
        """Adds 16 kHz mono samples."""
        self._window = np.concatenate([self._window, pcm])
        self.audio_s += len(pcm) / SAMPLE_RATE_HZ
        self._changed.set()

    def pause(self) -> None:
        """Nothing is said at the end of the audio, so it is transcribed at once: nothing more may come."""
        self._paused_at = len(self._window)
        self._changed.set()

    def end(self, quietly: bool = False) -> None:
        """Nothing more comes: :meth:`run` confirms all that was said and returns.

        Args:
            quietly: Whether nothing was said since the last :meth:`pause`. The hypothesis made there is the last one.
        """
        self._has_ended, self._ended_quietly = True, quietly
        self._changed.set()

    async def run(self, goes_on: bool = True) -> None:
        """Transcribes until the end.

        Args:
            goes_on: Whether there are hypotheses before the end.

        Raises:
            LLaSOError: The model cannot answer.
        """
        while not self._has_ended:
            if goes_on and self._is_due:
                await self._guess(len(self._window))
            else:
                self._changed.clear()
                await self._changed.wait()
            if len(self._window) > _LONGEST_S * SAMPLE_RATE_HZ:
                await self._cut()
        while len(self._window) > _LONGEST_S * SAMPLE_RATE_HZ:
            await self._cut()
        is_known = self._ended_quietly and self._before is not None and self._before.is_whole and not self._has_paused
        await self._finish(len(self._window), self._before if is_known else None)

    @property
    def _heard(self) -> int:
        """Samples of the last hypothesis."""
        return 0 if self._before is None else self._before.samples

    @property
    def _has_paused(self) -> bool:
        """Whether there was a pause since the last hypothesis."""
        return self._paused_at > self._heard

    @property
    def _is_due(self) -> bool:
        """Whether there is enough new audio for a hypothesis, or a pause."""
        enough = max(_FIRST_S * SAMPLE_RATE_HZ, self._heard + STEP_S * SAMPLE_RATE_HZ)
        return self._has_paused or len(self._window) >= enough

    async def _guess(self, samples: int) -> None:
        """A hypothesis of the audio so far, and what it confirms."""
        at = time.monotonic()
        now = await self._hypothesis(samples, None if self._has_paused else self.model.policy.guard_s)
        count = self.model.policy.confirms(self._before, now)
        self._begun += now.tokens[:count]
        self._before = now.after(count)
        if count:
            await self._confirm(self._decode(self._begun), at)

    async def _finish(self, samples: int, last: Hypothesis | None = None) -> None:
        """Confirms all of the last hypothesis of a window. It is made, where there is none."""
        if samples:
            at = time.monotonic()
            last = last or await self._hypothesis(samples, None)
            await self._confirm(self._decode([*self._begun, *last.tokens]), at)

    async def _hypothesis(self, samples: int, guard_s: float | None) -> Hypothesis:
        answer = await self._ask(samples, None if guard_s is None else samples / SAMPLE_RATE_HZ - guard_s)
        tokens = tuple(token for token in answer.tokens if token not in self.model.stop_tokens)
        is_whole = len(tokens) < len(answer.tokens)
        boundaries = word_boundaries(self._decode, self._begun, tokens, is_whole)
        heard_s = () if answer.details is None else answer.details.heard_s[: len(tokens)]
        heard_to_s = 0.0 if self._before is None else self._before.heard_to_s
        return Hypothesis(tokens, tuple(boundaries), heard_s, samples, is_whole, heard_to_s)

    async def _cut(self) -> None:
        """Ends the window at the clearest pause of its last seconds, and begins another one there."""
        probs = await in_threads(self.model.threads, speech_probabilities, self._window)
        first = max(0, len(probs) - round(_SEARCHED_S / _FRAME_S))
        smooth = np.convolve(probs[first:], np.ones(_PAUSE_FRAMES) / _PAUSE_FRAMES, "same")
        place = round((first + int(smooth.argmin())) * _FRAME_S * SAMPLE_RATE_HZ) or len(self._window)
        await self._finish(place)
        self._window = self._window[place:]
        self._begun, self._before, self._window_text = (), None, ""
        self._paused_at = max(0, self._paused_at - place)

    async def _ask(self, samples: int, until_s: float | None) -> Answer:
        request = Request(
            self.instruction(to_float32(self._window[:samples])),
            Sampling(max_new_tokens=most_tokens(samples), details=True),
            self._begun,
            until_s,
            () if self._before is None else self._before.tokens,
        )
        async with self.model.answering.ask(request, patient=True, streams=False) as asked:
            answer = await asked.result()
        self.prompt_tokens += answer.prompt_tokens
        self.answer_tokens += len(answer.tokens)
        return answer

    async def _confirm(self, window_text: str, at: float) -> None:
        """Passes on what a window's text has more than before."""
        window_text = window_text.strip()
        new = window_text[len(self._window_text) :]
        if not new:
            return
        if not self._window_text:
            new = space_between(self.text, new) + new
        self._window_text = window_text
        self.text += new
        await self.confirmed(new, time.monotonic() - at)

    def _decode(self, tokens: Sequence[int]) -> str:
        text: str = self.model.processor.decode(list(tokens), skip_special_tokens=True)
        return text
