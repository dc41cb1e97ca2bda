"""One job of speech: some texts of one language are spoken, listened back, tried again, and committed as one file."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq

from llaso_data.errors import LLaSOError
from llaso_data.instruct.voices import VOICES, Speech, SpeechError, VoiceEngine
from llaso_data.instruct.voices.cache import VoiceCache, sound_name, sound_uri
from llaso_data.instruct.voices.drawing import Choice, Draw, draw_voice, spoken_language
from llaso_data.instruct.voices.speakable import spoken_text
from llaso_data.instruct.voices.variation import Variation
from llaso_data.io import lock, sealed, storage
from llaso_data.languages import language_name
from llaso_data.pipeline import memory
from llaso_data.pipeline.instruct.listening import Listener, Said, hear
from llaso_data.pipeline.instruct.spoken import MISHEARD, NO_VOICE, CoreSeconds, SpeechRequest
from llaso_data.pipeline.listen_back import Heard
from llaso_data.records import TIME_DECIMALS, from_table, to_table

_FEW = 8  # lines of one engine, all of which may fail by chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One try to speak a text, as a job's file keeps it. The last try of a request is its outcome.

    Attributes:
        number: Of the request in its job.
        attempt: Of the try, from 0.
        text: Of the request, as are ``language`` and ``take``.
        engine: The engine; empty where none was asked. ``voice``, ``speed``, ``seed`` and ``licence`` alike.
        reason: Why nothing is kept; None: this is kept.
        detail: The same for a person.
        heard: Whether Whisper listened.
        hypothesis: What it heard. ``cer``, ``syllables``, ``errors`` and ``words`` are those of ``Heard``.
        duration_s: Seconds of speech.
        sound: The name of its file in the cache.
    """

    number: int
    attempt: int
    text: str
    language: str
    take: int
    engine: str = ""
    voice: str = ""
    speed: float = 1.0
    seed: int = 0
    licence: str = ""
    reason: str | None = None
    detail: str = ""
    heard: bool = False
    hypothesis: str = ""
    cer: float = 0.0
    syllables: float | None = None
    errors: int = 0
    words: int = 0
    duration_s: float = 0.0
    sound: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechJob:
    """Texts of one language to speak. ``name`` is the digest of all that decides the file.

    Attributes:
        name: Of the job.
        requests: Distinct, sorted by key.
        choices: The engines with their voices.
        variation: The range of speeds.
        seed: Of the recipe.
        tries: How many draws a text has.
        max_error: The error rate up to which speech is kept.
        listener: Which Whisper.
        work: The folder of the run's intermediate results.
        cache: The folder of the cache of voices.
        lock: The token of the run's lock, which is that of the folder above ``work``.
    """

    name: str
    requests: tuple[SpeechRequest, ...]
    choices: tuple[Choice, ...]
    variation: Variation
    seed: int
    tries: int
    max_error: float
    listener: Listener
    work: str
    cache: str
    lock: str | None


@dataclass(frozen=True, slots=True)
class SpeechJobResult:
    """What a worker says of a job that is done; ``core_s`` is zero where an earlier run had done it."""

    requests: int
    core_s: CoreSeconds


def job_uri(work: str, name: str) -> str:
    """Where the tries of a job lie."""
    return storage.join(work, "speech", f"{name}.parquet")


def read_job(work: str, name: str) -> pa.Table:
    """The tries of a job: columns of :class:`Try`, sorted by (number, attempt).

    Raises:
        FileNotFoundError: It is not done.
        DamagedError: The file is damaged.
    """
    with sealed.read_parquet(job_uri(work, name)) as file:
        return pq.read_table(file)


def write_tries(work: str, name: str, tries: Sequence[Try]) -> None:
    """Commit the tries of a job."""
    sealed.write_parquet(job_uri(work, name), to_table(tries, Try), compression="zstd", compression_level=3)


def speak_job(job: SpeechJob) -> SpeechJobResult:
    """Speak the texts of a job unless it is done and what it kept is still in the cache.

    Raises:
        LLaSOError: An engine speaks nothing at all, a file of the cache is damaged, or another run holds the output.
    """
    spent = CoreSeconds()
    if not _is_done(job):
        lock.refuse_orphans(job.work.rpartition("/")[0], job.lock)
        tries = _Tries(job, spent).all()
        lock.refuse_orphans(job.work.rpartition("/")[0], job.lock)
        write_tries(job.work, job.name, tries)
        _forget_batches(job)
        memory.release()
    return SpeechJobResult(len(job.requests), spent)


def _is_done(job: SpeechJob) -> bool:
    try:
        tries = from_table(read_job(job.work, job.name), Try)
    except FileNotFoundError:
        return False
    sounds = [sound_uri(job.cache, one.sound) for one in tries if one.reason is None]
    return not sounds or None not in storage.stat_many(sounds)


