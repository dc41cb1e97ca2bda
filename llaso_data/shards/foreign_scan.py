"""What a tar that something else wrote holds: the rows of its index, and by name whatever is no part of them.

Members are grouped by :mod:`llaso_data.io.sample_names`. Where a sample's parts are neighbours and there are no links,
as WebDataset writes tars, nothing but the rows is held; else the names of all members. Nothing is ever unpacked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import IO, Any

import pyarrow as pa

from llaso_data.io import archive, sample_names, storage
from llaso_data.io.tar_links import BrokenLink, Links
from llaso_data.io.tar_members import BrokenTar, Member, TarMembers
from llaso_data.shards.foreign_rows import RowReader
from llaso_data.shards.index import BATCH_ROWS, IndexRow, to_table
from llaso_data.shards.tar import ShardError

MAX_NAMES = 1000
"""Names of one kind that are kept of a tar; the counts are of all."""

FOLDERS = "folders"
METADATA = "metadata"
LEFT_OUT = {
    "metadata": METADATA,
    "hidden": "hidden names",
    "no_ending": "names without an ending",
    "special": "neither files nor links",
}


@dataclass(slots=True)
class Names:
    """A list of names of which the first are kept."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.first) < MAX_NAMES:
            self.first.append(name)

    def of(self, path: str) -> list[str]:
        """They, each with the path of their tar before it; what begins with a colon is said of the tar itself."""
        more = [f"{path}: {self.count - len(self.first):,} more"] if self.count > len(self.first) else []
        return [f"{path}{'' if name.startswith(':') else '!'}{name}" for name in self.first] + more


@dataclass(slots=True)
class Findings:
    """Whatever is to be said of a tar besides its rows.

    ``members`` = ``used`` + those of ``left_out``, by kind. ``links`` are those that were read; ``joined`` archives
    began after another's end; ``at_last_dot`` and ``scattered`` are samples whose key ends at the last dot, and whose
    parts are no neighbours. ``skipped`` members belong to no sample, ``problems`` tell what is lost or cannot be read.
    """

    members: int = 0
    used: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    links: int = 0
    joined: int = 0
    at_last_dot: int = 0
    scattered: int = 0
    skipped: Names = field(default_factory=Names)
    without_audio: Names = field(default_factory=Names)
    problems: Names = field(default_factory=Names)

    def missed(self, path: str) -> list[str]:
        """The skipped members that are no metadata, as :meth:`Names.of` gives them."""
        names = Names(sum(self.left_out.get(kind, 0) for kind in LEFT_OUT.values() if kind != METADATA))
        names.first = [name for name in self.skipped.first if sample_names.split(name) != "metadata"]
        return names.of(path)

    def leave_out(self, kind: str) -> None:
        self.left_out[kind] = self.left_out.get(kind, 0) + 1

    def lose(self, kind: str, name: str, why: str) -> None:
        self.leave_out(kind)
        self.problems.add(f"{name}: {why}")

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Findings:
        """Raises ValueError or TypeError where it is none."""
        said: dict[str, Any] = json.loads(text)
        for name in ("skipped", "without_audio", "problems"):
            said[name] = Names(**said[name])
        return cls(**said)


def scan(uri: str, language: str | None = None, task: str | None = None) -> tuple[pa.Table, Findings]:
    """Walk a tar from its first byte: its rows as in an index, in the order of the tar, and what else was found.

    Raises ShardError where it is damaged or a name leaves the folder.
    """
    with storage.open_read(uri) as file:
        try:
            return _Scan(file, uri, language, task).neighbours()
        except _NotNeighbours:
            return _Scan(file, uri, language, task).anywhere()


class _NotNeighbours(Exception):
    """Keys come again, or there are links: all names of the tar must be known before the first sample is."""


_Run = list[tuple[int, Member]]  # place among the tar's members, and the member


