"""Read everything again: tars, names, checksums, JSON, audio, index and manifest; every problem is listed.

The tars are walked from their first byte, so nothing is believed because the index says so.
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
from llaso_data.shards import certificate, foreign_scan, layout, manifest, schemas, tar
from llaso_data.shards.index import SCHEMA, IndexRow, PartRow, has_checksum, open_arrow
from llaso_data.shards.layout import EncodedSample
from llaso_data.shards.reader import Index, locate, open_index, read_manifest
from llaso_data.shards.tar import ShardError

LOSSLESS = frozenset({"flac", "wav"})
TOLERANCE_S = 0.001
LOSSY_TOLERANCE_S = 0.1
_BEYOND_S = 60.0  # of an audio that is longer than its JSON says so much is looked at


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where; ``key`` is None where it is not one sample."""

    shard: str
    key: str | None
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a validation saw. ``samples`` and ``hours`` are those that were read, not those that were promised.

    ``without_checksum`` counts indexes and sidecars that an earlier version wrote; None where there are none.
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
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "problems": [asdict(problem) for problem in self.problems], "ok": self.ok}


def validate(uri: str, *, progress: Callable[[int, int], None] | None = None) -> Report:
    """Read all shards of a folder and list what is wrong.

    ``progress`` is called with (shards read, shards). Raises LLaSOError where the manifest or the index
    cannot be read at all.
    """
    import jsonschema

    stated, index = read_manifest(uri), open_index(uri)
    problems = [
        Problem(layout.MANIFEST, None, f"{error.json_path}: {error.message}")
        for error in jsonschema.Draft202012Validator(schemas.MANIFEST).iter_errors(stated)
    ]
    if problems:
        return Report(uri, 0, 0, 0.0, 0, tuple(problems))
    samples, duration_s, size_bytes, unsealed = 0, 0.0, 0, int(not has_checksum(index.table))
    for number, entry in enumerate(stated["shards"]):
        kind = _ForeignShard if stated["profile"] == manifest.FOREIGN else _Shard
        check = kind(locate(uri, entry["path"]), entry, stated["options"] or {})
        problems += check.run(index, number)
        samples, duration_s, size_bytes, unsealed = (
            samples + check.samples,
            duration_s + check.duration_s,
            size_bytes + check.bytes,
            unsealed + check.unsealed,
        )
        if progress is not None:
            progress(number + 1, len(stated["shards"]))
    problems += _totals(uri, stated, index, samples)
    if stated["profile"] == manifest.FOREIGN:
        problems += _foreign_sidecars(uri)
    hours = manifest.hours(duration_s)
    return Report(uri, len(stated["shards"]), samples, hours, size_bytes, tuple(problems), unsealed or None)


def _totals(uri: str, stated: Mapping[str, Any], index: Index, samples: int) -> Iterator[Problem]:
    named = [locate(uri, entry["path"]) for entry in stated["shards"]]
    if list(index.shards) != named:
        yield Problem(layout.INDEX, None, "names other shards than the manifest")
    if index.digest != stated["plan"]:
        yield Problem(layout.INDEX, None, "belongs to another set of shards than the manifest (plans differ)")
    if stated["digest"] != manifest.content_digest((entry["path"], entry["sha256"]) for entry in stated["shards"]):
        yield Problem(layout.MANIFEST, None, "its digest is not that of its shards")
    if not stated["samples"] == len(index) == samples:
        what = f"states {stated['samples']} samples, the index {len(index)}, the tars hold {samples}"
        yield Problem(layout.MANIFEST, None, what)
    for field, column in manifest.COUNTED.items():
        if stated[field] != manifest.counts(index.table, column):
            yield Problem(layout.MANIFEST, None, f"{field}: other counts than the index")
    standing = certificate.of_shards(uri, stated)
    if standing.certificate is None and standing.why != certificate.UNHEARD:
        yield Problem(layout.CERTIFICATE, None, standing.why)
    if stated["profile"] == manifest.LLASO:
        strays = {row["path"] for row in storage.listing(uri) if layout.shard_number(row["path"]) is not None} - {
            name for e in stated["shards"] for name in (e["path"], layout.sidecar_name(e["path"]))
        }
        for name in sorted(strays):
            yield Problem(name, None, "is not in the manifest")


