"""The kinds of score that a set of rows can have. A kind is a module of ``scorers`` that registers itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from llaso_data.registry import Registry

if TYPE_CHECKING:
    from llaso_data.instruct.tasks import Set, Tasks
    from llaso_model.evaluate.datasets.layouts import Prediction
    from llaso_model.evaluate.extract.labels import AnswerKind
    from llaso_model.evaluate.metrics.base import Metric


@dataclass(frozen=True, slots=True)
class Row:
    """A scored row.

    Attributes:
        prediction: The answer, and what it is measured against.
        answer_kind: Whether the answer gives one result, several, none, refuses, or is empty.
        hypothesis: What was extracted from the answer, or the answer normalised; as texts are compared.
        target: The same of the reference.
        error: Orders rows within a set, the worst highest; 0 is right. Its unit depends on the kind of score.
        stats: The statistics of each metric, by the metric's name; a metric's value is a function of their sum.
    """

    prediction: Prediction
    answer_kind: AnswerKind
    hypothesis: str
    target: str
    error: float
    stats: dict[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of score: how answers are compared with references, and which metrics the rows add up to.

    Attributes:
        title: What is scored, in words.
        score: Gives a row for each prediction of a set, in their order; (the set, all tasks, predictions). The answers
            that it gets have no reasoning in them. Raises LLaSOError for a reference that it cannot read.
        metrics: The metrics of a set, the primary one first.
        needs: What a set of the kind has to declare: its ``labels``, or the ``range`` of its numbers.
        is_closed: The answer is one of given labels or numbers. Data may then have it as a number; abstention is
            counted; and :attr:`score` gets answers with their reasoning, because an answer of nothing else is not
            empty.
        is_judged: A judge scores the answers, and the judge's score comes before the metrics.
        scores_refusals: :attr:`score` gets the questions that should be refused, too, and says what is right.
        marks_differences: A report marks the words in which reference and answer differ.
        answer_kind: Says of which kind an answer is to a question that should be refused; (prediction, the set, all
            tasks). None: a refusal where it says so, else an answer.
        cost: Time that scoring a row takes, as a multiple of a transcript's.
    """

    title: str
    score: Callable[[Set, Tasks, Sequence[Prediction]], Iterable[Row]]
    metrics: tuple[Metric, ...]
    needs: frozenset[Literal["labels", "range"]] = frozenset()
    is_closed: bool = False
    is_judged: bool = False
    scores_refusals: bool = False
    marks_differences: bool = False
    answer_kind: Callable[[Prediction, Set, Tasks], AnswerKind] | None = None
    cost: float = 0.3


KINDS: Registry[Kind] = Registry("kind of score", f"{__package__}.scorers", "llaso.kinds")
