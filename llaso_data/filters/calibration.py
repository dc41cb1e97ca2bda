"""What rules do to pairs whose faults are known, and thresholds for a stated share of false alarms. Pure functions."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llaso_data.filters.fit import LANGUAGE_MODEL_KEY, OFF, PLACES, fit, rejected
from llaso_data.filters.planting import CLEAN, FAULTS
from llaso_data.filters.rules import Columns
from llaso_data.filters.tiers import rules
from llaso_data.recipe import Judge
from llaso_data.text import normalize

MIN_RIGHT = 50
"""Right pairs of a language, in the half that is fitted on; with fewer its false alarms limit no threshold."""

_COMPARED = ("llr", "cer", "surplus", "lm_delta")  # scores of a text beside the hypothesis
_FALLS_BACK = ("given_", "packed_")  # thresholds that, when null, stand where another stands
_Z = 1.96  # of 95 %

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of pairs, and its interval of 95 %.

    The interval is Wilson's, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22 (1927).

    Attributes:
        rejected: How many were rejected.
        pairs: Of how many.
    """

    rejected: int
    pairs: int

    @property
    def share(self) -> float:
        """0-1; 0 where there are no pairs."""
        return self.rejected / self.pairs if self.pairs else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The least and the greatest share that the pairs leave open."""
        if not self.pairs:
            return 0.0, 1.0
        spread = _Z * _Z / self.pairs
        middle = (self.share + spread / 2) / (1 + spread)
        half = math.sqrt(self.share * (1 - self.share) * spread + spread * spread / 4) / (1 + spread)
        return max(0.0, middle - half), min(1.0, middle + half)

    def to_dict(self) -> dict[str, Any]:
        """As JSON, with the share and its interval."""
        low, high = self.interval
        return {**asdict(self), "share": round(self.share, 4), "interval": [round(low, 4), round(high, 4)]}


@dataclass(frozen=True, slots=True)
class Finding:
    """What the rules do to the pairs of one language and kind of text.

    Attributes:
        language: Code of the language.
        texts: ``given`` by the corpus, or written by Whisper (``asr``).
        false_alarms: Right pairs that are rejected.
        alarms_by_rule: Right pairs that each rule rejects, whatever others do; rules without any are left out.
        recall: By fault, pairs that are rejected.
    """

    language: str
    texts: str
    false_alarms: Rate
    alarms_by_rule: dict[str, int]
    recall: dict[str, Rate]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "language": self.language,
            "texts": self.texts,
            "false_alarms": self.false_alarms.to_dict(),
            "alarms_by_rule": self.alarms_by_rule,
            "recall": {fault: rate.to_dict() for fault, rate in self.recall.items()},
        }


class Scored:
    """Planted pairs as the rules see them, and what is known of each."""

    def __init__(
        self,
        found: Columns,
        *,
        fault: npt.NDArray[Any],
        language: npt.NDArray[Any],
        given: Mask,
        right: Mask,
        texts: Sequence[str],
    ) -> None:
        """Arrays (pairs,).

        Args:
            found: What the rules look at, of texts that were scored as given ones.
            fault: Of :data:`~llaso_data.filters.planting.FAULTS`, or CLEAN.
            language: Codes.
            given: Whether the corpus gave the text that the pair was made of. One that Whisper wrote is judged without
                the scores that compare a text with a hypothesis.
            right: Whether that text is right.
            texts: That text. Pairs of the same text are in the same half.
        """
        self.found = {**found, "given": found["given"] & given}
        for name in _COMPARED:
            if name in found:
                self.found[name] = np.where(given, found[name], np.nan)
        self.fault, self.language, self.given, self.right = fault, language, given, right
        forms = [normalize(text, code) for text, code in zip(texts, language.tolist(), strict=True)]
        self.fitting = np.array([hashlib.sha256(form.encode()).digest()[0] % 2 == 0 for form in forms], bool)

    def kinds(self) -> list[tuple[str, bool, Mask]]:
        """Language, whether texts are given, and the rows of right origin, of each kind of which there are any."""
        return [
            (language, given, rows)
            for language in sorted(set(self.language.tolist()))
            for given in (True, False)
            if (rows := (self.language == language) & (self.given == given) & self.right).any()
        ]


def findings(section: Judge, scored: Scored, chosen: Mask) -> list[Finding]:
    """What a section's rules do to the chosen rows (pairs,), by language and kind of text."""
    ordered = rules(section)
    violated = {
        name: rejected(scored.found, [rule for rule in ordered if rule.name == name])
        for name in sorted({rule.name for rule in ordered})
    }
    mask = np.logical_or.reduce(list(violated.values()))
    found = []
    for language, given, rows in scored.kinds():
        of_fault = {fault: rows & chosen & (scored.fault == fault) for fault in (CLEAN, *FAULTS)}
        clean = of_fault.pop(CLEAN)
        alarms = {name: int((one & clean).sum()) for name, one in violated.items()}
        found.append(
            Finding(
                language,
                "given" if given else "asr",
                _rate(mask, clean),
                {name: count for name, count in alarms.items() if count},
                {fault: _rate(mask, pairs) for fault, pairs in of_fault.items() if pairs.any()},
            )
        )
    return found


def fitted(section: Judge, scored: Scored, allowed: float, keys: Sequence[str]) -> dict[str, float | None] | None:
    """Thresholds that reject no more than a share of the right pairs of any language, fitted on one half of the texts.

    Args:
        section: What is not fitted is taken from here.
        scored: The pairs.
        allowed: The share, 0-1.
        keys: The thresholds that may be fitted, of :data:`~llaso_data.filters.fit.PLACES`.

    Returns:
        Thresholds as a recipe has them, None for one that is off; None where no language has :data:`MIN_RIGHT` right
        pairs in that half.
    """
    half = scored.fitting
    clean = [rows & half & (scored.fault == CLEAN) for _, _, rows in scored.kinds()]
    enough = [rows for rows in clean if rows.sum() >= MIN_RIGHT]
    if not enough:
        return None
    faults = [rows & half & (scored.fault == fault) for _, _, rows in scored.kinds() for fault in FAULTS]
    places = fit(section, scored.found, faults, enough, allowed, keys)
    return {
        key: None if place == OFF[key] and not key.split(".")[1].startswith(_FALLS_BACK) else place
        for key, place in places.items()
    }


def fittable(scored: Scored, has_language_model: bool) -> list[str]:
    """The thresholds that the pairs say something of: some right pair has their score."""
    clean = scored.right & (scored.fault == CLEAN)
    keys = []
    for key in PLACES:
        name = key.split(".")[1].rpartition("_")[0]
        flag = next((flag for flag in _FALLS_BACK if name.startswith(flag)), "")
        rows = clean & scored.found[flag.rstrip("_")] if flag else clean
        column = scored.found.get(name.removeprefix(flag))
        if column is not None and np.isfinite(column[rows]).any() and (key != LANGUAGE_MODEL_KEY or has_language_model):
            keys.append(key)
    return keys


def _rate(mask: Mask, pairs: Mask) -> Rate:
    return Rate(int((mask & pairs).sum()), int(pairs.sum()))
