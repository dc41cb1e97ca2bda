"""Observing one block: loading (decode, segment), transcription, the other stages, and the commit.

A stage is a callable on the block's utterances and their PCM. It returns as many utterances, with the same ids in the
same order, and marks those that it cannot observe as failed. No stage accepts or rejects: the judge does.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from llaso_data import audio
from llaso_data.audio import Pcm, decode_worker
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.extras import require
from llaso_data.filters.border_level import BorderLevels, border_level, border_levels, word_gaps_s
from llaso_data.filters.text_scores import score_text
from llaso_data.io import interrupts
from llaso_data.pipeline import memory
from llaso_data.pipeline.blocks import PlannedBlock
from llaso_data.pipeline.commit import write_block, write_voices
from llaso_data.recipe import Observe, Run, UserStage
from llaso_data.records import GIVEN, NO_SPEECH, UNKNOWN, Utterance, digest, failed, rounded, to_table
from llaso_data.text.markup import clean
from llaso_data.whisper.engine import Statistics, decodes_greedily

if TYPE_CHECKING:
    from llaso_data.pipeline.observe_voices import VoiceStage

T = TypeVar("T")

_Piece = tuple[Utterance, "Pcm | None", "BorderLevels | None"]
"""An utterance, its PCM (None where it failed or has no speech), and the levels at its borders."""

Stage = Callable[[Sequence[Utterance], Sequence["Pcm | None"]], Sequence[Utterance]]
"""A stage: ``stage(utterances, pcm)``. ``pcm[i]`` is 16 kHz mono, None where utterance i failed or has no speech."""


OBSERVING_VERSION = 11
"""Increased when the same recipe gives other observations than before; part of every block's digest."""


LISTENING = "listen"
"""The first stage, transcription."""


@dataclass(frozen=True, slots=True)
class LoadedBlock:
    """A block with its audio."""

    name: str
    utterances: list[Utterance]  # after segmentation
    pcm: list[Pcm | None]  # of each utterance, 16 kHz mono; None where it failed or has no speech
    borders: list[BorderLevels | None]  # of each utterance; None where it has none
    inputs: int  # that the utterances were cut from


@dataclass(frozen=True, slots=True)
class BlockResult:
    """What the driver is told of an observed block. The records themselves are in the block's file."""

    name: str
    inputs: int
    utterances: int
    failed: int  # utterances
    audio_s: float  # of all utterances together
    statistics: Statistics  # model calls for this block


def load_block(block: PlannedBlock, settings: Observe, threads: int = 1) -> LoadedBlock:
    """Decodes every input once, sets its audio id, and cuts recordings that are longer than a Whisper window.

    Args:
        block: What to load.
        settings: The recipe's section.
        threads: How many find the speech in what was decoded, while this one decodes on. The result is the same.
    """
    memory.release()  # of the block before
    loaded: list[_Piece | Future[list[_Piece]]] = []
    with ThreadPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
        for _, group in groupby(
            block.inputs, key=lambda item: (item.utterance.source.uri, item.utterance.source.member)
        ):
            interrupts.check()  # in a thread, which no signal interrupts and a run that ends waits for
            # The words of records are aligned to the audio; those that a corpus has times of may lie anywhere.
            without_words = [dataclasses.replace(item.utterance, words=()) for item in group]
            for utterance, samples in _decode(without_words, settings):
                if samples is None:
                    loaded.append((utterance, None, None))
                elif pool is None:
                    loaded += _measure(utterance, samples, settings)
                else:
                    loaded.append(pool.submit(_measure, utterance, samples, settings))
    pieces = [piece for one in loaded for piece in (one.result() if isinstance(one, Future) else [one])]
    utterances, pcm, borders = map(list, zip(*pieces, strict=True)) if pieces else ([], [], [])
    lost = {item.utterance.id for item in block.inputs} - {utterance.recording for utterance in utterances}
    if lost:
        raise AssertionError(f"block {block.name}: {len(lost)} inputs gave no record, {sorted(lost)[0]} first")
    return LoadedBlock(block.name, utterances, pcm, borders, len(block.inputs))


def _decode(same_file: list[Utterance], settings: Observe) -> Iterator[tuple[Utterance, Pcm | None]]:
    """The utterances of one file with their PCM, in order; None for those that failed. The file is decoded once."""
    readable = [u for u in same_file if u.failure is None]
    decoded: list[Pcm | AudioError] = []
    probe = None
    if readable:
        source = readable[0].source
        spans = [(u.source.start_s, u.source.end_s, u.source.chosen) for u in readable]
        try:
            decoded, probe = decode_worker.decode_spans(
                source.uri, source.member, spans, **settings.decode.model_dump()
            )
        except AudioError as error:
            decoded = [error] * len(readable)
    taken = iter(probe.taken if probe and probe.taken else [None] * len(readable))
    results = iter(decoded)
    for utterance in same_file:
        if utterance.failure is not None:
            yield utterance, None
            continue
        samples, channel = next(results), next(taken)
        if isinstance(samples, AudioError):
            yield failed(utterance, samples.reason, samples.detail), None
            continue
        assert probe is not None
        source = utterance.source
        if source.channels not in (None, probe.channels):
            detail = f"it states {source.channels} channels, the file has {probe.channels}; correct one of the two"
            yield failed(utterance, "bad_channel", f"{audio.name_of(source.uri, source.member)}: {detail}"), None
            continue
        source = dataclasses.replace(
            source, sampling_rate_hz=probe.sampling_rate_hz, channels=probe.channels, taken=channel
        )
        yield _with_clean_text(dataclasses.replace(utterance, source=source)), samples


