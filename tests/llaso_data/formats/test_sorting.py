"""Rows are sorted on the disk where they are many: the result is that of ``sorted``, and nothing stays behind."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_data.errors import LLaSOError
from llaso_data.formats.rows.mapping import compile_map
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import RowError, SourceMetadata, SourceRow, failed_row
from llaso_data.formats.rows.to_input import to_input
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure
from tests.support.paths import REPOSITORY

TEXT = st.text(max_size=3) | st.sampled_from(["\udcff", "größe", "a\0b"])  # names may hold stray bytes
SECONDS = st.none() | st.floats(0, 9)
METADATA = st.builds(
    SourceMetadata,
    text=st.none() | TEXT,
    speaker=st.none() | TEXT,
    channels=st.none() | st.just((0, 1)),
    channel_count=st.none() | st.integers(1, 2),
)
ROWS = st.builds(
    SourceRow,
    path=st.sampled_from("ab"),
    uri=TEXT,
    root=st.just("/c"),
    container=st.just("/c"),
    member=st.none() | st.sampled_from("xy"),
    start_s=SECONDS,
    end_s=SECONDS,
    metadata=METADATA,
    size_bytes=st.integers(0, 1 << 50),
    failure=st.none() | st.builds(Failure, TEXT, TEXT),
    where=st.sampled_from(["", "t:1", "t:2"]),
)


def rows_of(count: int) -> list[SourceRow]:
    """Rows in no order, some with the same key."""
    return [failed_row("/c", "/c", f"t:{number * 7919 % 997}", f"row {number}") for number in range(count)]


@given(st.lists(ROWS, max_size=25), st.integers(1, 30))
def test_rows_come_as_from_sorted_whatever_the_size_of_a_run(rows: list[SourceRow], run_rows: int) -> None:
    assert list(sorted_rows(iter(rows), run_rows=run_rows)) == sorted(rows, key=SourceRow.sort_key)


@pytest.mark.parametrize("run_rows", [1, 64, 65, 500, 1999, 2000, 2001])
def test_runs_of_several_batches_keep_equal_rows_in_their_order(run_rows: int) -> None:
    rows = rows_of(2000)
    assert list(sorted_rows(rows, run_rows=run_rows)) == sorted(rows, key=SourceRow.sort_key)


def test_columns_of_tables_that_a_map_takes_come_back_as_the_map_reads_them() -> None:
    fields = {"n": 1, "text": "x", "list": [1, {"day": date(2020, 1, 2)}], "day": date(2020, 1, 2), "gap": None}
    rows = [replace(row, fields=fields) for row in rows_of(3)]
    made = {"text": "{n}{text}{list}{gap}"}
    row_map, of_day = compile_map(made), compile_map({"text": "{day}"})
    assert row_map is not None and of_day is not None
    for before, after in zip(sorted_rows(rows), sorted_rows(rows, run_rows=2), strict=True):
        assert row_map.applied(after).metadata == row_map.applied(before).metadata
        with pytest.raises(RowError, match="no text and no number"):
            of_day.applied(after)


def test_no_rows_are_an_error_only_where_the_reader_says_so() -> None:
    assert list(sorted_rows([])) == []
    with pytest.raises(LLaSOError, match="nothing in it"):
        sorted_rows([], if_none="nothing in it")


def test_only_one_run_is_kept_while_rows_are_taken() -> None:
    """Rows that lie in the file are let go: of 1,000 rows at most two runs of 50 are alive while they are taken."""
    alive: set[int] = set()
    most = 0

    class Watched(SourceRow):
        __slots__ = ("number",)

        def __del__(self) -> None:
            alive.discard(id(self))

    def rows() -> Iterator[SourceRow]:
        nonlocal most
        for number in range(1000):
            row = Watched(path=f"{number * 37 % 1000:04d}", uri="u", root="r", container="c")
            alive.add(id(row))
            most = max(most, len(alive))
            yield row
            del row

    assert [row.path for row in sorted_rows(rows(), run_rows=50)] == [f"{number:04d}" for number in range(1000)]
    assert 50 <= most <= 101


def test_nothing_is_left_on_the_disk_read_to_the_end_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    whole = sorted_rows(rows_of(500), run_rows=50)
    assert open_files_in(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []  # the file has no name: nothing to find after a kill
    assert sum(1 for _ in whole) == 500
    started = sorted_rows(rows_of(500), run_rows=50)
    assert len(list(itertools.islice(started, 3))) == 3
    untouched = sorted_rows(rows_of(500), run_rows=50)
    del whole, started, untouched
    assert open_files_in(tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


def open_files_in(folder: Path) -> int:
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("only Linux says which files a process has open")
    links = (os.readlink(one) for one in descriptors.iterdir() if one.is_symlink())
    return sum(link.startswith(str(folder)) for link in links)


def test_a_full_disk_is_an_error_that_names_the_place(tmp_path: Path) -> None:
    """The limit on a file's size stands for a disk without room."""
    code = (
        "import resource, signal, sys\n"
        "from tests.llaso_data.formats.test_sorting import rows_of, sorted_rows\n"
        "from llaso_data.errors import LLaSOError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    sorted_rows(rows_of(500), run_rows=50)\n"
        "except LLaSOError as error:\n    sys.exit(str(error))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"the file in {tmp_path} in which rows are sorted" in done.stderr


def test_an_audio_whose_member_is_not_in_its_id_has_the_same_id_unpacked() -> None:
    """So a corpus gives the same ids in its archives and out of them; the row survives the sort on disk."""
    row = SourceRow(path="a/b.wav", uri="/r/a/b.wav", root="/r", container="/r")
    inside = replace(row, uri="/r/1.zip", member="x/a\\b.wav", member_in_id=False)
    spec = SourceSpec(path="/r")
    assert list(sorted_rows([inside] * 3, run_rows=2)) == [inside] * 3
    plain, packed = to_input(row, spec, "c").utterance, to_input(inside, spec, "c").utterance
    assert (packed.id, packed.source.member) == (plain.id, "x/a\\b.wav")
    assert inside.audio_key() == row.audio_key()
    assert to_input(replace(inside, member_in_id=True), spec, "c").utterance.id != plain.id
