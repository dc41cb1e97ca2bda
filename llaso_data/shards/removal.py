"""Taking samples out of a set of shards: a speaker who withdraws, a list of recordings.

They leave the index first, so that no stream that begins later reads them. Then the shards that hold them are written
anew without them, under new names, and the old ones are removed. At the end all tars are read, and nothing of what was
named may be left. ``removed.json`` keeps what was named, so that no later command of ours adds it again. It holds
digests where it can: ids of utterances, and of speakers a digest of corpus and id.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from llaso_data import records
from llaso_data.errors import LLaSOError
from llaso_data.io import checksums, lock, outputs, storage
from llaso_data.records import UNKNOWN, Sample
from llaso_data.shards import index, layout, manifest, reader, writer
from llaso_data.shards.index import ShardInfo
from llaso_data.shards.layout import EncodedSample
from llaso_data.shards.tar import ShardError

LEDGER = "removed.json"
LEDGER_FORMAT = "llaso-removed"
_LEDGER_VERSION = 1


@dataclass(frozen=True, slots=True)
class Removed:
    """What is taken out of a set.

    Attributes:
        speakers: Ids of speakers, as their records have them.
        speaker_digests: Digests of speakers that were taken out before.
        names: Ids of utterances, keys of samples, ``audio_id`` s, or addresses of recordings.
    """

    speakers: frozenset[str] = frozenset()
    speaker_digests: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()

    def holds(self, sample: Sample, key: str | None = None) -> bool:
        """Whether a sample is one of them: each of its audios counts, also a spoken instruction or answer."""
        return bool(self.names & _names_of(sample, key)) or any(
            self.names_speaker(audio.speaker.id.value) for audio in sample.audios
        )

    def names_speaker(self, speaker: str | None) -> bool:
        """Whether a speaker, by the id that records have, is one of them."""
        if speaker is None or speaker == UNKNOWN:
            return False
        return speaker in self.speakers or _digest(speaker) in self.speaker_digests

    def is_in(self, earlier: Removed) -> bool:
        """Whether all of it was taken out before."""
        return self.names <= earlier.names and {*map(_digest, self.speakers)} <= earlier.speaker_digests

    def __bool__(self) -> bool:
        return bool(self.speakers or self.speaker_digests or self.names)


NOTHING_REMOVED = Removed()


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalSummary:
    """What was removed: samples and hours, the shards that were written anew or went, and what is left.

    ``not_found`` are the speakers and names of which no sample was: they may be misspelt.
    """

    out: str
    removed: int
    removed_hours: float
    shards_rewritten: int
    shards_removed: int
    samples: int
    hours: float
    tars_scanned: int
    not_found: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The same as plain Python, for JSON."""
        return asdict(self)


@dataclass(slots=True)
class _Rows:
    """The rows of one shard that go, and its place in the manifest."""

    shard: str
    keys: set[str] = field(default_factory=set)
    found: set[str] = field(default_factory=set)  # of the speakers and names that were given
    duration_s: float = 0.0


def remove(uri: str, what: Removed) -> RemovalSummary:
    """Take samples out of a set of shards that ``llaso-data`` wrote, and prove that nothing of them is left.

    A run that was killed is finished by the same command.

    Args:
        uri: The folder of the shards.
        what: What goes.

    Raises:
        LLaSOError: Nothing is named; it is no such set; nothing in it is of what is named, or everything is; or
            something of it is left at the end.
    """
    if not what:
        raise LLaSOError("name what to remove: --speaker ID, or --list FILE")
    with lock.exclusive(uri, "remove") as held:
        return _remove(held, what)


def ledger(uri: str) -> Removed:
    """What was taken out of a set before; nothing where there is no ledger."""
    stated = outputs.json_at(storage.join(uri, LEDGER))
    if not isinstance(stated, dict) or stated.get("format") != LEDGER_FORMAT:
        return Removed()
    return Removed(
        speaker_digests=frozenset(map(str, stated.get("speakers", []))),
        names=frozenset(map(str, stated.get("names", []))),
    )


