"""Encoding windows of clips, decoding them freely, and dividing what comes of it among the clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llaso_data.asr.split import TokenSpan, masses, split, territories
from llaso_data.text import compression_ratio
from llaso_data.whisper.clips import ForcedTokens
from llaso_data.whisper.encoder_states import EncoderStates
from llaso_data.whisper.engine import DecodingResult
from llaso_data.whisper.load import Whisper
from llaso_data.whisper.teacher_forcing import Decoder, ForcedScores
from llaso_data.whisper.windows import FRAME_S, WINDOW_FRAMES, WINDOW_SAMPLES, Slot, Window, assemble

if TYPE_CHECKING:
    import torch

_MAX_COMPRESSION = 2.4  # of a window's text: beyond, Whisper repeats itself (Radford et al. 2022, section 4.5)
_SILENCE_FRAMES = 200  # appended to a packed clip's states: with 4 s the end of text is as likely as with 16 s
_NO_LOGPROBS = np.zeros(0, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Transcription:
    """What free decoding gives for one clip.

    Attributes:
        clip: The clip's number.
        hypothesis: Its text.
        avg_logprob: Mean log-probability of its tokens; None where it got none.
        min_token_logprob: The lowest of them.
        no_speech_prob: Of a clip alone; of a packed window the probability says nothing of one clip.
        packed: Whether other clips were in the window.
        attention_share: Of its tokens' attention, the share that lies in its own slot, 0-1.
        looped: Whether the window's text repeats itself.
        states: The clip's own slice of the encoder states.
        context: The states that its text is scored over: the window, or its slice with silence around it.
        forced: Scores of what was forced over ``context``: of a clip alone, its window's tokens.
    """

    clip: int
    hypothesis: str
    avg_logprob: float | None
    min_token_logprob: float | None
    no_speech_prob: float | None
    packed: bool
    attention_share: float
    looped: bool
    states: EncoderStates
    context: EncoderStates
    forced: Mapping[ForcedTokens, ForcedScores]


@dataclass(frozen=True, slots=True)
class _Heard:
    """A window's text, its tokens' scores if it has any, and of a packed one where they lie (tokens and end, slots)."""

    result: DecodingResult
    scores: ForcedScores | None
    masses_TK: NDArray[np.float32] | None
    looped: bool


class EncodedWindows:
    """A batch of encoded windows: the states that the engine decodes, and each window's for teacher forcing.

    The latter have keys and values, which are large. They are computed when first asked for, so that the engine has
    decoded and freed its own by then.
    """

    def __init__(self, states_BSW: torch.Tensor, decoder: Decoder, windows: list[EncoderStates] | None = None) -> None:
        """``windows``: with keys and values by ``decoder``, where they are known."""
        self.states_BSW = states_BSW
        self._decoder, self._windows = decoder, windows

    @property
    def windows(self) -> list[EncoderStates]:
        """Each window's states with keys and values."""
        if self._windows is None:
            self._windows = self._decoder.cache_cross_attention(self.states_BSW)
        return self._windows

    def select(self, chosen: list[int]) -> EncodedWindows:
        """The windows of these numbers."""
        return EncodedWindows(self.states_BSW[chosen], self._decoder, [self.windows[w] for w in chosen])


