"""Known faults, planted into pairs of audio and text that are right: what corpora get wrong, one at a time.

A planted pair is an utterance like any other, with a pointer to the same audio or to a part of it. So whatever observes
a corpus observes planted pairs, too, and the rules show what they find. Everything here is a pure function.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from llaso_data.records import GIVEN, NO_SCORES, UNKNOWN, Utterance, digest
from llaso_data.text import HALLUCINATIONS, is_spaced, normalize, word_spans

CLEAN = "none"
TEXT_FAULTS = (
    "text of another clip",
    "word substituted",
    "word deleted",
    "word inserted",
    "two words swapped",
    "text cut at the start",
    "text cut at the end",
    "text of another language",
    "sentence repeated",
    "closing phrase",
)
AUDIO_FAULTS = ("audio cut at the start", "audio cut at the end", "audio of another language")
FAULTS = (*TEXT_FAULTS, *AUDIO_FAULTS)

_MIN_CUT_WORD_S = 0.06  # a shorter word is not cut
_KEPT = (0.1, 0.5)  # of a cut word: the share that stays is drawn from this range
_MIN_CUT_CLIP_S = 0.5  # what is shorter after a cut would be rejected for its length
_MOST_CUT_WORDS = 3  # of a text that is cut
_TRIES = 50  # to draw one that differs


@dataclass(frozen=True, slots=True)
class Planted:
    """A pair with one fault, or none.

    Attributes:
        utterance: The pair, unobserved.
        origin: The id of the utterance that it was made of.
        fault: One of :data:`FAULTS`, or :data:`CLEAN`.
    """

    utterance: Utterance
    origin: str
    fault: str


@dataclass(frozen=True, slots=True)
class Texts:
    """What is said in a corpus, in one language.

    Attributes:
        language: The language.
        texts: Its texts.
        vocabulary: Its words as they stand in the texts, without punctuation.
        foreign: Texts in other languages.
    """

    language: str
    texts: Sequence[str]
    vocabulary: Sequence[str]
    foreign: Sequence[str]

    @classmethod
    def of(cls, language: str, texts: Sequence[str], foreign: Sequence[str]) -> Texts:
        """With the words of the texts as the vocabulary."""
        words = {_bare(piece) for text in texts for piece in units(text, language)}
        return cls(language, texts, sorted(word for word in words if normalize(word, language)), foreign)


@dataclass(frozen=True)
class Corpus:
    """The right pairs of one language, and texts and sounds of others to confuse them with.

    Attributes:
        language: The language.
        clean: Observed utterances whose text is right, with words and their times.
        foreign: Right pairs of other languages.
    """

    language: str
    clean: Sequence[Utterance]
    foreign: Sequence[Utterance] = ()

    @cached_property
    def said(self) -> Texts:
        """The texts of the pairs."""
        texts = sorted({one.text for one in self.clean if one.text})
        return Texts.of(self.language, texts, [one.text for one in self.foreign if one.text])


def plant(corpus: Corpus, faults: int, seed: int = 0) -> list[Planted]:
    """The clean pairs, and each with some of the faults.

    Which ones is drawn for each pair so that all faults that can be made come about equally often.

    Args:
        corpus: The pairs.
        faults: How many faults each pair is planted with, each in a pair of its own.
        seed: Another seed draws others.

    Returns:
        Planted pairs in an order that mixes faults and clean pairs.
    """
    counts: dict[str, int] = defaultdict(int)
    planted = []
    for one in sorted(corpus.clean, key=lambda one: one.id):
        planted.append(_pair(one, one, CLEAN, {}))
        possible = _planted_each(corpus, one, seed)
        rng = seeded(seed, "which", one.id)
        order = sorted(possible, key=lambda fault: (counts[fault], rng.random()))
        for fault in order[:faults]:
            counts[fault] += 1
            planted.append(possible[fault])
    return sorted(planted, key=lambda pair: digest(seed, pair.utterance.id))


def units(text: str, language: str | None) -> list[str]:
    """The text in pieces of one word each, with what stands around it. Joined they are the text."""
    if is_spaced(language):
        starts = [i for i in range(len(text)) if not text[i].isspace() and (not i or text[i - 1].isspace())]
    else:
        starts = [start for start, _ in word_spans(text, language)]
    return [text[a:b] for a, b in pairwise([0, *starts[1:], len(text)])] if starts else []


def wrong_texts(rng: random.Random, text: str, corpus: Texts) -> dict[str, str]:
    """By name each of :data:`TEXT_FAULTS` that can be made of a text. A single word can be neither cut nor swapped.

    Args:
        rng: Random numbers.
        text: The text.
        corpus: What else is said in its corpus.
    """
    language = corpus.language
    space = " " if is_spaced(language) else ""
    pieces = units(text, language)
    said = [normalize(piece, language) for piece in pieces]
    spoken = [i for i, form in enumerate(said) if form]
    same = normalize(text, language)
    found: dict[str, str | None] = {
        "text of another clip": _unlike(rng, corpus.texts, {same}, language),
        "text of another language": rng.choice(corpus.foreign) if corpus.foreign else None,
        "sentence repeated": text.rstrip() + space + text,
    }
    if language in HALLUCINATIONS:
        found["closing phrase"] = f"{text.rstrip()} {rng.choice(HALLUCINATIONS[language])}."
    if spoken:
        place = rng.choice(spoken)
        other = _unlike(rng, corpus.vocabulary, {said[place]}, language)
        if other is not None:
            found["word substituted"] = "".join([*pieces[:place], _like(pieces[place], other), *pieces[place + 1 :]])
        place = rng.choice([*spoken, len(pieces)])
        other = _unlike(rng, corpus.vocabulary, set(said), language)
        if other is not None:
            before = "".join(pieces[:place]).rstrip()
            found["word inserted"] = space.join([before, other, "".join(pieces[place:])])
    if len(spoken) > 1:
        place = rng.choice(spoken)
        found["word deleted"] = "".join([*pieces[:place], *pieces[place + 1 :]])
        count = min(rng.randint(1, _MOST_CUT_WORDS), len(spoken) - 1)
        found["text cut at the start"] = "".join(pieces[spoken[count - 1] + 1 :])
        found["text cut at the end"] = "".join(pieces[: spoken[-count]])
        swaps = [(a, b) for a, b in pairwise(spoken) if said[a] != said[b]]
        if swaps:
            a, b = rng.choice(swaps)
            swapped = list(pieces)
            swapped[a], swapped[b] = _like(pieces[a], _bare(pieces[b])), _like(pieces[b], _bare(pieces[a]))
            found["two words swapped"] = "".join(swapped)
    return {
        fault: wrong.strip()
        for fault, wrong in found.items()
        if wrong is not None and normalize(wrong, language) != same
    }


def _planted_each(corpus: Corpus, one: Utterance, seed: int) -> dict[str, Planted]:
    """The pair with each fault, by name, that can be made of its text or its audio."""
    texts = wrong_texts(seeded(seed, "text", one.id), one.text or "", corpus.said)
    found = {fault: _pair(one, one, fault, {"text": wrong}) for fault, wrong in texts.items()}
    for at_end, fault in ((False, AUDIO_FAULTS[0]), (True, AUDIO_FAULTS[1])):
        span = _cut(one, at_end, seeded(seed, fault, one.id))
        if span is not None:
            found[fault] = _pair(one, one, fault, {}, span)
    if corpus.foreign:
        other = seeded(seed, AUDIO_FAULTS[2], one.id).choice(corpus.foreign)
        found[AUDIO_FAULTS[2]] = _pair(one, other, AUDIO_FAULTS[2], {})
    return found


def _cut(one: Utterance, at_end: bool, rng: random.Random) -> tuple[float, float] | None:
    """The part of the clip, in seconds from its start, that ends or begins within its last or first word."""
    if not one.words or one.duration_s is None:
        return None
    word = one.words[-1 if at_end else 0]
    if word.end_s - word.start_s < _MIN_CUT_WORD_S:
        return None
    kept_s = rng.uniform(*_KEPT) * (word.end_s - word.start_s)
    first_s, last_s = (0.0, word.start_s + kept_s) if at_end else (word.end_s - kept_s, one.duration_s)
    return (first_s, last_s) if last_s - first_s >= _MIN_CUT_CLIP_S else None


def _pair(
    texts_of: Utterance,
    sound_of: Utterance,
    fault: str,
    change: Mapping[str, str],
    span: tuple[float, float] | None = None,
) -> Planted:
    """An unobserved utterance with one's text and another's sound, or a span of it in seconds from its start."""
    source = sound_of.source
    if span is not None:
        start_s = source.start_s or 0.0
        source = dataclasses.replace(source, start_s=round(start_s + span[0], 3), end_s=round(start_s + span[1], 3))
    name = digest("planted", texts_of.id, sound_of.id, fault, *(change.values()), *(span or ()))
    # What Whisper identified it identifies again, but of speech in another language than the text says.
    language = texts_of.language if texts_of.language_origin == GIVEN or sound_of is not texts_of else None
    utterance = dataclasses.replace(
        texts_of,
        id=name,
        recording=name,
        source=source,
        audio_id=None,
        duration_s=None,
        language=language,
        language_origin=UNKNOWN if language is None else GIVEN,
        text=change.get("text", texts_of.text),
        text_origin=GIVEN,
        text_given=None,
        hypothesis=None,
        words=(),
        decoding=None,
        scores=NO_SCORES,
        failure=None,
    )
    return Planted(utterance, texts_of.id, fault)


def seeded(*parts: object) -> random.Random:
    """The same random numbers for the same names, whatever was drawn before."""
    return random.Random(hashlib.sha256("/".join(map(str, parts)).encode()).digest())


def _unlike(rng: random.Random, choices: Sequence[str], said: set[str], language: str) -> str | None:
    """One of the choices that says none of these; None where there is hardly one."""
    for _ in range(_TRIES if choices else 0):
        one = rng.choice(choices)
        form = normalize(one, language)
        if form and form not in said:
            return one
    return None


def _bare(piece: str) -> str:
    """A word without the punctuation and the spaces around it."""
    inside = [i for i, character in enumerate(piece) if unicodedata.category(character)[0] not in "PZSC"]
    return piece[inside[0] : inside[-1] + 1] if inside else ""


def _like(place: str, word: str) -> str:
    """The word as it would be written where another stood: with its capital and what stands around it."""
    bare = _bare(place)
    before, _, after = place.partition(bare)
    first = word[:1].upper() if bare[:1].isupper() else word[:1].lower()
    return f"{before}{first}{word[1:]}{after}"
