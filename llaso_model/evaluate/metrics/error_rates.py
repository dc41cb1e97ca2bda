"""Error rates of words, characters and phonemes (Levenshtein alignment, jiwer): errors over the reference's length."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from llaso_data import languages, text
from llaso_data.extras import needed_for
from llaso_data.text.number_words import unify_numbers
from llaso_model.evaluate.metrics.base import Array, Metric, from_error_rate

# Rules that the package whisper-normalizer 0.1.15 adds to openai-whisper's ("cause" is not always "because").
_NOT_OPENAIS = (r"\bkinda\b", r"\bsorta\b", r"\bdunno\b", r"\bcause\b")

_IPA_JOINED = "\u0361\u035c"  # tie bars: with what follows they are one segment
_IPA_SKIPPED = frozenset("ˈˌ.ˑ|‖‿'’,;:!?\"()[]{}/\\-–—_*` \t\r\n\u200d\u200c")


def _rate(sums: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums[..., 3] > 0, sums[..., :3].sum(axis=-1) / sums[..., 3], np.nan)


WER = Metric("wer", "WER", _rate, "lower", formula="max(0, 1 − WER)", normalised=from_error_rate, limits=(0, 1))
WER_RAW = Metric("wer_raw", "WER, raw", _rate, "lower", limits=(0, 1))
CER = Metric("cer", "CER", _rate, "lower", limits=(0, 1))
CER_RAW = Metric("cer_raw", "CER, raw", _rate, "lower", limits=(0, 1))
PER = Metric("per", "PER", _rate, "lower", formula="max(0, 1 − PER)", normalised=from_error_rate, limits=(0, 1))
WER_SWAPPED = Metric("wer_swapped", "WER, swapped (a mistake)", _rate, "lower")


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> Array:
    """Counts word errors as jiwer does.

    Args:
        references: Words with spaces between them. A pair with an empty reference has insertions only.
        hypotheses: The same of the answers.

    Returns:
        Substitutions, deletions, insertions and words of the reference, (pairs, 4).
    """
    return _errors(references, hypotheses, characters=False)


def character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> Array:
    """As :func:`word_errors`, of characters. Spaces count."""
    return _errors(references, hypotheses, characters=True)


def phoneme_errors(references: Sequence[str], hypotheses: Sequence[str]) -> Array:
    """As :func:`word_errors`, of the IPA segments of the texts (:func:`ipa_segments`)."""
    return word_errors(
        [_as_words(ipa_segments(reference)) for reference in references],
        [_as_words(ipa_segments(phonetic_part(hypothesis))) for hypothesis in hypotheses],
    )


def ipa_segments(ipa: str) -> list[str]:
    """The IPA segments of a transcription: a letter with its diacritics, modifiers and length mark. Tied letters are
    one.

    Stress, syllable breaks, spaces, brackets and punctuation are left out. Every letter counts, Latin or not.
    """
    import unicodedata

    segments: list[str] = []
    joined = False
    for character in unicodedata.normalize("NFD", ipa):
        category = unicodedata.category(character)
        if character in _IPA_SKIPPED:
            joined = False
        elif segments and (joined or category in ("Mn", "Lm", "Sk") or character == "ː"):
            segments[-1] += character
            joined = character in _IPA_JOINED
        elif category[0] in "LN":
            segments.append(character)
    return segments


def phonetic_part(answer: str) -> str:
    """The part of an answer that is the transcription: what stands between slashes or square brackets, else all of
    it."""
    import re

    marked = re.findall(r"/([^/\n]+)/|\[([^\]\n]+)\]", answer)
    return " ".join(slashes or brackets for slashes, brackets in marked) or answer


@cache
def _openai_english() -> object:
    from whisper_normalizer.english import EnglishTextNormalizer

    normaliser = EnglishTextNormalizer()
    for rule in _NOT_OPENAIS:
        normaliser.replacers.pop(rule, None)
    return normaliser


@cache
def whisper_normalise(transcript: str, language: str | None) -> str:
    """Normalises a transcript as training, the demo and evaluation compare it.

    English goes through openai-whisper's English normaliser, other languages through :func:`llaso_data.text.normalize`.
    Before either, all apostrophes become the plain one, and invisible characters are removed.

    Args:
        transcript: The text.
        language: In any usual spelling ("zh", "cmn", "Chinese"); None or empty: English.

    Returns:
        Words with single spaces. In languages without spaces each character is a word, so that WER is a rate of
        characters.
    """
    language = languages.language(language or "") or language
    if text.base_code(language) in ("en", ""):
        normaliser = _openai_english()
        assert callable(normaliser)
        return str(normaliser(text.canonical_characters(transcript))).strip()
    return " ".join(text.tokens(transcript, language))


def normalise_pair(reference: str, hypothesis: str, language: str | None) -> tuple[str, str]:
    """Normalises reference and hypothesis by :func:`whisper_normalise`, and writes equal numbers alike.

    "25" and "veinticinco" become the same word; English is left as openai-whisper's normaliser has it, which writes
    numbers in figures. Chinese is in one script.
    """
    pair = whisper_normalise(reference, language), whisper_normalise(hypothesis, language)
    code = languages.language(language or "") or language
    reference_words, hypothesis_words = unify_numbers(pair[0].split(), pair[1].split(), code)
    return " ".join(reference_words), " ".join(hypothesis_words)


def word_error_count(reference: str, hypothesis: str, language: str | None) -> tuple[int, int]:
    """(word errors, words of the reference) of a pair that :func:`normalise_pair` normalises."""
    from rapidfuzz.distance import Levenshtein

    reference_words, hypothesis_words = (side.split() for side in normalise_pair(reference, hypothesis, language))
    return int(Levenshtein.distance(reference_words, hypothesis_words)), len(reference_words)


def row_rate(counts: Array) -> float:
    """Errors of a row over the length of its reference; of an empty reference, the number of errors."""
    return float(counts[:3].sum() / max(1.0, counts[3]))


def collapse_spaces(transcript: str) -> str:
    """The transcript with single spaces, as raw error rates compare it."""
    return " ".join(transcript.split())


def _as_words(parts: Sequence[str]) -> str:
    return " ".join(parts)


def _errors(references: Sequence[str], hypotheses: Sequence[str], characters: bool) -> Array:
    with needed_for("an error rate"):
        import jiwer

    counts = np.zeros((len(references), 4))
    with_reference = [i for i, reference in enumerate(references) if reference.strip()]
    for i in set(range(len(references))) - set(with_reference):
        hypothesis = hypotheses[i].strip()
        counts[i, 2] = len(hypothesis) if characters else len(hypothesis.split())
    if not with_reference:
        return counts
    process = jiwer.process_characters if characters else jiwer.process_words
    alignment = process([references[i] for i in with_reference], [hypotheses[i] for i in with_reference])
    for i, reference, chunks in zip(with_reference, alignment.references, alignment.alignments, strict=True):
        counts[i, 3] = len(reference)
        for chunk in chunks:
            if chunk.type == "substitute":
                counts[i, 0] += chunk.ref_end_idx - chunk.ref_start_idx
            elif chunk.type == "delete":
                counts[i, 1] += chunk.ref_end_idx - chunk.ref_start_idx
            elif chunk.type == "insert":
                counts[i, 2] += chunk.hyp_end_idx - chunk.hyp_start_idx
    return counts
