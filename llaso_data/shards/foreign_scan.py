"""Scans a foreign tar: the rows of its index, and the names of the members that belong to no row.

Members are grouped by :mod:`llaso_data.io.sample_names`. Where the parts of each sample are contiguous and there are no
links, as WebDataset writes tars, only the rows are held in memory; else the names of all members are. Nothing is
unpacked.
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
from llaso_data.text.surrogates import has_lone_surrogate

MAX_NAMES = 1000
"""Names of one kind that are kept per tar; the counts cover all."""

FOLDERS = "folders"
METADATA = "metadata"
LEFT_OUT = {
    "metadata": METADATA,
    "hidden": "hidden names",
    "no_ending": "names without an ending",
    "special": "neither files nor links",
}


@dataclass(slots=True)
class NameList:
    """Counts names and keeps the first :data:`MAX_NAMES`."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Counts a name."""
        self.count += 1
        if len(self.first) < MAX_NAMES:
            self.first.append(name)

    def with_path(self, path: str) -> list[str]:
        """The names, each after the path of its tar. A name that begins with a colon is about the tar itself."""
        more = [f"{path}: {self.count - len(self.first):,} more"] if self.count > len(self.first) else []
        return [f"{path}{'' if name.startswith(':') else '!'}{name}" for name in self.first] + more


