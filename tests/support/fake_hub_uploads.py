"""What the hub of the tests answers to those who write: repositories, branches, uploads by LFS, commits."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import threading
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.fake_hub import FakeHub

Json = dict[str, Any]
_COMMITTING = threading.Lock()


class Uploads:
    """Part of the handler of requests. Who writes needs the hub's token; a token of ``readers`` may not."""

    hub: FakeHub
    headers: Message

    def send(self, status: int, body: bytes | Json | list[Json] = b"", headers: Mapping[str, str] | None = None,
             kind: str = "application/json") -> None:  # fmt: skip
        raise NotImplementedError

    def refuse(self, status: int, code: str, text: str) -> None:
        raise NotImplementedError

    def body(self) -> bytes:
        raise NotImplementedError

    @property
    def token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def may_write(self) -> bool:
        """Whether the token may write; otherwise that was answered."""
        if self.token == self.hub.token:
            return True
        known = self.token in self.hub.readers
        self.refuse(403 if known else 401, "", "Forbidden" if known else "Invalid credentials in Authorization header")
        return False

    def whoami(self) -> None:
        if self.token in {self.hub.token, *self.hub.readers}:
            return self.send(200, {"name": "me", "type": "user", "orgs": [], "auth": {}})
        self.refuse(401, "", "Invalid credentials in Authorization header")

    def validate_yaml(self) -> None:
        self.body()
        self.send(200, {"errors": [], "warnings": []})

    def create(self) -> None:
        wanted = json.loads(self.body())
        if not self.may_write():
            return
        kind = wanted.get("type", "model") + "s"
        name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
        self.hub.folder(kind, name).mkdir(parents=True, exist_ok=True)
        if wanted.get("private") or wanted.get("visibility") == "private":
            self.hub.private.add(name)
        prefix = "" if kind == "models" else f"{kind}/"
        self.send(200, {"url": f"{self.hub.url}/{prefix}{name}", "name": name, "id": name})

    def settings(self, kind: str, name: str) -> None:
        wanted = json.loads(self.body())
        if self.may_write():
            private = wanted.get("private", wanted.get("visibility") == "private")
            (self.hub.private.add if private else self.hub.private.discard)(name)
            self.send(200, {"private": private})

    def branch(self, kind: str, name: str, branch: str) -> None:
        self.body()
        if self.may_write():
            copy = self.hub.folder(kind, self.hub.branch(name, branch))
            shutil.copytree(self.hub.folder(kind, name), copy)
            self.send(200, {})

    def preupload(self, kind: str, name: str, revision: str) -> None:
        def answered(file: Json) -> Json:
            mode = "lfs" if file["size"] >= self.hub.lfs_from else "regular"
            return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}

        wanted = json.loads(self.body())["files"]
        if self.may_write():
            self.send(200, {"files": [answered(file) for file in wanted]})

    def lfs_batch(self, prefix: str | None, name: str) -> None:
        def answered(one: Json) -> Json:
            stated = {"oid": one["oid"], "size": one["size"]}
            if self._stored(one["oid"]).exists():
                return stated
            return {**stated, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}}}

        objects = [answered(one) for one in json.loads(self.body())["objects"]]
        self.send(200, {"transfer": "basic", "objects": objects}, kind="application/vnd.git-lfs+json")

    def lfs_put(self, oid: str) -> None:
        data = self.body()
        if hashlib.sha256(data).hexdigest() != oid:  # the client was killed
            return self.refuse(400, "", "The content has another SHA-256")
        self._stored(oid).parent.mkdir(exist_ok=True)
        self._stored(oid).write_bytes(data)
        self.send(200)

    def make_commit(self, kind: str, name: str, revision: str) -> None:
        lines = [json.loads(line) for line in self.body().splitlines()]
        if not self.may_write():
            return
        with _COMMITTING:
            place = name if revision == "main" else self.hub.branch(name, revision)
            folder = self.hub.folder(kind, place)
            parent = lines[0]["value"].get("parentCommit")
            if parent not in (None, self.hub.commit(kind, place)):
                return self.refuse(412, "", "A commit has happened since. Please refresh and try again.")
            self.hub.messages.append(lines[0]["value"]["summary"])
            for change in lines[1:]:
                self._apply(folder / change["value"]["path"], change["key"], change["value"])
            commit = self.hub.commit(kind, place)
        url = f"{self.hub.url}/{kind}/{name}/commit/{commit}"
        self.send(200, {"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

    def _apply(self, path: Path, key: str, value: Json) -> None:
        if key == "deletedFile":
            path.unlink()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        data = base64.b64decode(value["content"]) if "content" in value else self._stored(value["oid"]).read_bytes()
        path.write_bytes(data)

    def _stored(self, oid: str) -> Path:
        return self.hub.root / ".lfs" / oid
