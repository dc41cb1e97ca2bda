"""Validates shards: reads tars, names, checksums, JSON, audio, index and manifest, and lists every problem.

The tars are read from their first byte. Nothing is taken from the index without being compared with the tars.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from llaso_data import languages
from llaso_data.errors import LLaSOError
from llaso_data.io import checksums, storage, strict_json
from llaso_data.shards import certificate, foreign_scan, in_place, layout, manifest, schemas, tar
from llaso_data.shards.index import LATER, SCHEMA, IndexRow, PartRow, has_checksum, open_arrow
from llaso_data.shards.layout import EncodedSample
from llaso_data.shards.reader import Index, locate, open_index, read_manifest
from llaso_data.shards.tar import ShardError

LOSSLESS = frozenset({"flac", "wav"})
TOLERANCE_S = 0.001
LOSSY_TOLERANCE_S = 0.1
_EXTRA_DECODE_S = 60.0  # decoded at most beyond the duration that the JSON states


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of a set of shards."""

    shard: str  # or another file of the folder
    key: str | None  # of the sample; None where the fault is not one sample's
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a validation.

    Attributes:
        uri: Folder or URI of the shards.
        shards: Tars that the manifest names.
        samples: Samples that were read from the tars.
        hours: Hours of audio that were read from the tars.
        bytes: Size of the tars.
        problems: All problems.
        without_checksum: Index and sidecars without a checksum, which an earlier version wrote; None: there are none.
    """

    uri: str
    shards: int
    samples: int
    hours: float
    bytes: int
    problems: tuple[Problem, ...]
    without_checksum: int | None = None

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON."""
        return {**asdict(self), "problems": [asdict(problem) for problem in self.problems], "ok": self.ok}


def validate(uri: str, *, progress: Callable[[int, int], None] | None = None) -> Report:
    """Reads all shards of a folder and lists what is wrong.

    Args:
        uri: Folder or URI of the shards.
        progress: Called with (shards read, shards) after each shard.

    Raises:
        LLaSOError: The manifest or the index cannot be read.
    """
    import jsonschema

    declared, index = read_manifest(uri), open_index(uri)
    problems = [
        Problem(layout.MANIFEST, None, f"{error.json_path}: {error.message}")
        for error in jsonschema.Draft202012Validator(schemas.MANIFEST).iter_errors(declared)
    ]
    if problems:
        return Report(uri, 0, 0, 0.0, 0, tuple(problems))
    samples, duration_s, size_bytes, without_checksum = 0, 0.0, 0, int(not has_checksum(index.table))
    for number, entry in enumerate(declared["shards"]):
        check = _CHECKS.get(declared["profile"], _ShardCheck)(
            locate(uri, entry["path"]), entry, declared["options"] or {}
        )
        problems += check.run(index, number)
        samples, duration_s, size_bytes, without_checksum = (
            samples + check.samples,
            duration_s + check.duration_s,
            size_bytes + check.bytes,
            without_checksum + check.without_checksum,
        )
        if progress is not None:
            progress(number + 1, len(declared["shards"]))
    problems += _manifest_problems(uri, declared, index, samples)
    if declared["profile"] in _CHECKS:
        problems += _foreign_sidecars(uri)
    hours = manifest.hours(duration_s)
    return Report(uri, len(declared["shards"]), samples, hours, size_bytes, tuple(problems), without_checksum or None)