def listed(path: str) -> frozenset[str]:
    """The names in a list: a line each; empty lines and those that begin with ``#`` are passed over.

    Raises:
        LLaSOError: The file cannot be read, or names nothing.
    """
    try:
        text = storage.read_bytes(storage.absolute(path)).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LLaSOError(f"{path}: cannot be read as a list ({error})") from error
    names = {line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")}
    if not names:
        raise LLaSOError(f"{path}: it names nothing; write an id, a key or an address on each line")
    return frozenset(names)


def _remove(held: lock.Held, what: Removed) -> RemovalSummary:
    out = held.uri
    declared = reader.read_manifest(out)
    if declared["profile"] != manifest.LLASO:
        raise LLaSOError(f"{out}: shards that others wrote are not rewritten; remove samples where they were made")
    outputs.refuse(storage.join(out, LEDGER), "llaso-data remove", outputs.json_of(LEDGER_FORMAT))
    infos = {entry["path"]: _sidecar(out, entry["path"]) for entry in declared["shards"]}
    going = list(_concerned(out, list(infos), what))
    count = sum(len(rows.keys) for rows in going)
    if not count and not what.is_in(ledger(out)):
        raise LLaSOError(f"{out}: no sample of it is of what was named; nothing was removed")
    if not count:  # a run that was killed, or the same command once more
        _delete(out, _strays(out, infos))
        return _summary(out, what, declared, [], {}, _prove(out, what))
    if count == sum(info.samples for info in infos.values()):
        raise LLaSOError(f"{out}: all its samples are of what was named; remove the folder")
    _extend_ledger(out, what)
    plan = records.digest("removed", declared["plan"], *sorted(key for rows in going for key in rows.keys))
    _shrink_index(out, {key for rows in going for key in rows.keys})
    replaced = _rewrite(out, infos, going, plan)
    held.check()
    order = [replaced.get(path, info) for path, info in infos.items()]
    pairs = [(storage.join(out, layout.sidecar_name(info.path)), info) for info in order if info is not None]
    held.confirm()
    made = manifest.finish(
        out, pairs, profile=manifest.LLASO, plan=plan, options=declared["options"], source=declared["source"]
    )
    _delete(out, {*replaced, *_strays(out, [info.path for info in order if info is not None])})
    return _summary(out, what, made, going, replaced, _prove(out, what))


def _summary(
    out: str,
    what: Removed,
    made: Mapping[str, Any],
    going: Sequence[_Rows],
    replaced: Mapping[str, ShardInfo | None],
    tars: int,
) -> RemovalSummary:
    found = {name for rows in going for name in rows.found}
    return RemovalSummary(
        out=out,
        removed=sum(len(rows.keys) for rows in going),
        removed_hours=manifest.hours(sum(rows.duration_s for rows in going)),
        shards_rewritten=sum(info is not None for info in replaced.values()),
        shards_removed=sum(info is None for info in replaced.values()),
        samples=made["samples"],
        hours=made["hours"],
        tars_scanned=tars,
        not_found=tuple(sorted((what.names | what.speakers) - found)) if going else (),
    )


def _names_of(sample: Sample, key: str | None) -> set[str | None]:
    """What a list may call a sample."""
    of_audios = ((one.id, one.recording, one.audio_id, one.source.uri) for one in sample.audios)
    return {key, *(name for names in of_audios for name in names)}


def _sidecar(out: str, path: str) -> ShardInfo:
    info = index.sidecar_info(storage.join(out, layout.sidecar_name(path)))
    if info is None:
        raise ShardError(f"{out}: {layout.sidecar_name(path)} is gone or damaged; fetch the set again")
    return info


def _concerned(out: str, paths: Sequence[str], what: Removed) -> Iterator[_Rows]:
    """The shards that hold something of it. The sidecars are read, not the index, which may have lost rows before."""
    for path in paths:
        rows = _Rows(path)
        uri = storage.join(out, path)
        with reader.open_shard(uri) as file:
            for row in index.open_arrow(storage.join(out, layout.sidecar_name(path))).to_pylist():
                described = [part for part in row["parts"] if part["ext"] == layout.JSON_PART]
                content = reader.read_parts(file, uri, {**row, "parts": described})[layout.JSON_PART]
                sample = layout.decode_sample(json.loads(content))
                if what.holds(sample, row["key"]):
                    speakers = {audio.speaker.id.value for audio in sample.audios}
                    rows.found |= what.names & _names_of(sample, row["key"]) | what.speakers & speakers
                    rows.keys.add(row["key"])
                    rows.duration_s += row["duration_s"]
        if rows.keys:
            yield rows


def _extend_ledger(out: str, what: Removed) -> None:
    before = ledger(out)
    speakers = before.speaker_digests | {_digest(speaker) for speaker in what.speakers}
    stated = {
        "format": LEDGER_FORMAT,
        "format_version": _LEDGER_VERSION,
        "speakers": sorted(speakers),
        "names": sorted(before.names | what.names),
    }
    checksums.write_json(storage.join(out, LEDGER), stated)


def _digest(speaker: str) -> str:
    return records.digest("speaker", speaker)


def _shrink_index(out: str, keys: set[str]) -> None:
    """Take rows out of the index at once; the tars that they are in go later."""
    import pyarrow.compute as pc

    uri = storage.join(out, layout.INDEX)
    table = index.open_arrow(uri)
    kept = table.filter(pc.invert(pc.is_in(table["key"], value_set=pa.array(sorted(keys), pa.string()))))
    if len(kept) < len(table):
        index.write_again(uri, kept)


def _rewrite(
    out: str, infos: Mapping[str, ShardInfo], going: Sequence[_Rows], plan: str
) -> dict[str, ShardInfo | None]:
    """Write the shards concerned anew without what goes. Returns the new shard of each old one; None: nothing is left.

    A new shard has the first free number from the old ones on, so that a killed run finds its own.
    """
    number = 1 + max(layout.shard_number(path) or 0 for path in infos)
    replaced: dict[str, ShardInfo | None] = {}
    for rows in going:
        if len(rows.keys) == infos[rows.shard].samples:
            replaced[rows.shard] = None
            continue
        name = layout.shard_name(number)
        number += 1
        digest = records.digest("removed", infos[rows.shard].sha256, *sorted(rows.keys))
        replaced[rows.shard] = writer.finished(out, name, digest=digest, dataset=plan) or writer.write(
            out, name, _kept(out, rows), digest=digest, dataset=plan
        )
    return replaced


def _kept(out: str, rows: _Rows) -> Iterator[EncodedSample]:
    uri = storage.join(out, rows.shard)
    with reader.open_shard(uri) as file:
        for row in index.open_arrow(storage.join(out, layout.sidecar_name(rows.shard))).to_pylist():
            if row["key"] in rows.keys:
                continue
            values = {name: value for name, value in row.items() if name != "parts"}
            yield EncodedSample(parts=reader.read_parts(file, uri, row), **values)


def _strays(out: str, paths: Iterable[str]) -> set[str]:
    """Shards of the folder that the manifest does not name: a killed run left them."""
    present = {row["path"] for row in storage.listing(out)}
    return {path for path in present if path.endswith(".tar") and layout.shard_number(path) is not None} - set(paths)


def _delete(out: str, replaced: Iterable[str]) -> None:
    """Remove the old shards, and the indices of earlier generations, which name what is gone."""
    fs, root = storage.filesystem(out)
    names = [name for path in replaced for name in (path, layout.sidecar_name(path))]
    present = {row["path"] for row in storage.listing(out)}
    names += [name for name in present if manifest.is_generation(name)]
    for name in names:
        if name in present:
            fs.rm_file(storage.join(root, name))


def _prove(out: str, what: Removed) -> int:
    """Read the JSON of every tar of the folder, whatever the index says. Returns how many tars there are.

    Raises:
        ShardError: Something of it is left.
    """
    tars = [row["path"] for row in storage.listing(out) if row["path"].endswith(".tar")]
    for path in tars:
        with storage.open_read(storage.join(out, path)) as file, tarfile.open(fileobj=file) as tar:
            for member in tar:
                key, _, part = member.name.partition(".")
                content = tar.extractfile(member) if part == layout.JSON_PART else None
                if content is not None and what.holds(layout.decode_sample(json.load(content)), key):
                    raise ShardError(f"{out}: {path} still holds {key}, which was to be removed; run the command again")
    return len(tars)
