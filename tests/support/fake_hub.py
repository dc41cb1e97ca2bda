"""A server that speaks as much of the Hugging Face hub's protocol as huggingface_hub needs, and fails on demand.

``ROOT/OWNER/NAME/…`` are data sets, ``ROOT/models/OWNER/NAME/…`` models, each at the revision ``main``, or at the id of
the one commit that its files make; ``ROOT/.branches/OWNER/NAME/BRANCH/…`` is another branch of a data set.
Read: information, the list of files in pages, files with redirects to another host.
Written: create, preupload, LFS, commit. There is no Xet.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlencode, urlsplit

import pytest

from tests.support.fake_hub_uploads import Uploads

Json = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    range: str
    host: str
    token: str

    @property
    def is_cdn(self) -> bool:
        return self.path.startswith("/cdn/")


@dataclass
class FakeHub:
    """The state of a server.

    Attributes:
        root: the folder of the repositories.
        url: the hub's address; its files come from ``cdn``, which has another host name.
        seen: every request.
        faults: end of a path: what happens to the next GETs of its content, one each: ``502``, ``503``, … ``429`` (with
            ``retry_after``), ``cut`` (half the bytes), ``slow`` (a pause of ``slow_s`` in the middle), ``trickle`` (a
            byte every few milliseconds), ``flip`` (one wrong bit), ``norange`` (the whole instead of a part), ``other``
            (a part that nobody asked for).
        api_faults: the same for requests to the API, to addresses and of uploads: statuses, ``cut`` (the connection
            breaks while the request is read), or ``lost`` (it is done, and the answer is 503).
        gated: repositories whose terms are accepted by ``token`` only.
        private: repositories that only ``token`` sees.
        readers: tokens that are known and may not write.
        messages: of the commits that were made.
        lfs_from: bytes from which a file is LFS: redirected, with the SHA-256 of its content.
        page: entries in one answer of a list (the hub has 1,000).
        frozen: the files do not change any more, and a commit is computed once.
    """

    root: Path
    url: str = ""
    cdn: str = ""
    seen: list[Request] = field(default_factory=list)
    faults: dict[str, list[str]] = field(default_factory=dict)
    api_faults: dict[str, list[str]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    readers: set[str] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)
    token: str = "hf_secret"
    retry_after: str = "1"
    slow_s: float = 3.0
    lfs_from: int = 1024
    page: int = 2
    frozen: bool = False
    _signature: int = 0
    _commits: dict[tuple[str, str], str] = field(default_factory=dict)
    _entries: dict[tuple[str, int, int], Json] = field(default_factory=dict)

    def count(self, method: str = "", part: str = "") -> int:
        """How many requests came, of a method, with a text in their path."""
        return sum(method in one.method and part in one.path for one in list(self.seen))

    def expire(self) -> None:
        """Let no signed address that was given out be valid any more."""
        self._signature += 1

    def signed(self, kind: str, name: str, path: str) -> str:
        return f"{self.cdn}/cdn/{kind}/{quote(name)}/{quote(path)}?Signature={self._signature}"

    def is_valid(self, query: Mapping[str, str]) -> bool:
        return query.get("Signature") == str(self._signature)

    def folder(self, kind: str, name: str) -> Path:
        return self.root / name if kind == "datasets" else self.root / kind / name

    def branch(self, name: str, branch: str) -> str:
        """What a branch of a data set is called here."""
        return f".branches/{name}/{branch}"

    def at(self, kind: str, name: str, revision: str | None) -> str:
        """The repository, or its branch, at a revision; empty where there is none."""
        branches = [self.branch(name, path.name) for path in (self.root / ".branches" / name).glob("*")]
        named = {None: name, "main": name, **{place.rpartition("/")[2]: place for place in branches}}
        named.update({self.commit(kind, place): place for place in (*branches, name)})
        return named.get(revision, "")

    def files(self, kind: str, name: str) -> list[str]:
        folder = self.folder(kind, name)
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    def commit(self, kind: str, name: str) -> str:
        if self.frozen and (kind, name) in self._commits:
            return self._commits[kind, name]
        state = hashlib.sha1()
        for path in self.files(kind, name):
            status = (self.folder(kind, name) / path).stat()
            state.update(f"{path} {status.st_size} {status.st_mtime_ns}".encode())
        self._commits[kind, name] = state.hexdigest()
        return self._commits[kind, name]

    def entry(self, kind: str, name: str, path: str) -> Json:
        """A file or folder as lists have it; a file is read once, until it changes."""
        full = self.folder(kind, name) / path
        if full.is_dir():
            return {"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0, "path": path}
        status = full.stat()
        known = (str(full), status.st_size, status.st_mtime_ns)
        if known not in self._entries:
            sha1, sha256 = hashlib.sha1(b"blob %d\0" % status.st_size), hashlib.sha256()
            with full.open("rb") as file:
                while chunk := file.read(1 << 20):
                    sha1.update(chunk)
                    sha256.update(chunk)
            entry: Json = {"type": "file", "oid": sha1.hexdigest(), "size": status.st_size, "path": path}
            if status.st_size >= self.lfs_from:
                entry["lfs"] = {"oid": sha256.hexdigest(), "size": status.st_size, "pointerSize": 134}
            self._entries[known] = entry
        return self._entries[known]


class _Handler(Uploads, http.server.BaseHTTPRequestHandler):
    """Answers one connection; ``hub`` is set by :func:`serve`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for the end of its head
    hub: FakeHub
    query: dict[str, str]
    is_lost = False

    def log_message(self, *arguments: object) -> None:
        pass

    def do_any(self) -> None:
        url = urlsplit(self.path)
        self.query = dict(parse_qsl(url.query))
        path = unquote(url.path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        asked = self.headers.get("Range") or "", self.headers.get("Host") or "", token
        self.hub.seen.append(Request(self.command, self.path, *asked))
        with suppress(ConnectionError):
            fault = _taken(self.hub.api_faults, path)
            self.is_lost = fault == "lost"
            if fault == "cut":
                self.rfile.read(1)
                self.close_connection = True
                return self.connection.shutdown(2)
            if fault.isdigit():
                self.body()
                return self.failing(fault)
            for pattern, answer in _ROUTES:
                if match := re.fullmatch(pattern, path):
                    return answer(self, *match.groups())
            self.body()
            return self.refuse(404, "RepoNotFound", f"no route {path}")

    do_GET = do_HEAD = do_POST = do_PUT = do_any

    # answers

    def send(
        self,
        status: int,
        body: bytes | Json | list[Json] = b"",
        headers: Mapping[str, str] | None = None,
        kind: str = "application/json",
    ) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(503 if self.is_lost else status)
        for name, value in {"Content-Length": str(len(data)), "Content-Type": kind, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str, text: str) -> None:
        self.send(status, {"error": text}, {"X-Error-Code": code, "X-Error-Message": text})

    def failing(self, fault: str) -> None:
        self.send(int(fault), {"error": fault}, {"Retry-After": self.hub.retry_after} if fault == "429" else {})

    def body(self) -> bytes:
        if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while length := int(self.rfile.readline().strip() or b"0", 16):
            data += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def opened(self, kind: str, name: str, revision: str | None) -> str:
        """The repository, or the branch, that may be read at a revision; empty where that was refused."""
        if not self.hub.folder(kind, name).is_dir():
            self.refuse(404, "RepoNotFound", "Repository not found")
        elif name in self.hub.private and self.token != self.hub.token:
            self.refuse(401, "RepoNotFound", "Repository not found")
        elif name in self.hub.gated and self.token != self.hub.token:
            self.refuse(403 if self.token else 401, "GatedRepo", f"Access to {name} is restricted")
        elif place := self.hub.at(kind, name, revision):
            return place
        else:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return ""

    # reading

    def info(self, kind: str, name: str, revision: str | None) -> None:
        place = self.opened(kind, name, revision)
        if not place:
            return
        times = dict.fromkeys(("lastModified", "createdAt"), "2025-08-21T00:00:00.000Z")
        facts = {"private": name in self.hub.private, "gated": name in self.hub.gated, "disabled": False, "tags": []}
        siblings = [{"rfilename": path} for path in self.hub.files(kind, place)]
        named = {"_id": "0", "id": name, "sha": self.hub.commit(kind, place), "siblings": siblings}
        self.send(200, {**named, **facts, **times, "downloads": 0, "likes": 0})

    def tree(self, kind: str, name: str, revision: str, folder: str | None) -> None:
        name = self.opened(kind, name, revision)
        if not name:
            return
        before = f"{folder}/" if folder else ""
        below = [path[len(before) :] for path in self.hub.files(kind, name) if path.startswith(before)]
        if not below and folder:
            return self.refuse(404, "EntryNotFound", f"{folder} does not exist")
        folders = {path.rsplit("/", depth)[0] for path in below for depth in range(1, path.count("/") + 1)}
        recursive = self.query.get("recursive") in ("true", "True")
        paths = sorted({*below, *folders} if recursive else {path.split("/")[0] for path in below})
        start = int(self.query.get("cursor") or 0)
        end = start + self.hub.page
        headers = {}
        if end < len(paths):
            following = urlencode({**self.query, "cursor": end})
            headers["Link"] = f'<{self.hub.url}{urlsplit(self.path).path}?{following}>; rel="next"'
        self.send(200, [self.hub.entry(kind, name, before + path) for path in paths[start:end]], headers)

    def paths_info(self, kind: str, name: str, revision: str) -> None:
        data = self.body().decode()
        is_json = "json" in (self.headers.get("Content-Type") or "")
        paths = json.loads(data)["paths"] if is_json else parse_qs(data).get("paths", [])
        if name := self.opened(kind, name, revision):
            there = [path for path in paths if (self.hub.folder(kind, name) / path).exists()]
            self.send(200, [self.hub.entry(kind, name, path) for path in there])

    def resolve(self, prefix: str | None, name: str, revision: str, path: str) -> None:
        kind = prefix or "models"
        name = self.opened(kind, name, revision)
        if not name:
            return
        if not (self.hub.folder(kind, name) / path).is_file():
            return self.refuse(404, "EntryNotFound", "Entry not found")
        entry = self.hub.entry(kind, name, path)
        headers = {"X-Repo-Commit": self.hub.commit(kind, name), "Accept-Ranges": "bytes"}
        if "lfs" not in entry:
            return self.content(kind, name, path, {**headers, "ETag": f'"{entry["oid"]}"'})
        # The client follows redirects that stay on the hub's host, even of HEAD, and would miss X-Repo-Commit.
        etag = f'"{entry["lfs"]["oid"]}"'
        linked = {"X-Linked-Etag": etag, "ETag": etag, "X-Linked-Size": str(entry["size"])}
        self.send(302, b"", {**headers, **linked, "Location": self.hub.signed(kind, name, path)})

    def cdn(self, kind: str, name: str, path: str) -> None:
        if not self.hub.is_valid(self.query):
            return self.send(403, b"Request has expired", kind="text/plain")
        self.content(kind, name, path, {})

    def content(self, kind: str, name: str, path: str, headers: Mapping[str, str]) -> None:
        full = self.hub.folder(kind, name) / path
        size_bytes = full.stat().st_size
        fault = _taken(self.hub.faults, path) if self.command == "GET" else ""
        if fault.isdigit():
            return self.failing(fault)
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        start, end, status = 0, size_bytes, 200
        sent = {**headers, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if match and fault != "norange":
            start, end = int(match[1]), min(int(match[2] or size_bytes) + 1, size_bytes)
            if start >= size_bytes:
                return self.send(416, b"", {"Content-Range": f"bytes */{size_bytes}"})
            start = 0 if fault == "other" else start
            status = 206
            sent["Content-Range"] = f"bytes {start}-{end - 1}/{size_bytes}"
        self.send_response(status)
        for header, value in {**sent, "Content-Length": str(end - start)}.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command != "HEAD":
            self.pour(full, start, end, fault)

    def pour(self, path: Path, start: int, end: int, fault: str) -> None:
        """The bytes of a file from ``start`` to ``end``, as the fault has them."""
        middle = (start + end) // 2
        with path.open("rb") as file:
            self.wfile.flush()
            self.connection.sendfile(file, start, middle - start) if middle > start else None
            if fault == "cut":
                self.close_connection = True
                self.connection.shutdown(2)
                return
            if fault == "slow":
                time.sleep(self.hub.slow_s)
            while fault == "trickle":  # until the client has had enough
                self.wfile.write(b"\0")
                time.sleep(0.005)
            if fault == "flip":
                file.seek(middle)
                self.wfile.write(bytes([file.read(1)[0] ^ 1]))
                middle += 1
            if end > middle:
                self.connection.sendfile(file, middle, end - middle)


_API = r"/api/(datasets|models)/([^/]+/[^/]+)"
_FILE = r"/(?:(datasets)/)?([^/]+/[^/]+)"
_ROUTES: list[tuple[str, Callable[..., None]]] = [
    (r"/api/whoami-v2", _Handler.whoami),
    (r"/api/validate-yaml", _Handler.validate_yaml),
    (r"/api/repos/create", _Handler.create),
    (_API + r"(?:/revision/(.+))?", _Handler.info),
    (_API + r"/tree/([^/]+)(?:/(.*))?", _Handler.tree),
    (_API + r"/paths-info/(.+)", _Handler.paths_info),
    (_API + r"/preupload/(.+)", _Handler.preupload),
    (_API + r"/settings", _Handler.settings),
    (_API + r"/branch/(.+)", _Handler.branch),
    (_API + r"/commit/(.+)", _Handler.make_commit),
    (r"/cdn/(datasets|models)/(\.branches/[^/]+/[^/]+/[^/]+|[^/]+/[^/]+)/(.+)", _Handler.cdn),
    (r"/lfs/([0-9a-f]{64})", _Handler.lfs_put),
    (_FILE + r"\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    (_FILE + r"/resolve/([^/]+)/(.+)", _Handler.resolve),
]


def _taken(faults: dict[str, list[str]], path: str) -> str:
    """What is to happen to this request; empty for nothing."""
    for end, actions in faults.items():
        if actions and path.endswith(end):
            return actions.pop(0)
    return ""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, *arguments: object) -> None:
        pass  # a client that was killed


@contextmanager
def serve(root: Path) -> Iterator[FakeHub]:
    """Serve a folder of repositories on a free port. Who asks is to know of it by other means (:func:`fake_hub`)."""
    hub = FakeHub(root)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url, hub.cdn = (f"http://{host}:{server.server_port}" for host in ("127.0.0.1", "localhost"))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def fake_hub(root: Path) -> Iterator[FakeHub]:
    """Serve a folder of repositories as this process's hub, and that of the processes that it starts."""
    from huggingface_hub import HfFileSystem, constants

    with serve(root) as hub, pytest.MonkeyPatch.context() as patch:
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            patch.delenv(name, raising=False)
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("HF_HUB_DISABLE_XET", "1")
        patch.setenv("HF_HOME", str(root / ".home"))
        patch.setattr(constants, "ENDPOINT", hub.url)
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_TOKEN_PATH", str(root / ".home" / "token"))
        HfFileSystem.clear_instance_cache()
        yield hub
    HfFileSystem.clear_instance_cache()


if __name__ == "__main__":
    with serve(Path(sys.argv[1]).absolute()) as running:
        running.page, running.frozen = 1000, True
        print(running.url, flush=True)
        threading.Event().wait()
