"""Everything Whisper does to a block: identify languages, transcribe forward, score backward, align words.

One encoder pass serves all of it. Windows are packed by :mod:`~llaso_data.whisper.windows`, encoded and decoded in
fixed batches, taken apart by :mod:`~llaso_data.asr.split`; a clip whose share is doubtful is decoded again, and so is
one that speaks against its given text. Batches do not see each other, and as many as there are threads are worked on at
once: cores do more so than as threads in one batch.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from llaso_data.asr import no_language_token, texts
from llaso_data.asr.split import TokenSpan, split
from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.errors import LLaSOError
from llaso_data.languages import language
from llaso_data.records import ASR, GIVEN, Utterance, failed
from llaso_data.text import cer, compression_ratio, letters, normalize
from llaso_data.whisper.clips import Clip, TextScorer
from llaso_data.whisper.encoder_states import EncoderStates, concatenate
from llaso_data.whisper.engine import DecodingResult
from llaso_data.whisper.load import Whisper
from llaso_data.whisper.teacher_forcing import ForcedScores
from llaso_data.whisper.windows import FRAME_S, WINDOW_FRAMES, WINDOW_SAMPLES, Slot, Window, assemble, pack

if TYPE_CHECKING:
    import torch

    from llaso_data.recipe import Asr, Segment

# A share of a packed window is doubtful, and its clip decoded again, beyond any of these: once more packed, in other
# company and with more silence between, which settles nine of ten, and then alone.
_MIN_INSIDE = 0.35  # of its tokens' attention lies in its own slot
_MIN_AVG_LOGPROB = -1.0
_MIN_TOKEN_LOGPROB = -6.0
_MAX_COMPRESSION = 2.4  # of the window's text: beyond, Whisper went in a loop
_WIDER_GAP_S = 1.0
_MAX_LETTERS_PER_S = 30.0
_MIN_LETTERS_PER_S = 1.0
_SLOW_S = 1.0  # a letter or figure may take as long, with the silence around it

_MAX_CER = 0.5  # of a given text to what was heard in a packed window; beyond, the clip is decoded alone

# A packed clip's language is doubtful under these and asked again of the clip alone: one language leaks into another
# in the same window.
_MIN_LANGUAGE_PROB = 0.5
_MIN_LANGUAGE_PROB_MIXED = 0.9  # in a window that seems to hold several

_BATCH_CPU, _BATCH_GPU = 4, 8  # windows
_LEAST_BATCHES_CPU = 4  # where there are as many windows; however many threads, so that all give the same
_CLIPS_LATER = 32  # of a batch of those that had to wait for all of their recording

_SILENCE_FRAMES = 200  # appended to a packed clip's states: with 4 s the end of text is as likely as with 16 s


@dataclass(frozen=True, slots=True)
class Transcription:
    """One clip after free decoding; ``states`` is its own slice (frames, width), ``context`` what scoring reads."""

    hypothesis: str
    avg_logprob: float | None
    min_token_logprob: float | None
    no_speech_prob: float | None  # of a whole window: it says nothing of one clip among several
    packed: bool
    states: EncoderStates
    context: EncoderStates


@dataclass(frozen=True, slots=True)
class EncodedWindows:
    """A batch of windows: the states that the engine decodes from, and the same for teacher forcing."""

    states_BSW: torch.Tensor
    windows: list[EncoderStates]

    def select(self, chosen: list[int]) -> EncodedWindows:
        return EncodedWindows(self.states_BSW[chosen], [self.windows[w] for w in chosen])


OnTranscribed = Callable[[list[int], list[Transcription]], None]
T = TypeVar("T")
R = TypeVar("R")


class Transcriber:
    """A stage: utterances and their PCM in, the same utterances with what Whisper says of them out."""

    def __init__(self, whisper: Whisper, asr: Asr, scorer: TextScorer, segment: Segment | None = None) -> None:
        """``segment``: how recordings were cut, where any were; the silence that was kept around segments counts."""
        self._whisper = whisper
        self._asr = asr
        self._scorer = scorer
        self._silence: EncoderStates | None = None
        self._pool = ThreadPoolExecutor(whisper.threads, initializer=_one_thread) if whisper.threads > 1 else None
        self._batch_size = asr.batch_size or (_BATCH_CPU if whisper.device == "cpu" else _BATCH_GPU)
        self._segment_gap_s = max(0.0, asr.gap_s - segment.pad_s) if segment else asr.gap_s
        self._margin_frames = round(asr.gap_s / FRAME_S) // 2  # of the silence beside a packed clip, what belongs to it
        self._candidates = {code: language(code) or code for code in asr.languages}
        unknown = [code for code, name in self._candidates.items() if not whisper.vocabulary.supports(name)]
        if unknown:
            known = ", ".join(whisper.vocabulary.languages) or "en"
            raise LLaSOError(f"asr.languages: the Whisper model knows no {', '.join(unknown)}; it knows {known}")

    def __call__(self, utterances: Sequence[Utterance], pcm: Sequence[NDArray[np.int16] | None]) -> list[Utterance]:
        """``pcm[i]`` is None for an utterance that failed; it passes through."""
        results = [self._check(utterance, samples) for utterance, samples in zip(utterances, pcm, strict=True)]
        heard_of: dict[int, Transcription] = {}
        clips = [i for i, u in enumerate(results) if u.failure is None and pcm[i] is not None]
        audio = {i: array for i in clips if (array := pcm[i]) is not None}
        token_of = self._whisper.vocabulary.token_language
        without = [i for i in clips if (code := results[i].language) and not token_of(code)]
        clips = sorted(set(clips) - set(without))
        waiting = self._long_given(results, clips)
        if self._asr.pack and self._silence is None:
            silent = Window((Slot(0, 0, WINDOW_SAMPLES),), None)
            nothing = {0: np.zeros(WINDOW_SAMPLES, dtype=np.int16)}
            (encoded,) = self._each([[silent]], lambda windows: self._encode(windows, nothing))
            (self._silence,) = encoded.windows

        def finish(indices: list[int], heard: list[Transcription]) -> None:
            ready: dict[int, Transcription] = {}
            for i, one in zip(indices, heard, strict=True):
                results[i] = self._forward(results[i], one)
                if i in waiting:
                    heard_of[i] = dataclasses.replace(
                        one, states=one.states.without_projections(), context=one.context.without_projections()
                    )
                else:
                    ready[i] = one
            self._backward(results, list(ready), audio, ready)

        self._hear(results, clips, audio, finish)
        self._align_untold(results, without, audio)
        segments: dict[str, list[int]] = defaultdict(list)
        for i in sorted(waiting):
            segments[results[i].recording].append(i)
        for group in segments.values():
            texts.assign_given(results, group)
        later = sorted(waiting)
        chunks = [later[first : first + _CLIPS_LATER] for first in range(0, len(later), _CLIPS_LATER)]
        self._each(chunks, lambda chunk: self._backward(results, chunk, audio, heard_of))
        if self._asr.disputed_alone:
            waiting.clear()  # each has its own text now
            again = self._plan(results, [i for i in clips if needs_redecoding(results[i])], audio, packed=False)
            self._each(
                self._batches(again),
                lambda windows: finish(*self._decode(results, windows, self._encode(windows, audio), None)),
            )
        return results

    def _each(self, tasks: Sequence[T], work: Callable[[T], R]) -> list[R]:
        """What comes of every task; as many are worked on at once as there are threads."""
        return list((self._pool.map if self._pool else map)(work, tasks))

    # -- languages ------------------------------------------------------------------------------------------------

    def _check(self, utterance: Utterance, samples: NDArray[np.int16] | None) -> Utterance:
        code = utterance.language
        if utterance.failure is not None or samples is None:
            return utterance
        if len(samples) == 0:
            return failed(utterance, "empty", "there are no samples")
        if code and self._whisper.vocabulary.is_foreign(code):
            return failed(utterance, "language_unsupported", f"the Whisper model knows English alone, not {code!r}")
        return utterance

    def _identify(self, results: list[Utterance], windows: list[Window], states: list[EncoderStates]) -> None:
        """Set language and its probability of every clip."""
        vocabulary = self._whisper.vocabulary
        slices = {
            slot.clip: states[w] if window.solo else self._context(states[w], window, slot)
            for w, window in enumerate(windows)
            for slot in window.slots
        }
        if not vocabulary.multilingual:
            for i in slices:
                results[i] = dataclasses.replace(results[i], language="en", language_origin=ASR)
            return
        codes = list(vocabulary.languages)
        wanted = set(self._candidates.values())
        allowed = np.array([not wanted or code in wanted for code in codes])
        order = sorted(slices)
        probs = self._whisper.decoder.language_probs([slices[i] for i in order]) * allowed
        for i, row in zip(order, probs / np.maximum(probs.sum(axis=1, keepdims=True), 1e-9), strict=True):
            best = int(np.argmax(row))
            results[i] = dataclasses.replace(
                results[i],
                language=codes[best],
                language_origin=ASR,
                scores=dataclasses.replace(results[i].scores, language_prob=float(row[best])),
            )

    @staticmethod
    def _unsure(results: list[Utterance], window: Window) -> set[int]:
        """The clips of a window whose identified language is doubtful."""
        if window.solo:
            return set()
        inside = [slot.clip for slot in window.slots]
        mixed = len({results[i].language for i in inside}) > 1
        least = _MIN_LANGUAGE_PROB_MIXED if mixed else _MIN_LANGUAGE_PROB
        return {i for i in inside if (results[i].scores.language_prob or 0.0) < least}

    # -- forward --------------------------------------------------------------------------------------------------

    def _hear(
        self, results: list[Utterance], clips: list[int], audio: dict[int, NDArray[np.int16]], finish: OnTranscribed
    ) -> None:
        """Hear every clip; once in all, it comes to ``finish`` with what was heard, in batches and from any thread."""
        unknown = [i for i in clips if not results[i].language]
        known = [i for i in clips if results[i].language]
        unsure: list[int] = []
        mixed: list[int] = []
        doubtful: dict[int, str] = {}
        still: dict[int, str] = {}

        def identify(windows: list[Window]) -> None:
            encoded = self._encode(windows, audio)
            self._identify(results, windows, encoded.windows)
            pure = []
            for w, window in enumerate(windows):
                inside = [slot.clip for slot in window.slots]
                asked_again = self._unsure(results, window) if self._whisper.vocabulary.multilingual else set()
                if not asked_again and len({results[i].language for i in inside}) == 1:
                    pure.append(w)
                else:
                    unsure.extend(asked_again)
                    mixed.extend(i for i in inside if i not in asked_again)
            if pure:
                finish(*self._decode(results, [windows[w] for w in pure], encoded.select(pure), doubtful))

        def identify_alone(windows: list[Window]) -> None:
            encoded = self._encode(windows, audio)
            self._identify(results, windows, encoded.windows)
            finish(*self._decode(results, windows, encoded, None))

        def decode(
            planned: list[Window], into: dict[int, str] | None, before: Mapping[int, str] = MappingProxyType({})
        ) -> None:
            def work(windows: list[Window]) -> None:
                finish(*self._decode(results, windows, self._encode(windows, audio), into, before))

            self._each(self._batches(planned), work)

        self._each(self._batches(self._plan(results, unknown, audio)), identify)
        self._each(self._batches(self._plan(results, sorted(unsure), audio, packed=False)), identify_alone)
        decode(self._plan(results, sorted(known + mixed), audio), doubtful)
        decode(self._plan(results, sorted(doubtful), audio, wider=True), still, doubtful)
        decode(self._plan(results, sorted(still), audio, packed=False), None)

    def _plan(
        self,
        results: list[Utterance],
        clips: list[int],
        audio: dict[int, NDArray[np.int16]],
        packed: bool = True,
        wider: bool = False,
    ) -> list[Window]:
        gap_s = self._asr.gap_s
        if wider:
            gap_s = max(gap_s, _WIDER_GAP_S)
        elif all(results[i].recording != results[i].id for i in clips):
            gap_s = self._segment_gap_s
        lengths, languages = [len(audio[i]) for i in clips], [results[i].language for i in clips]
        planned = pack(lengths, languages, gap_s, self._asr.pack and packed)
        return [
            Window(tuple(dataclasses.replace(s, clip=clips[s.clip]) for s in window.slots), window.language)
            for window in planned
        ]

    def _batches(self, windows: list[Window]) -> list[list[Window]]:
        """What is worked on at once; on a CPU an even number of about the same size, so that few cores have to wait."""
        count = -(-len(windows) // self._batch_size)
        if self._whisper.device == "cpu":
            count = min(max(count + count % 2, _LEAST_BATCHES_CPU), len(windows))
        borders = [len(windows) * number // count for number in range(count + 1)] if count else []
        return [windows[a:b] for a, b in pairwise(borders)]

    def _encode(self, windows: list[Window], audio: dict[int, NDArray[np.int16]]) -> EncodedWindows:
        """On a CPU one window after the other: what is worked on stays in its cache, and takes half of the time."""
        import torch

        at_once = 1 if self._whisper.device == "cpu" else len(windows)
        groups = [windows[first : first + at_once] for first in range(0, len(windows), at_once)]
        states_BSW = torch.cat(
            [self._whisper.engine.encode([assemble(window, audio) for window in group]) for group in groups]
        )
        return EncodedWindows(states_BSW, self._whisper.decoder.cache_cross_attention(states_BSW))

    def _decode(
        self,
        results: list[Utterance],
        windows: list[Window],
        encoded: EncodedWindows,
        doubtful: dict[int, str] | None,
        before: Mapping[int, str] = MappingProxyType({}),
    ) -> tuple[list[int], list[Transcription]]:
        """Decode windows and take them apart. Doubtful clips, and what was heard of them, go into the dict instead.

        ``before`` has what doubtful clips got in another window. A clip that gets the same text again is accepted.
        """
        languages = [results[window.slots[0].clip].language or "en" for window in windows]
        states = encoded.windows
        decoded = self._whisper.engine.decode(encoded.states_BSW, languages)
        scored = self._score(decoded, languages, states)
        indices: list[int] = []
        heard: list[Transcription] = []
        for w, window in enumerate(windows):
            parts = self._parts(decoded[w], scored.get(w), window, languages[w])
            loop = compression_ratio(self._whisper.vocabulary.text(decoded[w].tokens)) > _MAX_COMPRESSION
            for slot, part in zip(window.slots, parts, strict=True):
                one = self._heard(decoded[w], scored.get(w), part, states[w], window, slot)
                if doubtful is not None and not window.solo and (loop or _doubtful(one, part, slot.length)):
                    text = normalize(one.hypothesis, languages[w])
                    if loop or not text or text != before.get(slot.clip):
                        doubtful[slot.clip] = text
                        continue
                indices.append(slot.clip)
                heard.append(one)
        return indices, heard

    def _score(
        self, decoded: list[DecodingResult], languages: list[str], states: list[EncoderStates]
    ) -> dict[int, ForcedScores]:
        """Log-probabilities and attention of each window's own tokens, in one teacher-forced pass."""
        spoken = [w for w, one in enumerate(decoded) if one.tokens]
        forced = self._whisper.decoder.force(
            [self._whisper.vocabulary.prompt(languages[w]) for w in spoken],
            [[*decoded[w].tokens, self._whisper.vocabulary.end] for w in spoken],
            [states[w] for w in spoken],
            heads=self._scorer.heads,
        )
        return dict(zip(spoken, forced, strict=True))

    def _parts(
        self, decoded: DecodingResult, scored: ForcedScores | None, window: Window, language: str
    ) -> list[TokenSpan]:
        if window.solo:
            return [TokenSpan(0, len(decoded.tokens), 1.0)]
        if scored is None or scored.attention_HTS is None:
            return [TokenSpan(0, 0, 0.0) for _ in window.slots]
        starts = self._whisper.vocabulary.word_starts(decoded.tokens, language)
        return split(scored.attention_HTS, starts, window.slots)

    def _heard(
        self,
        decoded: DecodingResult,
        scored: ForcedScores | None,
        part: TokenSpan,
        states: EncoderStates,
        window: Window,
        slot: Slot,
    ) -> Transcription:
        logprobs = scored.logprobs[part.first : part.last] if scored else np.zeros(0, dtype=np.float32)
        return Transcription(
            self._whisper.vocabulary.text(decoded.tokens[part.first : part.last]).strip(),
            float(logprobs.mean()) if len(logprobs) else None,
            float(logprobs.min()) if len(logprobs) else None,
            decoded.no_speech_prob if window.solo else None,
            not window.solo,
            states[slot.frames],
            states if window.solo else self._context(states, window, slot),
        )

    def _context(self, states: EncoderStates, window: Window, slot: Slot) -> EncoderStates:
        """A packed clip's states with silence after them: without, Whisper cannot tell that the speech is over.

        The states beside the slot are those of the gap; what follows comes from a window of pure silence, encoded
        once, at the same positions.
        """
        assert self._silence is not None
        place = window.slots.index(slot)
        before = window.slots[place - 1].frames.stop if place else 0
        after = window.slots[place + 1].frames.start if place + 1 < len(window.slots) else WINDOW_FRAMES
        first = max(slot.frames.start - self._margin_frames, (before + slot.frames.start + 1) // 2, 0)
        last = min(slot.frames.stop + self._margin_frames, (slot.frames.stop + after) // 2, WINDOW_FRAMES)
        return concatenate([states[first:last], self._silence[last : last + _SILENCE_FRAMES]])

    def _forward(self, utterance: Utterance, heard: Transcription) -> Utterance:
        return dataclasses.replace(
            texts.with_hypothesis(utterance, heard.hypothesis, self._asr.chinese_script),
            hypothesis=heard.hypothesis,
            decoding="packed" if heard.packed else "solo",
            scores=dataclasses.replace(
                utterance.scores,
                avg_logprob=heard.avg_logprob,
                min_token_logprob=heard.min_token_logprob,
                no_speech_prob=heard.no_speech_prob,
                compression_ratio=compression_ratio(heard.hypothesis) if heard.hypothesis else None,
            ),
        )

    # -- languages that Whisper has no token of -----------------------------------------------------------------------

    def _align_untold(self, results: list[Utterance], clips: list[int], audio: dict[int, NDArray[np.int16]]) -> None:
        """Align what is given; nothing is transcribed."""
        for i in clips:
            results[i] = no_language_token.mark_unjudged(texts.with_hypothesis(results[i], None))

        def work(windows: list[Window]) -> None:
            states = self._encode(windows, audio).windows
            for i, words in no_language_token.align_words(self._scorer, results, windows, states, audio):
                results[i] = dataclasses.replace(results[i], words=words)

        spoken = [i for i in clips if results[i].text]
        self._each(self._batches(self._plan(results, spoken, audio, packed=False)), work)

    # -- backward -------------------------------------------------------------------------------------------------

    def _backward(
        self,
        results: list[Utterance],
        indices: Sequence[int],
        audio: dict[int, NDArray[np.int16]],
        heard: dict[int, Transcription],
    ) -> None:
        spoken = [i for i in indices if results[i].text]
        clips = [
            Clip(audio[i], heard[i].states, heard[i].context, results[i].text or "", results[i].language or "en")
            for i in spoken
        ]
        heard_texts = [results[i].hypothesis if results[i].text_origin == GIVEN else None for i in spoken]
        compared = self._scorer.compare(clips, heard_texts)
        for i, found, llr in zip(spoken, self._scorer.align(clips), compared, strict=True):
            scores = dataclasses.replace(
                results[i].scores,
                min_word_logprob=found.min_word_logprob,
                mean_word_logprob=found.mean_word_logprob,
                eot_logprob=found.eot_logprob,
                llr=llr,
            )
            results[i] = dataclasses.replace(results[i], words=found.words, scores=scores)

    @staticmethod
    def _long_given(results: list[Utterance], clips: list[int]) -> set[int]:
        """Segments of recordings whose given text must be dealt to them first."""
        return {i for i in clips if results[i].text_origin == GIVEN and results[i].recording != results[i].id}


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)  # of the thread that this runs in


def needs_redecoding(utterance: Utterance) -> bool:
    """Whether a clip's given text is unlike what was heard among other clips, or less likely.

    Alone Whisper hears better, and a text that it contradicts there is wrong more often than not.
    """
    if utterance.text_origin != GIVEN or not utterance.text or utterance.decoding != "packed":
        return False
    llr, heard = utterance.scores.llr, utterance.hypothesis or ""
    return (llr is not None and llr < 0.0) or cer(utterance.text, heard, utterance.language) > _MAX_CER


def _doubtful(heard: Transcription, part: TokenSpan, samples: int) -> bool:
    if not heard.hypothesis or heard.avg_logprob is None or heard.min_token_logprob is None:
        return True
    count, seconds = letters(heard.hypothesis), samples / SAMPLE_RATE_HZ
    return (
        part.attention_share < _MIN_INSIDE
        or heard.avg_logprob < _MIN_AVG_LOGPROB
        or heard.min_token_logprob < _MIN_TOKEN_LOGPROB
        or count > _MAX_LETTERS_PER_S * seconds
        or count < _MIN_LETTERS_PER_S * (seconds - _SLOW_S)
    )
