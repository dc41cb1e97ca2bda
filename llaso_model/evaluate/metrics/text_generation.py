"""Metrics of free texts against a reference: BLEU, chrF and TER (sacrebleu), ROUGE-L, CIDEr."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from llaso_data import text
from llaso_data.extras import needed_for
from llaso_model.evaluate.metrics.base import Array, Metric, identity, ratio

_UNSPACED = (
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]"  # Thai, Lao, Burmese, Khmer, kana, Han
)
_N = 4  # BLEU's and CIDEr's longest n-gram
_CHARS, _BETA = 6, 2.0  # chrF's longest character n-gram and weight of recall, sacrebleu's defaults


def _bleu(sums: Array) -> Array:
    """Corpus BLEU (Papineni et al. 2002) with sacrebleu's exponential smoothing, of summed statistics."""
    with needed_for("BLEU"):
        from sacrebleu.metrics.bleu import BLEU as Sacre

    flat = sums.reshape(-1, 2 * _N + 2)
    scores = [
        Sacre.compute_bleu(
            [int(x) for x in row[2 : 2 + _N]],
            [int(x) for x in row[2 + _N :]],
            int(row[0]),
            int(row[1]),
            smooth_method="exp",
        ).score
        for row in flat
    ]
    return np.asarray(scores).reshape(sums.shape[:-1])


