"""What the addresses share: the model's engine, the decoder of audio, the voices, and the counts of all."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from llaso_data.audio import Pcm
from llaso_data.errors import LLaSOError
from llaso_data.languages import language as language_code
from llaso_data.languages import language_name
from llaso_data.records import Word
from llaso_model.chat_format import Message
from llaso_model.engine.engine import Engine
from llaso_model.processing import TRANSCRIBE
from llaso_model.serve.answering import Answering
from llaso_model.serve.errors import ApiError, invalid
from llaso_model.serve.metrics import Labels, Metrics
from llaso_model.serve.settings import ServeLimits
from llaso_model.serve.sounds import Sounds
from llaso_model.serve.transcribing import Transcribing

TRANSLATE = "Translate the speech into English."


_TEXTS_KEPT = 1024
_SPEAKING = "llaso-speaking"


class SpokenTexts(OrderedDict[str, str]):
    """The texts of the latest answers with audio, by their ids: a conversation may go on from them."""

    def keep(self, name: str, text: str) -> None:
        """Keeps a text; the oldest goes where there are too many."""
        self[name] = text
        while len(self) > _TEXTS_KEPT:
            self.popitem(last=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What is served.

    Attributes:
        engine: Of the model; it is started with the server.
        processor: The model's.
        names: What requests may call the model. The first is the one that answers say.
        context: The most tokens of a prompt and its answer; None: as many as the engine holds.
        aligner: Times words, and says which language is spoken; None: no Whisper is known.
        no_words: Why there is no aligner.
        speaker: Speaks; None: no voice is installed.
        max_new_tokens: The most tokens of an answer, where a request names none.
        refusal: Why the chat template refuses a conversation, or None.
        live: Name in ``POLICIES`` of what confirms words of realtime sessions.
    """

    engine: Engine
    processor: Any
    names: Sequence[str]
    context: int | None = None
    aligner: Any = None
    no_words: str = ""
    speaker: Any = None
    max_new_tokens: int = 512
    refusal: Any = None
    live: str = "attention"


@dataclass(slots=True)
class Service:
    """The parts of a running server.

    Attributes:
        served: The model and what belongs to it.
        limits: What is accepted.
        metrics: Counts.
        created: When the server began, as Unix time.
        sounds: Decodes audio.
        answering: Asks the engine.
        transcribing: Transcribes recordings.
        speaking_threads: In which voices speak, by the name of their engine: none waits for another.
        sessions: The realtime sessions that are open.
        spoken: Texts of answers with audio.
    """

    served: Served
    limits: ServeLimits
    metrics: Metrics
    created: int = field(default_factory=lambda: int(time.time()))
    sounds: Sounds = field(init=False)
    answering: Answering = field(init=False)
    transcribing: Transcribing = field(init=False)
    speaking_threads: dict[str, ThreadPoolExecutor] = field(init=False)
    sessions: set[Any] = field(default_factory=set)
    spoken: SpokenTexts = field(default_factory=SpokenTexts)
    _threads: list[ThreadPoolExecutor] = field(default_factory=list)

    def __post_init__(self) -> None:
        served = self.served
        self.sounds = Sounds(self.limits, self.metrics)
        preparing, cutting = self._pool(2, "llaso-preparing"), self._pool(1, "llaso-cutting")
        together = {} if served.speaker is None else served.speaker.together
        self.speaking_threads = {name: self._pool(count, f"{_SPEAKING}-{name}") for name, count in together.items()}
        self.answering = Answering(served.engine, preparing, served.context)
        words = None if served.aligner is None else served.aligner.words
        aligning = self._pool(1, "llaso-aligning")
        self.transcribing = Transcribing(self.answering, served.processor.max_audio_length, cutting, aligning, words)

    def _pool(self, count: int, name: str) -> ThreadPoolExecutor:
        self._threads.append(ThreadPoolExecutor(count, name))
        return self._threads[-1]

    def start(self) -> None:
        """Starts the engine's thread."""
        self.served.engine.start()

    def close(self) -> None:
        """Ends the engine, and all threads after what they do now. Voices are not waited for: see :meth:`is_silent`."""
        self.served.engine.close()
        self.sounds.close()
        speaking = list(self.speaking_threads.values())
        for threads in self._threads:
            threads.shutdown(wait=threads not in speaking, cancel_futures=True)

    def is_silent(self, timeout_s: float) -> bool:
        """Whether all voices have ended after so many seconds. One at an address that does not answer may go on."""
        deadline = time.monotonic() + timeout_s
        for thread in threading.enumerate():
            if thread.name.startswith(_SPEAKING):
                thread.join(max(deadline - time.monotonic(), 0.0))
        return not any(thread.name.startswith(_SPEAKING) for thread in threading.enumerate())

    def check_model(self, name: str) -> None:
        """Raises ApiError where this server has no model of that name."""
        if name not in self.served.names:
            known = ", ".join(self.served.names)
            raise ApiError(404, f"there is no model {name[:100]!r} here; there is {known}", "model", "model_not_found")

    def check_voice(self, voice: str, param: str) -> None:
        """Raises ApiError where the server has no voice of that name."""
        try:
            self.served.speaker.check(voice)
        except LLaSOError as error:
            raise invalid(param, str(error)) from error

    def transcribing_of(self, prompt: str | None, language: str | None, to_english: bool = False) -> Any:
        """The function that makes of samples the conversation that asks for what is said in them.

        Args:
            prompt: Told to the model as context; None: nothing.
            language: That is spoken, a code; it is told to the model. None: nothing is told.
            to_english: Whether a translation is asked for.
        """
        text = TRANSLATE if to_english else TRANSCRIBE
        if language is not None:
            text += f" The language is {language_name(language)}."
        if prompt:
            text += f" Context: {prompt}"

        def conversation(samples: Any) -> list[Message]:
            content = [{"type": "text", "text": text}, {"type": "audio", "audio": samples}]
            return [{"role": "user", "content": content}]

        return conversation

    async def language_of(self, pcm: Pcm) -> str | None:
        """The language that is spoken at the beginning of a recording; None where no Whisper is known."""
        if self.served.aligner is None:
            return None
        loop = asyncio.get_running_loop()
        said: str | None = await loop.run_in_executor(
            self.transcribing.aligning_threads, self.served.aligner.language_of, pcm
        )
        return said

    def measured(self) -> Mapping[str, Mapping[Labels, float]]:
        """The values of metrics that are looked up."""
        engine = self.served.engine
        counts = engine.counts
        ends = {"answered": counts.answered, "cancelled": counts.cancelled, "failed": counts.failed}
        return {
            "llaso_queue": {(): engine.waiting},
            "llaso_batch_size": {(): engine.decoding},
            "llaso_slots": {(): engine.limits.slots},
            "llaso_answers_total": {(("end", end),): count for end, count in ends.items()},
            "llaso_steps_total": {(): counts.steps},
            "llaso_tokens_total": {(): counts.tokens},
            "llaso_tokens_per_second": {(): self.metrics.count_tokens(counts.tokens)},
            "llaso_realtime_sessions": {(): len(self.sessions)},
        }


def checked_language(text: str | None) -> str | None:
    """The code of a language that a request names; None: it names none. Raises ApiError where there is none such."""
    if not text:
        return None
    code = language_code(text)
    if code is None:
        raise invalid("language", f"{text[:40]!r} is no language that ISO 639 knows, such as `en`")
    return code


def words_of_json(words: Sequence[Word]) -> list[dict[str, Any]]:
    """Words as OpenAI's responses have them."""
    return [{"word": one.text, "start": round(one.start_s, 3), "end": round(one.end_s, 3)} for one in words]