def _manifest_problems(uri: str, declared: Mapping[str, Any], index: Index, samples: int) -> Iterator[Problem]:
    declared_uris = [locate(uri, entry["path"]) for entry in declared["shards"]]
    if list(index.shards) != declared_uris:
        yield Problem(layout.INDEX, None, "names other shards than the manifest")
    if index.digest != declared["plan"]:
        yield Problem(layout.INDEX, None, "belongs to another set of shards than the manifest (plans differ)")
    if declared["digest"] != manifest.content_digest((entry["path"], entry["sha256"]) for entry in declared["shards"]):
        yield Problem(layout.MANIFEST, None, "its digest is not that of its shards")
    if not declared["samples"] == len(index) == samples:
        counts = f"states {declared['samples']} samples, the index {len(index)}, the tars hold {samples}"
        yield Problem(layout.MANIFEST, None, counts)
    for field, column in manifest.counted(index.table).items():
        if declared.get(field) != manifest.counts(index.table, column):
            yield Problem(layout.MANIFEST, None, f"{field}: other counts than the index")
    standing = certificate.of_shards(uri, declared)
    if standing.certificate is None and standing.why != certificate.UNHEARD:
        yield Problem(layout.CERTIFICATE, None, standing.why)
    if declared["profile"] == manifest.LLASO:
        strays = {row["path"] for row in storage.listing(uri) if layout.shard_number(row["path"]) is not None} - {
            name for e in declared["shards"] for name in (e["path"], layout.sidecar_name(e["path"]))
        }
        for name in sorted(strays):
            yield Problem(name, None, "is not in the manifest")


def _foreign_sidecars(uri: str) -> Iterator[Problem]:
    """Damaged sidecars beside the index of foreign tars; ``llaso-data index`` reads them when it is run again."""
    for row in storage.listing(uri):
        if row["path"].endswith(".arrow") and row["path"] != layout.INDEX:
            try:
                open_arrow(storage.join(uri, row["path"]))
            except ShardError as error:
                yield Problem(row["path"], None, str(error))


