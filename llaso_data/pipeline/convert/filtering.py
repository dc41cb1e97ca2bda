"""`--filter`: a condition on samples, parsed to an Arrow expression. Nothing of it is run as code.

The form is a comparison, or several joined by ``and``, ``or``, ``not`` and parentheses:
``duration_s < 20 and language == "en"``, ``speaker not in ("a", "b")``, ``text is not None``.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from llaso_data.errors import LLaSOError
from llaso_data.records import UNKNOWN, Sample

if TYPE_CHECKING:
    import pyarrow.compute as pc

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "task": pa.string(),
        "language": pa.string(),
        "split": pa.string(),
        "modality": pa.string(),
        "audios": pa.int64(),
        "turns": pa.int64(),
        "duration_s": pa.float64(),
        "text": pa.string(),
        "answer": pa.string(),
        "speaker": pa.string(),
        "speaker_origin": pa.string(),
        "gender": pa.string(),
        "age": pa.string(),
        "accent": pa.string(),
        "environment": pa.string(),
        "environment_origin": pa.string(),
        "license": pa.string(),
        "consent": pa.string(),
        "corpus": pa.string(),
        "uri": pa.string(),
    }
)
"""The fields that a condition may name. ``text`` is what is said in the first audio, ``answer`` the last message."""

_MOST_CHARACTERS = 10_000
_MOST_DEPTH = 50
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: lambda left, right: left == right,
    ast.NotEq: lambda left, right: left != right,
    ast.Lt: lambda left, right: left < right,
    ast.LtE: lambda left, right: left <= right,
    ast.Gt: lambda left, right: left > right,
    ast.GtE: lambda left, right: left >= right,
}


def parse(text: str) -> pc.Expression:
    """A condition as an expression over the columns of :data:`SCHEMA`.

    Raises:
        LLaSOError: It is not of the form that the module's text says, names an unknown field, or compares a number with
            a text.
    """
    if len(text) > _MOST_CHARACTERS:
        raise LLaSOError(f"filter: longer than {_MOST_CHARACTERS:,} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # "20and": what it is taken for decides
            tree = ast.parse(text.strip(), mode="eval")
        expression = _condition(tree.body, text, 0)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise LLaSOError(f"filter: {text!r} is not understood ({getattr(error, 'msg', error)}); {_FORM}") from error
    try:
        mask(expression, SCHEMA.empty_table())
    except (pa.ArrowException, NotImplementedError) as error:
        raise LLaSOError(f"filter: {text!r} compares values of different kinds ({error})") from error
    return expression


_FORM = 'write comparisons joined by and, or, not: duration_s < 20 and language == "en"'


def _condition(node: ast.expr, text: str, depth: int) -> pc.Expression:
    if depth > _MOST_DEPTH:
        raise ValueError("it is nested too deeply")
    if isinstance(node, ast.BoolOp):
        conditions = [_condition(value, text, depth + 1) for value in node.values]
        joined = conditions[0]
        for condition in conditions[1:]:
            joined = joined & condition if isinstance(node.op, ast.And) else joined | condition
        return joined
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~_condition(node.operand, text, depth + 1)
    if isinstance(node, ast.Compare):
        return _comparison(node)
    raise ValueError(f"{ast.unparse(node)!r} is no comparison")


def _comparison(node: ast.Compare) -> pc.Expression:
    operands = [node.left, *node.comparators]
    joined: pc.Expression | None = None
    for left, operator, right in zip(operands, node.ops, operands[1:], strict=False):
        one = _compared(left, operator, right)
        joined = one if joined is None else joined & one
    assert joined is not None
    return joined


def _compared(left: ast.expr, operator: ast.cmpop, right: ast.expr) -> pc.Expression:
    if not (isinstance(left, ast.Name) or isinstance(right, ast.Name)):
        raise ValueError(f"{ast.unparse(left)!r} is compared with no field")
    if isinstance(operator, (ast.In, ast.NotIn)):
        if not isinstance(right, (ast.Tuple, ast.List, ast.Set)) or not right.elts:
            raise ValueError('`in` takes a list of values: language in ("en", "de")')
        values = [_constant(element) for element in right.elts]
        among = _operand(left).isin(values)
        return ~among if isinstance(operator, ast.NotIn) else among
    if isinstance(operator, (ast.Is, ast.IsNot)):
        if not (isinstance(right, ast.Constant) and right.value is None):
            raise ValueError("`is` takes None alone")
        null = _operand(left).is_null()
        return ~null if isinstance(operator, ast.IsNot) else null
    return _COMPARISONS[type(operator)](_operand(left), _operand(right))


def _operand(node: ast.expr) -> pc.Expression:
    import pyarrow.compute as pc

    if isinstance(node, ast.Name):
        if node.id not in SCHEMA.names:
            raise ValueError(f"there is no field {node.id!r}; fields are {', '.join(SCHEMA.names)}")
        return pc.field(node.id)
    return pc.scalar(_constant(node))


def _constant(node: ast.expr) -> Any:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _constant(node.operand)
        if isinstance(value, (int, float)):
            return -value
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float)):
        return node.value
    raise ValueError(f"{ast.unparse(node)!r} is no text and no number")


def table(samples: Sequence[Sample]) -> pa.Table:
    """What a condition sees of samples, a row each; None for what nothing says."""
    return pa.Table.from_pylist([_row(sample) for sample in samples], schema=SCHEMA)


def mask(expression: pc.Expression, rows: pa.Table) -> list[bool | None]:
    """For each row whether the condition holds; None where a value that is not known decides."""
    from pyarrow import acero

    source = acero.Declaration("table_source", acero.TableSourceNodeOptions(rows))
    project = acero.Declaration("project", acero.ProjectNodeOptions([expression], ["holds"]), inputs=[source])
    holds: list[bool | None] = project.to_table(use_threads=False)["holds"].to_pylist()
    return holds


def _row(sample: Sample) -> dict[str, Any]:
    first = sample.audios[0] if sample.audios else None
    durations = [audio.duration_s for audio in sample.audios]
    answer = sample.messages[-1].content[-1].text if sample.messages[-1].role == "assistant" else None
    row: dict[str, Any] = {
        "id": sample.id,
        "task": sample.task,
        "language": sample.language,
        "split": sample.split,
        "modality": sample.modality,
        "audios": len(sample.audios),
        "turns": len(sample.messages),
        "duration_s": None if None in durations else sample.duration_s,
        "answer": answer,
    }
    if first is not None:
        attributes = {
            "speaker": first.speaker.id.value,
            "gender": first.speaker.gender.value,
            "age": first.speaker.age_range.value,
            "accent": first.speaker.accent.value,
            "environment": first.environment.value,
            "speaker_origin": first.speaker.id.origin,
            "environment_origin": first.environment.origin,
        }
        row |= {name: None if value == UNKNOWN else value for name, value in attributes.items()}
        row |= {"license": first.source.license, "consent": first.source.consent}
        row |= {"text": first.text, "corpus": first.source.corpus, "uri": first.source.uri}
    return row