class _Scan:
    def __init__(self, file: IO[bytes], uri: str, language: str | None, task: str | None) -> None:
        self._uri = uri
        self._members = TarMembers(file)
        self._found = Findings()
        self._reader = RowReader(file, uri, language, task, self._found.problems.add)
        self._rows: list[IndexRow] = []
        self._tables: list[pa.Table] = []
        self._links: Links | None = None

    def neighbours(self) -> tuple[pa.Table, Findings]:
        """Sample by sample. Raises _NotNeighbours."""
        seen: set[int] = set()  # hashes: where two collide, the other way is gone
        last, run = None, _Run()
        for place, member, key in self._named():
            if member.kind in ("hard_link", "symbolic_link"):
                raise _NotNeighbours
            if key != last:
                if hash(key) in seen:
                    raise _NotNeighbours
                seen.add(hash(key))
                self._take(run)
                last, run = key, []
            run.append((place, member))
        self._take(run)
        return self._done()

    def anywhere(self) -> tuple[pa.Table, Findings]:
        """With all names at hand."""
        runs: dict[str, _Run] = {}
        files: dict[str, tuple[int, int]] = {}
        links: dict[str, Member] = {}
        folders: set[str] = set()
        for place, member, key in self._named(folders, links):
            runs.setdefault(key, []).append((place, member))
            if member.kind == "file":
                files.setdefault(member.name, (member.offset, member.size))
        self._links = Links(files, {name: link for name, link in links.items() if name not in files}, folders)
        for run in runs.values():
            self._take(run)
        return self._done()

    def _named(
        self, folders: set[str] | None = None, links: dict[str, Member] | None = None
    ) -> Iterator[tuple[int, Member, str]]:
        """(place among its likes, member, key) of all that may be a part of a sample."""
        place = 0
        for member in self._all():
            if member.kind == "folder":
                self._found.leave_out(FOLDERS)
                if folders is not None:
                    folders.add(member.name)
                continue
            if member.target and links is not None:
                links.setdefault(member.name, member)
            halves = "special" if member.kind == "special" else sample_names.split(member.name)
            if isinstance(halves, str):
                self._found.leave_out(LEFT_OUT[halves])
                self._found.skipped.add(member.name)
            else:
                yield place, member, halves[0]
                place += 1

    def _all(self) -> Iterator[Member]:
        try:
            for member in self._members:
                self._found.members += 1
                if _is_text(member.name):
                    yield _safe(member, self._uri)
                else:
                    name = member.name.encode("utf-8", "backslashreplace").decode()
                    self._found.lose("names not in UTF-8", name, "its name is not UTF-8; write the tar again")
        except BrokenTar as error:
            raise ShardError(f"{self._uri}: {error}; copy the tar again") from error

    def _take(self, run: _Run) -> None:
        """The samples of a run of members that share the key up to their first dot."""
        divided = sample_names.divide([member.name for _, member in run])
        for _, position in divided.repeated:
            self._found.lose("repeated parts", run[position][1].name, "it comes again in its sample; the first stands")
        for key, parts in divided.samples.items():
            places = [run[position][0] for position in parts.values()]
            read = {part: where for part, position in parts.items() if (where := self._where(run[position][1]))}
            if not read:
                continue
            self._found.used += len(read)
            self._found.at_last_dot += divided.at_last_dot
            self._found.scattered += places[-1] - places[0] >= len(places)
            row, has_audio = self._reader.row(key, read)
            if not has_audio:
                self._found.without_audio.add(key)
            self._add(row)

    def _where(self, member: Member) -> tuple[int, int] | None:
        """Offset and size of a member's content; None where it cannot be had, which is said."""
        if member.kind == "file":
            return member.offset, member.size
        if member.kind == "sparse":
            self._found.lose("stored sparse", member.name, archive.SPARSE)
            return None
        try:
            place = self._links.find_content(member) if self._links else None
        except BrokenLink as error:
            self._found.lose("links that lead nowhere", member.name, str(error))
            return None
        if place is None:
            self._found.leave_out(FOLDERS)
        else:
            self._found.links += 1
        return place

    def _add(self, row: IndexRow) -> None:
        self._rows.append(row)
        if len(self._rows) >= BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        self._tables.append(to_table(self._rows))
        self._rows = []

    def _done(self) -> tuple[pa.Table, Findings]:
        self._flush()
        self._found.joined = self._members.joined
        if self._members.trailing is not None:
            self._found.problems.add(f": after the end, from byte {self._members.trailing} on, comes what is no tar")
        elif not self._found.members:
            self._found.problems.add(": it holds no members")
        elif not self._members.ended:
            self._found.problems.add(": its end is not marked; it may be cut short")
        return pa.concat_tables(self._tables), self._found


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _safe(member: Member, uri: str) -> Member:
    name = member.name
    if name.startswith("/") or "\\" in name or ".." in name.split("/") or "\0" in name:
        raise ShardError(f"{uri}: the member {name!r} would leave the folder; this tar is not to be trusted")
    return member
