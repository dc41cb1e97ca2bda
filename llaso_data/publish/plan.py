"""What a push does to a repository: which files are sent, replaced and removed, and why it may be refused."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.io import checksums, storage
from llaso_data.io.hub_files import HubFile
from llaso_data.publish import facts, readme
from llaso_data.publish.sets import ShardSet, below, named_files
from llaso_data.shards import layout, manifest, removal

PENDING = "push.json"
"""The file of a repository that names what a push of several commits is writing; the last of them removes it."""
PENDING_FORMAT = "llaso-push"

_READ_BYTES = 1 << 26  # a larger file that git itself holds is not compared, but sent


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file that is to be in the repository.

    Attributes:
        path: There.
        size_bytes: Its length.
        sha256: Of its content.
        uri: Where it lies; empty where ``data`` is all of it.
        data: Its content.
    """

    path: str
    size_bytes: int
    sha256: str
    uri: str = ""
    data: bytes = b""

    @classmethod
    def of_bytes(cls, path: str, data: bytes) -> LocalFile:
        """A file that is made here."""
        return cls(path, len(data), hashlib.sha256(data).hexdigest(), data=data)

    def is_there(self, remote: HubFile | None) -> bool:
        """Whether a repository's file has the same bytes."""
        if remote is None or remote.size_bytes != self.size_bytes:
            return False
        if remote.sha256 is not None:
            return remote.sha256 == self.sha256
        if self.size_bytes > _READ_BYTES:
            return False
        data = storage.read_bytes(self.uri) if self.uri else self.data
        return remote.oid == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass(frozen=True, slots=True)
