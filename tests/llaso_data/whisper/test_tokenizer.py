"""Whisper's tokenizer in sixteen languages: a place for every token, tokens for every word, a prompt for each."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from llaso_data.align.backward import in_whisper_style, word_logprobs
from llaso_data.errors import LLaSOError
from llaso_data.text import is_spaced, word_spans
from llaso_data.whisper.tokenizer import MAX_POSITIONS, WhisperTokenizer

SENTENCES = {
    "en": "The quick brown fox jumps over the lazy dog.",
    "zh": "天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。",
    "es": "El veloz murciélago hindú comía feliz cardillo y kiwi.",
    "fr": "Portez ce vieux whisky au juge blond qui fume, s'il vous plaît !",
    "de": "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "it": "Quel vituperabile fez sbagliato ci provoca danni.",
    "pt": "À noite, vovô Kowalsky vê o ímã cair no pé do pinguim.",
    "ru": "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "ja": "いろはにほへと、散りぬるを。東京タワーは333メートル。",
    "ko": "다람쥐 헌 쳇바퀴에 타고파.",
    "ar": "صِف خَلقَ خَودٍ كَمِثلِ الشَمسِ إِذ بَزَغَت.",
    "hi": "ऊँट के मुँह में जीरा कहावत बहुत पुरानी और मशहूर है।",
    "pl": "Pchnąć w tę łódź jeża lub ośm skrzyń fig.",
    "nl": "Pa's wijze lynx bezag vroom het fikse aquaduct.",
    "tr": "Pijamalı hasta yağız şoföre çabucak güvendi.",
    "vi": "Con sói nâu nhảy qua con chó lười biếng đang ngủ.",
}
SIXTEEN = pytest.mark.parametrize("language", SENTENCES)


@functools.cache
def vocabulary(folder: Path) -> WhisperTokenizer:
    return WhisperTokenizer.load(str(folder))


@SIXTEEN
def test_pieces_are_the_text_and_their_places_its_characters(whisper_base: Path, language: str) -> None:
    text = SENTENCES[language]
    tokens, places = vocabulary(whisper_base).bpe_tokens(text)
    assert vocabulary(whisper_base).text(tokens) == " " + text
    assert len(tokens) == len(places)
    assert places == sorted(places) and places[0] >= -1 and places[-1] == len(text) - 1


@SIXTEEN
def test_every_word_has_a_log_probability_from_its_own_tokens(whisper_base: Path, language: str) -> None:
    text = SENTENCES[language]
    tokens, places = vocabulary(whisper_base).bpe_tokens(text)
    spans = word_spans(text, language)
    # Each token's "log-probability" is the place of its last character, so a word's mean lies in the word.
    means = word_logprobs(np.array(places, dtype=np.float32), places, spans)
    assert len(means) == len(spans)
    if is_spaced(language):
        assert all(a - 1 <= mean < b for (a, b), mean in zip(spans, means, strict=True))
    else:  # a token may hold several of the words, which are single characters
        longest = max(len(vocabulary(whisper_base).text([token])) for token in tokens)
        assert all(a - 1 <= mean < b + longest for (a, b), mean in zip(spans, means, strict=True))


@SIXTEEN
def test_every_character_has_tokens_and_they_spell_it(whisper_base: Path, language: str) -> None:
    text = SENTENCES[language]
    tokens, places = vocabulary(whisper_base).character_tokens(text)
    assert vocabulary(whisper_base).text(tokens) == " " + text
    assert sorted(set(places)) == list(range(-1, len(text)))
    assert places == sorted(places)
    for place, character in enumerate(text):
        own = [token for token, at in zip(tokens, places, strict=True) if at == place]
        assert vocabulary(whisper_base).text(own) == character


@SIXTEEN
def test_words_begin_where_a_space_or_a_whole_character_does(whisper_base: Path, language: str) -> None:
    text = SENTENCES[language]
    words = vocabulary(whisper_base)
    tokens, _ = words.bpe_tokens(text)
    starts = words.word_starts(tokens, language)
    assert starts[0] == 0 and starts == sorted(set(starts))
    parts = [words.text(tokens[a:b]) for a, b in zip(starts, [*starts[1:], len(tokens)], strict=True)]
    assert "".join(parts) == " " + text  # no part ends inside a character
    if is_spaced(language):
        assert [part.strip() for part in parts] == text.split()
    else:
        assert len(parts) >= len(text) / 3


@SIXTEEN
def test_the_prompt_names_the_language(whisper_base: Path, language: str) -> None:
    words = vocabulary(whisper_base)
    assert words.supports(language)
    names = words.tokenizer.convert_ids_to_tokens(words.prompt(language))
    assert names == ["<|startoftranscript|>", f"<|{language}|>", "<|transcribe|>", "<|notimestamps|>"]


@SIXTEEN
def test_a_sentence_keeps_its_length_when_its_case_is_mended(language: str) -> None:
    for text in (SENTENCES[language], SENTENCES[language].upper(), SENTENCES[language].lower()):
        assert len(in_whisper_style(text)) == len(text)


def test_the_wheels_missing_merge_is_there(whisper_base: Path, tiny_en: Path) -> None:
    for folder in (whisper_base, tiny_en):
        words = vocabulary(folder)
        assert words.tokenizer.convert_ids_to_tokens(words.bpe_tokens("the cat")[0]) == ["Ġthe", "Ġcat"]


def test_an_english_only_model_has_english_alone(tiny_en: Path) -> None:
    words = vocabulary(tiny_en)
    assert not words.multilingual and words.languages == {}
    assert words.supports("en") and not words.supports("fr")
    names = words.tokenizer.convert_ids_to_tokens(words.prompt("en"))
    assert names == ["<|startoftranscript|>", "<|notimestamps|>"]
    assert words.prompt(None) == words.prompt("en")


def test_no_token_stands_for_a_language_that_has_none(whisper_base: Path) -> None:
    words = vocabulary(whisper_base)
    assert not words.supports("hsb") and len(words.languages) == 99
    spoken = words.prompt("de")
    assert spoken[1] == words.languages["de"] and words.prompt("hsb") == [spoken[0], *spoken[2:]]
    with pytest.raises(LLaSOError, match=r"needs a language; it knows en, zh, de"):
        words.prompt(None)


def test_special_tokens_differ_and_an_unknown_one_is_an_error(whisper_base: Path, tiny_en: Path) -> None:
    for folder in (whisper_base, tiny_en):
        words = vocabulary(folder)
        assert len({words.end, words.start, words.no_speech, words.special("<|notimestamps|>")}) == 4
        assert words.no_speech is not None
        with pytest.raises(LLaSOError, match=r"this Whisper tokenizer has no <\|nothing\|> token"):
            words.special("<|nothing|>")


def test_special_tokens_are_no_text(whisper_base: Path) -> None:
    words = vocabulary(whisper_base)
    assert words.text([*words.prompt("en"), *words.bpe_tokens("yes")[0], words.end]) == " yes"
    assert words.text([]) == "" and words.word_starts([], "en") == []


def test_a_multilingual_checkpoint_without_its_languages_is_refused(whisper_base: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"):
        shutil.copy(whisper_base / name, tmp_path)
    config = json.loads((whisper_base / "generation_config.json").read_text())
    del config["lang_to_id"]
    (tmp_path / "generation_config.json").write_text(json.dumps(config))
    with pytest.raises(LLaSOError, match="has no lang_to_id"):
        WhisperTokenizer.load(str(tmp_path))


@pytest.mark.parametrize("text", ["", " ", "a", "😀", "naïve café", "e\u0301", "\u200f", "a  b\n\tc", "<|endoftext|>"])
def test_odd_texts_keep_their_places(whisper_base: Path, text: str) -> None:
    tokens, places = vocabulary(whisper_base).bpe_tokens(text)
    assert len(tokens) == len(places) and all(-1 <= place < max(1, len(text)) for place in places)
    tokens, places = vocabulary(whisper_base).character_tokens(text)
    assert sorted(set(places)) == list(range(-1, len(text)))
    assert len(tokens) < MAX_POSITIONS
