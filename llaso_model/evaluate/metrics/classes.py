"""Metrics of labels: accuracy, macro F1, balanced accuracy, confusion; and how often there was an answer at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from llaso_model.evaluate.metrics.base import Array, Metric, identity, ratio


def _parts(sums: Array) -> tuple[Array, Array, Array]:
    """(right, answered, asked) by class."""
    classes = sums.shape[-1] // 3
    return sums[..., :classes], sums[..., classes : 2 * classes], sums[..., 2 * classes :]


def _accuracy(sums: Array) -> Array:
    right, _, asked = _parts(sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        share: Array = right.sum(axis=-1) / asked.sum(axis=-1)
        return share


def _balanced(sums: Array) -> Array:
    right, _, asked = _parts(sums)
    return _mean_where(np.divide(right, asked, out=np.zeros_like(right), where=asked > 0), asked > 0)


def _macro_f1(sums: Array) -> Array:
    right, answered, asked = _parts(sums)
    both = answered + asked
    return _mean_where(np.divide(2 * right, both, out=np.zeros_like(right), where=both > 0), asked > 0)


def _mean_where(values: Array, there: npt.NDArray[np.bool_]) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        mean: Array = np.where(there, values, 0.0).sum(axis=-1) / there.sum(axis=-1)
        return mean


ACCURACY = Metric(
    "accuracy",
    "Accuracy",
    _accuracy,
    formula="accuracy; no answer is a wrong one",
    normalised=identity,
    limits=(0, 1),
)
BALANCED = Metric("balanced_accuracy", "Balanced accuracy", _balanced, limits=(0, 1), statistics="accuracy")
MACRO_F1 = Metric("macro_f1", "Macro F1", _macro_f1, limits=(0, 1), statistics="accuracy")
ANSWERED = Metric("accuracy_answered", "Accuracy on answered", ratio, limits=(0, 1))
COVERAGE = Metric("coverage", "Coverage", ratio, limits=(0, 1))
REFUSED_RIGHTLY = Metric(
    "right_refusal",
    "Right refusals",
    ratio,
    formula="share of refusals where one is right",
    normalised=identity,
    limits=(0, 1),
)


def class_stats(references: Sequence[int], predictions: Sequence[int], classes: int) -> Array:
    """Statistics of labels. Their sums give accuracy, macro F1 and balanced accuracy (the mean of the classes'
    recalls).

    Args:
        references: Class number of each row's reference.
        predictions: Class number of each answer; -1 where it gives no class: several labels, none, or a refusal.
        classes: How many classes there are.

    Returns:
        (rows, 3 · classes): for every class whether the row is right, is answered as it, and has it as the reference.
        Classes without a reference count in no mean.
    """
    stats = np.zeros((len(references), 3 * classes))
    for row, (truth, answer) in enumerate(zip(references, predictions, strict=True)):
        if truth >= 0:
            stats[row, 2 * classes + truth] = 1
        if answer >= 0:
            stats[row, classes + answer] = 1
        if truth == answer >= 0:
            stats[row, truth] = 1
    return stats


def confusion(references: Sequence[int], predictions: Sequence[int], classes: int) -> npt.NDArray[np.int64]:
    """Counts of references by predictions, (classes, classes + 1). The last column is of answers without a class."""
    counts = np.zeros((classes, classes + 1), np.int64)
    for truth, answer in zip(references, predictions, strict=True):
        if truth >= 0:
            counts[truth, answer if answer >= 0 else classes] += 1
    return counts


def risk_coverage(confidences: Sequence[float], right: Sequence[bool], asked: int) -> list[tuple[float, float]]:
    """The risk–coverage curve (El-Yaniv and Wiener, "On the Foundations of Noise-free Selective Classification", 2010).

    Args:
        confidences: Confidence of each answered row.
        right: Whether each of them is right.
        asked: Rows in all, those without an answer included.

    Returns:
        (coverage, risk) from the most confident answer on: the share of rows answered so far, and the share of
        wrong ones among them. Answers of equal confidence are one point.
    """
    order = np.argsort(-np.asarray(confidences), kind="stable")
    sure = np.asarray(confidences)[order]
    wrong = np.cumsum(~np.asarray(right, bool)[order])
    last = np.flatnonzero(np.append(sure[1:] != sure[:-1], True)) if len(sure) else np.zeros(0, np.int64)
    return [((int(i) + 1) / asked, float(wrong[i]) / (int(i) + 1)) for i in last]