class WindowDecoder:
    """Encodes and decodes windows of clips with one Whisper; threads may use it at once."""

    def __init__(self, whisper: Whisper, heads: int, gap_s: float, scores: bool = True) -> None:
        """Use a loaded model.

        Args:
            whisper: The model.
            heads: How many cross-attention heads locate the tokens of a packed window.
            gap_s: Seconds of silence between packed clips; half of it belongs to the clip on either side.
            scores: Whether the tokens of a clip alone are scored. A packed window's are forced in any case, because
                only their attention tells which of them are whose.
        """
        self._whisper = whisper
        self._heads, self._scores = heads, scores
        self._margin_frames = round(gap_s / FRAME_S) // 2
        self._silence: EncoderStates | None = None

    def encode_silence(self) -> None:
        """Encode a window of silence, once, which the context of packed clips takes frames of."""
        if self._silence is None:
            window = Window((Slot(0, 0, WINDOW_SAMPLES),), None)
            (self._silence,) = self.encode([window], {0: np.zeros(WINDOW_SAMPLES, dtype=np.int16)}).windows

    def encode(self, windows: Sequence[Window], audio: Mapping[int, NDArray[np.int16]]) -> EncodedWindows:
        """Encode windows of the clips in ``audio`` (16 kHz samples, by the clips' numbers)."""
        import torch

        # On a CPU one window at a time: its activations stay in the cache, and it takes half of the time.
        at_once = 1 if self._whisper.device == "cpu" else len(windows)
        groups = [windows[first : first + at_once] for first in range(0, len(windows), at_once)]
        states_BSW = torch.cat(
            [self._whisper.engine.encode([assemble(window, audio) for window in group]) for group in groups]
        )
        return EncodedWindows(states_BSW, self._whisper.decoder)

    def decode(
        self, windows: Sequence[Window], encoded: EncodedWindows, languages: Sequence[str]
    ) -> list[Transcription]:
        """Decode windows freely, and divide each window's text among its clips.

        Args:
            windows: The windows.
            encoded: The same windows encoded.
            languages: The language of each window.

        Returns:
            A transcription of every clip, window by window, slot by slot.
        """
        greedy = self._whisper.decoder.greedy is not None
        heard = (self._decode_and_score if greedy else self._decode_then_score)(windows, encoded, languages)
        vocabulary = self._whisper.vocabulary
        transcriptions = []
        for w, (window, one) in enumerate(zip(windows, heard, strict=True)):
            scores, result = one.scores, one.result
            name = tuple(vocabulary.prompt(languages[w])), (*result.tokens, vocabulary.end)
            forced = {name: scores} if window.solo and scores else {}
            looped = one.looped or compression_ratio(vocabulary.text(result.tokens)) > _MAX_COMPRESSION
            for slot, span in zip(window.slots, self._token_spans(one, window, languages[w]), strict=True):
                logprobs = _NO_LOGPROBS if scores is None else scores.logprobs[span.first : span.last]
                transcription = Transcription(
                    slot.clip,
                    vocabulary.text(result.tokens[span.first : span.last]).strip(),
                    float(logprobs.mean()) if len(logprobs) else None,
                    float(logprobs.min()) if len(logprobs) else None,
                    result.no_speech_prob if window.solo else None,
                    not window.solo,
                    span.attention_share,
                    looped,
                    encoded.windows[w][slot.frames],
                    encoded.windows[w] if window.solo else self.context(encoded.windows[w], window, slot),
                    forced,
                )
                transcriptions.append(transcription)
        return transcriptions

    def context(self, states: EncoderStates, window: Window, slot: Slot) -> EncoderStates:
        """A packed clip's states with silence around them; without it Whisper cannot tell that the speech is over.

        The states beside the slot are those of the gap. What follows them comes from a window of silence, at the same
        positions; :meth:`encode_silence` comes first.
        """
        assert self._silence is not None
        position = window.slots.index(slot)
        before = window.slots[position - 1].frames.stop if position else 0
        after = window.slots[position + 1].frames.start if position + 1 < len(window.slots) else WINDOW_FRAMES
        first = max(slot.frames.start - self._margin_frames, (before + slot.frames.start + 1) // 2, 0)
        last = min(slot.frames.stop + self._margin_frames, (slot.frames.stop + after) // 2, WINDOW_FRAMES)
        return states[first:last].followed_by(self._silence[last : last + _SILENCE_FRAMES])

    def _decode_and_score(
        self, windows: Sequence[Window], encoded: EncodedWindows, languages: Sequence[str]
    ) -> list[_Heard]:
        """Decode windows and score their tokens in the same steps."""
        places = [None if window.solo else territories(window.slots) for window in windows]
        return [
            _Heard(
                one.result,
                ForcedScores(one.logprobs, one.end_logprobs, None) if one.result.tokens else None,
                one.masses_TK,
                one.looped,
            )
            for one in self._whisper.decoder.decode(encoded.windows, languages, places, self._heads)
        ]

    def _decode_then_score(
        self, windows: Sequence[Window], encoded: EncodedWindows, languages: Sequence[str]
    ) -> list[_Heard]:
        """Decode windows by the engine, then force their tokens; of packed windows the attention locates them."""
        vocabulary = self._whisper.vocabulary
        results = self._whisper.engine.decode(encoded.states_BSW, languages)
        rows = {
            w: (vocabulary.prompt(languages[w]), (*result.tokens, vocabulary.end))
            for w, result in enumerate(results)
            if result.tokens and (self._scores or not windows[w].solo)
        }
        heard = [_Heard(result, None, None, False) for result in results]
        for heads in (0, self._heads):
            chosen = [w for w in rows if windows[w].solo is (heads == 0)]
            prompts, targets = [rows[w][0] for w in chosen], [rows[w][1] for w in chosen]
            states = [encoded.windows[w] for w in chosen]
            for w, scores in zip(
                chosen, self._whisper.decoder.force(prompts, targets, states, heads=heads), strict=True
            ):
                attention_HTS = scores.attention_HTS
                masses_TK = None if attention_HTS is None else masses(attention_HTS, windows[w].slots)
                heard[w] = _Heard(results[w], scores, masses_TK, False)
        return heard

    def _token_spans(self, heard: _Heard, window: Window, language: str) -> list[TokenSpan]:
        tokens = heard.result.tokens
        if window.solo:
            return [TokenSpan(0, len(tokens), 1.0)]
        if heard.masses_TK is None:
            return [TokenSpan(0, 0, 0.0) for _ in window.slots]
        return split(heard.masses_TK, self._whisper.vocabulary.word_starts(tokens, language))
