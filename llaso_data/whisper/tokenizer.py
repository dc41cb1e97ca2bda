"""Whisper's vocabulary as the pipeline needs it: prompts, languages, text tokens with their places in the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llaso_data import languages
from llaso_data.errors import LLaSOError
from llaso_data.text import is_spaced

MAX_POSITIONS = 448  # Whisper's decoder
NONE = "none"  # said of a language for which no other's token shall stand


@dataclass(frozen=True)
class WhisperTokenizer:
    """The tokenizer of one Whisper checkpoint; an English-only one has no language tokens."""

    tokenizer: Any
    multilingual: bool
    languages: dict[str, int]  # code -> token, empty for an English-only checkpoint
    relatives: str | Mapping[str, str] = field(default_factory=dict)  # of the recipe, as :func:`relatives_of` gives it
    _characters: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, folder: str) -> WhisperTokenizer:
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
        """Start, language and task, without timestamps. No language's token stands in it where none does for this."""
        if not self.multilingual:
            return [self.start, self.special("<|notimestamps|>")]
        if language is None:
            raise LLaSOError(f"a Whisper model is told a language; this one knows {', '.join(self.languages)}")
        code = self.token_language(language)
        spoken = [] if code is None else [self.languages[code]]
        return [self.start, *spoken, self.special("<|transcribe|>"), self.special("<|notimestamps|>")]

    def supports(self, language: str) -> bool:
        """Whether the model itself has a token of the language."""
        return language in self.languages if self.multilingual else language == "en"

    def token_language(self, language: str) -> str | None:
        """The language whose token stands for this one: its relative's where the recipe names one, else its own.

        None where there is neither, or the recipe says ``none``.
        """
        own = language if self.supports(language) else None
        if isinstance(self.relatives, str):
            found = own or self.relatives
        else:
            found = self.relatives.get(language) or self.relatives.get(language.partition("-")[0]) or own or NONE
        return None if found == NONE else found

    def is_foreign(self, language: str) -> bool:
        """Whether a model that knows English alone is asked for a language that others of its family know."""
        from transformers.models.whisper.tokenization_whisper import LANGUAGES

        known = {languages.language(code) for code in LANGUAGES}
        return not self.multilingual and self.token_language(language) is None and language in known

    def relatives_of(self, said: str | Mapping[str, str] | None) -> str | dict[str, str]:
        """A recipe's ``whisper_language`` with languages by their names here. Raises LLaSOError for what is none."""
        if said is None:
            return {}
        if isinstance(said, str):
            return self._relative(said)
        found = {}
        for language, relative in said.items():
            name = languages.language(language)
            if name is None:
                raise LLaSOError(f"observe.asr.whisper_language: {language!r} is no language")
            found[name] = self._relative(relative)
        return found

    def _relative(self, said: str) -> str:
        code = NONE if said == NONE else languages.language(said)
        if code is None or (code != NONE and not self.supports(code)):
            known = ", ".join(self.languages) or "en"
            raise LLaSOError(f"observe.asr.whisper_language: the model has no token of {said!r}; it knows {known}")
        return code

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
