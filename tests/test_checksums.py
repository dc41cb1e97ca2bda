"""What is written carries a checksum, and whoever reads it looks: a flipped bit is never taken for data."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_data import checksums, sealed
from llaso_data.checksums import DamagedError
from llaso_data.errors import LLaSOError
from llaso_data.filters import columns
from llaso_data.pipeline import commit, shard_plan
from llaso_data.pipeline.judge import judge
from llaso_data.pipeline.recipe import Judge, Shard
from llaso_data.shards import index, layout, reader
from llaso_data.shards.tar import ShardError
from llaso_data.shards.validate import validate
from tests.fuzz_targets import GOLDEN, make_align, without_checksum


def flips(data: bytes, step: int = 1) -> Iterator[bytes]:
    """The bytes with one bit flipped, at every ``step``-th place."""
    for at in range(0, len(data), step):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        yield bytes(changed)


@pytest.fixture
def align(tmp_path: Path) -> Path:
    make_align(tmp_path / "align")
    return tmp_path / "align"


def read_columns(path: str) -> None:
    columns.read(path, ["id"])


def read_verdicts(path: str) -> None:
    with columns.reading(path) as file:
        pq.read_table(file)


@pytest.mark.parametrize(
    ("name", "read"),
    [("observations/block.parquet", read_columns), ("verdicts/verdicts.parquet", read_verdicts)],
)
def test_no_flipped_bit_of_a_table_is_taken(align: Path, name: str, read: Callable[[str], None]) -> None:
    """Whichever columns are wanted: a flip in any other one is seen as well."""
    path = align / name
    for changed in flips(path.read_bytes(), 7):
        path.write_bytes(changed)
        with pytest.raises(LLaSOError, match=r"remove it and run `llaso-data build-align` again"):
            read(str(path))


def test_a_damaged_block_stops_judging_and_sharding_by_name(align: Path) -> None:
    block = align / "observations" / "block.parquet"
    data = bytearray(block.read_bytes())
    data[len(data) // 3] ^= 4
    block.write_bytes(data)
    for command in (lambda: shard_plan.plan(str(align), Shard()), lambda: judge([str(block)], Judge())):
        with pytest.raises(DamagedError, match=r"block\.parquet is damaged.*remove it and run"):
            command()


def test_tables_are_parquet_to_any_reader_and_the_same_bytes_every_time(tmp_path: Path) -> None:
    table = pa.table({"a": list(range(100))}).replace_schema_metadata({"said": "before"})
    for name in ("one", "two"):
        sealed.write_parquet(str(tmp_path / name), table)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert pq.read_table(tmp_path / "one").equals(table)
    assert pq.read_schema(tmp_path / "one").metadata == {b"said": b"before"}


def test_what_an_earlier_version_wrote_is_read(align: Path) -> None:
    """Without a checksum, as pyarrow alone writes it."""
    wanted = shard_plan.plan(str(align), Shard())
    for name in ("observations/block.parquet", "verdicts/verdicts.parquet", "manifest.json"):
        older = without_checksum(name, (align / name).read_bytes())
        assert older != (align / name).read_bytes()
        (align / name).write_bytes(older)
    assert shard_plan.plan(str(align), Shard()).dataset == wanted.dataset


# Shards


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "golden"))


@pytest.mark.parametrize("name", ["shard-000000.arrow", "index.arrow"])
def test_no_flipped_bit_of_an_index_is_taken(golden: Path, name: str) -> None:
    """Padding, metadata and the footer, too; of the big index also where only its structure is looked at."""
    path = golden / name
    for changed in flips(path.read_bytes(), 5):
        path.write_bytes(changed)
        with pytest.raises(ShardError):
            index.open_arrow(str(path), whole=False)
        assert index.sidecar_info(str(path)) is None  # so `shard` writes this one again


def test_validation_sees_a_flip_anywhere_in_a_sidecar(golden: Path) -> None:
    path = golden / "shard-000001.arrow"
    whole = path.read_bytes()
    for changed in flips(whole, len(whole) // 6):
        path.write_bytes(changed)
        (problem,) = validate(str(golden)).problems
        assert "sidecar shard-000001.arrow is missing or damaged" in problem.what


def test_an_index_of_an_earlier_version_is_read_and_counted(golden: Path) -> None:
    for path in sorted(golden.glob("*.arrow")):
        path.write_bytes(without_checksum(path.name, path.read_bytes()))
    report = validate(str(golden))
    assert report.problems == ()
    assert report.without_checksum == 3
    assert validate(str(GOLDEN)).without_checksum is None


def test_the_checksum_is_what_the_specification_says(golden: Path) -> None:
    """As another program would compute it: zlib, and nothing of ours."""
    import re
    import zlib

    for name in ("shard-000000.arrow", "index.arrow"):
        data = (golden / name).read_bytes()
        stated = pa.ipc.open_file(golden / name).schema.metadata[b"llaso.checksum"]
        assert re.fullmatch(b"crc32:[0-9a-f]{8}", stated)
        assert data.count(stated) == 2
        assert zlib.crc32(data.replace(stated, b"crc32:00000000")) == int(stated[6:], 16)
    manifest = json.loads((golden / layout.MANIFEST).read_text(encoding="utf-8"))
    stated_json = manifest.pop("checksum")
    assert stated_json == f"crc32:{zlib.crc32(layout.canonical(manifest)):08x}"


# JSON


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.text(), JSON, max_size=4), st.integers(0))
def test_a_sealed_object_comes_back_or_is_refused(value: dict[str, Any], seed: int) -> None:
    value.pop(checksums.KEY, None)
    stored = json.dumps(checksums.sealed(value), ensure_ascii=True).encode()
    assert checksums.opened(json.loads(stored), "x") == value
    changed = bytearray(stored)
    changed[seed % len(stored)] ^= 1 << random.Random(seed).randrange(8)
    try:
        found = checksums.opened(json.loads(bytes(changed)), "x")
    except (ValueError, DamagedError):
        return
    assert found == value  # such as "\u00E9" instead of "\u00e9"


def test_no_flipped_bit_of_a_manifest_is_taken(align: Path, golden: Path) -> None:
    for path, read in (
        (align / "manifest.json", commit.manifest),
        (golden / "manifest.json", reader.read_manifest),
    ):
        whole, said = path.read_bytes(), read(str(path.parent))
        assert checksums.KEY in json.loads(whole)
        for changed in flips(whole, 3):
            path.write_bytes(changed)
            try:
                assert read(str(path.parent)) == said
            except LLaSOError:
                continue