def _foreign_sidecars(uri: str) -> Iterator[Problem]:
    """Those beside the index of tars made elsewhere: `llaso-data index` takes their rows when it is run again."""
    for row in storage.listing(uri):
        if row["path"].endswith(".arrow") and row["path"] != layout.INDEX:
            try:
                open_arrow(storage.join(uri, row["path"]))
            except ShardError as error:
                yield Problem(row["path"], None, str(error))


class _Shard:
    """One tar while it is walked: what was counted, and what was wrong."""

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
        self.unsealed = False
        self.problems: list[Problem] = []
        self.rows: list[IndexRow] = []
        self.not_understood: set[int] = set()  # offsets of samples that are reported already

    def run(self, index: Index, number: int) -> list[Problem]:
        try:
            self._file()
            self._walk()
        except FileNotFoundError:
            self._add(None, "the tar is missing")
        except LLaSOError as error:
            self._add(None, str(error))
        self.samples = len(self.rows) + len(self.not_understood)
        self.duration_s = sum(row.duration_s for row in self.rows)
        if self.samples != self.entry["samples"]:
            self._add(None, f"holds {self.samples} samples, the manifest says {self.entry['samples']}")
        self._compare(index.rows_of(number), layout.INDEX)
        self._sidecar()
        return self.problems

    def _add(self, key: str | None, what: str) -> None:
        self.problems.append(Problem(self.name, key, what))

    def _file(self) -> None:
        found, self.bytes = checksums.sha256(self.uri)
        if self.bytes != self.entry["bytes"]:
            self._add(None, f"has {self.bytes} bytes, the manifest says {self.entry['bytes']}")
        if found != self.entry["sha256"]:
            self._add(None, "has another sha256 than the manifest says")

    def _sidecar(self) -> None:
        name = layout.sidecar_name(self.name)
        try:
            table = open_arrow(layout.sidecar_name(self.uri))
        except (FileNotFoundError, ShardError) as error:
            self._add(None, f"its sidecar {name} is missing or damaged ({type(error).__name__})")
            return
        self.unsealed = not has_checksum(table)
        self._compare(table.select(SCHEMA.names).to_pylist(), name)

    def _compare(self, rows: list[dict[str, Any]], where: str) -> None:
        """The rows of an index against those that the tar gave, matched by where their first part begins."""
        found = {row.parts[0].offset: row.to_dict() for row in self.rows}
        stated = {row["parts"][0]["offset"] if row["parts"] else -1: row for row in rows}
        if list(stated) != sorted(stated) or len(stated) != len(rows):
            self._add(None, f"{where} does not list the samples in the order of the tar")
        for offset in sorted((found.keys() | stated.keys()) - self.not_understood):
            mine, other = found.get(offset), stated.get(offset)
            if mine is None or other is None:
                key = (mine or other or {}).get("key")
                self._add(key, f"{where} has no such sample" if other is None else f"is in {where}, not in the tar")
                continue
            wrong = [name for name in mine if mine[name] != other[name]]
            if wrong:
                self._add(mine["key"], f"{where} differs from the tar in: {', '.join(wrong)}")

    def _walk(self) -> None:
        with storage.open_read(self.uri) as file:
            previous = ""
            for key, group in groupby(tar.members(file), lambda member: member.name.partition(".")[0]):
                parts: dict[str, bytes] = {}
                places: list[PartRow] = []
                for member in group:
                    if member.name <= previous:
                        self._add(key, f"{member.name} is out of order")
                    previous = member.name
                    part = member.name.partition(".")[2]
                    file.seek(member.offset)
                    parts[part] = file.read(member.size)
                    if len(parts[part]) != member.size:
                        raise ShardError(f"the tar is cut short inside {member.name}")
                    places.append(PartRow(part, member.offset, member.size, zlib.crc32(parts[part])))
                row = self._sample(key, parts, tuple(places))
                if row is None:
                    self.not_understood.add(places[0].offset)
                else:
                    self.rows.append(row)

    def _sample(self, key: str, parts: Mapping[str, bytes], places: tuple[PartRow, ...]) -> IndexRow | None:
        """The index row that the tar's own bytes give; None where the sample cannot be understood."""
        try:
            for part in parts:
                layout.member_name(key, part)
            said = strict_json.loads(parts[layout.JSON_PART])
        except (KeyError, ValueError) as error:
            self._add(key, f"no readable JSON part, or a part that is no name: {error}")
            return None
        wrong = list(self.schema.iter_errors(said))
        if wrong:
            for fault in wrong:
                self._add(key, f"json {fault.json_path}: {fault.message}")
            return None
        if layout.canonical(said) != parts[layout.JSON_PART]:
            self._add(key, "the JSON is not canonical")
        computed = layout.sample_key([audio["id"] for audio in said["audios"]], said["task"], said["messages"])
        if not key == said["key"] == computed:
            self._add(key, f"the JSON says {said['key']}; its contents give {computed}")
        self._audios(key, said, parts)
        sample = EncodedSample(
            key=key,
            parts=parts,
            duration_s=said["duration_s"],
            text_bytes=layout.text_bytes(said["messages"]),
            task=said["task"],
            language=said["language"],
            modality=layout.modality(said["messages"]),
        )
        return IndexRow.of(sample, places)

    def _audios(self, key: str, said: Mapping[str, Any], parts: Mapping[str, bytes]) -> None:
        from llaso_data import audio
        from llaso_data.audio import limited

        named = [p["audio"] for m in said["messages"] for p in m["content"] if p["type"] == "audio"]
        listed = [entry["part"] for entry in said["audios"]]
        if named != listed or set(parts) != {*listed, layout.JSON_PART}:
            self._add(key, f"the messages name the audios {named}, `audios` {listed}, the tar {sorted(parts)}")
        total_s = round(sum(entry["duration_s"] for entry in said["audios"]), 6)
        if abs(total_s - said["duration_s"]) > 1e-6:
            self._add(key, f"duration_s is {said['duration_s']}, its audios have {total_s} s")
        for entry in said["audios"]:
            part = entry["part"]
            if part not in parts:
                continue
            try:
                pcm = limited.decode_bytes(parts[part], f"{key}.{part}", entry["duration_s"] + _BEYOND_S)
            except LLaSOError as error:
                self._add(key, f"{part} cannot be decoded: {error}")
                continue
            lossless = part.rpartition(".")[2] in LOSSLESS
            length_s = len(pcm) / audio.SAMPLE_RATE_HZ
            if abs(length_s - entry["duration_s"]) > (TOLERANCE_S if lossless else LOSSY_TOLERANCE_S):
                self._add(key, f"{part} lasts {length_s:.3f} s, the JSON says {entry['duration_s']:.3f} s")
            if lossless and entry.get("audio_id") not in (None, audio.audio_id(pcm)):
                self._add(key, f"{part} does not have the audio_id that the JSON says")


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
    """A row of an index of an earlier version, which has languages in the tar's own words."""
    return {**row, "language": languages.language(row["language"] or "")}


class _ForeignShard(_Shard):
    """A tar that something else wrote. Its keys differ from one another, so that rows are compared by them."""

    def run(self, index: Index, number: int) -> list[Problem]:
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
            self._differences(table.to_pylist(), [_renamed(row) for row in stated.to_pylist()])
        return self.problems

    def _differences(self, rows: list[dict[str, Any]], stated: list[dict[str, Any]]) -> None:
        mine, other = ({row["key"]: row for row in some} for some in (rows, stated))
        if list(other) != [key for key in mine if key in other] or len(other) != len(stated):
            self._add(None, f"{layout.INDEX} does not list the samples once each, in the order of the tar")
        for key in {**mine, **other}:
            if key not in other:
                self._add(key, f"{layout.INDEX} has no such sample")
            elif key not in mine:
                self._add(key, f"is in {layout.INDEX}, not in the tar")
            elif wrong := [name for name in SCHEMA.names if mine[key][name] != other[key][name]]:
                self._add(key, f"{layout.INDEX} differs from the tar in: {', '.join(wrong)}")
