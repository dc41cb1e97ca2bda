"""Whisper's vocabulary as the pipeline needs it: prompts, languages, text tokens with their places in the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.text import is_spaced

MAX_POSITIONS = 448  # Whisper's decoder


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer of one Whisper checkpoint; an English-only one has no language tokens."""

    tokenizer: Any
    multilingual: bool
    languages: dict[str, int]  # code -> token, empty for an English-only checkpoint
    _characters: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, folder: str) -> Vocabulary:
        from transformers import GenerationConfig, WhisperTokenizerFast

        tokenizer = WhisperTokenizerFast.from_pretrained(folder)
        config = GenerationConfig.from_pretrained(folder)
        lang_to_id = getattr(config, "lang_to_id", None) or {}
        multilingual = bool(getattr(config, "is_multilingual", bool(lang_to_id)))
        if multilingual and not lang_to_id:
            raise LLaSOError(f"{folder}: generation_config.json has no lang_to_id; save it with transformers >= 4.38")
        codes = {token.strip("<|>"): int(number) for token, number in lang_to_id.items()}
        if "jw" in codes:  # Whisper's own code for Javanese; ISO 639-1 has jv
            codes["jv"] = codes.pop("jw")
        return cls(tokenizer, multilingual, codes if multilingual else {})

    def special(self, name: str) -> int:
        number = self.tokenizer.convert_tokens_to_ids(name)
        if number is None or (number == self.tokenizer.unk_token_id and name != self.tokenizer.unk_token):
            raise LLaSOError(f"this Whisper tokenizer has no {name} token")
        return int(number)

    @property
    def end(self) -> int:
        return self.special("<|endoftext|>")

    @property
    def start(self) -> int:
        return self.special("<|startoftranscript|>")

    @property
    def no_speech(self) -> int | None:
        for name in ("<|nospeech|>", "<|nocaptions|>"):
            number = self.tokenizer.convert_tokens_to_ids(name)
            if number is not None and number != self.end:
                return int(number)
        return None

    def prompt(self, language: str | None) -> list[int]:
        """Start, language and task, without timestamps."""
        if not self.multilingual:
            return [self.start, self.special("<|notimestamps|>")]
        if language not in self.languages:
            raise LLaSOError(f"this Whisper model knows no language {language!r}; it knows {', '.join(self.languages)}")
        return [
            self.start,
            self.languages[language],
            self.special("<|transcribe|>"),
            self.special("<|notimestamps|>"),
        ]

    def supports(self, language: str) -> bool:
        return language in self.languages if self.multilingual else language == "en"

    def text(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def word_starts(self, tokens: Sequence[int], language: str | None) -> list[int]:
        """The tokens at which a word begins: after a space, or at a whole character where no spaces part words."""
        if not tokens:
            return []
        if is_spaced(language):
            marks = self.tokenizer.convert_ids_to_tokens(list(tokens))
            return [0, *(i for i, mark in enumerate(marks) if i and mark.startswith("\u0120"))]  # Ġ, the space
        starts, first = [0], 0
        for i in range(1, len(tokens)):
            if not self.text(tokens[first:i]).endswith("\ufffd"):  # the bytes before make whole characters
                starts.append(i)
                first = i
        return starts

    def pieces(self, text: str) -> tuple[list[int], list[int]]:
        """BPE tokens of ``" " + text`` and, for each, the place in ``text`` of its last character (-1: the space)."""
        encoded = self.tokenizer(" " + text, add_special_tokens=False, return_offsets_mapping=True)
        return list(encoded["input_ids"]), [int(end) - 2 for _, end in encoded["offset_mapping"]]

    def characters(self, text: str) -> tuple[list[int], list[int]]:
        """One token (or a few byte tokens) per character of ``" " + text``, and each one's place in ``text``."""
        tokens, places = [], []
        for place, character in enumerate(" " + text):
            if character not in self._characters:
                ids = self.tokenizer(character, add_special_tokens=False)["input_ids"]
                self._characters[character] = tuple(ids)
            for token in self._characters[character]:
                tokens.append(token)
                places.append(place - 1)
        return tokens, places
