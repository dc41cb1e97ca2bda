"""A server that speaks as much of ModelScope's protocol as its client (modelscope_hub 0.5.1) reads repositories by."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest

TOKEN = "ms-secret"


class _Handler(http.server.BaseHTTPRequestHandler):
    """``ROOT/OWNER/NAME`` is a repository of both kinds; large files are redirected to another host."""

    protocol_version = "HTTP/1.1"
    root: Path
    seen: list[tuple[str, str]]

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        self.seen.append((self.path, self.headers.get("Authorization") or ""))
        parts = unquote(url.path).strip("/").split("/")
        if parts[0] == "oss":
            return self.content(self.root / Path(*parts[1:]))
        if len(parts) < 6:
            return self.say(404, {"Code": 404, "Success": False})
        kind, owner, name, _, *rest = parts[2:]
        folder = self.root / owner / name
        if not folder.is_dir() or query["Revision"] not in ("master", "v1"):
            return self.say(404, {"Code": 10010205001, "Message": "not found", "Success": False})
        if name == "private" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.say(403, {"Code": 10010205002, "Message": "no access", "Success": False})
        if rest:
            return self.listed(kind, folder, query)
        path = folder / query["FilePath"]
        if path.stat().st_size < 1024:
            return self.content(path)
        host = f"http://localhost:{self.server.server_port}"
        self.say(302, {}, {"Location": f"{host}/oss/{owner}/{name}/{quote(query['FilePath'])}"})

    def listed(self, kind: str, folder: Path, query: dict[str, str]) -> None:
        below = folder / query.get("Root", "")
        paths = sorted(below.rglob("*") if query["Recursive"] == "True" else below.iterdir())
        if kind == "datasets":
            size = int(query["PageSize"])
            paths = paths[size * (int(query["PageNumber"]) - 1) :][:size]
        rows = [self.row(folder, path) for path in paths[:3000]]
        self.say(200, {"Code": 200, "Success": True, "Data": {"Files": rows}})

    def row(self, folder: Path, path: Path) -> dict[str, Any]:
        named = {"Path": path.relative_to(folder).as_posix(), "Name": path.name}
        if path.is_dir():
            return {**named, "Type": "tree", "Size": 0, "Sha256": ""}
        data = path.read_bytes()
        return {**named, "Type": "blob", "Size": len(data), "Sha256": hashlib.sha256(data).hexdigest()}

    def content(self, path: Path) -> None:
        data = path.read_bytes()
        start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        total = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        self.say(206 if start else 200, data[start:], total if start else {})

    def say(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for header, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def fake_modelscope(root: Path) -> Iterator[list[tuple[str, str]]]:
    """Serve a folder of repositories as ModelScope; gives every request, its path and its authorization."""
    seen: list[tuple[str, str]] = []
    handler = type("Handler", (_Handler,), {"root": root, "seen": seen})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("MODELSCOPE_ENDPOINT", raising=False)
            patch.delenv("MODELSCOPE_API_TOKEN", raising=False)
            patch.setenv("MODELSCOPE_DOMAIN", f"http://127.0.0.1:{server.server_port}")
            yield seen
    finally:
        server.shutdown()
        server.server_close()
