"""The worst rows of every set and system as a report shows them: texts cut, differences marked, sound where it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from llaso_data import audio
from llaso_data.errors import LLaSOError
from llaso_data.instruct.tasks import Tasks
from llaso_model.evaluate.datasets.layouts import Prediction
from llaso_model.evaluate.kinds import KINDS, Row
from llaso_model.evaluate.predict import recordings as sounds_of
from llaso_model.evaluate.statistics.subgroups import clean_rows

LONGEST = 700  # characters of a text that are shown
SOUND_BYTES = 6_000_000  # of a report, as base64; a page should stay easy to mail
SOUND_S = 30.0

Piece = tuple[str, str]
"""(operation, words): "=" in both, "-" in the reference only, "+" in the answer only."""


def worst_rows(rows: Sequence[Row], tasks: Tasks, examples: int) -> dict[str, dict[str, list[Row]]]:
    """The worst rows by set and system, the worst first; equal ones in the order of their ids.

    Rows in noise or another condition are left out, as they are of a set's score.
    """
    grouped: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        grouped.setdefault(row.prediction.set, {}).setdefault(row.prediction.system, []).append(row)
    return {
        name: {
            system: sorted(system_rows, key=lambda row: (-row_error(row), row.prediction.id))[:examples]
            for system, system_rows in clean_rows(grouped[name], tasks.tasks[declared.task].layer).items()
        }
        for name, declared in tasks.sets.items()
        if name in grouped
    }


def row_error(row: Row) -> float:
    """The error that rows are ordered by: the judge's where there is one, else that of the score."""
    judged = row.stats.get("judge")
    return row.error if judged is None or "rouge_l" not in row.stats else 5 - judged[0] + row.error / 10


def as_json(row: Row, tasks: Tasks) -> dict[str, Any]:
    """A row as the report's page reads it, without empty values."""
    prediction = row.prediction
    kind = KINDS[tasks.sets[prediction.set].kind]
    fields: dict[str, Any] = {
        "id": prediction.id,
        "prompt": shorten(prediction.prompt, 240),
        "reference": shorten(prediction.reference),
        "answer": shorten(prediction.answer),
        "said": row.answer_kind,
        "given": shorten(row.hypothesis, 240) if not kind.is_judged else "",
        "wanted": shorten(row.target, 240) if not kind.is_judged else "",
        "audio": sounds_of.audio_label(prediction) if prediction.audio else "",
        "judge": row.stats["judge"][0] if "judge" in row.stats else None,
        "diff": list(word_differences(row.target, row.hypothesis)) if kind.marks_differences else [],
    }
    return {name: value for name, value in fields.items() if value not in ("", None, [])}


def shorten(text: str, longest: int = LONGEST) -> str:
    """The text, cut to ``longest`` characters with an ellipsis."""
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def word_differences(target: str, hypothesis: str) -> Iterator[Piece]:
    """The differing words of two texts.

    Returns:
        Pieces in order: words of both texts, of the target only, and of the hypothesis only.
    """
    from rapidfuzz.distance import Levenshtein

    first, second = target.split()[:200], hypothesis.split()[:200]
    for equal, group in groupby(Levenshtein.opcodes(first, second), key=lambda op: op.tag == "equal"):
        operations = list(group)  # a substitution beside an insertion is one difference
        removed = " ".join(first[operations[0].src_start : operations[-1].src_end])
        added = " ".join(second[operations[0].dest_start : operations[-1].dest_end])
        if equal:
            yield "=", removed
        else:
            yield from ((mark, words) for mark, words in (("-", removed), ("+", added)) if words)


def example_sounds(examples: Mapping[str, Mapping[str, Sequence[Row]]], root: str | None) -> dict[str, str]:
    """Encodes the sounds of example rows, up to :data:`SOUND_BYTES` in all.

    The sets take turns, so that each has some. A sound is left out where it is missing, cannot be decoded, or was
    played with recorded noise.

    Args:
        examples: Rows by set and system.
        root: Folder that the rows' audio paths are relative to; None: no sounds.

    Returns:
        Opus as base64 by the audio's label.
    """
    if root is None:
        return {}
    opus_by_label: dict[str, str] = {}
    encoded_bytes = 0
    depth = max((len(rows) for by in examples.values() for rows in by.values()), default=0)
    for rank in range(depth):
        for by in examples.values():
            for rows in by.values():
                prediction = rows[rank].prediction if rank < len(rows) else None
                if (
                    prediction is None
                    or not prediction.audio
                    or sounds_of.audio_label(prediction) in opus_by_label
                    or encoded_bytes > SOUND_BYTES
                ):
                    continue
                opus = _opus(root, prediction)
                if opus is not None:
                    opus_by_label[sounds_of.audio_label(prediction)] = opus
                    encoded_bytes += len(opus)
    return opus_by_label


def _opus(root: str, row: Prediction) -> str | None:
    import base64

    if sounds_of.missing_condition(row) is not None:
        return None
    try:
        clip = sounds_of.conditioned_clip(root, row, SOUND_S)
    except (LLaSOError, OSError):
        return None
    return None if clip is None else base64.b64encode(audio.encode(clip.pcm, "opus")).decode("ascii")