def _with_clean_text(utterance: Utterance) -> Utterance:
    """The utterance with its text without markup. ``text_given`` keeps the corpus's text where the two differ."""
    corpus_text = " ".join((utterance.text or "").split())
    text = clean(utterance.text or "").text
    return dataclasses.replace(
        utterance,
        text=text or None,
        text_origin=utterance.text_origin if corpus_text else UNKNOWN,
        text_given=None if corpus_text == text else corpus_text,
    )


def _measure(utterance: Utterance, pcm: Pcm, settings: Observe) -> list[_Piece]:
    """Segments an utterance and measures the level of each piece."""
    from llaso_data.asr.segment import segment

    measured: list[_Piece] = []
    pieces = segment(utterance, pcm, settings.segment)
    if not pieces:  # a long recording without speech is one record, which the judge rejects by name
        extra = {NO_SPEECH: 1.0}
        scores = dataclasses.replace(utterance.scores, speech_ratio=0.0, extra=extra)
        duration_s = len(pcm) / audio.SAMPLE_RATE_HZ
        silent = dataclasses.replace(utterance, audio_id=audio.audio_id(pcm), duration_s=duration_s, scores=scores)
        measured.append((silent, None, None))
    for piece, samples in pieces:
        rms_dbfs, clipped_ratio = audio.level(samples)
        scores = dataclasses.replace(
            piece.scores,
            rms_dbfs=rms_dbfs,
            clipped_ratio=clipped_ratio,
            language_prob=1.0 if piece.language_origin == GIVEN else None,
        )
        duration_s = len(samples) / audio.SAMPLE_RATE_HZ
        ready = dataclasses.replace(piece, audio_id=audio.audio_id(samples), duration_s=duration_s, scores=scores)
        measured.append((ready, samples, border_levels(samples)))
    return measured


class Observer:
    """All stages after loading. Each worker makes one observer, which loads the models.

    Raises:
        LLaSOError: A model or a user's stage cannot be loaded, or an extra is not installed.
    """

    def __init__(self, settings: Observe, run: Run, out: str) -> None:
        from llaso_data.pipeline.transcription import transcriber
        from llaso_data.whisper.load import load

        if settings.align is not None and settings.align.dtw == "dtw-python":
            require("observe.align.dtw", "dtw")
        memory.keep()
        whisper = load(settings.asr, run, settings.align)
        self._statistics = whisper.statistics
        self._reported = Statistics()
        self._out = out
        self._stages: list[tuple[str, Stage]] = [
            (LISTENING, transcriber(whisper, settings.asr, settings.align, settings.segment))
        ]
        self._stages.append(("text", score_text))
        if settings.language_model.model is not None:
            from llaso_data.filters.language_model import LanguageModelStage

            self._stages.append(("language_model", LanguageModelStage(settings.language_model, run)))
        if settings.quality.enabled:
            from llaso_data.estimate.quality import QualityStage

            self._stages.append(("quality", QualityStage(settings.quality)))
        self._voices: VoiceStage | None = None
        if settings.speakers.enabled:
            from llaso_data.pipeline import observe_voices

            self._voices = observe_voices.VoiceStage()
            self._stages.append(("speakers", self._voices))
        self._stages += [(user.stage, _checked_storable(user.stage, user_stage(user))) for user in settings.stages]

    def __call__(self, block: LoadedBlock) -> BlockResult:
        """Runs all stages on a loaded block and commits its file.

        Raises:
            LLaSOError: A stage returns other utterances than it was given, a user's stage fails, or its result cannot
                be stored.
        """
        utterances: list[Utterance] = list(block.utterances)
        for name, stage in self._stages:
            before = utterances
            pcm = [None if u.failure else samples for u, samples in zip(before, block.pcm, strict=True)]
            utterances = list(stage(before, pcm))
            if [u.id for u in utterances] != [u.id for u in before]:
                raise LLaSOError(f"stage {name}: it must return the same utterances (same ids) in the same order")
            if name == LISTENING:
                utterances = [_with_border(*one) for one in zip(utterances, block.borders, strict=True)]
        utterances = [rounded(utterance) for utterance in utterances]
        if self._voices is not None:
            write_voices(self._out, block.name, self._voices.taken())
        write_block(self._out, block.name, utterances)
        memory.release()
        return BlockResult(
            block.name,
            block.inputs,
            len(utterances),
            sum(u.failure is not None for u in utterances),
            sum(u.duration_s or 0.0 for u in utterances),
            self._since_last(),
        )

    def _since_last(self) -> Statistics:
        """Model calls since the last report, so that the driver can sum over workers."""
        now, before = dataclasses.asdict(self._statistics), dataclasses.asdict(self._reported)
        self._reported = dataclasses.replace(self._statistics)
        return Statistics(**{name: now[name] - before[name] for name in now})


