"""Scores rows: what an answer is taken to say, and the statistics that metrics sum. One function for a kind of set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from llaso_data.errors import LLaSOError
from llaso_model.evaluate.datasets.layouts import Prediction, language_of
from llaso_model.evaluate.datasets.tasks import Set, Tasks
from llaso_model.evaluate.extract import numbers, replies
from llaso_model.evaluate.extract.labels import Extraction, Extractor
from llaso_model.evaluate.extract.labels import Kind as Said
from llaso_model.evaluate.extract.refusals import is_refusal
from llaso_model.evaluate.extract.replies import is_empty
from llaso_model.evaluate.metrics import classes, error_rates, quantities, structured, text_generation
from llaso_model.evaluate.metrics.base import Array, Metric, ratio

JUDGED = Metric(
    "judge",
    "Judge",
    ratio,
    unit="number",
    formula="(judge's score − 1) / 4",
    normalised=lambda value: (value - 1.0) / 4.0,
    limits=(1, 5),
)

METRICS: dict[str, tuple[Metric, ...]] = {
    "transcript": (error_rates.WER, error_rates.WER_RAW, error_rates.CER, error_rates.CER_RAW, error_rates.WER_SWAPPED),
    "phonemes": (error_rates.PER,),
    "label": (classes.ACCURACY, classes.MACRO_F1, classes.BALANCED, classes.ANSWERED, classes.COVERAGE),
    "number": (quantities.MAE, quantities.MAE_ANSWERED, classes.COVERAGE),
    "sentence_scores": (quantities.MAE, quantities.MAE_ANSWERED, quantities.EXACT, classes.COVERAGE, error_rates.WER),
    "word_scores": (quantities.MAE, quantities.MAE_ANSWERED, quantities.EXACT, classes.COVERAGE, error_rates.WER),
    "entities": (structured.ENTITY_F1, structured.TYPE_F1, classes.COVERAGE),
    "open": (text_generation.ROUGE_L, text_generation.CHRF, text_generation.BLEU, text_generation.CIDER),
    "refusal": (classes.REFUSED_RIGHTLY,),
}
"""Metrics of every kind of set, the primary one first. A judge's score, where there is one, comes before open's."""

SHARED_STATS = {"macro_f1": "accuracy", "balanced_accuracy": "accuracy"}
"""Metrics whose statistics another one holds."""


@dataclass(frozen=True, slots=True)
class Row:
    """A scored row. ``said`` is the kind of answer; ``given`` and ``wanted`` are what was extracted and asked for.

    ``badness`` orders rows within a set, 0 being right; ``stats`` are the metrics' statistics by name.
    """

    prediction: Prediction
    said: Said
    given: str
    wanted: str
    badness: float
    stats: dict[str, tuple[float, ...]] = field(default_factory=dict)


def score_rows(
    name: str, predictions: Sequence[Prediction], tasks: Tasks, judged: dict[str, float] | None = None
) -> list[Row]:
    """The rows of one set and one system. ``judged`` are scores of a judge by row id."""
    declared = tasks.sets[name]
    found: list[Row | None] = [None] * len(predictions)
    usual = [i for i, one in enumerate(predictions) if one.expected != "refusal"]
    said = [replace(predictions[i], answer=replies.said(predictions[i].answer)) for i in usual]
    if declared.kind in ("label", "number"):  # these look at the whole: what only reasons is not empty
        said = [predictions[i] for i in usual]
    for i, row in zip(usual, _SCORERS[declared.kind](name, declared, tasks, said), strict=True):
        found[i] = replace(row, prediction=predictions[i])
    for i, one in enumerate(predictions):
        if one.expected == "refusal":
            found[i] = _refusal_wanted(one, declared, tasks)
    rows = [row for row in found if row is not None]
    for row in rows:
        if judged and row.prediction.id in judged and row.prediction.expected != "refusal":
            row.stats["judge"] = (judged[row.prediction.id], 1.0)
    return rows


def class_names(declared: Set, tasks: Tasks) -> tuple[str, ...]:
    """The labels of a set, in the order of its class numbers."""
    return tuple(tasks.labels[declared.labels]) if declared.labels else ()


def extractor(declared: Set, tasks: Tasks) -> Extractor:
    """The extractor of a set with labels."""
    assert declared.labels is not None
    return Extractor(tasks.labels[declared.labels], declared.others, declared.ignore, declared.match)


def _language(one: Prediction, declared: Set) -> str | None:
    return language_of(one.language or declared.language)


def _free_kind(answer: str) -> Said:
    """How a free answer counts: it may be empty or refuse, else it is one answer."""
    return "empty" if is_empty(answer) else "refusal" if is_refusal(answer) else "one"


def _refusal_wanted(one: Prediction, declared: Set, tasks: Tasks) -> Row:
    """A question that has no right answer: refusing it is right, and so is nothing else."""
    said: Said = _free_kind(replies.said(one.answer))
    if declared.kind == "label":
        said = extractor(declared, tasks)(one.answer, one.prompt).kind
    right = said == "refusal"
    return Row(one, said, said, "refusal", 0.0 if right else 1.0, {"right_refusal": (float(right), 1.0)})


def _labels(name: str, declared: Set, tasks: Tasks, predictions: Sequence[Prediction]) -> Iterable[Row]:
    extract = extractor(declared, tasks)
    number = {label: i for i, label in enumerate(extract.labels)}
    wanted = [_reference(extract, one) for one in predictions]
    said: list[Extraction] = [extract(one.answer, one.prompt) for one in predictions]
    given = [number[found.label] if found.label is not None else -1 for found in said]
    stats = classes.class_stats([number[label] for label in wanted], given, len(number))
    for one, found, label, row in zip(predictions, said, wanted, stats, strict=True):
        right = found.label == label
        answered = float(found.kind == "one")
        yield Row(
            one,
            found.kind,
            " | ".join(found.labels),
            label,
            0.0 if right else 1.0,
            {
                "accuracy": tuple(row.tolist()),
                "accuracy_answered": (float(right), answered),
                "coverage": (answered, 1.0),
            },
        )


def _reference(extract: Extractor, one: Prediction) -> str:
    label = extract.reference(one.reference)
    if label is None:
        raise LLaSOError(
            f"{one.place}: the reference {one.reference!r} is no label of {one.set}; "
            f"they are {', '.join(extract.labels)}"
        )
    return label


def _transcripts(name: str, declared: Set, tasks: Tasks, predictions: Sequence[Prediction]) -> Iterable[Row]:
    raw = (
        [error_rates.plain(one.reference) for one in predictions],
        [error_rates.plain(one.answer) for one in predictions],
    )
    language = [_language(one, declared) for one in predictions]
    pairs = [
        error_rates.compared(one.reference, one.answer, code) for one, code in zip(predictions, language, strict=True)
    ]
    normal = [own for own, _ in pairs], [heard for _, heard in pairs]
    counts = {
        "wer": error_rates.word_errors(*normal),
        "wer_raw": error_rates.word_errors(*raw),
        "cer": error_rates.character_errors(*normal),
        "cer_raw": error_rates.character_errors(*raw),
        "wer_swapped": error_rates.word_errors(raw[1], raw[0]),
    }
    for i, one in enumerate(predictions):
        yield Row(
            one,
            _free_kind(one.answer) if is_empty(one.answer) else "one",
            normal[1][i],
            normal[0][i],
            _rate(counts["wer"][i]),
            {metric: tuple(rows[i].tolist()) for metric, rows in counts.items()},
        )


def _rate(counts: Array) -> float:
    """Errors over the reference's length; of nothing, the number of errors."""
    return float(counts[:3].sum() / max(1.0, counts[3]))


