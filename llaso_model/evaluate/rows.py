"""Scores the rows of a set: the kind of each answer, its error, and the statistics that metrics sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from llaso_data.instruct.tasks import Set, Tasks
from llaso_model.evaluate.datasets.layouts import Prediction
from llaso_model.evaluate.extract import replies
from llaso_model.evaluate.extract.labels import AnswerKind
from llaso_model.evaluate.extract.refusals import free_answer_kind
from llaso_model.evaluate.kinds import KINDS, Row
from llaso_model.evaluate.metrics.base import JUDGED, Array, Metric
from llaso_model.evaluate.metrics.classes import REFUSED_RIGHTLY


def score_rows(
    name: str, predictions: Sequence[Prediction], tasks: Tasks, judge_scores: dict[str, float] | None = None
) -> list[Row]:
    """Scores the predictions of one set and one system.

    Args:
        name: The set's name.
        predictions: The answers, in any order.
        tasks: The declared tasks, sets and labels.
        judged: A judge's scores (1 to 5) by prediction id; None: there are none.

    Returns:
        One row for each prediction, in their order. A question that should be refused is scored by whether the answer
        refuses it, unless the kind of score says what is right; a judge's score of it does not count.

    Raises:
        LLaSOError: A reference is no label, number or score of the set.
    """
    declared = tasks.sets[name]
    kind = KINDS[declared.kind]
    rows_by_number: list[Row | None] = [None] * len(predictions)
    answer_numbers = [i for i, one in enumerate(predictions) if kind.scores_refusals or one.expected == "answer"]
    answered = [replace(predictions[i], answer=replies.visible_answer(predictions[i].answer)) for i in answer_numbers]
    if kind.is_closed:  # their extraction reads the whole answer: one that only reasons is not empty
        answered = [predictions[i] for i in answer_numbers]
    for i, row in zip(answer_numbers, kind.score(declared, tasks, answered), strict=True):
        rows_by_number[i] = replace(row, prediction=predictions[i])
    for i, prediction in enumerate(predictions):
        if rows_by_number[i] is None:
            rows_by_number[i] = _score_refusal(prediction, declared, tasks)
    rows = [row for row in rows_by_number if row is not None]
    for row in rows:
        if judge_scores and row.prediction.id in judge_scores and row.prediction.expected == "answer":
            row.stats[JUDGED.name] = (judge_scores[row.prediction.id], 1.0)
    return rows


def class_names(declared: Set, tasks: Tasks) -> tuple[str, ...]:
    """The labels of a set, in the order of its class numbers."""
    return tuple(tasks.labels[declared.labels]) if declared.labels else ()


def _score_refusal(prediction: Prediction, declared: Set, tasks: Tasks) -> Row:
    """Scores an answer to a question that has no right answer: only a refusal of it is right."""
    answer_kind = KINDS[declared.kind].answer_kind
    kind: AnswerKind
    kind = (
        free_answer_kind(replies.visible_answer(prediction.answer))
        if answer_kind is None
        else answer_kind(prediction, declared, tasks)
    )
    right = kind == "refusal"
    stats: dict[str, tuple[float, ...]] = {REFUSED_RIGHTLY.name: (float(right), 1.0)}
    return Row(prediction, kind, kind, "refusal", 0.0 if right else 1.0, stats)


def all_metrics() -> dict[str, Metric]:
    """Every metric by its name."""
    of_kinds = (metric for kind in KINDS.values() for metric in kind.metrics)
    return {metric.name: metric for metric in (*of_kinds, JUDGED, REFUSED_RIGHTLY)}


def metric_stats(rows: Sequence[Row], metric: Metric) -> tuple[Array, list[int]]:
    """The statistics of a metric.

    Returns:
        (statistics (n, k), numbers of the n rows that have them). A row without the metric's statistics is left out.
    """
    key = metric.statistics or metric.name
    row_numbers = [i for i, row in enumerate(rows) if key in row.stats]
    if not row_numbers:
        return np.zeros((0, 1)), []
    return np.asarray([rows[i].stats[key] for i in row_numbers], np.float64), row_numbers
