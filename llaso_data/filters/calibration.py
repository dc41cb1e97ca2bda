"""What rules do to pairs whose faults are known, and thresholds for a stated share of false alarms. Pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llaso_data.filters.fit import LANGUAGE_MODEL_KEY, OFF, PLACES, expected_alarms, fit, is_stricter, rejected
from llaso_data.filters.group_thresholds import NO_FITS, Fit, GroupThresholds, Thresholds, stated_at, user_set
from llaso_data.filters.planting import CLEAN, FAULTS, TEXT_FAULTS
from llaso_data.filters.rates import Rate
from llaso_data.filters.rules import GROUP, UNHEARD, Columns
from llaso_data.recipe import Judge
from llaso_data.text import normalize

MIN_RIGHT = 50
"""Right pairs of a group, in the half that is fitted on; with fewer it gets no thresholds of its own."""

_COMPARED = ("llr", "cer", "surplus", "lm_delta")  # scores of a text beside the hypothesis
_OF_UNHEARD = "confidence.given_avg_logprob_min"  # it looks at texts that are not heard, of which few are right pairs
_FLAGS = ("given", "packed")  # clips with thresholds of their own; one that is null stands where that of others does

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Finding:
    """What the rules do to the pairs of one corpus, language and kind of text.

    Attributes:
        corpus: Its name.
        language: Code of the language.
        texts: ``given`` by the corpus, or written by Whisper (``asr``).
        false_alarms: Right pairs that are rejected.
        alarms_by_rule: Right pairs that each rule rejects, whatever others do; rules without any are left out.
        recall: By fault, pairs that are rejected.
    """

    corpus: str
    language: str
    texts: str
    false_alarms: Rate
    alarms_by_rule: dict[str, int]
    recall: dict[str, Rate]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "corpus": self.corpus,
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
        corpus: npt.NDArray[Any],
        language: npt.NDArray[Any],
        given: Mask,
        right: Mask,
        texts: Sequence[str],
    ) -> None:
        """Arrays (pairs,).

        Args:
            found: What the rules look at, of texts that were scored as given ones.
            fault: Of :data:`~llaso_data.filters.planting.FAULTS`, or CLEAN.
            corpus: Names.
            language: Codes.
            given: Whether the corpus gave the text that the pair was made of. One that Whisper wrote is judged without
                the scores that compare a text with a hypothesis.
            right: Whether that text is right.
            texts: That text. Pairs of the same text are in the same half.
        """
        self.found = {**found, "given": found["given"] & given, UNHEARD: found[UNHEARD] & given}
        for name in _COMPARED:
            if name in found:
                self.found[name] = np.where(given, found[name], np.nan)
        self.fault, self.corpus, self.language, self.given, self.right = fault, corpus, language, given, right
        forms = [normalize(text, code) for text, code in zip(texts, language.tolist(), strict=True)]
        self.fitting = np.array([hashlib.sha256(form.encode()).digest()[0] < 128 for form in forms], bool)

    def groups(self) -> Iterator[tuple[str, str, Mask]]:
        """Corpus, language and rows of each group of which there are any."""
        for corpus, language in sorted(set(zip(self.corpus.tolist(), self.language.tolist(), strict=True))):
            yield corpus, language, (self.corpus == corpus) & (self.language == language)

    def kinds(self, rows: Mask) -> list[tuple[bool, Mask]]:
        """Of some rows (pairs,): whether texts are given, and the rows of right origin, of each kind that there is."""
        kinds = [(given, rows & (self.given == given) & self.right) for given in (True, False)]
        return [(given, kind) for given, kind in kinds if kind.any()]


def findings(section: Judge, scored: Scored, chosen: Mask, fitted: GroupThresholds = NO_FITS) -> list[Finding]:
    """What rules do to the chosen rows (pairs,), by corpus, language and kind of text.

    Args:
        section: Whose rules.
        scored: The pairs.
        chosen: Which of them, (pairs,).
        fitted: Thresholds in place of the section's.
    """
    numbers = fitted.numbers(pa.array(scored.corpus, pa.string()), pa.array(scored.language, pa.string()))
    seen = {**scored.found, GROUP: numbers}
    ordered = fitted.rules(section)
    violated = {
        name: rejected(seen, [rule for rule in ordered if rule.name == name])
        for name in sorted({rule.name for rule in ordered})
    }
    mask = np.logical_or.reduce(list(violated.values()))
    found = []
    for corpus, language, group in scored.groups():
        for given, rows in scored.kinds(group & chosen):
            of_fault = {fault: rows & (scored.fault == fault) for fault in (CLEAN, *FAULTS)}
            clean = of_fault.pop(CLEAN)
            alarms = {name: int((one & clean).sum()) for name, one in violated.items()}
            found.append(
                Finding(
                    corpus,
                    language,
                    "given" if given else "asr",
                    _rate(mask, clean),
                    {name: count for name, count in alarms.items() if count},
                    {fault: _rate(mask, pairs) for fault, pairs in of_fault.items() if pairs.any()},
                )
            )
    return found


def overall(found: Sequence[Finding]) -> tuple[Rate, dict[str, Rate]]:
    """The false alarms of all groups together, and their recall by fault."""
    faults = [fault for fault in FAULTS if any(fault in one.recall for one in found)]
    return _sum([one.false_alarms for one in found]), {
        fault: _sum([one.recall[fault] for one in found if fault in one.recall]) for fault in faults
    }


def fitted(section: Judge, scored: Scored, allowed: float, has_language_model: bool) -> GroupThresholds:
    """Thresholds that reject no more than a share of the right pairs, fitted on one half of the texts.

    A corpus and language, a language, and everything together each get a fit where they have :data:`MIN_RIGHT` right
    pairs in that half. In each of them given texts and those of Whisper are kinds that both keep to the share.

    Args:
        section: What is not fitted is taken from here, and what the user set is not fitted.
        scored: The pairs.
        allowed: The share, 0-1.
        has_language_model: Whether there are scores of one.
    """
    every = np.ones(len(scored.fault), bool)
    levels: list[tuple[str | None, str | None, Mask]] = [(None, None, every)]
    levels += [(None, language, scored.language == language) for language in sorted(set(scored.language.tolist()))]
    levels += scored.groups()
    known: dict[bytes, Thresholds] = {}  # a language of one corpus has the same rows as that corpus
    fits = []
    for corpus, language, rows in levels:
        half = rows & scored.fitting
        if (half & scored.right & (scored.fault == CLEAN)).sum() < MIN_RIGHT:
            continue
        name = half.tobytes()
        if name not in known:
            known[name] = _fitted(section, scored, half, allowed, has_language_model)
        fits.append(Fit(corpus, language, known[name]))
    return GroupThresholds(tuple(fits))


def _fitted(section: Judge, scored: Scored, half: Mask, allowed: float, has_language_model: bool) -> Thresholds:
    """Thresholds as a recipe has them, None for one that is off, fitted on some rows (pairs,)."""
    kept = set(user_set(section))
    keys = [key for key in fittable(section, scored, half, has_language_model) if key not in kept]
    kinds = [rows for _, rows in scored.kinds(half)]
    clean = [(rows & (scored.fault == CLEAN))[half] for rows in kinds]
    faults = [(rows & (scored.fault == fault))[half] for rows in kinds for fault in FAULTS]
    seen = {name: column[half] for name, column in scored.found.items()}
    # Right pairs are those whose text is what is heard, so they say nothing of how strict a comparison may be.
    stated = {key: stated_at(section, key) for key in keys if _score(key) in _COMPARED or key == _OF_UNHEARD}
    bounds = {key: place for key, place in stated.items() if place is not None}
    keys = [key for key in keys if key not in stated or key in bounds]
    places = _no_looser(section, seen, clean, allowed, fit(section, seen, faults, clean, allowed, keys, bounds))
    return {
        key: None if place == OFF[key] and not key.split(".")[1].startswith(_FLAGS) else place
        for key, place in places.items()
    }


def _no_looser(
    section: Judge, found: Columns, clean: Sequence[Mask], allowed: float, places: Mapping[str, float]
) -> dict[str, float]:
    """Thresholds that are looser than the section's go back to it, one after the other, as far as right pairs allow.

    The fit needs no threshold whose faults others find, too. In a corpus there are faults that were not planted, or
    that few pairs have, so a rule that costs nothing stays. Where the section's own place costs too much, it is the
    nearest one that does not.
    """
    fitted_now = {key for key, place in places.items() if place != OFF[key]}
    limits = np.maximum(allowed, expected_alarms(section, found, clean, {key: OFF[key] for key in places}, ()))
    chosen = dict(places)
    for key, place in places.items():
        stated = stated_at(section, key)
        if stated is None or not is_stricter(key, stated, place):
            continue
        for nearer in (stated, *_between(key, stated, place)):
            fits = fitted_now - {key} if nearer == stated else fitted_now | {key}
            if (expected_alarms(section, found, clean, {**chosen, key: nearer}, fits) <= limits).all():
                chosen[key], fitted_now = nearer, fits
                break
    return chosen


def _between(key: str, strict: float, loose: float) -> list[float]:
    """The places of a threshold between two others, the strictest first."""
    places = [round(place, 4) for place in PLACES[key].tolist()]
    inside = [place for place in places if is_stricter(key, strict, place) and is_stricter(key, place, loose)]
    return sorted(inside, reverse=not key.endswith("_max"))


def fittable(section: Judge, scored: Scored, rows: Mask, has_language_model: bool) -> list[str]:
    """The thresholds that some rows (pairs,) say something of: it looks at a right pair that has the score.

    Args:
        section: Where a threshold of flagged clips is null in it, that of the others looks at these, too.
        scored: The pairs.
        rows: Which of them.
        has_language_model: Whether there are scores of one.
    """
    clean = rows & scored.right & (scored.fault == CLEAN)
    keys = []
    for key in PLACES:
        tier, name = key.split(".")
        flag = next((flag for flag in _FLAGS if name.startswith(f"{flag}_")), None)
        column = scored.found.get(_score(key))
        looked_at = clean if flag is None else clean & scored.found[flag]
        for other in _FLAGS:
            if getattr(getattr(section, tier), f"{other}_{name}", None) is not None:
                looked_at = looked_at & ~scored.found[other]
        has_score = column is not None and np.isfinite(column[looked_at]).any()
        if has_score and (key != LANGUAGE_MODEL_KEY or has_language_model):
            keys.append(key)
    return keys


def _score(key: str) -> str:
    """The score that a threshold is of, whichever clips it is for."""
    name = key.split(".")[1].rpartition("_")[0]
    return next((name.removeprefix(f"{flag}_") for flag in _FLAGS if name.startswith(f"{flag}_")), name)


def choice(
    fault: Sequence[str], planted: Sequence[str], heard: Sequence[str], language: Sequence[str]
) -> dict[str, Rate]:
    """How often a wrong text would have been taken as right: Whisper hears just what it says.

    Args:
        fault: Of each pair.
        planted: Its text.
        heard: What Whisper hears in it.
        language: Of its text.

    Returns:
        By fault of the text, the pairs whose text is what is heard.
    """
    found = {}
    rows = list(zip(fault, planted, heard, language, strict=True))
    for name in TEXT_FAULTS:
        confirmed = [normalize(text, code) == normalize(said, code) for one, text, said, code in rows if one == name]
        if confirmed:
            found[name] = Rate(sum(confirmed), len(confirmed))
    return found


def _sum(rates: Sequence[Rate]) -> Rate:
    return Rate(sum(one.rejected for one in rates), sum(one.pairs for one in rates))


def _rate(mask: Mask, pairs: Mask) -> Rate:
    return Rate(int((mask & pairs).sum()), int(pairs.sum()))