def _phonemes(name: str, declared: Set, tasks: Tasks, predictions: Sequence[Prediction]) -> Iterable[Row]:
    counts = error_rates.phoneme_errors([one.reference for one in predictions], [one.answer for one in predictions])
    for one, row in zip(predictions, counts, strict=True):
        given = " ".join(error_rates.segments(error_rates.phonetic_part(one.answer)))
        wanted = " ".join(error_rates.segments(one.reference))
        yield Row(one, _free_kind(one.answer), given, wanted, _rate(row), {"per": tuple(row.tolist())})


def _numbers(name: str, declared: Set, tasks: Tasks, predictions: Sequence[Prediction]) -> Iterable[Row]:
    limits = _limits(declared)
    for one in predictions:
        wanted = numbers.extract(one.reference)
        if wanted.value is None:
            raise LLaSOError(f"{one.place}: the reference {one.reference!r} is no number")
        found = numbers.extract(one.answer, declared.ignore, one.prompt, limits)
        error, answered = quantities.charged_error(found.value, wanted.value, limits)
        yield Row(
            one,
            found.kind,
            "" if found.value is None else f"{found.value:g}",
            f"{wanted.value:g}",
            error,
            {"mae": (error, 1.0), "mae_answered": (error * answered, answered), "coverage": (answered, 1.0)},
        )


