"""Tables: a broken row is one failure with its line, and every row after it is read."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.text import MAX_TEXT_BYTES
from llaso_data.formats.tables import table_rows
from tests.support.corpus_rows import failures, utterances


def read(path: Path, data: bytes | str) -> list[tuple[int, Any]]:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(table_rows.table_rows(str(path)))


def first_cells(found: list[tuple[int, Any]]) -> list[tuple[int, str | None]]:
    """Lines with the first cell's value, None for what is wrong."""
    return [(number, None if isinstance(row, str) else next(iter(row.values()))) for number, row in found]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_open_quote_fails_its_own_row(tmp_path: Path, end: str) -> None:
    lines = [
        "audio,text",
        'a,"two',
        'lines, ""quoted"""',
        'b,"never closed',
        "c,fine",
        'd,"closed by another',
        "e,fine",
        'f,"so it seems"',
        'g,5" nails',
        'h,"Hello," she said',
        'i,"again open',
        "j,last",
    ]
    for last in (end, ""):
        found = read(tmp_path / "m.csv", end.join(lines) + last)
        expected = [(2, "a"), (4, None), (5, "c"), (6, None), (7, "e"), (8, "f"), (9, "g"), (10, None), (11, None)]
        assert first_cells(found) == [*expected, (12, "j")]
        assert found[0][1]["text"] == f'two{end}lines, "quoted"'
        assert found[6][1]["text"] == '5" nails'
        assert "a quote opens a cell and is not closed" in found[1][1]


def test_a_quote_that_takes_other_rows_in_fails_by_its_cells(tmp_path: Path) -> None:
    found = read(tmp_path / "m.csv", 'audio,text,age\na,"open,3\nb,fine,4\nc,"closed",5\nd,last,6\n')
    assert first_cells(found) == [(2, None), (3, "b"), (4, "c"), (5, "d")]


def test_quotes_are_letters_in_a_tsv(tmp_path: Path) -> None:
    found = read(tmp_path / "m.tsv", 'audio\ttext\r\na\t"Hello," she said\r\nb\t"Open\r\nc\tin "the" middle"\r\nd\t"')
    assert [row["text"] for _, row in found] == ['"Hello," she said', '"Open', 'in "the" middle"', '"']


def test_a_json_list_goes_on_after_a_broken_item(tmp_path: Path) -> None:
    rows = [{"audio": f"{number}.wav", "text": "x" * 50_000, "more": [{"a": 1}]} for number in range(20)]
    whole = json.dumps(rows, indent=2)
    bad = whole.replace('"audio": "7.wav",', '"audio": 7.wav",', 1)
    for text in (bad, bad.replace("\n", "\r\n")):
        found = read(tmp_path / "m.json", text)
        assert first_cells(found) == [(n + 1, None if n == 7 else f"{n}.wav") for n in range(20)]
        assert f"on line {bad[: bad.index('7.wav')].count(chr(10)) + 1}" in found[7][1]
    line = ", ".join(map(json.dumps, rows)).replace('"audio": "7.wav",', '"audio": 7.wav",', 1)
    assert first_cells(read(tmp_path / "m.json", f"[{line}")) == [
        *((n + 1, None if n == 7 else f"{n}.wav") for n in range(20)),
        (21, None),  # the list is not closed
    ]
    nested = '[[1], 7, {"audio": "a"} {"audio": "b"}]\n{"audio": "c"}'
    assert first_cells(read(tmp_path / "m.json", nested)) == [(1, None), (2, None), (3, "a"), (4, "b"), (5, "c")]


def test_json_lines_with_a_mark_and_a_broken_line(tmp_path: Path) -> None:
    found = read(tmp_path / "m.jsonl", '\ufeff{"a": 1}\r\n{"a": 2\r\n\r\n{"a": 3}\n\ufeff{"a": 4}'.encode())
    assert first_cells(found)[:3] == [(1, 1), (2, None), (4, 3)] and len(found) == 4


def test_long_rows_fail_and_are_not_kept(tmp_path: Path) -> None:
    """Rows of 40 MB are as good as endless ones: memory is limited by the program, and nothing looks at the size."""
    long = "x" * (MAX_TEXT_BYTES + 5)
    for name, text in {
        "m.csv": f'audio,text\na,1\nb,"{long}"\nc,2\nd,"{long}\ne,3\n',
        "m.tsv": f"audio\ttext\na\t1\nb\t{long}\nc\t2\n",
        "m.jsonl": f'{{"a": "a"}}\n{{"a": "{long}"}}\n{{"a": "c"}}\n',
        "m.json": f'[{{"a": "a"}},\n{{"a": "{long}"}},\n{{"a": "c"}}]\n',
    }.items():
        found = first_cells(read(tmp_path / name, text))
        assert found[:3] == [(found[0][0], "a"), (found[0][0] + 1, None), (found[0][0] + 2, "c")], name
        assert found[3:] == ([(5, None), (6, "e")] if name == "m.csv" else [])


