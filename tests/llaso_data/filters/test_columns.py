"""Tables of build-align that somebody changed: what is wrong with a column is said, never stumbled over."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llaso_data.errors import LLaSOError
from llaso_data.pipeline import commit
from llaso_data.pipeline.judge import judge
from llaso_data.recipe import Judge
from llaso_data.report.rejections import rejections
from tests.support.fuzz_targets import make_align

PART, VERDICTS = "observations/block.parquet", "verdicts/verdicts.parquet"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    make_align(tmp_path / "align")
    return tmp_path / "align"


def renamed(table: pa.Table, name: str) -> pa.Table:
    return table.rename_columns(["other" if found == name else found for found in table.column_names])


def retyped(table: pa.Table, name: str) -> pa.Table:
    place = table.column_names.index(name)
    return table.set_column(place, pa.field(name, pa.int64(), nullable=False), pa.array([1] * len(table)))


def with_nulls(table: pa.Table, name: str) -> pa.Table:
    kind = table.schema.field(name).type
    if pa.types.is_struct(kind):
        kind = pa.struct([field.with_nullable(True) for field in kind])
    return table.set_column(table.column_names.index(name), name, pa.nulls(len(table), kind))


@pytest.mark.parametrize("change", [renamed, retyped, with_nulls])
@pytest.mark.parametrize(("file", "column"), [(PART, "source"), (PART, "id"), (VERDICTS, "verdict"), (VERDICTS, "id")])
def test_a_column_that_is_not_what_it_must_be_is_named(made: Path, change, file: str, column: str) -> None:  # type: ignore[no-untyped-def]
    assert list(rejections(str(made)))
    path = made / file
    pq.write_table(change(pq.read_table(path), column), path)
    with pytest.raises(LLaSOError, match=f"column {column}.*not written by this version"):
        list(rejections(str(made)))


def test_judging_names_it_too(made: Path) -> None:
    part = commit.block_uri(str(made), "block")
    assert judge([part], Judge()).counts["inputs"] == 4
    table = pq.read_table(made / PART)
    scores = table["scores"].combine_chunks()
    fields = [pa.field("level", f.type, f.nullable) if f.name == "rms_dbfs" else f for f in scores.type]
    changed = pa.StructArray.from_arrays(scores.flatten(), fields=fields)
    pq.write_table(table.set_column(table.column_names.index("scores"), "scores", changed), made / PART)
    with pytest.raises(LLaSOError, match=r"has no column scores\.rms_dbfs"):
        judge([part], Judge())
