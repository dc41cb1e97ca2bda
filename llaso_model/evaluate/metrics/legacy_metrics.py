"""The rules of the scripts that were published with LLaSO-Eval, mistakes included, so that figures can be compared.

They are of github.com/EIT-NLP/LLaSO, ``llaso/evaluation/metrics/`` at commit 0907788, written anew. Nothing that LLaSO
reports is made of them but the columns that say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

# error_rate/assess_per_eval.py maps "61 phonemes to 39" by number; the letters A to Z are numbers 0 to 25 here.
_LETTERS = {0: 3, 2: 5, 3: 3, 6: 5, 7: 22, 10: 27, 13: 27, 17: 36, 18: 37, 19: 38, 20: 39, 21: 27}


def label_set(references: Iterable[str]) -> set[str]:
    """``accuracy.py``: the labels of a set are its references, without full stops, in lower case."""
    return {_bare(reference) for reference in references}


def is_right(reference: str, answer: str, labels: set[str]) -> bool:
    """``accuracy.py``: right where the answer is the label, or contains it as a substring and no other label.

    The mistakes: "female" contains "male", "northern irish" contains "irish", and typos of labels are labels.
    """
    truth, given = _bare(reference), _bare(answer)
    return truth == given or (truth in given and not any(label in given for label in labels - {truth}))


def number(answer: str, adult: bool = False) -> float | None:
    """``age_L1.py`` and ``pitch_L1.py``: the first number, the middle of two where there is a hyphen; None where none.

    With ``adult`` as for ages, where the word "adult" is 22. The mistake is what becomes of None: the row is dropped.
    """
    text = answer.strip()
    try:
        return float(round(float(text)))
    except (ValueError, OverflowError):
        pass
    numbers = [float(part) for part in re.findall(r"\d+" if adult else r"\d+\.?\d*", text)]
    if numbers:
        return float(round(sum(numbers[:2]) / 2)) if "-" in text and len(numbers) >= 2 else float(round(numbers[0]))
    return 22.0 if adult and "adult" in text.lower() else None


def mean_absolute_error(
    references: Sequence[str], answers: Sequence[str], adult: bool = False, limits: tuple[float, float] | None = None
) -> tuple[float, int]:
    """(mean over the rows with a number, their number); with ``limits`` rows outside of them are dropped as well."""
    pairs = [
        (number(reference, adult), number(answer, adult)) for reference, answer in zip(references, answers, strict=True)
    ]
    kept = [
        abs(a - b)
        for a, b in pairs
        if a is not None and b is not None and (limits is None or all(limits[0] <= x <= limits[1] for x in (a, b)))
    ]
    return (float(np.mean(kept)) if kept else float("nan")), len(kept)


def phoneme_error_rate(references: Sequence[str], answers: Sequence[str]) -> float:
    """``assess_per_eval.py``: mean over rows of the edit distance of the letters A to Z, some of them made one.

    The mistakes: every other IPA letter is thrown away, reference and answer are swapped, and rows are averaged.
    """
    from rapidfuzz.distance import Levenshtein

    rates = []
    for reference, answer in zip(references, answers, strict=True):
        given, truth = letters(reference), letters(answer)
        if not truth:
            rates.append(float(bool(given)))
        else:
            rates.append(Levenshtein.distance(given, truth) / len(truth))
    return float(np.mean(rates))


def letters(ipa: str) -> list[int]:
    """``assess_per_eval.py``: what is left of an IPA transcription, as numbers."""
    numbers = (ord(character) - 65 for character in ipa.upper() if "A" <= character <= "Z")
    return [_LETTERS.get(letter, letter) for letter in numbers]


def _bare(text: str) -> str:
    return text.replace(".", "").lower()