def test_a_damaged_row_group_is_as_many_failures_as_rows(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    table = pa.table({"audio": [f"{n}.wav" for n in range(300)], "text": [f"text {n}" for n in range(300)]})
    pq.write_table(table, path, row_group_size=100, compression="none", use_dictionary=False, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[data.index(b"text 150")] ^= 1
    found = first_cells(read(path, bytes(data)))
    assert found == [(n + 1, None if 100 <= n < 200 else f"{n}.wav") for n in range(300)]
    inputs = utterances(path)
    assert len(inputs) == 300
    assert ["its row group, number 2, is damaged" in detail for _, detail in failures(inputs)] == [True] * 100


def test_a_value_that_python_has_not_is_its_rows_failure(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    offsets = pa.array([0, 2, 4, 6], pa.int32()).buffers()[1]
    names = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"aa\xff\xfecc")])
    when = pa.array([1, 1 << 62, 3], pa.int64()).cast(pa.timestamp("ms"))
    pq.write_table(pa.table({"audio": names}), path)
    assert first_cells(list(table_rows.table_rows(str(path)))) == [(1, "aa"), (2, "\udcff\udcfe"), (3, "cc")]
    pq.write_table(pa.table({"audio": ["a", "b", "c"], "start": when}), path)
    found = utterances(path)
    assert len(found) == len(failures(found)) == 3  # times of day are no seconds
    assert any("start cannot be read" in detail for _, detail in failures(found))


@pytest.mark.parametrize("value", ["1e400", "-1", "NaN", '"soon"', "true", "[1]", str(2**80), '"1e400"', "-1e-300"])
def test_numbers_that_are_no_times(tmp_path: Path, value: str) -> None:
    rows = f'{{"audio": "a.wav", "start": 0.5, "end": {value}}}\n{{"audio": "b.wav"}}\n'
    (tmp_path / "m.jsonl").write_text(rows)
    found = utterances(tmp_path / "m.jsonl")
    assert len(found) == 2
    assert [reason for reason, _ in failures(found)] == ([] if value == "NaN" else ["bad_row"])


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_csv_that_a_spreadsheet_wrote_without_commas(tmp_path: Path, mark: str) -> None:
    (tmp_path / "m.csv").write_text(mark.join(("audio", "text")) + "\r\n" + mark.join(("a.wav", '"so, it; goes"')))
    assert [one.text for one in utterances(tmp_path / "m.csv")] == ["so, it; goes"]


def test_columns_of_one_name_and_values_of_a_wrong_kind_are_named(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("audio,text,text,,\na.wav,hi,ho,,\n")
    (found,) = failures(utterances(tmp_path / "m.csv"))
    assert "more than one column is named 'text'; rename them" in str(found)
    (tmp_path / "m.jsonl").write_text('{"audio": "a.wav", "speaker": ["s"]}\n')
    (found,) = failures(utterances(tmp_path / "m.jsonl"))
    assert "m.jsonl:1: speaker: text or a number expected, got a list" in str(found)


def test_paths_that_were_written_under_windows(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.wav").touch()
    (tmp_path / "m.csv").write_text("audio,text\n.\\clips\\a.wav,hi\nC:\\clips\\b.wav,lost\n")
    found = utterances(tmp_path / "m.csv")
    assert [one.source.uri for one in found if one.failure is None] == [str(tmp_path / "clips" / "a.wav")]
    (bad,) = (one.failure for one in found if one.failure is not None)
    assert "m.csv:3: C:\\clips\\b.wav: a drive of Windows" in bad.detail


def test_a_source_that_gives_nothing_is_named(tmp_path: Path) -> None:
    empty = io.BytesIO()
    pq.write_table(pa.table({"audio": pa.array([], pa.string())}), empty)
    for name, data in {
        "m.jsonl": b"\n",
        "m.json": b"[]",
        "m.csv": b"audio,text\n",
        "m.parquet": empty.getvalue(),
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(LLaSOError, match=f"{name}: the manifest holds no row"):
            utterances(tmp_path / name)
