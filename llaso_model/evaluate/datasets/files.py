"""The files of predictions below what a user names, the system that each is of, and the rows in them."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from llaso_data.errors import LLaSOError
from llaso_data.instruct.tasks import Tasks
from llaso_data.io import archive, checksums, storage
from llaso_data.uris import escaped, shown

ENDINGS = (".json", ".jsonl")
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
PREDICTIONS, RUN = "predictions.jsonl", "run.json"  # of a run of evaluate
_COMPRESSED: dict[bytes, Callable[[str], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}


class File(NamedTuple):
    """A file of predictions.

    Attributes:
        name: Its path within the source.
        place: Its name in messages.
        data: Its bytes.
    """

    name: str
    place: str
    data: bytes


@dataclass
class RowSource:
    """A source of predictions that a user named.

    Attributes:
        path: A file, a folder, a tar or a URI.
        system: The system's name where the user gave it.
        skipped: Lines about files that are not read; filled by :meth:`files`.
    """

    path: str
    system: str | None = None
    skipped: list[str] = field(default_factory=list)

    def files(self) -> Iterator[File]:
        """Every JSON file of the source, in the order of names. Raises LLaSOError."""
        path = self.path
        if (os.path.isfile(path) or not storage.is_local(path)) and path.endswith(ENDINGS):
            yield File(escaped(path.rpartition("/")[2]), escaped(shown(path)), _read_checked(path))
        elif not storage.is_local(path):
            raise LLaSOError(f"{shown(path)}: of a store only single files that end in {' or '.join(ENDINGS)} are read")
        elif os.path.isfile(path):
            for name, data in _tar_files(path, self.skipped):
                yield File(escaped(name), escaped(f"{path}: {name}"), data)
        elif os.path.isdir(path):
            for whole in _json_files_below(path, self.skipped):
                yield File(escaped(os.path.relpath(whole, path)), escaped(whole), _read_checked(whole))
        else:
            raise LLaSOError(f"{escaped(path)}: no such file or folder")

    def system_of(self, folders: list[str], tasks: Tasks) -> str:
        """The system of a file.

        It is the user's name for the source, else the innermost folder, else the source's own name. A single file
        whose name is that of a declared set, or of every run's predictions, is named by its folder.

        Args:
            folders: Folders of the file within the source.
            tasks: The declared tasks.
        """
        if self.system or folders:
            return self.system or folders[-1]
        path = self.path if not storage.is_local(self.path) else os.path.abspath(self.path)
        folder, _, name = path.rstrip("/").rpartition("/")
        for ending in sorted((*ENDINGS, *ARCHIVES), key=len, reverse=True):
            if not os.path.isdir(path) and name.endswith(ending):
                name = name.removesuffix(ending)
                general = ending in ENDINGS and (name + ending == PREDICTIONS or tasks.set_of(name) is not None)
                return escaped((folder.rpartition("/")[2] if general else "") or name)
        return escaped(name) or "/"


def parse_source(argument: str) -> RowSource:
    """Reads ``PATH`` or ``NAME=PATH``. An existing path and an address are never split."""
    name, equals, path = argument.partition("=")
    if not equals or os.path.exists(argument) or "://" in name:
        return RowSource(argument)
    return RowSource(path, name or None)


def _json_files_below(root: str, skipped: list[str]) -> list[str]:
    """The JSON files below a folder, in the order of names. Linked folders are followed.

    No folder is read twice. Of several ways to a folder the one without a link counts, else the first; the others go to
    ``skipped``.
    """
    paths: list[str] = []
    roots, visited = [root], set[str]()
    for top in roots:  # grows by the links that are found, so that what is no link comes first
        for folder, below, names in os.walk(top, onerror=_unreadable):
            if os.path.realpath(folder) in visited:
                skipped.append(
                    f"{escaped(folder)}: leads to {escaped(os.path.realpath(folder))}, which is read already"
                )
                below.clear()
                continue
            visited.add(os.path.realpath(folder))
            below.sort()
            if PREDICTIONS in names:  # what evaluate leaves: parts and scores lie beside it
                below.clear()
                names = [PREDICTIONS]
            roots += [link for name in below if os.path.islink(link := os.path.join(folder, name))]
            below[:] = [name for name in below if not os.path.islink(os.path.join(folder, name))]
            candidates = [os.path.join(folder, name) for name in sorted(names)]
            paths += [path for path in candidates if path.endswith(ENDINGS) and os.path.isfile(path)]
            skipped += [reason for path in candidates if (reason := _not_a_file(path))]
    return sorted(paths, key=lambda path: _order(os.path.relpath(path, root)))


def _order(name: str) -> list[tuple[bool, str]]:
    """Sort key: files of a folder by name, then those of the folders in it."""
    *folders, last = name.split(os.sep)
    return [*((True, folder) for folder in folders), (False, last)]


def _not_a_file(path: str) -> str | None:
    """Why a name that may mean predictions is not read; None where it is a file."""
    if os.path.islink(path) and not os.path.exists(path):
        return f"{escaped(path)}: a link that leads nowhere"
    return f"{escaped(path)}: no file" if path.endswith(ENDINGS) and not os.path.isfile(path) else None


def _unreadable(error: OSError) -> None:
    raise LLaSOError(f"{escaped(str(error.filename))}: cannot be read ({error.strerror})") from error


def _read_checked(path: str) -> bytes:
    """Reads a file. The checksum of a run's predictions is compared with the ``run.json`` beside them.

    Raises:
        DamagedError: The checksums differ.
    """
    data, folder = storage.read_bytes(path), os.path.dirname(path)
    if os.path.basename(path) == PREDICTIONS and storage.exists(run := os.path.join(folder, RUN)):
        run_facts = checksums.read_json(run, "; run llaso-model evaluate again")
        files = run_facts.get("files") if isinstance(run_facts, dict) else None
        if isinstance(files, dict) and files.get(PREDICTIONS, checksum := checksums.of_bytes(data)) != checksum:
            raise checksums.DamagedError(
                f"{path} is damaged or was changed: {run} states another checksum; run llaso-model evaluate again, or, "
                "where you changed it on purpose, give it another name"
            )
    return data


def _tar_files(path: str, skipped: list[str]) -> list[tuple[str, bytes]]:
    """The JSON files of a tar, plain or compressed, by name. The tar is read to its end, so that damage is found."""
    with storage.scratch() as folder:
        try:
            plain = path
            plain = _decompress(path, folder)
            listing = archive.directory(plain)
        except (archive.ArchiveError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise LLaSOError(
                f"{escaped(path)}: predictions are files that end in {' or '.join(ENDINGS)}, folders or tars of them; "
                f"this is none, or is damaged ({escaped(str(error)).removeprefix(f'{plain}: ')})"
            ) from error
        if listing.problem is not None:
            raise LLaSOError(f"{escaped(path)}: {escaped(listing.problem)}")
        broken = {**dict.fromkeys(listing.repeated, "a second file of this name"), **listing.broken}
        skipped += [
            f"{escaped(path)}: {escaped(name)}: {why}" for name, why in broken.items() if name.endswith(ENDINGS)
        ]
        names = sorted(name for name in listing.members if name.endswith(ENDINGS))
        return [(name, _member(plain, *listing.members[name])) for name in names]


def _decompress(path: str, folder: str) -> str:
    """The path of the plain tar: ``path`` itself, or a decompressed copy in the folder."""
    with open(path, "rb") as file:
        start = file.read(8)
    opener = next((opener for magic, opener in _COMPRESSED.items() if start.startswith(magic)), None)
    if opener is None:
        return path
    plain = os.path.join(folder, "plain.tar")
    with opener(path) as packed, open(plain, "wb") as file:
        shutil.copyfileobj(packed, file, 1 << 20)
    return plain


def _member(path: str, offset: int, size: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)


def json_rows(name: str, data: bytes) -> list[dict[str, Any]]:
    """The JSON objects of a file: an array, or values one after another.

    Line breaks within strings, which some published files have, are accepted.

    Args:
        name: The file's name, for messages.
        data: Its bytes.

    Raises:
        LLaSOError: It is no JSON in UTF-8, or a value is no object. The message has file and line.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        utf_16 = "it looks like UTF-16; " if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise LLaSOError(f"{name}:{line}: not UTF-8 (byte {error.start}); {utf_16}save the file as UTF-8") from error
    decoder = json.JSONDecoder(strict=False)
    rows: list[Any] = []
    position = 0
    try:
        while (position := _skip_separators(text, position)) < len(text):
            value, position = decoder.raw_decode(text, position)
            rows += value if isinstance(value, list) else [value]
    except ValueError as error:
        line = text.count("\n", 0, getattr(error, "pos", position)) + 1
        why = getattr(error, "msg", error)
        raise LLaSOError(f"{name}:{line}: not JSON ({why}); mend it, or take it out") from error
    except RecursionError as error:
        raise LLaSOError(f"{name}: nested too deeply") from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise LLaSOError(f"{name}: row {number} is {type(row).__name__}, not an object; mend it, or take it out")
    return rows


def _skip_separators(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n,":
        position += 1
    return position