def _scores(name: str, declared: Set, tasks: Tasks, predictions: Sequence[Prediction]) -> Iterable[Row]:
    limits = _limits(declared)
    read = quantities.sentence_scores if declared.kind == "sentence_scores" else quantities.word_scores
    heard = error_rates.word_errors(
        [error_rates.whisper(quantities.transcript_of(one.reference), "en") for one in predictions],
        [error_rates.whisper(quantities.transcript_of(one.answer), "en") for one in predictions],
    )
    for one, words in zip(predictions, heard, strict=True):
        wanted: Mapping[Any, float] = read(one.reference)
        if not wanted:
            raise LLaSOError(f"{one.place}: the reference {one.reference[:80]!r} gives no scores")
        given: Mapping[Any, float] = read(one.answer)
        charged, answered, exact, coverage = quantities.compared(given, wanted, limits)
        said: Said = "one" if answered[1] else ("empty" if is_empty(one.answer) else "none")
        if said == "none" and is_refusal(one.answer):
            said = "refusal"
        yield Row(
            one,
            said,
            _listed(given),
            _listed(wanted),
            charged[0] / max(1.0, charged[1]),
            {
                "mae": charged,
                "mae_answered": answered,
                "exact": exact,
                "coverage": coverage,
                "wer": tuple(words.tolist()),
            },
        )


def _listed(scores: Mapping[Any, float]) -> str:
    names = (" ".join(map(str, key)) if isinstance(key, tuple) else str(key) for key in scores)
    return ", ".join(f"{name} {score:g}" for name, score in zip(names, scores.values(), strict=True))


def _limits(declared: Set) -> tuple[float, float]:
    assert declared.range is not None
    return declared.range


def _entities(name: str, declared: Set, tasks: Tasks, predictions: Sequence[Prediction]) -> Iterable[Row]:
    for one in predictions:
        language = _language(one, declared)
        found, wanted = structured.entities(one.answer, language), structured.entities(one.reference, language)
        counts = structured.matched(found, wanted)
        said = _free_kind(one.answer)
        if said != "empty" and structured.has_form(one.answer):
            said = "one"
        elif said == "one" and wanted:
            said = "none"
        yield Row(
            one,
            said,
            ", ".join(f"{kind}: {value}" for kind, value in found),
            ", ".join(f"{kind}: {value}" for kind, value in wanted),
            counts[1] + counts[2] - 2 * counts[0],
            {
                "entity_f1": counts,
                "type_f1": structured.matched_types(found, wanted),
                "coverage": (float(said == "one"), 1.0),
            },
        )


def _open(name: str, declared: Set, tasks: Tasks, predictions: Sequence[Prediction]) -> Iterable[Row]:
    references, answers = [one.reference for one in predictions], [one.answer for one in predictions]
    languages = [_language(one, declared) for one in predictions]
    chrf, bleu = (
        text_generation.chrf_stats(references, answers),
        text_generation.bleu_stats(references, answers, languages),
    )
    cider = text_generation.cider(references, answers)
    for i, one in enumerate(predictions):
        if not text_generation.has_words(one.reference, languages[i]):  # no measure says how near an answer comes
            yield Row(one, _free_kind(one.answer), one.answer, one.reference, 0.0)
            continue
        common = text_generation.rouge_l(one.reference, one.answer, languages[i])
        yield Row(
            one,
            _free_kind(one.answer),
            one.answer,
            one.reference,
            1.0 - common,
            {
                "rouge_l": (common, 1.0),
                "chrf": tuple(chrf[i].tolist()),
                "bleu": tuple(bleu[i].tolist()),
                "cider": (cider[i], 1.0),
            },
        )


_SCORERS: dict[str, Callable[[str, Set, Tasks, Sequence[Prediction]], Iterable[Row]]] = {
    "transcript": _transcripts,
    "phonemes": _phonemes,
    "label": _labels,
    "number": _numbers,
    "sentence_scores": _scores,
    "word_scores": _scores,
    "entities": _entities,
    "open": _open,
}


def stats_of(rows: Sequence[Row], metric: str) -> tuple[Array, list[int]]:
    """(statistics (rows, k), the numbers of the rows that have them) of a metric."""
    key = SHARED_STATS.get(metric, metric)
    there = [i for i, row in enumerate(rows) if key in row.stats]
    if not there:
        return np.zeros((0, 1)), []
    return np.asarray([rows[i].stats[key] for i in there], np.float64), there
