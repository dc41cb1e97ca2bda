"""Everything that is spoken: requests become speech that Whisper understands, or are refused by name.

A draw is a function of (the recipe's seed, text, language, take, attempt). Requests are sorted, so that jobs do not
depend on the order in which they came; a job is committed under the digest of all that decides it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from llaso_data.instruct.voices.drawing import (
    Choice,
    check_voices,
    choices,
    languages_spoken,
    spoken_language,
    variation_of,
)
from llaso_data.io import interrupts, storage
from llaso_data.pipeline import engines
from llaso_data.pipeline.instruct.clips import make_clip
from llaso_data.pipeline.instruct.listening import Listener, check_languages, listener
from llaso_data.pipeline.instruct.requests import RequestStore
from llaso_data.pipeline.instruct.speech_job import SpeechJob, read_job, speak_job
from llaso_data.pipeline.instruct.spoken import (
    MISHEARD,
    NO_VOICE,
    CoreSeconds,
    Refusal,
    SpeechRequest,
    Spoken,
    SpokenLine,
    VoiceTally,
)
from llaso_data.recipe import Recipe
from llaso_data.records import digest

__all__ = [
    "MISHEARD",
    "NO_VOICE",
    "CoreSeconds",
    "Refusal",
    "SpeechRequest",
    "Spoken",
    "SpokenLine",
    "VoiceTally",
    "cache_folder",
    "check_voices",
    "languages_spoken",
    "make_clip",
    "speak_all",
    "variation_of",
]

SPEECH_VERSION = 1
"""Increased when the same recipe gives other speech than before."""

_JOB_REQUESTS = 64
_READERS, _READ_AHEAD = 8, 64

Progress = Callable[[int, int], None]
"""Is told how many of how many distinct requests are done."""


def cache_folder(recipe: Recipe, work: str) -> str:
    """Where speech is kept: the folder that the recipe names, else ``voices`` in the work folder."""
    return storage.absolute(recipe.voices.cache or storage.join(work, "voices"))


def speak_all(
    requests: Iterable[SpeechRequest],
    recipe: Recipe,
    work: str,
    lock_token: str | None = None,
    progress: Progress | None = None,
) -> Spoken:
    """Speak texts by the voices of a recipe, and keep what its Whisper understands.

    What cannot be spoken is refused by name. A text that is misheard is spoken by other draws, up to ``voices.tries``.
    Voices of ``instruct.hold_out`` are not drawn. A rerun skips the jobs that are done.

    Args:
        requests: In any order; repetitions count once.
        recipe: Sections ``voices``, ``observe``, ``instruct`` and ``run``.
        work: The folder of intermediate results, in the folder that the lock is of.
        lock_token: Of the run's lock; None asks for none.
        progress: Is told of every job that is done.

    Raises:
        LLaSOError: A setting is wrong, an extra is not installed, Whisper does not know a language, an engine speaks
            nothing at all, or a file of the cache is damaged.
    """
    known = choices(recipe.voices, recipe.instruct.hold_out.voices)
    work = storage.absolute(work)
    with RequestStore(requests) as waiting:
        spent = CoreSeconds()
        cache = cache_folder(recipe, work)
        spoken = Spoken(waiting.keys, cache, spent)
        if not len(waiting):
            return spoken.finished()
        spoken_languages = {code for one in waiting.languages if (code := spoken_language(one, known)) is not None}
        check_languages(recipe.observe.asr, spoken_languages)
        with engines.connected(recipe.run):
            jobs = _Jobs(waiting, known, recipe, listener(recipe.observe, recipe.run), work, cache, lock_token)
            done = 0
            for result in engines.map_unordered(speak_job, jobs, recipe.run):
                interrupts.check()
                done += result.requests
                spent.speaking += result.core_s.speaking
                spent.listening += result.core_s.listening
                if progress is not None:
                    progress(done, len(waiting))
        for tries in _tries(work, jobs.names):
            spoken.add(tries)
    return spoken.finished()


def _tries(work: str, names: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """The tries of all jobs, in order; several files are read at once, because a store answers slowly."""
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(names), _READ_AHEAD):
            read = partial(read_job, work)
            yield from (table.to_pylist() for table in pool.map(read, names[start : start + _READ_AHEAD]))


class _Jobs:
    """The jobs of all requests; each is made when a worker wants it. ``names`` has those that were made, in order."""

    def __init__(
        self,
        waiting: RequestStore,
        known: Sequence[Choice],
        recipe: Recipe,
        who: Listener,
        work: str,
        cache: str,
        lock_token: str | None,
    ) -> None:
        self.names: list[str] = []
        self._waiting, self._known, self._recipe, self._who = waiting, known, recipe, who
        self._places = (work, cache, lock_token)

    def __iter__(self) -> Iterator[SpeechJob]:
        settings, seed = self._recipe.voices, self._recipe.instruct.seed
        work, cache, token = self._places
        for start, end in self._waiting.groups(_JOB_REQUESTS):
            requests = tuple(map(self._waiting.__getitem__, range(start, end)))
            known = _of_language(self._known, requests[0].language)
            decides = (
                SPEECH_VERSION,
                self._who.identity,
                seed,
                json.dumps([list(settings.speed), settings.tries, settings.max_error]),
                json.dumps([asdict(one) for one in known], sort_keys=True, ensure_ascii=False),
            )
            name = digest("speech", *decides, *(one.key for one in requests))
            self.names.append(name)
            yield SpeechJob(
                name=name,
                requests=requests,
                choices=known,
                variation=variation_of(settings),
                seed=seed,
                tries=settings.tries,
                max_error=settings.max_error,
                listener=self._who,
                work=work,
                cache=cache,
                lock=token,
            )


def _of_language(known: Sequence[Choice], language: str) -> tuple[Choice, ...]:
    """The engines with the voices of one language alone: others decide nothing of what is spoken in it."""
    code = spoken_language(language, known)
    if code is None:
        return tuple(replace(one, voices={}) for one in known)
    return tuple(replace(one, voices={code: one.voices[code]}) for one in known if code in one.voices)