class _Tries:
    """All tries of a job."""

    def __init__(self, job: SpeechJob, spent: CoreSeconds) -> None:
        self._job, self._spent = job, spent
        self._cache = VoiceCache(job.cache)

    def all(self) -> list[Try]:
        """In the order of the requests, then of the attempts."""
        tries: list[Try] = []
        waiting: list[Try] = []
        for number, request in enumerate(self._job.requests):
            plan = self._planned(number, request)
            (tries if plan.reason else waiting).append(plan)
        for attempt in range(self._job.tries):
            done = self._attempt([replace(one, attempt=attempt) for one in waiting], attempt)
            tries += done
            failed = {one.number for one in done if one.reason is not None}
            waiting = [one for one in waiting if one.number in failed]
        return sorted(tries, key=lambda one: (one.number, one.attempt))

    def _planned(self, number: int, request: SpeechRequest) -> Try:
        text = request.text.encode("utf-8", "replace").decode()  # as a file can hold it
        plan = Try(number=number, attempt=0, text=text, language=request.language, take=request.take)
        try:
            spoken_text(request.text, request.language)
        except SpeechError as error:
            return replace(plan, reason=error.reason, detail=str(error))
        if spoken_language(request.language, self._job.choices) is None:
            named = ", ".join(choice.engine for choice in self._job.choices)
            detail = f"no engine of the recipe speaks {language_name(request.language)}; there are: {named}"
            return replace(plan, reason=NO_VOICE, detail=detail)
        return plan

    def _attempt(self, waiting: Sequence[Try], attempt: int) -> list[Try]:
        """One more draw of every text that waits: speak all, then listen to all together."""
        started = _core_s()
        spoken = [(one, draw, self._spoken(draw)) for one, draw in ((one, self._drawn(one)) for one in waiting)]
        self._spent.speaking += _core_s() - started
        if attempt == 0:
            _refuse_dead_engines([(draw, result) for _, draw, result in spoken])
        said = [
            Said(draw.line, result.at_16_khz(), self._uri(draw))
            for _, draw, result in spoken
            if isinstance(result, Speech)
        ]
        started = _core_s()
        heard = iter(hear(self._job.listener, said, _batch_uri(self._job, attempt)) if said else ())
        self._spent.listening += _core_s() - started
        return [
            self._judged(_with_draw(one, draw), result, next(heard), self._uri(draw))
            if isinstance(result, Speech)
            else replace(_with_draw(one, draw), reason=result.reason, detail=str(result))
            for one, draw, result in spoken
        ]

    def _drawn(self, one: Try) -> Draw:
        language = spoken_language(one.language, self._job.choices)
        assert language is not None
        key = (self._job.seed, one.language, one.take, one.attempt, one.text)
        text = spoken_text(one.text, one.language)
        return draw_voice(text, language, self._job.choices, self._job.variation, *key)

    def _uri(self, draw: Draw) -> str:
        return self._cache.path(draw.choice.engine, _engine_of(draw.choice), draw.line)

    def _spoken(self, draw: Draw) -> Speech | SpeechError:
        try:
            return self._cache.speak(draw.choice.engine, _engine_of(draw.choice), draw.line)
        except SpeechError as error:
            return error
        except (LLaSOError, MemoryError, OSError):
            raise
        except Exception as error:  # a library stumbles over one text of a million: that text has no speech
            return SpeechError("engine_failed", f"{draw.choice.engine}: {type(error).__name__}: {error}")

    def _judged(self, one: Try, speech: Speech, heard: Heard, uri: str) -> Try:
        reason, detail = heard.failure, ""
        if reason is None and heard.error_rate > self._job.max_error:
            reason = MISHEARD
            detail = f"{one.engine}/{one.voice} says {heard.line.text!r}, Whisper hears {heard.hypothesis!r}"
        return replace(
            one,
            reason=reason,
            detail=detail,
            heard=True,
            hypothesis=heard.hypothesis,
            cer=heard.cer,
            syllables=heard.syllables,
            errors=heard.errors,
            words=heard.words,
            duration_s=round(speech.duration_s, TIME_DECIMALS),
            sound=sound_name(uri),
        )


def _with_draw(one: Try, draw: Draw) -> Try:
    line, choice = draw.line, draw.choice
    return replace(
        one, engine=choice.engine, voice=line.voice, speed=line.speed, seed=line.seed, licence=choice.licence
    )


def _refuse_dead_engines(spoken: Sequence[tuple[Draw, Speech | SpeechError]]) -> None:
    """Raises LLaSOError where an engine fails at every text of a job: it is not there, rather than they unspeakable.

    Such failures would be committed, and a later run, when the engine is there again, would not ask it.
    """
    by_engine: dict[str, list[Speech | SpeechError]] = {}
    for draw, result in spoken:
        by_engine.setdefault(draw.choice.engine, []).append(result)
    for name, results in by_engine.items():
        errors = [one for one in results if isinstance(one, SpeechError) and one.reason == "engine_failed"]
        if len(errors) == len(results) >= _FEW:
            raise LLaSOError(
                f"the voice {name} speaks none of {len(results)} texts: {errors[0]}. What was spoken before is kept: "
                "the same command goes on from there"
            )


def _engine_of(choice: Choice) -> VoiceEngine:
    """The engine of a choice, which stays loaded. Raises LLaSOError where it is another than the run began with."""
    engine = _engine(choice.engine, choice.settings)
    if engine.version != choice.version:
        raise LLaSOError(
            f"the voice {choice.engine} is {engine.version} on this machine, and {choice.version} where the run was "
            "started; install the same version on all machines"
        )
    return engine


@functools.cache
def _engine(name: str, settings: str) -> VoiceEngine:
    return VOICES[name].make(json.loads(settings))


def _batch_uri(job: SpeechJob, attempt: int) -> str:
    return storage.join(job.work, "speech", "heard", f"{job.name}.{attempt}.json")


def _forget_batches(job: SpeechJob) -> None:
    """Remove the verdicts of a job that is committed: its file has them."""
    for attempt in range(job.tries):
        fs, path = storage.filesystem(_batch_uri(job, attempt))
        if fs.exists(path):
            fs.rm_file(path)


def _core_s() -> float:
    """Seconds of cores that this process and the commands that it ran have used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
