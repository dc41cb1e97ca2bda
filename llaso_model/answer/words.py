"""Word times of answers that say what is said: Whisper's decoder is forced over the text, and its attention aligned."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llaso_data.align.scorer import Scorer
from llaso_data.asr.language_id import identify_languages
from llaso_data.audio import Pcm
from llaso_data.errors import LLaSOError
from llaso_data.io.hub import checkpoint
from llaso_data.recipe import Align, Asr, Run
from llaso_data.records import Word
from llaso_data.whisper.clips import Clip
from llaso_data.whisper.load import load
from llaso_data.whisper.windows import WINDOW_SAMPLES, Slot, Window, assemble


class WordAligner:
    """Aligns the words of texts with a Whisper.

    Args:
        model: Folder or hub id of a Whisper.
        key: What errors call it, such as the option that named it.

    Raises:
        LLaSOError: There is no such model, or it is no Whisper.
    """

    def __init__(self, model: str, key: str) -> None:
        folder = checkpoint(key, model, None, kind="whisper")
        self._whisper = load(Asr(model=folder, engine="torch"), Run())
        self._scorer = Scorer(self._whisper.decoder, Align())

    def language_of(self, pcm: Pcm) -> str:
        """The code of the language that is spoken in the first 30 s of 16 kHz mono samples."""
        return self._heard(self._states(pcm[:WINDOW_SAMPLES], None))

    def words(self, pcm: Pcm, text: str, language: str | None) -> tuple[Word, ...]:
        """The words of a text with their times in seconds; none where the text does not fit the sound.

        Args:
            pcm: 16 kHz mono samples of at most 30 s.
            text: What is said in them.
            language: Its code; None: Whisper says.

        Raises:
            LLaSOError: The sound is longer, or Whisper does not know the language.
        """
        if len(pcm) > WINDOW_SAMPLES:
            raise LLaSOError("word times are of pieces of up to 30 s: cut the audio at pauses (--cut)")
        if not text.strip():
            return ()
        states = self._states(pcm, language)
        if language is None:
            language = self._heard(states)
        elif not self._whisper.vocabulary.supports(language):
            raise LLaSOError(f"this Whisper does not know the language {language}: name another one (--whisper)")
        frames = Slot(0, 0, len(pcm)).frames
        (scores,) = self._scorer.align([Clip(pcm, states[frames], states, text, language)])
        return tuple(replace(word, start_s=float(word.start_s), end_s=float(word.end_s)) for word in scores.words)

    def _states(self, pcm: Pcm, language: str | None) -> Any:
        """The encoder's states of a window with one clip."""
        window = assemble(Window((Slot(0, 0, len(pcm)),), language), {0: pcm})
        return self._whisper.decoder.cache_cross_attention(self._whisper.engine.encode([window]))[0]

    def _heard(self, states: Any) -> str:
        return identify_languages(self._whisper, {0: states}, ())[0][0]
