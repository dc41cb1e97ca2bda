"""What is to be spoken, and what became of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llaso_data.instruct.voices.cache import sound_uri
from llaso_data.instruct.voices.drawing import voice_name
from llaso_data.records import digest, pickling

_OUTCOME = np.dtype(
    [
        ("reason", np.uint16),
        ("voice", np.uint16),
        ("speed", np.float32),
        ("seed", np.uint32),
        ("attempt", np.uint16),
        ("cer", np.float64),
        ("syllables", np.float64),
        ("duration_s", np.float64),
        ("sound", np.uint8, 16),
    ]
)
"""What is kept of a request's last try; texts lie apart."""

EXAMPLES = 20

MISHEARD = "misheard"
"""The reason of a text that Whisper mishears from every voice that tried it."""
NO_VOICE = "no_voice"
"""The reason of a text in a language that no engine of the recipe speaks."""


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """A text to speak.

    Attributes:
        text: As the row or the template has it.
        language: Its code.
        take: Which of the recordings of this text, from 0: each is another draw of voice and speed.
    """

    text: str
    language: str
    take: int = 0

    @property
    def key(self) -> str:
        """32 hexadecimal digits that name the request."""
        return digest("speech", self.language, self.take, self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenLine:
    """A text that a voice spoke and Whisper understood.

    Attributes:
        request: What was asked for.
        engine: The engine's name.
        voice: One of the engine's voices.
        speed: How many times faster than the voice's own.
        seed: What the engine draws from.
        cer: Character error rate of what Whisper heard.
        hypothesis: What Whisper heard.
        attempt: How many tries failed before this one.
        duration_s: Seconds.
        uri: The FLAC file in the cache of voices, dry and at the engine's rate.
        licence: Of the engine and its voices.
        syllable_error: Of Mandarin the error rate of syllables with tones, where it could be told.
    """

    request: SpeechRequest
    engine: str
    voice: str
    speed: float
    seed: int
    cer: float
    hypothesis: str
    attempt: int
    duration_s: float
    uri: str
    licence: str
    syllable_error: float | None = None

    @property
    def name(self) -> str:
        """The voice as summaries name it: ``engine/voice``."""
        return voice_name(self.engine, self.voice)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no speech. ``reason`` is a stable name, ``detail`` is for a person."""

    reason: str
    detail: str = ""


pickling.register(SpeechRequest)
pickling.register(SpokenLine)
pickling.register(Refusal)


@dataclass(slots=True)
class VoiceTally:
    """What one voice did in one language, tries that were given up included.

    Attributes:
        lines: That it spoke and Whisper heard.
        rejected: Of them, those that Whisper misheard.
        failed: Lines of which the engine gave no speech, beside ``lines``.
        errors: Words of ``lines`` that Whisper got wrong; of Mandarin characters.
        words: Of ``lines``, alike.
        seconds: Of speech in ``lines``.
        licence: Of the engine and its voices.
    """

    lines: int = 0
    rejected: int = 0
    failed: int = 0
    errors: int = 0
    words: int = 0
    seconds: float = 0.0
    licence: str = ""


@dataclass(slots=True)
class CoreSeconds:
    """Seconds of cores that this run used; what earlier runs had done took none."""

    speaking: float = 0.0
    listening: float = 0.0


class Spoken:
    """What became of every request: ``spoken[request]`` is a :class:`SpokenLine` or a :class:`Refusal`.

    It holds columns, of about 200 bytes a request, not records.

    Attributes:
        tallies: By (``engine/voice``, language), sorted.
        refused: How many distinct requests have no speech, by reason.
        core_s: Seconds of cores.
        examples: Of each voice the first lines that were kept, at most :data:`EXAMPLES`, to hear and to measure.
    """

    def __init__(self, keys: npt.NDArray[np.uint64], cache: str, core_s: CoreSeconds) -> None:
        """Prepare for the outcomes of requests.

        Args:
            keys: uint64 of shape (requests, 2): the halves of each key, in the order in which outcomes are added.
            cache: The folder of the cache of voices.
            core_s: Seconds of cores.
        """
        count = len(keys)
        self.tallies: dict[tuple[str, str], VoiceTally] = {}
        self.refused: Counter[str] = Counter()
        self.core_s = core_s
        self.examples: dict[str, list[SpokenLine]] = {}
        self._cache = cache
        self._order = np.argsort(keys[:, 0], kind="stable").astype(np.uint32)
        self._highs, self._lows = keys[self._order, 0], keys[self._order, 1]
        self._columns = np.zeros(count, _OUTCOME)
        self._texts, self._ends = bytearray(), np.zeros(count + 1, np.uint64)
        self._reasons: dict[str | None, int] = {None: 0}
        self._voices: dict[tuple[str, str, str], int] = {("", "", ""): 0}
        self._reason_names: tuple[str | None, ...] = ()
        self._voice_names: tuple[tuple[str, str, str], ...] = ()
        self._filled = 0

    def __len__(self) -> int:
        return len(self._columns)

    def add(self, tries: Sequence[Mapping[str, Any]]) -> None:
        """Take in the tries of the next requests, as rows of a job's file: all tries of a request are neighbours."""
        for position, one in enumerate(tries):
            self._count(one)
            if position + 1 == len(tries) or tries[position + 1]["number"] != one["number"]:
                self._keep(one)

    def __getitem__(self, request: SpeechRequest) -> SpokenLine | Refusal:
        """What became of a request. Raises KeyError for one that was not among those to speak."""
        number = self._number(request)
        reason = self._reason_names[self._columns["reason"][number]]
        return self._line(number, request) if reason is None else Refusal(reason, self._text(number))

    def _line(self, number: int, request: SpeechRequest) -> SpokenLine:
        # One call for all fields of the row: asking for each takes ten times as long.
        _, voice_number, speed, seed, attempt, cer, syllables, duration_s, sound = self._columns[number].item()
        engine, voice, licence = self._voice_names[voice_number]
        return SpokenLine(
            request=request,
            engine=engine,
            voice=voice,
            speed=round(speed, 2),
            seed=seed,
            cer=cer,
            hypothesis=self._text(number),
            attempt=attempt,
            duration_s=duration_s,
            uri=sound_uri(self._cache, bytes(sound).hex()),
            licence=licence,
            syllable_error=None if math.isnan(syllables) else syllables,
        )

    def _text(self, number: int) -> str:
        return self._texts[int(self._ends[number]) : int(self._ends[number + 1])].decode()

    def _number(self, request: SpeechRequest) -> int:
        key = request.key
        high, low = np.uint64(int(key[:16], 16)), np.uint64(int(key[16:], 16))
        place = int(self._highs.searchsorted(high))
        while place < len(self._highs) and self._highs[place] == high:
            if self._lows[place] == low:
                return int(self._order[place])
            place += 1
        raise KeyError(request)

    def finished(self) -> Spoken:
        """Itself, once every request has its outcome: counts are sorted, and outcomes can be asked for."""
        assert self._filled == len(self), f"{len(self) - self._filled} requests have no outcome"
        self.tallies = dict(sorted(self.tallies.items()))
        self.examples = dict(sorted(self.examples.items()))
        self.refused = Counter(dict(sorted(self.refused.items())))
        self._reason_names, self._voice_names = tuple(self._reasons), tuple(self._voices)
        return self

    def _count(self, one: Mapping[str, Any]) -> None:
        if not one["engine"]:
            return
        name = voice_name(one["engine"], one["voice"]), one["language"]
        tally = self.tallies.setdefault(name, VoiceTally(licence=one["licence"]))
        if not one["heard"]:
            tally.failed += 1
            return
        tally.lines += 1
        tally.rejected += one["reason"] is not None
        tally.errors += one["errors"]
        tally.words += one["words"]
        tally.seconds = round(tally.seconds + one["duration_s"], 3)

    def _keep(self, one: Mapping[str, Any]) -> None:
        """The outcome of the next request."""
        reason = one["reason"]
        if reason is not None:
            self.refused[reason] += 1
        voice = (one["engine"], one["voice"], one["licence"])
        row = self._columns[self._filled]
        row["reason"] = self._reasons.setdefault(reason, len(self._reasons))
        row["voice"] = self._voices.setdefault(voice, len(self._voices))
        for name in ("speed", "seed", "cer", "attempt", "duration_s"):
            row[name] = one[name]
        row["syllables"] = np.nan if one["syllables"] is None else one["syllables"]
        if one["sound"]:
            row["sound"] = np.frombuffer(bytes.fromhex(one["sound"]), np.uint8)
        self._texts += (one["hypothesis"] if reason is None else one["detail"]).encode()
        self._filled += 1
        self._ends[self._filled] = len(self._texts)
        if reason is None and len(known := self.examples.setdefault(voice_name(*voice[:2]), [])) < EXAMPLES:
            self._voice_names = tuple(self._voices)
            request = SpeechRequest(one["text"], one["language"], one["take"])
            known.append(self._line(self._filled - 1, request))