def _with_border(utterance: Utterance, levels: BorderLevels | None) -> Utterance:
    """The utterance with the level at its borders, which its words say something of."""
    if levels is None:
        return utterance
    scores = dataclasses.replace(utterance.scores, border_db=border_level(levels, word_gaps_s(utterance)))
    return dataclasses.replace(utterance, scores=scores)


def user_stage(spec: UserStage) -> Stage:
    """Makes the stage that a recipe names as ``package.module:Stage``, with its options.

    Raises:
        LLaSOError: It cannot be imported, does not take the options, or is not callable.
    """
    stage: Stage = _with_named_errors(spec.stage, _stage_factory(spec))(**spec.options)
    if not callable(stage):
        raise LLaSOError(f"observe.stages: {spec.stage}: it must make a callable stage(utterances, pcm)")
    return stage


def _with_named_errors(name: str, function: Callable[..., T]) -> Callable[..., T]:
    """A user's function whose errors name its stage; a LLaSOError passes unchanged."""

    def call(*args: Any, **options: Any) -> T:
        try:
            return function(*args, **options)
        except LLaSOError:
            raise
        except Exception as error:
            detail = f"{type(error).__name__}: {error}"
            raise LLaSOError(f"stage {name} failed: {detail} (llaso-data --debug … shows where)") from error

    return call


def _checked_storable(name: str, stage: Stage) -> Stage:
    """A user's stage whose results are checked: an error names the stage where they cannot be stored."""

    def call(utterances: Sequence[Utterance], pcm: Sequence[Pcm | None]) -> list[Utterance]:
        results = _with_named_errors(name, stage)(utterances, pcm)
        try:
            to_table([rounded(utterance) for utterance in results], Utterance)
        except (AttributeError, TypeError, ValueError) as error:
            raise LLaSOError(f"stage {name}: what it returns cannot be stored: {error}") from error
        return list(results)

    return call


def check_stages(settings: Observe) -> None:
    """Raises LLaSOError where a user's stage cannot be imported or does not take its options."""
    for spec in settings.stages:
        _stage_factory(spec)


def observing_digest(settings: Observe, weights: Sequence[str]) -> str:
    """The digest of everything besides the inputs that decides an observation.

    It covers :data:`OBSERVING_VERSION`, the recipe's observing part and the models' weights. A user's stage counts by
    its name, options and ``version``. Left out are:

    - the models' names and paths: their weights count;
    - the decoder's limits: a machine with more memory need not transcribe a corpus again;
    - `align.compute_type` unless it is bfloat16: before it was a setting, texts were read in float32;
    - keys that are null: a setting that a later version adds is null where it changes nothing;
    - sections of stages that are not enabled.

    Args:
        settings: The recipe's observing part.
        weights: Digests of the models' weights.

    Raises:
        LLaSOError: A user's stage cannot be imported or does not take its options.
    """
    named = {"model", "revision"}
    left_out: dict[str, Any] = {"decode": {"stall_s", "memory_mb"}, "asr": named, "language_model": named}
    left_out["speakers"] = {"similarity"}  # decides labels, which are given after observing
    if settings.align is not None and settings.align.compute_type != "bfloat16":
        left_out["align"] = {"compute_type"}
    left_out |= {name: True for name in ("quality", "speakers") if not getattr(settings, name).enabled}
    plain = settings.model_dump(mode="json", exclude=left_out, exclude_none=True)
    versions = [str(getattr(_stage_factory(spec), "version", "")) for spec in settings.stages]
    if decodes_greedily(settings.asr, settings.asr.compute_type):
        versions.append("greedy")  # CTranslate2 decoded what OpenVINO had encoded before
    return digest(OBSERVING_VERSION, json.dumps(plain, sort_keys=True, ensure_ascii=False), *weights, *versions)


def _stage_factory(spec: UserStage) -> Any:
    """The callable that makes the stage. Its options are checked here, before any model is loaded."""
    module_name, _, name = spec.stage.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), name)
        inspect.signature(factory).bind(**spec.options)
    except (ImportError, AttributeError) as error:
        raise LLaSOError(f"observe.stages: {spec.stage}: {error}") from error
    except TypeError as error:
        raise LLaSOError(f"observe.stages: {spec.stage} does not take these options: {error}") from error
    except ValueError:  # a compiled class without a signature
        pass
    return factory
