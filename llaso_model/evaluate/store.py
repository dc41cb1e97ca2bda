"""Scored rows as a Parquet file, so that a report, another selection of systems or a colleague needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.io import sealed, storage
from llaso_data.io.checksums import DamagedError
from llaso_model.evaluate.datasets.layouts import Prediction
from llaso_model.evaluate.kinds import Row

_PREDICTION = tuple(field.name for field in fields(Prediction))
_ROW = {"said": "answer_kind", "given": "hypothesis", "wanted": "target", "badness": "error"}
"""Fields of a row by the columns that hold them. Files that users have keep the columns' names."""
_LATER = ("span_s", "channels", "noise", "seed", "layer", "transcript")
"""Columns that files of earlier versions do not have."""
_NEEDED = ("system", "set", "id", "prompt", "reference", "answer", "audio", "groups", "tags", *_ROW, "stats")
"""Columns without nulls."""


def schema() -> Any:
    """The Arrow schema: one column for each field; the statistics are a map from metric to numbers."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    types = {
        "audio": pa.list_(text),
        "tags": pa.list_(text),
        "groups": pa.map_(text, text),
        "confidence": number,
        "badness": number,
        "span_s": pa.list_(number),
        "channels": pa.list_(pa.int64()),
        "seed": pa.int64(),
        "stats": pa.map_(text, pa.list_(number)),
    }
    return pa.schema([(name, types.get(name, text)) for name in (*_PREDICTION, *_ROW, "stats")])


def write(rows: Sequence[Row], path: str) -> None:
    """Writes rows as one Parquet file with the columns of :func:`schema`."""
    import pyarrow as pa

    columns: dict[str, Any] = {name: [getattr(row.prediction, name) for row in rows] for name in _PREDICTION}
    columns["groups"] = [sorted(row.prediction.groups.items()) for row in rows]
    columns |= {column: [getattr(row, name) for row in rows] for column, name in _ROW.items()}
    columns["stats"] = [[(name, list(values)) for name, values in sorted(row.stats.items())] for row in rows]
    sealed.write_parquet(path, pa.table(columns, schema=schema()), compression="zstd")


def is_rows(path: str) -> bool:
    """Whether a file has the columns of rows, by its schema alone."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with storage.open_read(path) as file:
            return {*schema().names} - {*_LATER} <= set(pq.read_schema(file).names)
    except (pa.ArrowInvalid, OSError):
        return False


def read(path: str) -> list[Row]:
    """Reads the rows of a Parquet file.

    Raises:
        DamagedError: Its checksum is wrong.
        LLaSOError: It is missing, or :func:`write` did not write it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with sealed.read_parquet(path) as file:
            table = pq.read_table(file)
        _check(table)
        return [_row(columns) for columns in table.to_pylist()]
    except FileNotFoundError as error:
        raise LLaSOError(f"{path}: not there; llaso-model score writes it") from error
    except DamagedError as error:
        raise DamagedError(f"{error}; run llaso-model score again") from error
    except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise LLaSOError(f"{path}: not rows of llaso-model score ({error})") from error


def _check(table: Any) -> None:
    """Raises ValueError for a column of another type, or with nulls where a value is needed."""
    for field in schema():
        if field.name in _LATER and field.name not in table.column_names:
            continue
        column = table.column(field.name)
        if column.type != field.type:
            raise ValueError(f"{field.name} is {column.type}, not {field.type}")
        if field.name in _NEEDED and column.null_count:
            raise ValueError(f"{field.name} is null in {column.null_count} rows")


def _row(columns: dict[str, Any]) -> Row:
    prediction: dict[str, Any] = {name: columns.get(name) if name in _LATER else columns[name] for name in _PREDICTION}
    prediction |= {"audio": tuple(columns["audio"]), "tags": tuple(columns["tags"]), "groups": dict(columns["groups"])}
    for name in ("span_s", "channels"):
        prediction[name] = prediction[name] and tuple(prediction[name])
    stats = {name: tuple(values) for name, values in columns["stats"]}
    return Row(Prediction(**prediction), **{name: columns[column] for column, name in _ROW.items()}, stats=stats)
