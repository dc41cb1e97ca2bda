"""The transcription of a block: identify languages, transcribe (forward), score texts and align words (backward).

One encoder pass serves all of it. Windows are packed by :mod:`~llaso_data.whisper.windows`, encoded and decoded in
fixed batches, and divided among their clips by :mod:`~llaso_data.asr.window_decoder`. A clip whose share is in doubt is
decoded again, and so is one whose given text disagrees with its hypothesis. As many batches are processed at once as
there are threads: that uses cores better than threads within a batch. Batches share no state, so the result does not
depend on the number of threads.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from llaso_data.asr import no_language_token, texts
from llaso_data.asr.doubt import is_doubtful, needs_redecoding
from llaso_data.asr.language_id import clip_states, identify_languages, uncertain_clips, with_language
from llaso_data.asr.window_decoder import EncodedWindows, Transcription, WindowDecoder
from llaso_data.errors import LLaSOError
from llaso_data.languages import language
from llaso_data.records import GIVEN, NOT_SCORED, Utterance, failed
from llaso_data.text import compression_ratio, normalize
from llaso_data.whisper.clips import Clip, TextScorer
from llaso_data.whisper.load import Whisper
from llaso_data.whisper.windows import WINDOW_FRAMES, Window, pack

if TYPE_CHECKING:
    from llaso_data.recipe import Asr, Segment

_WIDER_GAP_S = 1.0  # between clips that are packed again
_BATCH_CPU, _BATCH_GPU = 4, 8  # windows
# Where windows are decoded greedily, as many as their keys and values leave memory for: a step costs little more for
# many than for one.
_BATCH_GREEDY, _BATCH_BYTES = 24, 450 << 20
# Where there are as many windows; the same for any number of threads, so that the bytes are.
_MIN_BATCHES_CPU, _MIN_BATCHES_GREEDY = 4, 2
_SCORING_BATCH = 32  # segments whose texts are scored after their whole recording was transcribed

_Audio = Mapping[int, NDArray[np.int16]]  # 16 kHz samples by the clip's number
OnTranscribed = Callable[[list[Transcription]], None]
T = TypeVar("T")
R = TypeVar("R")


class Transcriber:
    """A stage of the pipeline: utterances and their samples in, the same utterances out with hypotheses and words."""

    def __init__(self, whisper: Whisper, asr: Asr, scorer: TextScorer, segment: Segment | None = None) -> None:
        """Use a loaded model.

        Args:
            whisper: The model.
            asr: The recipe's section.
            scorer: Scores and aligns texts with the same model.
            segment: How recordings were cut, where any were; the silence kept around segments is part of the gap.

        Raises:
            LLaSOError: ``asr.languages`` names a language that the model does not know.
        """
        self._whisper = whisper
        self._asr = asr
        self._scorer = scorer
        self._windows = WindowDecoder(whisper, scorer.heads, asr.gap_s, scorer.scores_texts)
        self._pool = ThreadPoolExecutor(whisper.threads, initializer=_use_one_thread) if whisper.threads > 1 else None
        self._batch_size = asr.batch_size or (_BATCH_GPU if whisper.device != "cpu" else _BATCH_CPU)
        greedy = whisper.decoder.greedy is not None
        self._min_batches = _MIN_BATCHES_GREEDY if greedy else _MIN_BATCHES_CPU
        if greedy and asr.batch_size is None:
            window_bytes = whisper.decoder.projection_bytes(WINDOW_FRAMES * whisper.decoder.width)
            self._batch_size = min(max(_BATCH_BYTES // window_bytes, _BATCH_CPU), _BATCH_GREEDY)
        self._segment_gap_s = max(0.0, asr.gap_s - segment.pad_s) if segment else asr.gap_s
        candidates = {code: language(code) or code for code in asr.languages}
        self._candidates = set(candidates.values())
        unknown = [code for code, name in candidates.items() if not whisper.vocabulary.supports(name)]
        if unknown:
            known = ", ".join(whisper.vocabulary.languages) or "en"
            raise LLaSOError(f"asr.languages: the Whisper model knows no {', '.join(unknown)}; it knows {known}")

    def __call__(self, utterances: Sequence[Utterance], pcm: Sequence[NDArray[np.int16] | None]) -> list[Utterance]:
        """Transcribe, score and align a block.

        Args:
            utterances: The block's utterances.
            pcm: 16 kHz mono samples of each; None where it failed, and then it passes through.

        Returns:
            The same utterances in the same order, with language, hypothesis, text, words and scores.
        """
        results = [self._check(utterance, samples) for utterance, samples in zip(utterances, pcm, strict=True)]
        audio = {i: samples for i, samples in enumerate(pcm) if samples is not None and results[i].failure is None}
        token_language = self._whisper.vocabulary.token_language
        without_token = [i for i in audio if (code := results[i].language) and not token_language(code)]
        clips = sorted(set(audio) - set(without_token))
        # Segments of a recording with a given text get their part of it once all of them are transcribed.
        awaiting_text = {i for i in clips if results[i].text_origin == GIVEN and results[i].recording != results[i].id}
        kept: dict[int, Transcription] = {}
        if self._asr.pack:
            self._map([None], lambda _: self._windows.encode_silence())

        def finish(transcriptions: list[Transcription]) -> None:
            ready: dict[int, Transcription] = {}
            for transcription in transcriptions:
                i = transcription.clip
                results[i] = self._with_transcription(results[i], transcription)
                if i in awaiting_text:
                    kept[i] = dataclasses.replace(
                        transcription,
                        states=transcription.states.without_projections(),
                        context=transcription.context.without_projections(),
                    )
                else:
                    ready[i] = transcription
            self._backward(results, list(ready), audio, ready)

        self._transcribe(results, clips, audio, finish)
        self._align_without_token(results, without_token, audio)
        self._score_segments(results, sorted(awaiting_text), audio, kept)
        if self._asr.disputed_alone:
            awaiting_text.clear()  # each segment has its own text now
            disputed = [i for i in clips if needs_redecoding(results[i])]
            for i in disputed:
                results[i] = texts.without_hypothesis(results[i], utterances[i])
            self._decode(results, self._plan(results, disputed, audio, packed=False), audio, finish)
        return results

    def _map(self, work_items: Sequence[T], work: Callable[[T], R]) -> list[R]:
        """The result of every item; as many are processed at once as there are threads."""
        return list((self._pool.map if self._pool else map)(work, work_items))

    def _check(self, utterance: Utterance, samples: NDArray[np.int16] | None) -> Utterance:
        code = utterance.language
        if utterance.failure is not None or samples is None:
            return utterance
        if len(samples) == 0:
            return failed(utterance, "empty", "there are no samples")
        if code and self._whisper.vocabulary.is_foreign(code):
            return failed(utterance, "language_unsupported", f"the Whisper model knows English alone, not {code!r}")
        return utterance

    # -- forward ------------------------------------------------------------------------------------------------------

    def _transcribe(self, results: list[Utterance], clips: list[int], audio: _Audio, finish: OnTranscribed) -> None:
        """Transcribe every clip; ``finish`` gets each once, in batches and from any thread."""
        unknown = [i for i in clips if not results[i].language]
        known = [i for i in clips if results[i].language]
        uncertain: list[int] = []  # their language, which is then identified without neighbours
        repack: list[int] = []  # from windows whose clips are of several languages
        doubtful: dict[int, str] = {}
        still_doubtful: dict[int, str] = {}

        def identify(windows: list[Window]) -> None:
            encoded = self._windows.encode(windows, audio)
            self._identify(results, windows, encoded)
            pure = []
            for w, window in enumerate(windows):
                inside = [slot.clip for slot in window.slots]
                unsure = uncertain_clips(results, window) if self._whisper.vocabulary.multilingual else set()
                if not unsure and len({results[i].language for i in inside}) == 1:
                    pure.append(w)
                else:
                    uncertain.extend(unsure)
                    repack.extend(i for i in inside if i not in unsure)
            if pure:
                finish(self._accepted(results, [windows[w] for w in pure], encoded.select(pure), doubtful))

        def identify_alone(windows: list[Window]) -> None:
            encoded = self._windows.encode(windows, audio)
            self._identify(results, windows, encoded)
            finish(self._accepted(results, windows, encoded))

        self._map(self._batches(self._plan(results, unknown, audio)), identify)
        self._map(self._batches(self._plan(results, sorted(uncertain), audio, packed=False)), identify_alone)
        self._decode(results, self._plan(results, sorted(known + repack), audio), audio, finish, doubtful)
        wider = self._plan(results, sorted(doubtful), audio, wider=True)
        self._decode(results, wider, audio, finish, still_doubtful, doubtful)
        self._decode(results, self._plan(results, sorted(still_doubtful), audio, packed=False), audio, finish)

    def _identify(self, results: list[Utterance], windows: list[Window], encoded: EncodedWindows) -> None:
        """Set the language of every clip, and its probability."""
        states = clip_states(self._windows, windows, encoded.windows)
        for i, (code, prob) in identify_languages(self._whisper, states, self._candidates).items():
            results[i] = with_language(results[i], code, prob)

    def _decode(
        self,
        results: list[Utterance],
        windows: list[Window],
        audio: _Audio,
        finish: OnTranscribed,
        doubtful: dict[int, str] | None = None,
        earlier: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        """Encode and decode windows in batches; see :meth:`_accepted` for ``doubtful`` and ``earlier``."""

        def work(batch: list[Window]) -> None:
            finish(self._accepted(results, batch, self._windows.encode(batch, audio), doubtful, earlier))

        self._map(self._batches(windows), work)

    def _accepted(
        self,
        results: list[Utterance],
        windows: list[Window],
        encoded: EncodedWindows,
        doubtful: dict[int, str] | None = None,
        earlier: Mapping[int, str] = MappingProxyType({}),
    ) -> list[Transcription]:
        """Decode windows, and return the transcriptions that are accepted.

        A clip that gets the same text in two different windows is accepted as it is, unless the text repeats itself.

        Args:
            results: The block's utterances.
            windows: Windows of its clips.
            encoded: The same encoded.
            doubtful: Gets the normalised text of every packed clip that is in doubt; None accepts all.
            earlier: What doubtful clips got in another window.
        """
        languages = [results[window.slots[0].clip].language or "en" for window in windows]
        transcriptions = self._windows.decode(windows, encoded, languages)
        slots = [(slot, code) for window, code in zip(windows, languages, strict=True) for slot in window.slots]
        accepted = []
        for transcription, (slot, code) in zip(transcriptions, slots, strict=True):
            looped = transcription.looped
            if doubtful is not None and transcription.packed and (looped or is_doubtful(transcription, slot.length)):
                text = normalize(transcription.hypothesis, code)
                if looped or not text or text != earlier.get(slot.clip):
                    doubtful[slot.clip] = text
                    continue
            accepted.append(transcription)
        return accepted

    def _plan(
        self, results: list[Utterance], clips: list[int], audio: _Audio, packed: bool = True, wider: bool = False
    ) -> list[Window]:
        """Windows of the clips; segments, which bring some silence of their own, lie closer together."""
        gap_s = self._asr.gap_s
        if wider:
            gap_s = max(gap_s, _WIDER_GAP_S)
        elif all(results[i].recording != results[i].id for i in clips):
            gap_s = self._segment_gap_s
        lengths, languages = [len(audio[i]) for i in clips], [results[i].language for i in clips]
        return [
            Window(tuple(dataclasses.replace(slot, clip=clips[slot.clip]) for slot in window.slots), window.language)
            for window in pack(lengths, languages, gap_s, self._asr.pack and packed)
        ]

    def _batches(self, windows: list[Window]) -> list[list[Window]]:
        """The windows in batches; on a CPU an even number of about the same size, so that no core idles for long."""
        count = -(-len(windows) // self._batch_size)
        if self._whisper.device == "cpu":
            count = min(max(count + count % 2, self._min_batches), len(windows))
        boundaries = [len(windows) * number // count for number in range(count + 1)] if count else []
        return [windows[a:b] for a, b in pairwise(boundaries)]

    def _with_transcription(self, utterance: Utterance, transcription: Transcription) -> Utterance:
        hypothesis = transcription.hypothesis
        scored = self._scorer.scores_texts
        extra = utterance.scores.extra if scored else {**utterance.scores.extra, NOT_SCORED: 1.0}
        return dataclasses.replace(
            texts.with_hypothesis(utterance, hypothesis, self._asr.chinese_script),
            hypothesis=hypothesis,
            decoding="packed" if transcription.packed else "solo",
            scores=dataclasses.replace(
                utterance.scores,
                avg_logprob=transcription.avg_logprob if scored else None,
                min_token_logprob=transcription.min_token_logprob if scored else None,
                no_speech_prob=transcription.no_speech_prob,
                compression_ratio=compression_ratio(hypothesis) if hypothesis else None,
                extra=extra,
            ),
        )

    # -- backward -----------------------------------------------------------------------------------------------------

    def _backward(
        self, results: list[Utterance], clips: Sequence[int], audio: _Audio, transcriptions: Mapping[int, Transcription]
    ) -> None:
        """Score and align the texts of transcribed clips; a given text is compared with the hypothesis.

        Of a clip that is then transcribed again, alone, nothing but that comparison is wanted.
        """
        with_text = [i for i in clips if results[i].text]
        inputs = [
            Clip(
                audio[i],
                transcriptions[i].states,
                transcriptions[i].context,
                results[i].text or "",
                results[i].language or "en",
                dict(transcriptions[i].forced),
            )
            for i in with_text
        ]
        hypotheses = [results[i].hypothesis if results[i].text_origin == GIVEN else None for i in with_text]
        llrs = self._scorer.compare(inputs, hypotheses)
        for i, llr in zip(with_text, llrs, strict=True):
            results[i] = dataclasses.replace(results[i], scores=dataclasses.replace(results[i].scores, llr=llr))
        final = [
            (i, clip)
            for i, clip in zip(with_text, inputs, strict=True)
            if not (self._asr.disputed_alone and needs_redecoding(results[i]))
        ]
        for (i, _), backward in zip(final, self._scorer.align([clip for _, clip in final]), strict=True):
            scores = dataclasses.replace(
                results[i].scores,
                min_word_logprob=backward.min_word_logprob,
                mean_word_logprob=backward.mean_word_logprob,
                eot_logprob=backward.eot_logprob,
            )
            results[i] = dataclasses.replace(results[i], words=backward.words, scores=scores)

    def _score_segments(
        self, results: list[Utterance], segments: list[int], audio: _Audio, transcriptions: Mapping[int, Transcription]
    ) -> None:
        """Give each segment its part of its recording's text, then score and align it."""
        by_recording: dict[str, list[int]] = defaultdict(list)
        for i in segments:
            by_recording[results[i].recording].append(i)
        for members in by_recording.values():
            texts.assign_given(results, members)
        batches = [segments[first : first + _SCORING_BATCH] for first in range(0, len(segments), _SCORING_BATCH)]
        self._map(batches, lambda batch: self._backward(results, batch, audio, transcriptions))

    def _align_without_token(self, results: list[Utterance], clips: list[int], audio: _Audio) -> None:
        """Align the given texts of clips in languages that Whisper has no token of; nothing is transcribed."""
        for i in clips:
            results[i] = no_language_token.mark_unjudged(texts.with_hypothesis(results[i], None))

        def work(windows: list[Window]) -> None:
            states = self._windows.encode(windows, audio).windows
            for i, words in no_language_token.align_words(self._scorer, results, windows, states, audio):
                results[i] = dataclasses.replace(results[i], words=words)

        with_text = [i for i in clips if results[i].text]
        self._map(self._batches(self._plan(results, with_text, audio, packed=False)), work)


def _use_one_thread() -> None:
    import torch

    torch.set_num_threads(1)  # of the thread that this runs in