def _chrf(sums: Array) -> Array:
    """Corpus chrF (Popović 2015) as sacrebleu computes it: F-scores averaged over the orders that occur."""
    triples = sums.reshape(*sums.shape[:-1], _CHARS, 3)
    hypothesis, reference, match = triples[..., 0], triples[..., 1], triples[..., 2]
    occurs = (hypothesis > 0) & (reference > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(hypothesis > 0, match / hypothesis, 0.0)
        recall = np.where(reference > 0, match / reference, 0.0)
        order = occurs.sum(axis=-1)
        mean_p = np.where(order > 0, np.where(occurs, precision, 0.0).sum(axis=-1) / np.maximum(order, 1), 0.0)
        mean_r = np.where(order > 0, np.where(occurs, recall, 0.0).sum(axis=-1) / np.maximum(order, 1), 0.0)
        both = _BETA**2 * mean_p + mean_r
        return np.where(both > 0, 100 * (1 + _BETA**2) * mean_p * mean_r / np.where(both > 0, both, 1), 0.0)


BLEU = Metric("bleu", "BLEU", _bleu, unit="score")
CHRF = Metric("chrf", "chrF", _chrf, unit="score", formula="chrF / 100", normalised=lambda value, limits: value / 100)
TER = Metric("ter", "TER", lambda sums: 100 * ratio(sums), "lower", "score")
ROUGE_L = Metric(
    "rouge_l", "ROUGE-L", ratio, formula="ROUGE-L F1, where not judged", normalised=identity, limits=(0, 1)
)
CIDER = Metric("cider", "CIDEr-D", ratio, unit="number")


def bleu_stats(
    references: Sequence[str], hypotheses: Sequence[str], languages: Sequence[str | None] | None = None
) -> Array:
    """sacrebleu's statistics of BLEU.

    Args:
        references: One for each row.
        hypotheses: The answers.
        languages: Language of each row; None: unknown. Chinese is tokenised by ``zh``, other languages without spaces
            by ``char``, all else by ``13a``.

    Returns:
        (rows, 10): length of hypothesis and reference, matching n-grams of 1 to 4, and n-grams of 1 to 4 in all.
    """
    tokenisers = [_tokeniser(*pair) for pair in zip(references, languages or [None] * len(references), strict=True)]
    rows = np.zeros((len(references), 2 * _N + 2))
    for tokeniser in dict.fromkeys(tokenisers):
        row_numbers = [i for i, name in enumerate(tokenisers) if name == tokeniser]
        metric = _sacrebleu_metric("bleu", tokeniser)
        statistics = metric._extract_corpus_statistics(
            [hypotheses[i] for i in row_numbers], [[references[i] for i in row_numbers]]
        )
        rows[row_numbers] = statistics
    return rows


def _tokeniser(reference: str, language: str | None) -> str:
    """The tokeniser of a language; where the language is unknown or wrong, that of the reference's script."""
    if text.base_code(language) == "zh":
        return "zh"
    if not text.is_spaced(language):
        return "char"
    letters = [character for character in reference if character.isalpha()]
    return "char" if 2 * len(re.findall(_UNSPACED, "".join(letters))) > len(letters) else "13a"


def chrf_stats(references: Sequence[str], hypotheses: Sequence[str]) -> Array:
    """sacrebleu's statistics of chrF.

    Returns:
        (rows, 18): for character n-grams of 1 to 6 those of the hypothesis, of the reference, and of both.
    """
    metric = _sacrebleu_metric("chrf")
    rows = metric._extract_corpus_statistics(list(hypotheses), [list(references)])
    return np.asarray(rows, np.float64)


def ter_stats(references: Sequence[str], hypotheses: Sequence[str]) -> Array:
    """sacrebleu's statistics of TER (Snover et al. 2006). It is slow.

    Returns:
        (rows, 2): edits, shifts included, and the length of the reference.
    """
    metric = _sacrebleu_metric("ter")
    rows = metric._extract_corpus_statistics(list(hypotheses), [list(references)])
    return np.asarray(rows, np.float64)


def signatures() -> dict[str, str]:
    """sacrebleu's signatures of BLEU, chrF and TER as they are computed here."""
    signatures_by_name = {}
    for name in ("bleu", "chrf", "ter"):
        metric = _sacrebleu_metric(name)
        metric.corpus_score(["a"], [["a"]])
        signatures_by_name[name] = str(metric.get_signature())
    return signatures_by_name


def rouge_l(reference: str, hypothesis: str, language: str | None = "en") -> float:
    """ROUGE-L F1 (Lin 2004) as the package rouge-score computes it without stemming.

    Args:
        reference: The text that is right.
        hypothesis: The answer.
        language: English words are runs of [a-z0-9]; words of other languages are :func:`llaso_data.text.tokens`.

    Returns:
        The harmonic mean of precision and recall of the longest common subsequence of words; 0 where either has no
        words.
    """
    from rapidfuzz.distance import LCSseq

    first, second = _words(reference, language), _words(hypothesis, language)
    if not first or not second:
        return 0.0
    common = LCSseq.similarity(first, second)
    precision, recall = common / len(second), common / len(first)
    return 2 * precision * recall / (precision + recall) if common else 0.0


def has_words(written: str, language: str | None = "en") -> bool:
    """Whether a reference has words that an answer can be measured against."""
    return bool(_words(written, language))


def cider(
    references: Sequence[str], hypotheses: Sequence[str], language: str | None = "en", sigma: float = 6.0
) -> list[float]:
    """CIDEr-D with one reference for each hypothesis (Vedantam et al. 2015, equations 1 to 4 and section 4).

    TF-IDF vectors of n-grams of 1 to 4 words, with document frequencies over the references; cosines with clipped
    counts, damped by a Gaussian of the difference in length; mean over n, times 10. Words are those of :func:`rouge_l`.

    Args:
        references: One for each row.
        hypotheses: The answers.
        language: Language of both.
        sigma: Width of the Gaussian, in words.
    """
    counted = [_ngrams(_words(reference, language)) for reference in references]
    frequency = Counter(gram for grams in counted for gram in grams)
    documents = math.log(max(len(references), 1))
    scores = []
    for grams, hypothesis in zip(counted, hypotheses, strict=True):
        hypothesis_grams = _ngrams(_words(hypothesis, language))
        first, first_norms, first_length = _weighted(grams, frequency, documents)
        second, second_norms, second_length = _weighted(hypothesis_grams, frequency, documents)
        likeness = [0.0] * _N
        for gram, weight in second.items():
            if gram in first:
                likeness[len(gram) - 1] += min(weight, first[gram]) * first[gram]
        damped = math.exp(-((first_length - second_length) ** 2) / (2 * sigma**2))
        cosines = [
            common / (a * b) * damped if a and b else 0.0
            for common, a, b in zip(likeness, first_norms, second_norms, strict=True)
        ]
        scores.append(10.0 * sum(cosines) / _N)
    return scores


def _weighted(
    grams: Counter[tuple[str, ...]], frequency: Counter[tuple[str, ...]], documents: float
) -> tuple[dict[tuple[str, ...], float], list[float], int]:
    """TF-IDF by n-gram, norm by n, and the length in words (pycocoevalcap counts bigrams; so do we)."""
    vector = {gram: count * (documents - math.log(max(1.0, frequency[gram]))) for gram, count in grams.items()}
    squares = [0.0] * _N
    for gram, weight in vector.items():
        squares[len(gram) - 1] += weight**2
    return vector, [math.sqrt(square) for square in squares], sum(n for gram, n in grams.items() if len(gram) == 2)


def _ngrams(words: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for n in range(1, _N + 1) for i in range(len(words) - n + 1))


def _words(written: str, language: str | None) -> list[str]:
    if text.base_code(language) in ("en", ""):
        english_words = re.findall(r"[a-z0-9]+", written.lower())
        if english_words or not any(map(str.isalnum, written)):
            return english_words
        return text.tokens(written, "zh")  # an answer in another script than the reference's has words all the same
    return text.tokens(written, language)


@cache
def _sacrebleu_metric(name: str, tokeniser: str | None = None) -> Any:
    with needed_for("a score of generated text"):
        from sacrebleu.metrics.bleu import BLEU as Bleu
        from sacrebleu.metrics.chrf import CHRF as Chrf
        from sacrebleu.metrics.ter import TER as Ter

    constructors: dict[str, Callable[[], Any]] = {
        "bleu": lambda: Bleu(tokenize=tokeniser),
        "chrf": Chrf,
        "ter": Ter,
    }
    return constructors[name]()
