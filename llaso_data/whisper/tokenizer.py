"""Whisper's tokenizer as the pipeline needs it: prompts, languages, and text tokens with their offsets in the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llaso_data import languages
from llaso_data.errors import LLaSOError
from llaso_data.text import is_spaced

MAX_POSITIONS = 448  # of Whisper's decoder, prompt included
NO_TOKEN = "none"  # in a recipe, the "related language" of a language that no language's token shall stand for


@dataclass(frozen=True)
class WhisperTokenizer:
    """The tokenizer of one Whisper checkpoint.

    Attributes:
        tokenizer: transformers' WhisperTokenizerFast.
        multilingual: Whether the checkpoint has language tokens; an English-only one has none.
        languages: Token id of each language code; empty for an English-only checkpoint.
        related_languages: The recipe's ``whisper_language``, as :meth:`parse_related_languages` gives it.
    """

    tokenizer: Any
    multilingual: bool
    languages: dict[str, int]
    related_languages: str | Mapping[str, str] = field(default_factory=dict)
    _characters: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, folder: str) -> WhisperTokenizer:
        """Read the tokenizer of the checkpoint in ``folder``. Raises LLaSOError where it names no languages."""
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
        """Id of a special token, such as ``<|notimestamps|>``. Raises LLaSOError where there is none."""
        number = self.tokenizer.convert_tokens_to_ids(name)
        if number is None or (number == self.tokenizer.unk_token_id and name != self.tokenizer.unk_token):
            raise LLaSOError(f"this Whisper tokenizer has no {name} token")
        return int(number)

    @property
    def end(self) -> int:
        """Id of end of text."""
        return self.special("<|endoftext|>")

    @property
    def start(self) -> int:
        """Id of start of transcript."""
        return self.special("<|startoftranscript|>")

    @property
    def no_speech(self) -> int | None:
        """Id of the token whose probability says that nobody speaks; None where there is none."""
        for name in ("<|nospeech|>", "<|nocaptions|>"):
            number = self.tokenizer.convert_tokens_to_ids(name)
            if number is not None and number != self.end:
                return int(number)
        return None

    def prompt(self, language: str | None) -> list[int]:
        """The tokens before the text: start, language, task (transcribe), no timestamps.

        The language's token is left out where :meth:`token_language` gives none. Raises LLaSOError where a multilingual
        checkpoint is given no language.
        """
        if not self.multilingual:
            return [self.start, self.special("<|notimestamps|>")]
        if language is None:
            raise LLaSOError(f"this Whisper model needs a language; it knows {', '.join(self.languages)}")
        code = self.token_language(language)
        language_tokens = [] if code is None else [self.languages[code]]
        return [self.start, *language_tokens, self.special("<|transcribe|>"), self.special("<|notimestamps|>")]

    def never_chosen(self, config: Any, words: int) -> list[int]:
        """The tokens that free decoding without timestamps never chooses.

        Args:
            config: The checkpoint's generation config, which suppresses some.
            words: The size of the model's vocabulary. Timestamps come after ``<|notimestamps|>`` in it.
        """
        timestamps = range(self.special("<|notimestamps|>") + 1, words)
        return [*(getattr(config, "suppress_tokens", None) or ()), *timestamps]

    def supports(self, language: str) -> bool:
        """Whether the model itself has a token of the language."""
        return language in self.languages if self.multilingual else language == "en"

    def token_language(self, language: str) -> str | None:
        """The language whose token is used: the related one where the recipe names one, else the language itself.

        None where there is neither, or the recipe says ``none``.
        """
        own = language if self.supports(language) else None
        related = self.related_languages
        if isinstance(related, str):
            code = own or related
        else:
            code = related.get(language) or related.get(language.partition("-")[0]) or own or NO_TOKEN
        return None if code == NO_TOKEN else code

    def is_foreign(self, language: str) -> bool:
        """Whether this is an English-only model and the language one that multilingual Whispers know."""
        from transformers.models.whisper.tokenization_whisper import LANGUAGES

        known = {languages.language(code) for code in LANGUAGES}
        return not self.multilingual and self.token_language(language) is None and language in known

    def parse_related_languages(self, setting: str | Mapping[str, str] | None) -> str | dict[str, str]:
        """A recipe's ``whisper_language`` with every language by its code.

        Args:
            setting: One language for all that the model has no token of, or a language for each; ``none`` for no token.

        Raises:
            LLaSOError: Something is no language, or the model has no token of what shall stand for one.
        """
        if setting is None:
            return {}
        if isinstance(setting, str):
            return self._related_code(setting)
        codes = {}
        for language, related in setting.items():
            code = languages.language(language)
            if code is None:
                raise LLaSOError(f"observe.asr.whisper_language: {language!r} is no language")
            codes[code] = self._related_code(related)
        return codes

    def _related_code(self, name: str) -> str:
        code = NO_TOKEN if name == NO_TOKEN else languages.language(name)
        if code is None or (code != NO_TOKEN and not self.supports(code)):
            known = ", ".join(self.languages) or "en"
            raise LLaSOError(f"observe.asr.whisper_language: the model has no token of {name!r}; it knows {known}")
        return code

    def text(self, tokens: Sequence[int]) -> str:
        """The text that tokens stand for, special tokens left out; incomplete UTF-8 gives U+FFFD."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def word_starts(self, tokens: Sequence[int], language: str | None) -> list[int]:
        """Indices of the tokens that begin a word, ascending.

        A word begins after a space or, in a language that writes none, at every whole character.
        """
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

    def bpe_tokens(self, text: str) -> tuple[list[int], list[int]]:
        """BPE tokens of ``" " + text``, and for each the offset in ``text`` of its last character (-1: the space)."""
        encoded = self.tokenizer(" " + text, add_special_tokens=False, return_offsets_mapping=True)
        return list(encoded["input_ids"]), [int(end) - 2 for _, end in encoded["offset_mapping"]]

    def character_tokens(self, text: str) -> tuple[list[int], list[int]]:
        """Tokens of the characters of ``" " + text``, and for each its character's offset in ``text`` (-1: the space).

        A character is one token, or a few byte tokens.
        """
        tokens, offsets = [], []
        for offset, character in enumerate(" " + text, start=-1):
            if character not in self._characters:
                ids = self.tokenizer(character, add_special_tokens=False)["input_ids"]
                self._characters[character] = tuple(ids)
            for token in self._characters[character]:
                tokens.append(token)
                offsets.append(offset)
        return tokens, offsets
