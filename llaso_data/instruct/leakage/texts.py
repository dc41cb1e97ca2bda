"""Which texts of a set are nearly a given one: MinHash and locality-sensitive hashing, and a count of changed words.

Broder, "On the resemblance and containment of documents" (1997), over n-grams of characters; in bands as Leskovec,
Rajaraman & Ullman have it ("Mining of Massive Datasets", section 3.4). Where one word is changed, one half of the words
stays as it is: the halves are two bands more, and no such text is missed.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import Levenshtein

from llaso_data import text as text_rules
from llaso_data.instruct.leakage.presence import Presence

MOST_CHANGED = 0.2
"""Words that are changed, added or left out, of those of the longer text: one of five. Characters in languages without
spaces."""
LEAST_WORDS = 5
"""Shorter texts are compared whole only."""

_BANDS, _ROWS = 40, 3  # texts that share half of their n-grams are found with a probability of 0.97, 0.6 of them 0.999
_KEYS = _BANDS + 2
_SPACED_NGRAM, _UNSPACED_NGRAM = 3, 2
_SEED = 28


@dataclass(frozen=True, slots=True)
class NormalText:
    """A normalised text and the language that it was normalised in."""

    text: str
    language: str | None

    @classmethod
    def of(cls, text: str, language: str | None) -> NormalText:
        """Normalise a text as it is scored."""
        return cls(text_rules.normalize(text, language), language)

    @property
    def words(self) -> list[str]:
        """Its words; characters in languages without spaces."""
        if text_rules.is_spaced(self.language):
            return self.text.split()  # punctuation is gone
        return [self.text[start:end] for start, end in text_rules.word_spans(self.text, self.language)]


@dataclass(frozen=True, slots=True)
class NearText:
    """A text of the set that is nearly the same: its number, and the share of words that differ."""

    text: int
    changed: float


@dataclass(frozen=True, slots=True)
class TextIndex:
    """Texts by the bands of their MinHashes.

    Attributes:
        texts: The texts.
        keys: (42, texts) the hash of each band, sorted band by band.
        order: (42, texts) the numbers of the texts in that order.
        presence: Which bands have which keys.
    """

    texts: Sequence[NormalText]
    keys: npt.NDArray[np.uint32]
    order: npt.NDArray[np.uint32]
    presence: Presence

    @classmethod
    def of(cls, texts: Sequence[NormalText]) -> TextIndex:
        """Index different texts."""
        keys = np.zeros((_KEYS, len(texts)), np.uint32)
        for number, text in enumerate(texts):
            keys[:, number] = _band_keys(text)
        order = np.zeros_like(keys)
        for band in range(_KEYS):
            order[band] = np.argsort(keys[band], kind="stable")
            keys[band] = keys[band][order[band]]
        return cls(texts, keys, order, Presence.of(_numbered(keys)))

    def find(self, text: NormalText) -> list[NearText]:
        """The texts that differ from this one, but in few words, by their numbers; none for a short one."""
        words = text.words
        if len(words) < LEAST_WORDS:
            return []
        found = []
        for number in self._candidates(text):
            other = self.texts[number]
            if other.text == text.text:
                continue
            theirs = other.words
            longer = max(len(words), len(theirs))
            changed = Levenshtein.distance(words, theirs, score_cutoff=int(MOST_CHANGED * longer)) / longer
            if changed <= MOST_CHANGED:
                found.append(NearText(number, round(changed, 4)))
        return found

    def _candidates(self, text: NormalText) -> list[int]:
        """The texts that share half of the words, or two bands: one of them is shared by chance too often."""
        named: list[npt.NDArray[np.uint32]] = []
        asked = _band_keys(text)
        for band in np.flatnonzero(self.presence.may_have(_numbered(asked[:, None])[:, 0])):
            keys, key = self.keys[band], asked[band]
            first, end = np.searchsorted(keys, key), np.searchsorted(keys, key, "right")
            named += [self.order[band][first:end]] * (1 if band < _BANDS else 2)
        if not named:
            return []
        numbers, bands = np.unique(np.concatenate(named), return_counts=True)
        return [int(number) for number in numbers[bands > 1]]


def _numbered(keys: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
    """Keys, (42, texts), with their bands."""
    bands: npt.NDArray[np.uint64] = np.arange(len(keys), dtype=np.uint64)[:, None] << np.uint64(32)
    return bands | keys


def _band_keys(text: NormalText) -> npt.NDArray[np.uint32]:
    """The hash of each band of a text's MinHash and of either half of its words, (42,)."""
    grams = _ngrams(text)
    factors, offsets = _hash_functions()
    least = ((grams * factors + offsets) >> np.uint64(32)).min(axis=1).reshape(_BANDS, _ROWS)
    mixed = _mixed(_mixed(_mixed(least[:, 0]) ^ least[:, 1]) ^ least[:, 2])
    bands: npt.NDArray[np.uint32] = (mixed >> np.uint64(32)).astype(np.uint32)
    words = text.words
    half, count = len(words) // 2, len(words)
    halves = [zlib.crc32(f"{count} {' '.join(part)}".encode()) for part in (words[:half], words[half:])]
    return np.append(bands, np.array(halves, np.uint32))


def _ngrams(text: NormalText) -> npt.NDArray[np.uint64]:
    """Hashes of the different n-grams of characters, at least one."""
    size = _SPACED_NGRAM if text_rules.is_spaced(text.language) else _UNSPACED_NGRAM
    points = np.frombuffer(f" {text.text} ".ljust(size).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    grams = np.zeros(len(points) - size + 1, np.uint64)
    for place in range(size):
        grams = (grams << np.uint64(21)) | points[place : len(points) - size + 1 + place]
    different: npt.NDArray[np.uint64] = np.unique(_mixed(grams))
    return different


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64: every bit depends on all."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed


@cache
def _hash_functions() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Odd factors and offsets of 120 hash functions, each of shape (120, 1)."""
    drawn = np.random.default_rng(_SEED).integers(0, 1 << 63, (2, _BANDS * _ROWS, 1), np.uint64)
    return drawn[0] * np.uint64(2) + np.uint64(1), drawn[1]