class Older:
    """What earlier pushes wrote into a repository, as their own files there say.

    Attributes:
        tars: SHA-256 of the tars by path, by the folder of their set.
        summaries: Files that every push writes anew: manifests, indices, certificates, counts.
        named: All files of theirs.
        pending: Those of a push that was stopped.
    """

    tars: dict[str, dict[str, str]] = field(default_factory=dict)
    summaries: frozenset[str] = frozenset()
    named: frozenset[str] = frozenset()
    pending: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Attributes:
        sent: Files that the repository does not have, or has with other bytes.
        same: How many it has already.
        removed: Paths that go.
        stages: Whether earlier commits than the last may be made: nothing is there that they would disturb.
    """

    sent: tuple[LocalFile, ...]
    same: int
    removed: tuple[str, ...]
    stages: bool

    @property
    def bytes(self) -> int:
        """Of the files that are sent."""
        return sum(file.size_bytes for file in self.sent)


def local_files(sets: Sequence[ShardSet]) -> list[LocalFile]:
    """The files of sets. Of tars the manifest says the sum, of the others it is computed.

    Raises:
        LLaSOError: A tar has another size than its manifest says.
    """
    files = []
    for one in sets:
        prefix = len(one.folder) + 1 if one.folder else 0
        uris = {file.path: storage.join(one.uri, file.path[prefix:]) for file in one.files}
        tars = [file for file in one.files if file.sha256 is not None]
        for file, status in zip(tars, storage.stat_many([uris[file.path] for file in tars]), strict=True):
            if status is None or status["size"] != file.size_bytes:
                raise LLaSOError(
                    f"{uris[file.path]} has another size than its {layout.MANIFEST} says; "
                    "`llaso-data validate` says more"
                )
            files.append(LocalFile(file.path, status["size"], str(file.sha256), uris[file.path]))
        for file in one.files:
            if file.sha256 is None:
                sha256, size_bytes = checksums.sha256(uris[file.path])
                files.append(LocalFile(file.path, size_bytes, sha256, uris[file.path]))
    return files


def older(remote: Mapping[str, HubFile], read: Callable[[str], bytes], folders: Iterable[str]) -> Older:
    """What earlier pushes wrote.

    Args:
        remote: The repository's files.
        read: Gives the bytes of one.
        folders: Of the sets that are pushed now, where a set may lie, too.
    """

    def document(path: str) -> Any:
        try:
            return json.loads(read(path)) if path in remote else None
        except (ValueError, RecursionError):
            return None

    counts = document(facts.NAME)
    ours = facts.is_ours(counts)
    known = {"" if name == "." else str(name) for name in counts["sets"]} if ours else set()
    tars: dict[str, dict[str, str]] = {}
    named: set[str] = {facts.NAME} if ours else set()
    for folder in sorted(known | set(folders)):
        declared = document(below(folder, layout.MANIFEST))
        if not manifest.is_manifest(declared):
            continue
        try:
            named.update(named_files(folder, declared))
            tars[folder] = {below(folder, str(one["path"])): str(one["sha256"]) for one in declared["shards"]}
        except (KeyError, TypeError, AttributeError):
            continue  # it is damaged, and names nothing
    stopped = document(PENDING)
    is_pending = isinstance(stopped, dict) and stopped.get("format") == PENDING_FORMAT
    pending = {path for path in stopped.get("files", []) if isinstance(path, str)} if is_pending else set()
    pending |= {PENDING} if is_pending else set()
    summaries = {path for path in named if manifest.is_summary_name(path.rpartition("/")[2])} | ({facts.NAME} & named)
    return Older(tars, frozenset(summaries), frozenset(named), frozenset(pending))


def compare(
    repo: str,
    files: Sequence[LocalFile],
    sets: Sequence[ShardSet],
    remote: Mapping[str, HubFile],
    before: Older,
    overwrite: bool,
) -> Plan:
    """What is to be done to a repository.

    Args:
        repo: Its name, for messages.
        files: All that are to be in it.
        sets: Those of which they are.
        remote: What it has.
        before: What of that earlier pushes wrote.
        overwrite: Whether files of other sets may be replaced.

    Raises:
        LLaSOError: Something would be replaced that is another's, or a whole set would go, and not ``overwrite``.
    """
    sent = tuple(file for file in files if not file.is_there(remote.get(file.path)))
    free = before.summaries | before.pending | {readme.NAME}
    taken = [file.path for file in sent if file.path in remote and file.path not in free]
    if taken and not overwrite:
        more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise LLaSOError(
            f"{repo} has other files of the same names: {taken[0]}{more}; push to another repository or --revision, or "
            "pass --overwrite to replace them"
        )
    if not overwrite:
        _refuse_whole_sets(repo, files, sets, before)
    paths = {file.path for file in files}
    removed = sorted((before.named | before.pending) & remote.keys() - paths)
    return Plan(sent, len(files) - len(sent), tuple(removed), not before.tars)


def pending_file(files: Iterable[LocalFile], before: Older) -> LocalFile:
    """What a push of several commits leaves while it runs: its files, and what an earlier one left."""
    paths = sorted({file.path for file in files if file.path != readme.NAME} | (before.pending - {PENDING}))
    stated = {"format": PENDING_FORMAT, "format_version": 1, "files": paths}
    return LocalFile.of_bytes(PENDING, storage.json_bytes(stated, indent=1) + b"\n")


def strangers(sets: Sequence[ShardSet], files: Sequence[LocalFile], plan: Plan, remote: Iterable[str]) -> list[str]:
    """Files of the repository that the card's patterns would load, too, though no set names them."""
    patterns = [path for one in sets for config in one.configs for path in config.paths if "*" in path]
    ours = {file.path for file in files} | set(plan.removed)
    return sorted(path for path in remote if path not in ours and any(fnmatch.fnmatch(path, one) for one in patterns))


def _refuse_whole_sets(repo: str, files: Sequence[LocalFile], sets: Sequence[ShardSet], before: Older) -> None:
    """Refuse to let every shard of an earlier set go, unless samples were taken out of the set that is pushed."""
    sums = {file.path: file.sha256 for file in files}
    shrunk = {one.folder for one in sets if removal.ledger(one.uri)}
    for folder, tars in sorted(before.tars.items()):
        if tars and folder not in shrunk and not any(sums.get(path) == sha256 for path, sha256 in tars.items()):
            raise LLaSOError(
                f"{repo} holds another set{f' in {folder}' if folder else ''}, of which no shard would be left; push "
                "to another repository or --revision, or pass --overwrite to replace it"
            )
