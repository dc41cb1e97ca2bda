"""The stream from stores: S3 (moto) and HTTP, with and without a cache; faults on the way are mended or told."""

from __future__ import annotations

import http.server
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.io import storage
from llaso_data.io.storage import StoreError
from llaso_data.shards.reader import index_uri, open_index
from llaso_data.shards.tar import ShardError
from llaso_data.stream import Mixture, StreamingLoader, fetch
from llaso_data.stream.shard_cache import FileCache
from tests.support.object_stores import BUCKET, gateway, upload
from tests.support.shard_sets import durations, write_set

pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture(scope="module")
def folder(server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 samples in 5 shards, here and on the store."""
    out = tmp_path_factory.mktemp("store") / "set"
    write_set(out, durations(150), 30)
    upload(out, f"{BUCKET}/set")
    return out


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "FIRST_WAIT_S", 0.01)


def streamed(uri: str, **options: Any) -> list[list[bytes]]:
    mixture = Mixture.of(uri)
    one = StreamingLoader(mixture, "60s", seed=1, micro_batches=2, decode=False, window=3, **options)
    return [[sample.parts["flac"] for sample in batch.samples] for batch in one]


@pytest.fixture(scope="module")
def here(folder: Path) -> list[list[bytes]]:
    """What the stream gives where the shards lie on a disk."""
    return streamed(str(folder))


def test_a_store_gives_the_same_stream_as_a_disk(here, tmp_path):
    assert streamed(f"{BUCKET}/set") == here
    assert streamed(f"{BUCKET}/set", cache=str(tmp_path / "cache")) == here
    assert streamed(f"{BUCKET}/set", cache=str(tmp_path / "cache"), num_workers=2) == here


def test_with_a_cache_nothing_is_read_twice(server, here, tmp_path):
    filled(tmp_path)
    with gateway(server) as between:
        assert streamed(f"{BUCKET}/set", cache=str(tmp_path)) == here
        assert not [path for method, path in between.seen if method == "GET" and path.endswith((".tar", ".arrow"))]


def test_the_cache_keeps_its_limit_and_what_was_used_last(folder, tmp_path):
    uris = [f"{BUCKET}/set/shard-{number:06d}.tar" for number in range(5)]
    size_bytes = (folder / "shard-000000.tar").stat().st_size
    cache = FileCache(str(tmp_path), 4 * size_bytes + 100)
    for uri in uris[:4]:
        assert cache.fill(uri, "1")
        time.sleep(0.01)
    descriptor = cache.open(uris[0], "1")
    assert descriptor is not None
    os.close(descriptor)
    time.sleep(0.01)
    cache.fill(uris[4], "1")
    assert [cache.path(uri, "1").exists() for uri in uris[:5]] == [True, False, True, True, True]
    assert not FileCache(str(tmp_path / "small"), size_bytes - 1).fill(uris[0], "1")
    FileCache(str(tmp_path), size_bytes)  # emptied to its limit at start
    assert len(list(tmp_path.glob("*.kept"))) == 1


def test_a_damaged_copy_in_the_cache_is_read_again_from_the_store(here, tmp_path):
    for copy in filled(tmp_path):
        copy.write_bytes(copy.read_bytes()[:3000])
    assert streamed(f"{BUCKET}/set", cache=str(tmp_path), max_bad=0) == here


def test_what_a_killed_process_left_is_removed(folder, tmp_path):
    cache = FileCache(str(tmp_path), 10**9)
    uri = f"{BUCKET}/set/shard-000000.tar"
    left = cache.path(uri, "1").with_suffix(".part")
    left.write_bytes(b"half")
    assert cache.fill(uri, "1") and cache.path(uri, "1").read_bytes() == (folder / "shard-000000.tar").read_bytes()
    left.write_bytes(b"half")
    FileCache(str(tmp_path), 10**9)
    assert not left.exists()


def test_two_processes_do_not_bring_the_same_file_at_once(folder, tmp_path):
    import fcntl

    cache = FileCache(str(tmp_path), 10**9)
    uri = f"{BUCKET}/set/shard-000001.tar"
    with cache.path(uri, "1").with_suffix(".part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert not cache.fill(uri, "1")
    assert cache.fill(uri, "1") and not cache.fill(uri, "1")


def test_a_store_that_fails_now_and_then_is_asked_again(server, here, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # botocore's own waits would take minutes
    with gateway(server) as between:
        asked = iter(range(10**6))
        faults = {0: 503, 1: "cut"}  # of every 20 requests
        between.rule = lambda method, path: faults.get(next(asked) % 20) if method == "GET" and ".tar" in path else None
        assert streamed(f"{BUCKET}/set") == here


def test_a_store_that_stays_down_stops_the_run(server, folder, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(fetch, "ATTEMPTS", 2)
    with gateway(server) as between:
        between.rule = lambda method, path: 503 if method == "GET" and ".tar" in path else None
        with pytest.raises(StoreError, match="the store stays down after"):
            streamed(f"{BUCKET}/set")


def test_a_shard_that_is_missing_or_short_on_the_store_is_told(folder, tmp_path):
    upload(folder, f"{BUCKET}/short")
    fs, path = storage.filesystem(f"{BUCKET}/short/shard-000002.tar")
    fs.pipe_file(path, (folder / "shard-000002.tar").read_bytes()[:4000])
    one = StreamingLoader(Mixture.of(f"{BUCKET}/short"), "60s", seed=1, micro_batches=2, decode=False, window=3)
    assert sum(map(len, one)) == 150
    assert len(one.replaced) > 20 and all("is cut short" in each.bad.reason for each in one.replaced)
    fs.rm_file(path)
    with pytest.raises(ShardError, match=r"shard-000002.tar is missing"):
        streamed(f"{BUCKET}/short")


@contextmanager
def http_server(root: Path, ranges: bool, fault: Any = lambda number: None) -> Iterator[str]:
    """A slow server of a folder's files. ``fault(number of the GET)`` gives a status, or how many bytes it sends."""
    number = iter(range(10**6))

    class Handler(http.server.BaseHTTPRequestHandler):
        wbufsize = 1 << 16  # head and body in one packet

        def log_message(self, *arguments: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._send(body=False)

        def do_GET(self) -> None:
            time.sleep(0.005)
            self._send(body=True)

        def _send(self, body: bool) -> None:
            path = root / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            data, status = path.read_bytes(), 200
            asked = self.headers.get("Range")
            if asked and ranges:
                first, _, last = asked.removeprefix("bytes=").partition("-")
                data, status = data[int(first) : int(last) + 1], 206
            wrong = fault(next(number)) if body and self.path.endswith(".tar") else None
            if wrong == 503:
                self.send_error(503)
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(data[:wrong])))
            if ranges:
                self.send_header("Accept-Ranges", "bytes")
            self.end_headers()
            if body:
                self.wfile.write(data[:wrong])

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 128  # of 5 a client waits a second for the sixth
        daemon_threads = True

    running = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()


@pytest.mark.parametrize("ranges", [True, False])
def test_http_servers_with_and_without_ranges_give_the_same(folder, here, ranges):
    with http_server(folder, ranges) as url:
        assert streamed(url) == here


def test_short_reads_and_503s_over_http_are_completed(folder, here, tmp_path):
    """Also where the address has the number of another status, which a message then shows."""
    shutil.copytree(folder, tmp_path / "416")
    with http_server(tmp_path, True, lambda number: (None, 503, 100, 20)[number % 4]) as url:
        assert streamed(f"{url}/416") == here


def test_a_cache_without_room_is_refused(tmp_path):
    with pytest.raises(LLaSOError, match="at least one byte"):
        FileCache(str(tmp_path), 0)


def filled(folder: Path) -> list[Path]:
    """A cache with all shards of the set; their paths in it."""
    cache = FileCache(str(folder), 10**9)
    cache.copy(index_uri(f"{BUCKET}/set"))
    index = open_index(f"{BUCKET}/set")
    for shard in index.shards:
        cache.fill(shard, index.digest)
    return [cache.path(shard, index.digest) for shard in index.shards]
