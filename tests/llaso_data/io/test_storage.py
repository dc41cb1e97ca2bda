"""Storage: what is written is there whole or not at all, here and on an object store."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.io import storage


def test_what_is_written_is_read_and_listed(folder: str) -> None:
    assert storage.listing(folder) == [] and not storage.exists(folder)
    storage.write_bytes(storage.join(folder, "b", "2"), b"two")
    storage.write_bytes(storage.join(folder, "a"), b"one")
    storage.write_bytes(storage.join(folder, ".hidden"), b"")
    assert [(row["path"], row["size"]) for row in storage.listing(folder)] == [("a", 3), ("b/2", 3)]
    assert storage.read_bytes(storage.join(folder, "b", "2")) == b"two"
    with storage.open_read(storage.join(folder, "a")) as file:
        assert file.read() == b"one"
    assert storage.stat(storage.join(folder, "a"))["size"] == 3
    with pytest.raises(FileNotFoundError):
        storage.stat(storage.join(folder, "c"))


def test_a_file_is_replaced_whole(folder: str) -> None:
    uri = storage.join(folder, "x")
    storage.write_bytes(uri, b"long before")
    storage.write_bytes(uri, b"after")
    assert storage.read_bytes(uri) == b"after"


def test_an_error_while_writing_leaves_nothing(folder: str) -> None:
    uri = storage.join(folder, "x")
    with pytest.raises(RuntimeError, match="half"), storage.whole(uri) as path:
        Path(path).write_bytes(b"half a file")
        raise RuntimeError("half")
    assert not storage.exists(uri) and not Path(path).exists()
    assert not storage.is_local(folder) or os.listdir(folder) == []


def test_an_error_while_writing_keeps_what_was_there(folder: str) -> None:
    uri = storage.join(folder, "x")
    storage.write_bytes(uri, b"good")
    with pytest.raises(RuntimeError), storage.whole(uri) as path:
        Path(path).write_bytes(b"bad")
        raise RuntimeError
    assert storage.read_bytes(uri) == b"good"


def test_nothing_is_seen_under_the_name_before_it_is_whole(folder: str) -> None:
    uri = storage.join(folder, "x")
    with storage.whole(uri) as path:
        Path(path).write_bytes(b"half")
        assert not storage.exists(uri) and storage.listing(folder) == []
    assert storage.read_bytes(uri) == b"half"


def test_the_same_json_is_the_same_bytes(folder: str) -> None:
    one, other = storage.join(folder, "1.json"), storage.join(folder, "2.json")
    storage.write_json(one, {"b": 1, "a": "grüß"})
    storage.write_json(other, {"a": "grüß", "b": 1})
    assert storage.read_bytes(one) == storage.read_bytes(other) and storage.read_bytes(one).endswith(b"}\n")
    assert storage.read_json(one) == json.loads('{"a": "gr\\u00fc\\u00df", "b": 1}')


def test_the_version_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"one")
    first = storage.stat(str(path))["version"]
    assert storage.listing(str(tmp_path))[0]["version"] == first
    path.write_bytes(b"two")  # the same size
    os.utime(path, (1, 1))
    assert storage.stat(str(path))["version"] != first
    assert storage.version({"ETag": '"abc"', "size": 1}) == "abc"


def test_paths_and_uris_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("out/") == f"{tmp_path}/out"
    assert storage.absolute(f"file://{tmp_path}/out") == f"{tmp_path}/out"
    assert storage.absolute("s3://bucket/out/") == "s3://bucket/out"
    storage.write_bytes("here", b"relative")
    assert (tmp_path / "here").read_bytes() == b"relative"


def test_a_store_that_is_not_known_is_a_plain_error() -> None:
    with pytest.raises(LLaSOError, match=r"nowhere://x: .*nowhere"):
        storage.exists("nowhere://x")


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    left, ours, others = (tmp_path / name for name in (".a.parquet.4711-00c0ffee.tmp", "a.parquet", ".notes.tmp"))
    for path in (left, ours, others):
        path.write_bytes(b"half")
    storage.sweep(str(tmp_path))
    storage.sweep(str(tmp_path / "nothing there"))
    assert not left.exists() and ours.exists() and others.exists()


def test_a_temporary_file_is_one_that_is_swept(tmp_path: Path) -> None:
    with storage.whole(str(tmp_path / "part")) as path:
        Path(path).touch()
        storage.sweep(str(tmp_path))
        assert not Path(path).exists()
        Path(path).touch()
