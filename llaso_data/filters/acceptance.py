"""Acceptance sampling: what a person's answers on a sample say of the whole. Pure functions, no files.

A set passes where its true error rate is below :data:`LIMIT` with :data:`CONFIDENCE`, by the one-sided bound of
Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial", Biometrika
26 (1934). The sample is drawn without replacement, for which the binomial bound is on the safe side. Where everything
was heard there is nothing to infer: the rate is what it is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
LIMIT = 0.05

GOOD, BAD_TEXT, BAD_BOUNDARY, UNSURE = "good", "bad_text", "bad_boundary", "unsure"
ANSWERS = (GOOD, BAD_TEXT, BAD_BOUNDARY, UNSURE)
"""What an auditor may say of an item; all but the first make it a defect."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the answers on a sample say of a population; see :func:`find`.

    Attributes:
        population: Utterances of the population.
        items: Utterances of it that were heard.
        defects: Those of them that were not good.
        rate: The share of defects in the sample.
        upper: The bound that the true rate stays below with 95 % confidence, or where all was heard the true rate
            itself.
        passed: Whether that bound is below :data:`LIMIT`.
    """

    population: int
    items: int
    defects: int
    rate: float
    upper: float
    passed: bool

    @property
    def census(self) -> bool:
        """Whether all of the population was heard."""
        return self.items == self.population


def find(population: int, items: int, defects: int) -> Finding:
    """What a sample says of a population.

    Args:
        population: Utterances of the population.
        items: Utterances of it that were heard.
        defects: Those of them that were not good.

    Raises:
        ValueError: The counts are impossible.
    """
    upper = bound(population, items, defects)
    rate = defects / items if items else 0.0
    return Finding(population, items, defects, rate, upper, items > 0 and upper < LIMIT)


def bound(population: int, items: int, defects: int) -> float:
    """The rate of defects in the population that is not exceeded, with 95 % confidence.

    The bound is the upper one of Clopper and Pearson (1934), a quantile of the beta distribution.

    Args:
        population: Utterances of the population.
        items: Utterances of it that were heard.
        defects: Those of them that were not good.

    Returns:
        The rate, exact where all was heard; 1 where nothing was heard, or where all that was heard was bad.

    Raises:
        ValueError: The counts are impossible.
    """
    from scipy.special import betaincinv

    if not 0 <= defects <= items <= population:
        raise ValueError(f"{defects} defects in {items} items of {population}")
    if items == population:
        return defects / items if items else 1.0
    if defects == items:
        return 1.0
    # The quantile of the beta distribution, without the half second that importing scipy.stats takes.
    return float(betaincinv(defects + 1, items - defects, CONFIDENCE))


def allowed(population: int, items: int) -> int | None:
    """The largest number of defects with which a set still passes.

    208 items of a large set allow 5, 59 items none, fewer can never pass.

    Args:
        population: Utterances of the population.
        items: Utterances of it that are heard.

    Returns:
        The number; None where even no defect would do.
    """
    if not find(population, items, 0).passed:
        return None
    least, most = 0, items  # passes with `least`, not with `most`: a set that is all bad never does
    while most - least > 1:
        middle = (least + most) // 2
        if find(population, items, middle).passed:
            least = middle
        else:
            most = middle
    return least


def counted(answers: Collection[str]) -> str | None:
    """The answer that counts for an item: good where every auditor says so, else what is wrong; None without answers.

    One auditor's doubt is enough for a defect. Where auditors name different faults, the first in the order of
    :data:`ANSWERS` is told.
    """
    if not answers:
        return None
    return next((fault for fault in ANSWERS[1:] if fault in answers), GOOD)


def kappa(pairs: Sequence[tuple[bool, bool]]) -> float | None:
    """Cohen's kappa: the agreement of two auditors on the same items, beyond chance.

    Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20 (1960).

    Args:
        pairs: For each item whether the first and the second auditor said that it is good.

    Returns:
        Kappa, at most 1; None where chance explains everything: no common items, or both gave one and the same answer
        throughout.
    """
    if not pairs:
        return None
    both = len(pairs)
    first, second = (sum(pair[side] for pair in pairs) for side in (0, 1))
    agreed = sum(a == b for a, b in pairs)
    by_chance = first * second + (both - first) * (both - second)  # of both²
    if by_chance == both * both:
        return None
    return (agreed * both - by_chance) / (both * both - by_chance)
