"""Arrow arrays made of Python values without pyarrow's own way: the same arrays, and no pandas."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from llaso_data.shards import columns, index
from llaso_data.shards.index import IndexRow, PartRow

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
parts = st.builds(PartRow, text, st.integers(0, 2**62), st.integers(0, 2**40), st.integers(0, 2**32 - 1))
rows = st.builds(
    IndexRow,
    key=text,
    parts=st.lists(parts, max_size=3).map(tuple),
    duration_s=st.floats(0, 1e9),
    text_bytes=st.integers(0, 2**40),
    task=st.none() | text,
    language=st.none() | text,
    modality=text,
    split=st.none() | text,
)


@given(st.lists(st.none() | text))
def test_texts(values: list[str | None]) -> None:
    made = columns.texts(values)
    made.validate(full=True)
    assert made.equals(pa.array(values, pa.string())) and made.null_count == values.count(None)


@given(st.lists(rows))
def test_rows_of_an_index(values: list[IndexRow]) -> None:
    made = index.to_table(values)
    made.validate(full=True)
    assert made.equals(pa.Table.from_pylist([row.to_dict() for row in values], schema=made.schema))


def test_no_pandas_is_imported() -> None:
    program = (
        "import sys\n"
        "from llaso_data.shards import index, manifest\n"
        "row = index.IndexRow(key='a', parts=(index.PartRow('wav', 1, 2, 3),), duration_s=1.0, text_bytes=1,\n"
        "    task=None, language='en', modality='audio')\n"
        "table = index.to_table([row, row])\n"
        "assert manifest.counts(table, 'task') == {'unknown': {'samples': 2, 'hours': 0.000556}}\n"
        "sys.exit('pandas' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
