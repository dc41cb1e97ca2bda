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

from llaso_data.errors import LLaSOError
from llaso_data.filters import columns
from llaso_data.io import cache, checksums, sealed
from llaso_data.io.checksums import DamagedError
from llaso_data.io.hub import checkpoint
from llaso_data.pipeline import commit, shard_plan
from llaso_data.pipeline.judge import judge
from llaso_data.recipe import Judge, Shard
from llaso_data.shards import index, layout, reader
from llaso_data.shards.tar import ShardError
from llaso_data.shards.validate import validate
from tests.support import flip_targets
from tests.support.fuzz_targets import GOLDEN, make_align, without_checksum

KEPT = "index from a store, cached"  # fetched again, as it was


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


# Everything


def test_no_flipped_bit_is_silent(tmp_path: Path) -> None:
    """bench/flips.py flips 500."""
    counts, bad = flip_targets.flipped(tmp_path, 40)
    assert bad == []
    assert sum(one["noticed"] + one["identical"] for one in counts.values()) == 40
    assert all(one["noticed"] for name, one in counts.items() if name not in ("note of a digest", KEPT))


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(tmp_path: Path, capsys: Any) -> None:
    resumed = dict(flip_targets.run_targets(tmp_path))["training checkpoint"].read
    last, first = (tmp_path / "checkpoints" / f"step-0000000{step}" for step in (2, 1))
    assert resumed()[0].step == 2
    assert capsys.readouterr().err == ""
    damage(next(path for path in sorted(last.iterdir()) if path.suffix == ".distcp"))
    assert resumed()[0].step == 1
    said = capsys.readouterr().err
    assert "step-00000002: " in said and "is damaged" in said and "continues from step 1" in said
    assert not last.exists() and last.with_suffix(".damaged").is_dir()
    (first / checksums.FOLDER_FILE).unlink()  # as an earlier version left it
    assert resumed()[0].step == 1
    assert "an earlier version wrote it" in capsys.readouterr().err
    damage(first / "progress.json")
    with pytest.raises(DamagedError, match=r"no checkpoint can be used: step-00000001: .*progress\.json is damaged"):
        resumed()
    assert first.is_dir()


def test_a_model_that_is_damaged_or_changed_is_refused(tmp_path: Path, capsys: Any) -> None:
    for name, said in (("config.json", b'{"model_type": "llaso"}'), ("model.safetensors", bytes(50))):
        (tmp_path / name).write_bytes(said)
    assert checkpoint("MODEL", str(tmp_path), None, kind="llaso") == str(tmp_path)
    assert f"{tmp_path} has no checksums.json: an earlier version wrote it" in capsys.readouterr().err
    checksums.note_folder(tmp_path)
    assert checkpoint("MODEL", str(tmp_path), None, kind="llaso") == str(tmp_path)
    assert capsys.readouterr().err == ""
    damage(tmp_path / "model.safetensors")
    with pytest.raises(DamagedError, match=r"model\.safetensors is damaged or was changed.*remove its checksums\.json"):
        checkpoint("MODEL", str(tmp_path), None, kind="llaso")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(DamagedError, match=r"model\.safetensors is missing"):
        checkpoint("MODEL", str(tmp_path), None, kind="llaso")


def test_what_is_damaged_in_the_cache_is_made_again(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("LLASO_CACHE", str(tmp_path))
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "model.bin").write_bytes(bytes(100))

    folder = cache.cached("made", make)
    cache._known_whole.clear()  # as another process would find it
    assert cache.cached("made", make) == folder and len(made) == 1
    damage(folder / "model.bin")
    cache._known_whole.clear()
    assert cache.cached("made", make) == folder and len(made) == 2
    assert (folder / "model.bin").read_bytes() == bytes(100)
    assert "model.bin is damaged" in capsys.readouterr().err


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