class _ShardCheck:
    """The validation of one tar: its counts and its problems."""

    def __init__(self, uri: str, entry: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        import jsonschema

        self.uri = uri
        self.name = entry["path"]
        self.entry = entry
        self.options = options
        self.schema = jsonschema.Draft202012Validator(schemas.SAMPLE)
        self.samples = 0
        self.duration_s = 0.0
        self.bytes = 0
        self.without_checksum = False
        self.problems: list[Problem] = []
        self.rows: list[IndexRow] = []
        self.unreadable: set[int] = set()  # offsets of samples that are reported already

    def run(self, index: Index, number: int) -> list[Problem]:
        """Reads the tar, which is shard ``number`` of the index; gives its problems."""
        try:
            self._file()
            self._walk()
        except FileNotFoundError:
            self._add(None, "the tar is missing")
        except LLaSOError as error:
            self._add(None, str(error))
        self.samples = len(self.rows) + len(self.unreadable)
        self.duration_s = sum(row.duration_s for row in self.rows)
        if self.samples != self.entry["samples"]:
            self._add(None, f"holds {self.samples} samples, the manifest says {self.entry['samples']}")
        self._compare(index.rows_of(number), layout.INDEX)
        self._sidecar()
        return self.problems

    def _add(self, key: str | None, what: str) -> None:
        self.problems.append(Problem(self.name, key, what))

    def _file(self) -> None:
        sha256, self.bytes = checksums.sha256(self.uri)
        if self.bytes != self.entry["bytes"]:
            self._add(None, f"has {self.bytes} bytes, the manifest says {self.entry['bytes']}")
        if sha256 != self.entry["sha256"]:
            self._add(None, "has another sha256 than the manifest says")

    def _sidecar(self) -> None:
        name = layout.sidecar_name(self.name)
        try:
            table = open_arrow(layout.sidecar_name(self.uri))
        except (FileNotFoundError, ShardError) as error:
            self._add(None, f"its sidecar {name} is missing or damaged ({type(error).__name__})")
            return
        self.without_checksum = not has_checksum(table)
        self._compare(table.to_pylist(), name)

    def _compare(self, rows: list[dict[str, Any]], where: str) -> None:
        """Compares the rows of an index with those of the tar; the offset of a sample's first part matches them."""
        actual = {row.parts[0].offset: row.to_dict() for row in self.rows}
        stated_rows = {row["parts"][0]["offset"] if row["parts"] else -1: row for row in rows}
        if list(stated_rows) != sorted(stated_rows) or len(stated_rows) != len(rows):
            self._add(None, f"{where} does not list the samples in the order of the tar")
        for offset in sorted((actual.keys() | stated_rows.keys()) - self.unreadable):
            actual_row, stated_row = actual.get(offset), stated_rows.get(offset)
            if actual_row is None or stated_row is None:
                key = (actual_row or stated_row or {}).get("key")
                what = f"{where} has no such sample" if stated_row is None else f"is in {where}, not in the tar"
                self._add(key, what)
                continue
            # An index of an earlier version has no column for what only some samples say.
            names = [*SCHEMA.names, *(name for name in LATER.names if name in stated_row)]
            different = [name for name in names if actual_row.get(name) != stated_row[name]]
            if different:
                self._add(actual_row["key"], f"{where} differs from the tar in: {', '.join(different)}")

    def _walk(self) -> None:
        with storage.open_read(self.uri) as file:
            previous = ""
            for key, group in groupby(tar.members(file), lambda member: member.name.partition(".")[0]):
                parts: dict[str, bytes] = {}
                part_rows: list[PartRow] = []
                for member in group:
                    if member.name <= previous:
                        self._add(key, f"{member.name} is out of order")
                    previous = member.name
                    part = member.name.partition(".")[2]
                    file.seek(member.offset)
                    parts[part] = file.read(member.size)
                    if len(parts[part]) != member.size:
                        raise ShardError(f"the tar is cut short inside {member.name}")
                    part_rows.append(PartRow(part, member.offset, member.size, zlib.crc32(parts[part])))
                row = self._sample(key, parts, tuple(part_rows))
                if row is None:
                    self.unreadable.add(part_rows[0].offset)
                else:
                    self.rows.append(row)

    def _sample(self, key: str, parts: Mapping[str, bytes], part_rows: tuple[PartRow, ...]) -> IndexRow | None:
        """The index row of a sample, from the tar's own bytes; None where the sample cannot be read."""
        try:
            for part in parts:
                layout.member_name(key, part)
            document = strict_json.loads(parts[layout.JSON_PART])
        except (KeyError, ValueError) as error:
            self._add(key, f"no readable JSON part, or a part that is no name: {error}")
            return None
        schema_errors = list(self.schema.iter_errors(document))
        if schema_errors:
            for schema_error in schema_errors:
                self._add(key, f"json {schema_error.json_path}: {schema_error.message}")
            return None
        if layout.canonical(document) != parts[layout.JSON_PART]:
            self._add(key, "the JSON is not canonical")
        audio_ids = [audio["id"] for audio in document["audios"]]
        expected_key = layout.sample_key(audio_ids, document["task"], document["messages"])
        if not key == document["key"] == expected_key:
            self._add(key, f"the JSON says {document['key']}; its contents give {expected_key}")
        self._audios(key, document, parts)
        sample = EncodedSample(
            key=key,
            parts=parts,
            duration_s=document["duration_s"],
            text_bytes=layout.text_bytes(document["messages"]),
            task=document["task"],
            language=document["language"],
            modality=layout.modality(document["messages"]),
            split=document.get("split"),
            license=layout.joined(entry["source"].get("license") for entry in document["audios"]),
            consent=layout.joined(entry["source"].get("consent") for entry in document["audios"]),
        )
        return IndexRow.of(sample, part_rows)

    def _audios(self, key: str, document: Mapping[str, Any], parts: Mapping[str, bytes]) -> None:
        from llaso_data import audio
        from llaso_data.audio import limited

        referenced = [p["audio"] for m in document["messages"] for p in m["content"] if p["type"] == "audio"]
        listed = [entry["part"] for entry in document["audios"]]
        if referenced != listed or set(parts) != {*listed, layout.JSON_PART}:
            self._add(key, f"the messages name the audios {referenced}, `audios` {listed}, the tar {sorted(parts)}")
        total_s = round(sum(entry["duration_s"] for entry in document["audios"]), 6)
        if abs(total_s - document["duration_s"]) > 1e-6:
            self._add(key, f"duration_s is {document['duration_s']}, its audios have {total_s} s")
        for entry in document["audios"]:
            part = entry["part"]
            if part not in parts:
                continue
            try:
                pcm = limited.decode_bytes(parts[part], f"{key}.{part}", entry["duration_s"] + _EXTRA_DECODE_S)
            except LLaSOError as error:
                self._add(key, f"{part} cannot be decoded: {error}")
                continue
            lossless = part.rpartition(".")[2] in LOSSLESS
            length_s = len(pcm) / audio.SAMPLE_RATE_HZ
            if abs(length_s - entry["duration_s"]) > (TOLERANCE_S if lossless else LOSSY_TOLERANCE_S):
                self._add(key, f"{part} lasts {length_s:.3f} s, the JSON says {entry['duration_s']:.3f} s")
            if lossless and entry.get("audio_id") not in (None, audio.audio_id(pcm)):
                self._add(key, f"{part} does not have the audio_id that the JSON says")


def _with_language_code(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose language is a code. Indexes of an earlier version have languages as the tar names them."""
    return {**row, "language": languages.language(row["language"] or "")}


class _ForeignShardCheck(_ShardCheck):
    """The validation of a foreign tar. Its keys are unique, so rows are matched by key."""

    def run(self, index: Index, number: int) -> list[Problem]:
        """As :meth:`_ShardCheck.run`."""
        table = SCHEMA.empty_table()
        try:
            self._file()
            table, findings = foreign_scan.scan(self.uri, self.options.get("language"), self.options.get("task"))
            for what in findings.problems.first:
                self._add(None, what.removeprefix(": "))
        except FileNotFoundError:
            self._add(None, "the tar is missing")
        except LLaSOError as error:
            self._add(None, str(error))
        self.samples = table.num_rows
        self.duration_s = sum(table["duration_s"].to_pylist())
        if self.samples != self.entry["samples"]:
            self._add(None, f"holds {self.samples} samples, the manifest says {self.entry['samples']}")
        first, last = index.first_rows[number : number + 2]
        stated = index.table.slice(first, last - first).select(SCHEMA.names)
        if not stated.equals(table):
            self._differences(table.to_pylist(), [_with_language_code(row) for row in stated.to_pylist()])
        return self.problems

    def _differences(self, rows: list[dict[str, Any]], stated: list[dict[str, Any]]) -> None:
        actual, stated_by_key = ({row["key"]: row for row in group} for group in (rows, stated))
        if list(stated_by_key) != [key for key in actual if key in stated_by_key] or len(stated_by_key) != len(stated):
            self._add(None, f"{layout.INDEX} does not list the samples once each, in the order of the tar")
        for key in {**actual, **stated_by_key}:
            if key not in stated_by_key:
                self._add(key, f"{layout.INDEX} has no such sample")
            elif key not in actual:
                self._add(key, f"is in {layout.INDEX}, not in the tar")
            elif different := [name for name in SCHEMA.names if actual[key][name] != stated_by_key[key][name]]:
                self._add(key, f"{layout.INDEX} differs from the tar in: {', '.join(different)}")


class _InPlaceCheck(_ShardCheck):
    """The validation of a container that is indexed in place: every audio that the index leads to is decoded."""

    def run(self, index: Index, number: int) -> list[Problem]:
        """As :meth:`_ShardCheck.run`."""
        try:
            self.bytes = storage.stat(self.uri)["size"]
        except FileNotFoundError:
            self._add(None, "the file is missing")
            return self.problems
        if self.bytes != self.entry["bytes"]:
            self._add(None, f"has {self.bytes} bytes, the index was made when it had {self.entry['bytes']}")
        for row in index.rows_of(number):
            self.samples += 1
            self.duration_s += row["duration_s"]
            for fault in in_place.faults(self.uri, row):
                self._add(row["key"], fault)
        return self.problems


_CHECKS: dict[str, type[_ShardCheck]] = {manifest.FOREIGN: _ForeignShardCheck, manifest.IN_PLACE: _InPlaceCheck}
"""The check of a shard by the profile of its set; of other profiles, that of our own shards."""
