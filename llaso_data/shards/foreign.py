"""Index WebDataset tars that something else wrote, so that they are read as ours are.

Members are grouped as webdataset groups them: the key is the path up to the first dot of the file's name, the
rest, in lower case, is the part; neighbours with one key are one sample. Nothing is ever unpacked.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any

from llaso_data import lock, records, storage
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.shards import index, layout, manifest
from llaso_data.shards.index import IndexRow, PartRow, ShardInfo
from llaso_data.shards.tar import ShardError

_NAME = re.compile(r"((?:.*/|)[^./]+)\.([^/]*)", re.DOTALL)
_META = re.compile(r"__[^/]*__($|/)")
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_TEXT_PARTS = frozenset({"txt", "text", "lab", "transcript"})
_TEXT_FIELDS = ("text", "transcript", "transcription", "sentence", "caption")


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a tar holds: rows of the index, members that belong to no sample, parts that are no readable audio."""

    rows: list[IndexRow]
    skipped: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IndexTask:
    """One tar to index; ``path`` is how the manifest will name it."""

    uri: str
    path: str
    sidecar: str
    language: str | None
    task: str | None


@dataclass(frozen=True, slots=True)
class IndexSummary:
    """What was indexed. ``skipped`` members belong to no sample, ``problems`` have a duration of 0 in the index."""

    out: str
    shards: int
    reused: int
    samples: int
    hours: float
    skipped: tuple[str, ...]
    problems: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def index_foreign(
    uri: str,
    out: str | None = None,
    *,
    language: str | None = None,
    task: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> IndexSummary:
    """Write a sidecar per tar, ``index.arrow`` and ``manifest.json``, beside the tars or in the folder ``out``.

    ``uri`` is a tar or a folder of tars. ``language`` and ``task`` fill the columns of samples whose JSON does not
    say. A tar that did not change since its sidecar was written is not read again. Raises LLaSOError where
    there is no plain tar, a tar is damaged, or a file that is not ours would be replaced.
    """
    uri = storage.absolute(uri)
    root = uri.rpartition("/")[0] if uri.endswith(".tar") else uri
    with lock.exclusive(root if out is None else out, "index") as held:
        return _index(uri, root, held, language, task, progress)


def _index(
    uri: str,
    root: str,
    held: lock.Held,
    language: str | None,
    task: str | None,
    progress: Callable[[int, int], None] | None,
) -> IndexSummary:
    out = held.uri
    tasks, skipped = _plan(uri, root, out, language, task)
    _refuse_to_replace(out, tasks)
    shards: list[tuple[str, ShardInfo]] = []
    problems: list[str] = []
    reused = 0
    for item in tasks:
        info, scanned = index_tar(item)
        held.check()
        shards.append((item.sidecar, info))
        if scanned is None:
            reused += 1
        else:
            skipped += [f"{item.path}!{name}" for name in scanned.skipped]
            problems += scanned.problems
        if progress is not None:
            progress(len(shards), len(tasks))
    plan = records.digest("foreign", *(field for _, info in shards for field in (info.path, info.sha256)))
    options = {"language": language, "task": task}
    held.confirm()
    stated = manifest.finish(out, shards, profile=manifest.FOREIGN, plan=plan, options=options, source=None)
    return IndexSummary(out, len(shards), reused, stated["samples"], stated["hours"], tuple(skipped), tuple(problems))


def index_tar(task: IndexTask) -> tuple[ShardInfo, Scanned | None]:
    """Index one tar; the second is None where its sidecar is up to date."""
    state = storage.stat(task.uri)
    digest = records.digest("foreign", layout.FORMAT_VERSION, state["version"], task.path, task.language, task.task)
    info = index.sidecar_info(task.sidecar)
    if info is not None and info.digest == digest:
        return info, None
    scanned = scan(task.uri, task.language, task.task)
    info = ShardInfo(
        path=task.path,
        sha256=_sha256(task.uri),
        bytes=state["size"],
        samples=len(scanned.rows),
        duration_s=round(sum(row.duration_s for row in scanned.rows), 6),
        digest=digest,
        dataset="",
    )
    index.write_sidecar(task.sidecar, scanned.rows, info)
    return info, scanned


def scan(uri: str, language: str | None = None, task: str | None = None) -> Scanned:
    """Walk a tar from its first byte. Raises LLaSOError where it is damaged or a name leaves the folder."""
    rows: list[IndexRow] = []
    skipped: list[str] = []
    problems: list[str] = []
    with storage.open_read(uri) as file:
        key = ""
        parts: dict[str, tuple[int, bytes]] = {}
        for info in _regular(file, uri):
            found = _NAME.fullmatch(_safe(info.name, uri))
            if found is None or _META.match(info.name):
                skipped.append(info.name)
                continue
            if found[1] != key and parts:
                rows.append(_row(key, parts, language, task, uri, problems))
                parts = {}
            key, part = found[1], found[2].lower()
            if part in parts:
                raise ShardError(f"{uri}: the part {info.name} comes twice in one sample; write the tar again")
            file.seek(info.offset_data)
            parts[part] = (info.offset_data, file.read(info.size))
        if parts:
            rows.append(_row(key, parts, language, task, uri, problems))
    return Scanned(rows, tuple(skipped), tuple(problems))


def _plan(uri: str, root: str, out: str, language: str | None, task: str | None) -> tuple[list[IndexTask], list[str]]:
    names = [uri[len(root) + 1 :]] if uri != root else [row["path"] for row in storage.listing(root)]
    tars = [name for name in names if name.endswith(".tar")]
    if not tars:
        compressed = next((name for name in names if name.endswith(_COMPRESSED)), None)
        hint = f"; {compressed} is compressed, and only plain tars can be read in place" if compressed else ""
        raise LLaSOError(f"{uri} holds no .tar files{hint}")
    sidecars = [storage.join(out, layout.sidecar_name(name)) for name in tars]
    if storage.join(out, layout.INDEX) in sidecars:
        raise LLaSOError(f"{root}/index.tar: the name of its index is taken by {layout.INDEX}; rename the tar")
    tasks = [
        IndexTask(storage.join(root, name), name if out == root else storage.join(root, name), sidecar, language, task)
        for name, sidecar in zip(tars, sidecars, strict=True)
    ]
    return tasks, [name for name in names if name.endswith(_COMPRESSED)]


def _refuse_to_replace(out: str, tasks: Iterable[IndexTask]) -> None:
    path = storage.join(out, layout.MANIFEST)
    if storage.exists(path):
        try:
            found = storage.read_json(path)
        except ValueError:
            found = None
        if not isinstance(found, dict) or found.get("profile") != manifest.FOREIGN:
            raise LLaSOError(f"{path} exists and was not written by `llaso-data index`; write elsewhere with --out")
    for task in tasks:
        if index.sidecar_info(task.sidecar) is None and storage.exists(task.sidecar):
            raise LLaSOError(f"{task.sidecar} exists and is no index of ours; write elsewhere with --out")


def _regular(file: IO[bytes], uri: str) -> Iterator[tarfile.TarInfo]:
    """The regular files of a tar in any of its dialects; raises ShardError where it breaks off."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size == 0:
        raise ShardError(f"{uri}: the file is empty")
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for info in archive:
                if info.issparse():
                    raise ShardError(f"{uri}: {info.name} is stored sparse; write the tar without --sparse")
                if info.isreg():
                    if info.offset_data + info.size > size:
                        raise ShardError(f"{uri}: the tar ends inside {info.name}; copy it again")
                    yield info
            # tarfile takes a damaged header for the end.
            file.seek(archive.offset)
            if any(file.read(tarfile.BLOCKSIZE)):
                raise ShardError(f"{uri}: no readable tar header at byte {archive.offset}; copy the tar again")
    except tarfile.TarError as error:
        raise ShardError(f"{uri}: not a readable tar ({error})") from error


def _safe(name: str, uri: str) -> str:
    if name.startswith("/") or "\\" in name or ".." in name.split("/") or "\0" in name:
        raise ShardError(f"{uri}: the member {name!r} would leave the folder; this tar is not to be trusted")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ShardError(f"{uri}: the name of the member {name!r} is not UTF-8; write the tar again") from error
    return name


def _row(
    key: str,
    parts: dict[str, tuple[int, bytes]],
    language: str | None,
    task: str | None,
    uri: str,
    problems: list[str],
) -> IndexRow:
    from llaso_data.audio import AUDIO_EXTENSIONS

    said = _json(parts)
    duration_s, has_audio, text_bytes = 0.0, False, _json_text_bytes(said)
    for part, (_, data) in parts.items():
        kind = part.rpartition(".")[2]
        if kind in AUDIO_EXTENSIONS:
            has_audio = True
            try:
                duration_s += _duration_s(data, f"{uri}!{key}.{part}")
            except AudioError as error:
                problems.append(error.detail)
        elif kind in _TEXT_PARTS:
            text_bytes += len(data.strip())
    return IndexRow(
        key=key,
        parts=tuple(PartRow(part, offset, len(data), zlib.crc32(data)) for part, (offset, data) in parts.items()),
        duration_s=round(duration_s, 6),
        text_bytes=text_bytes,
        task=_string(said, "task") or task,
        language=_string(said, "language") or language,
        modality=_modality(said) or ("audio" if has_audio else "text" if text_bytes else records.UNKNOWN),
    )


def _duration_s(data: bytes, label: str) -> float:
    """What the header states, or, where it states nothing, what decoding gives."""
    from llaso_data import audio
    from llaso_data.decoders import open_track

    with open_track(io.BytesIO(data), label) as track:
        if track.stated_frames is not None:
            return track.stated_frames / track.rate_hz
    return len(audio.decode_bytes(data, label)) / audio.SAMPLE_RATE_HZ


def _json(parts: dict[str, tuple[int, bytes]]) -> dict[str, Any]:
    try:
        said = json.loads(parts[layout.JSON_PART][1])
        json.dumps(said, ensure_ascii=False).encode()  # half characters are no text that an index can hold
    except (KeyError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _string(said: dict[str, Any], name: str) -> str | None:
    return said[name] if isinstance(said.get(name), str) else None


def _json_text_bytes(said: dict[str, Any]) -> int:
    """Text of a conversation where there is one, else of the first field that is usual for a transcript."""
    try:
        return layout.text_bytes(said["messages"])
    except (KeyError, TypeError, AttributeError):
        pass
    return next((len(said[name].encode()) for name in _TEXT_FIELDS if isinstance(said.get(name), str)), 0)


def _modality(said: dict[str, Any]) -> str | None:
    try:
        return layout.modality(said["messages"]) or None
    except (KeyError, TypeError, AttributeError):
        return None


def _sha256(uri: str) -> str:
    state = hashlib.sha256()
    with storage.open_read(uri) as file:
        while chunk := file.read(1 << 20):
            state.update(chunk)
    return state.hexdigest()