@dataclass(slots=True)
class Findings:
    """What a scan reports of a tar besides its rows. ``members`` is ``used`` plus all of ``left_out``.

    Attributes:
        members: Members of the tar.
        used: Members that are parts of samples.
        left_out: Other members, by kind.
        links: Links that were followed.
        joined: Archives that begin after another's end, in one file.
        at_last_dot: Samples whose key ends at the last dot of the name.
        scattered: Samples whose parts are not contiguous.
        skipped: Names of members that belong to no sample.
        without_audio: Keys of samples without audio.
        problems: What is lost or cannot be read, a line each.
    """

    members: int = 0
    used: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    links: int = 0
    joined: int = 0
    at_last_dot: int = 0
    scattered: int = 0
    skipped: NameList = field(default_factory=NameList)
    without_audio: NameList = field(default_factory=NameList)
    problems: NameList = field(default_factory=NameList)

    def missed(self, path: str) -> list[str]:
        """The skipped members other than metadata, as :meth:`NameList.with_path` gives them."""
        names = NameList(sum(self.left_out.get(kind, 0) for kind in LEFT_OUT.values() if kind != METADATA))
        names.first = [name for name in self.skipped.first if sample_names.split(name) != "metadata"]
        return names.with_path(path)

    def leave_out(self, kind: str) -> None:
        """Counts a member that belongs to no sample."""
        self.left_out[kind] = self.left_out.get(kind, 0) + 1

    def record_loss(self, kind: str, name: str, why: str) -> None:
        """Counts a member that is left out, and reports it as a problem."""
        self.leave_out(kind)
        self.problems.add(f"{name}: {why}")

    def to_json(self) -> str:
        """The findings as JSON; :meth:`from_json` is the inverse."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Findings:
        """The findings of :meth:`to_json`; raises ValueError or TypeError where the text is something else."""
        fields: dict[str, Any] = json.loads(text)
        for name in ("skipped", "without_audio", "problems"):
            fields[name] = NameList(**fields[name])
        return cls(**fields)


def scan(uri: str, language: str | None = None, task: str | None = None) -> tuple[pa.Table, Findings]:
    """Scans a tar from its first byte.

    Args:
        uri: The tar.
        language: Language of samples whose JSON does not say.
        task: Task of samples whose JSON does not say.

    Returns:
        The index rows in the order of the tar, and the findings.

    Raises:
        ShardError: The tar is damaged, or a member's name leaves the folder.
    """
    with storage.open_read(uri) as file:
        try:
            return _TarScan(file, uri, language, task).scan_contiguous()
        except _ScatteredParts:
            return _TarScan(file, uri, language, task).scan_scattered()


class _ScatteredParts(Exception):
    """A key comes again, or there are links: all names must be known before the first sample can be read."""


_MemberRun = list[tuple[int, Member]]  # position among the tar's members, and the member


class _TarScan:
    def __init__(self, file: IO[bytes], uri: str, language: str | None, task: str | None) -> None:
        self._uri = uri
        self._members = TarMembers(file)
        self._findings = Findings()
        self._reader = RowReader(file, uri, language, task, self._findings.problems.add)
        self._rows: list[IndexRow] = []
        self._tables: list[pa.Table] = []
        self._links: Links | None = None

    def scan_contiguous(self) -> tuple[pa.Table, Findings]:
        """Scans sample by sample; raises _ScatteredParts where that cannot be done."""
        seen_keys: set[int] = set()  # hashes; a collision only leads to scan_scattered()
        last_key, run = None, _MemberRun()
        for position, member, key in self._sample_members():
            if member.kind in ("hard_link", "symbolic_link"):
                raise _ScatteredParts
            if key != last_key:
                if hash(key) in seen_keys:
                    raise _ScatteredParts
                seen_keys.add(hash(key))
                self._add_samples(run)
                last_key, run = key, []
            run.append((position, member))
        self._add_samples(run)
        return self._result()

    def scan_scattered(self) -> tuple[pa.Table, Findings]:
        """Reads all names first, then the samples."""
        runs: dict[str, _MemberRun] = {}
        files: dict[str, tuple[int, int]] = {}
        links: dict[str, Member] = {}
        folders: set[str] = set()
        for position, member, key in self._sample_members(folders, links):
            runs.setdefault(key, []).append((position, member))
            if member.kind == "file":
                files.setdefault(member.name, (member.offset, member.size))
        self._links = Links(files, {name: link for name, link in links.items() if name not in files}, folders)
        for run in runs.values():
            self._add_samples(run)
        return self._result()

    def _sample_members(
        self, folders: set[str] | None = None, links: dict[str, Member] | None = None
    ) -> Iterator[tuple[int, Member, str]]:
        """(position among such members, member, key) of every member that may be a part of a sample."""
        position = 0
        for member in self._readable_members():
            if member.kind == "folder":
                self._findings.leave_out(FOLDERS)
                if folders is not None:
                    folders.add(member.name)
                continue
            if member.target and links is not None:
                links.setdefault(member.name, member)
            key_and_part = "special" if member.kind == "special" else sample_names.split(member.name)
            if isinstance(key_and_part, str):
                self._findings.leave_out(LEFT_OUT[key_and_part])
                self._findings.skipped.add(member.name)
            else:
                yield position, member, key_and_part[0]
                position += 1

    def _readable_members(self) -> Iterator[Member]:
        try:
            for member in self._members:
                self._findings.members += 1
                if not has_lone_surrogate(member.name):
                    yield _refuse_unsafe(member, self._uri)
                else:
                    name = member.name.encode("utf-8", "backslashreplace").decode()
                    self._findings.record_loss("names not in UTF-8", name, "its name is not UTF-8; write the tar again")
        except BrokenTar as error:
            raise ShardError(f"{self._uri}: {error}; copy the tar again") from error

    def _add_samples(self, run: _MemberRun) -> None:
        """Adds the samples of a run of members that share the key up to their first dot."""
        divided = sample_names.divide([member.name for _, member in run])
        for _, index in divided.repeated:
            self._findings.record_loss(
                "repeated parts", run[index][1].name, "it comes again in its sample; the first stands"
            )
        for key, parts in divided.samples.items():
            positions = [run[index][0] for index in parts.values()]
            spans = {part: where for part, index in parts.items() if (where := self._content_span(run[index][1]))}
            if not spans:
                continue
            self._findings.used += len(spans)
            self._findings.at_last_dot += divided.at_last_dot
            self._findings.scattered += positions[-1] - positions[0] >= len(positions)
            row, has_audio = self._reader.row(key, spans)
            if not has_audio:
                self._findings.without_audio.add(key)
            self._add_row(row)

    def _content_span(self, member: Member) -> tuple[int, int] | None:
        """Offset and size of a member's content, bytes; None, and a finding, where it has none that can be read."""
        if member.kind == "file":
            return member.offset, member.size
        if member.kind == "sparse":
            self._findings.record_loss("stored sparse", member.name, archive.SPARSE)
            return None
        try:
            span = self._links.find_content(member) if self._links else None
        except BrokenLink as error:
            self._findings.record_loss("links that lead nowhere", member.name, str(error))
            return None
        if span is None:
            self._findings.leave_out(FOLDERS)
        else:
            self._findings.links += 1
        return span

    def _add_row(self, row: IndexRow) -> None:
        self._rows.append(row)
        if len(self._rows) >= BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        self._tables.append(to_table(self._rows))
        self._rows = []

    def _result(self) -> tuple[pa.Table, Findings]:
        self._flush()
        self._findings.joined = self._members.joined
        if self._members.trailing is not None:
            self._findings.problems.add(f": after the end, from byte {self._members.trailing} on, comes what is no tar")
        elif not self._findings.members:
            self._findings.problems.add(": it holds no members")
        elif not self._members.ended:
            self._findings.problems.add(": its end is not marked; it may be cut short")
        return pa.concat_tables(self._tables), self._findings


def _refuse_unsafe(member: Member, uri: str) -> Member:
    name = member.name
    if name.startswith("/") or "\\" in name or ".." in name.split("/") or "\0" in name:
        raise ShardError(f"{uri}: the member {name!r} would leave the folder; this tar is not to be trusted")
    return member
