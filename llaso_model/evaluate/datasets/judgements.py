"""Reads the judgements that are published beside LLaSO-Eval's predictions (folders named ``gpt_result``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llaso_model.evaluate.datasets.fields import Fields
from llaso_model.evaluate.datasets.files import File, json_rows

if TYPE_CHECKING:
    from llaso_model.evaluate.datasets.layouts import Prediction


@dataclass(frozen=True, slots=True)
class Judgement:
    """A published judgement.

    Attributes:
        system: The system's name.
        set: The declared set.
        index: Number of the row in the set's file, from 0.
        score: 1 to 5.
        text: The judge's reply.
    """

    system: str
    set: str
    index: int
    score: float
    text: str


def read_judgements(system: str, set_: str, file: File) -> Iterator[Judgement]:
    """Reads the judgements of a file. A reply without a score is left out.

    Args:
        system: The system's name.
        set_: The declared set.
        file: The file of the set.

    Raises:
        LLaSOError: A row has no index or no text. The message has file and row.
    """
    from llaso_model.evaluate.llm_judge.scoring import parse_score

    for number, row in enumerate(json_rows(file.place, file.data), 1):
        fields = Fields(row, f"{file.place}: row {number}")
        index, words = fields.whole("index"), fields.required("evaluation")
        if index is None:
            raise fields.fault("index", "the number of a row")
        score = parse_score(words)
        if score is not None:
            yield Judgement(system, set_, index, score, words)


def scores_by_id(
    predictions: Sequence[Prediction], judgements: Sequence[Judgement]
) -> tuple[dict[tuple[str, str], dict[str, float]], list[str]]:
    """Assigns judgements to predictions. The nth prediction of a system and set is row n of the set's file.

    Args:
        predictions: All predictions, in the order of their files.
        judgements: Judgements of these or other rows.

    Returns:
        Scores by (system, set) and prediction id, and lines about judgements without a row.
    """
    ids: dict[tuple[str, str], list[str]] = {}
    for prediction in predictions:
        ids.setdefault((prediction.system, prediction.set), []).append(prediction.id)
    scores: dict[tuple[str, str], dict[str, float]] = {}
    unmatched: Counter[tuple[str, str]] = Counter()
    for judgement in judgements:
        order = ids.get((judgement.system, judgement.set), [])
        if 0 <= judgement.index < len(order):
            scores.setdefault((judgement.system, judgement.set), {})[order[judgement.index]] = judgement.score
        else:
            unmatched[judgement.system, judgement.set] += 1
    return scores, [
        f"{count:,} judgements of {set_} by {system}: of no row" for (system, set_), count in unmatched.items()
    ]
