"""Scored rows as a Parquet file, so that a report, another selection of systems or a colleague needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from llaso_data import sealed, storage
from llaso_data.checksums import DamagedError
from llaso_data.errors import LLaSOError
from llaso_model.evaluate.layouts import Prediction
from llaso_model.evaluate.rows import Row

_PREDICTION = tuple(one.name for one in fields(Prediction))
_ROW = ("said", "given", "wanted", "badness")


def write(rows: Sequence[Row], path: str) -> None:
    """Writes rows as Parquet: a column for every field, the statistics as a map from metric to numbers."""
    import pyarrow as pa

    text = pa.string()
    types = {
        "audio": pa.list_(text),
        "tags": pa.list_(text),
        "groups": pa.map_(text, text),
        "confidence": pa.float64(),
        "badness": pa.float64(),
    }
    columns: dict[str, Any] = {name: [getattr(row.prediction, name) for row in rows] for name in _PREDICTION}
    columns["groups"] = [sorted(row.prediction.groups.items()) for row in rows]
    columns |= {name: [getattr(row, name) for row in rows] for name in _ROW}
    arrays = {name: pa.array(values, types.get(name, text)) for name, values in columns.items()}
    stats = [[(name, list(values)) for name, values in sorted(row.stats.items())] for row in rows]
    arrays["stats"] = pa.array(stats, pa.map_(text, pa.list_(pa.float64())))
    sealed.write_parquet(path, pa.table(arrays), compression="zstd")


def is_rows(path: str) -> bool:
    """Whether a file has the columns of rows, by its schema alone."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with storage.open_read(path) as file:
            return {*_PREDICTION, *_ROW, "stats"} <= set(pq.read_schema(file).names)
    except (pa.ArrowInvalid, OSError):
        return False


def read(path: str) -> list[Row]:
    """The rows of a file that :func:`write` made. Raises LLaSOError where it is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with sealed.read_parquet(path) as file:
            return [_row(row) for row in pq.read_table(file).to_pylist()]
    except FileNotFoundError as error:
        raise LLaSOError(f"{path}: not there; llaso-model score writes it") from error
    except DamagedError as error:
        raise DamagedError(f"{error}; run llaso-model score again") from error
    except (pa.ArrowInvalid, KeyError, TypeError) as error:
        raise LLaSOError(f"{path}: not rows of llaso-model score ({error})") from error


def _row(row: dict[str, Any]) -> Row:
    said = {name: row[name] for name in _PREDICTION}
    said |= {"audio": tuple(row["audio"]), "tags": tuple(row["tags"]), "groups": dict(row["groups"])}
    stats = {name: tuple(values) for name, values in row["stats"]}
    return Row(Prediction(**said), row["said"], row["given"], row["wanted"], row["badness"], stats)
