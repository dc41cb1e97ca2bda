"""Counts of a set of shards: hours, samples, languages, tasks, durations, speakers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from llaso_data import records
from llaso_data.io import storage
from llaso_data.shards import certificate, layout, manifest, schemas
from llaso_data.shards.reader import Index, open_index, open_shard, read_manifest, read_parts
from llaso_data.shards.tar import ShardError

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of a dataset.

    Attributes:
        uri: Folder or URI of the shards.
        profile: ``llaso`` or ``webdataset``.
        certified: Whether the dataset passed its audit.
        audit: The certificate's conclusion in one sentence, or why there is none.
        shards: Number of tars.
        samples: Number of samples.
        hours: Hours of audio.
        bytes: Size of all tars.
        languages: Samples and hours by language; ``tasks`` and ``modalities`` alike.
        splits: The same by split; ``licenses`` and ``consents`` alike. None where no sample says it.
        duration_quantiles_s: Seconds of audio per sample, by quantile.
        speakers: Different known speakers, by corpus and id. This and the next four are None where the samples' JSON
            was not read.
        corpora: Audios and their hours by corpus; ``licenses`` and ``consents`` are the audios of each that name one.
        genders: Audios by the speaker's gender.
        text_origins: Audios by the origin of their text.
        words: Aligned words.
    """

    uri: str
    profile: str
    certified: bool
    audit: str
    shards: int
    samples: int
    hours: float
    bytes: int
    languages: dict[str, dict[str, float]]
    tasks: dict[str, dict[str, float]]
    modalities: dict[str, dict[str, float]]
    duration_quantiles_s: dict[str, float]
    splits: dict[str, dict[str, float]] | None = None
    licenses: dict[str, dict[str, float]] | None = None
    consents: dict[str, dict[str, float]] | None = None
    speakers: int | None = None
    corpora: dict[str, dict[str, Any]] | None = None
    genders: dict[str, int] | None = None
    text_origins: dict[str, int] | None = None
    words: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The counts as JSON."""
        return asdict(self)


SeenSample = Callable[[str, Mapping[str, Any]], None]
"""Is told of each sample that is counted: the URI of its tar, and its JSON."""


@dataclass(slots=True)
class SampleCounts:
    """What is counted from samples' JSON, of one set or of several together."""

    speakers: set[tuple[str, str]] = field(default_factory=set)
    corpora: dict[str, dict[str, Any]] = field(default_factory=dict)
    genders: Counter[str] = field(default_factory=Counter)
    origins: Counter[str] = field(default_factory=Counter)
    words: int = 0

    def add(self, sample: Mapping[str, Any]) -> None:
        """Count a sample. Raises an AttributeError, KeyError, TypeError or ValueError where it is none of ours."""
        for entry in sample["audios"]:
            speaker, source = entry["speaker"], entry["source"]
            if speaker["id"]["value"] != records.UNKNOWN:
                self.speakers.add((source["corpus"], speaker["id"]["value"]))
            self.genders[speaker["gender"]["value"]] += 1
            self.origins[entry.get("text_origin", records.UNKNOWN)] += 1
            self.words += len(entry["words"])
            corpus = self.corpora.setdefault(source["corpus"], {"audios": 0, "seconds": 0.0})
            corpus["audios"] += 1
            corpus["seconds"] += entry["duration_s"]
            for name in ("license", "consent"):
                if value := source.get(name):
                    of_audios = corpus.setdefault(f"{name}s", {})
                    of_audios[value] = of_audios.get(value, 0) + 1

    def to_dict(self) -> dict[str, Any]:
        """The counts by the names of fields of :class:`Stats`."""
        return {
            "speakers": len(self.speakers),
            "corpora": {name: _corpus(stated) for name, stated in sorted(self.corpora.items())},
            "genders": dict(sorted(self.genders.items())),
            "text_origins": dict(sorted(self.origins.items())),
            "words": self.words,
        }


def stats(uri: str, *, read_samples: bool = True, seen: SeenSample | None = None) -> Stats:
    """Counts a dataset from its index, and speakers, corpora, genders, origins and words from each sample's JSON.

    Args:
        uri: Folder or URI of the shards.
        read_samples: False reads no tar.
        seen: Is told of each sample that is read.

    Raises:
        LLaSOError: The manifest or the index is missing or incomplete, or a sample's JSON cannot be read.
    """
    declared, index = read_manifest(uri), open_index(uri)
    missing = sorted(set(schemas.MANIFEST["required"]) - declared.keys())
    if missing:
        raise ShardError(f"{uri}: its {layout.MANIFEST} lacks {', '.join(missing)}; `llaso-data validate` says more")
    durations_s = index.table["duration_s"].to_numpy()
    quantiles = np.quantile(durations_s, QUANTILES) if len(index) else np.zeros(len(QUANTILES))
    standing = certificate.of_shards(uri, declared)
    reads = read_samples and declared["profile"] == manifest.LLASO
    return Stats(
        uri=storage.absolute(uri),
        profile=declared["profile"],
        certified=standing.certified,
        audit=str(standing),
        shards=len(index.shards),
        samples=len(index),
        hours=manifest.hours(float(durations_s.sum())),
        bytes=declared["bytes"],
        languages=manifest.counts(index.table, "language"),
        tasks=manifest.counts(index.table, "task"),
        modalities=manifest.counts(index.table, "modality"),
        duration_quantiles_s={f"{q:g}": round(float(s), 3) for q, s in zip(QUANTILES, quantiles, strict=True)},
        splits=_counted(index, "split"),
        licenses=_counted(index, "license"),
        consents=_counted(index, "consent"),
        **(_read_samples(index, seen).to_dict() if reads else {}),
    )


def added(counts: Sequence[dict[str, dict[str, float]] | None]) -> dict[str, dict[str, float]] | None:
    """Counts by value of several sets together; None where none of them has any."""
    known = [one for one in counts if one is not None]
    total: dict[str, dict[str, float]] = {}
    for one in known:
        for value, stated in one.items():
            sums = total.setdefault(value, {"samples": 0, "hours": 0.0})
            sums["samples"] += stated["samples"]
            sums["hours"] = round(sums["hours"] + stated["hours"], 6)
    return dict(sorted(total.items())) if known else None


def _counted(index: Index, column: str) -> dict[str, dict[str, float]] | None:
    return manifest.counts(index.table, column) if column in index.table.schema.names else None


def _read_samples(index: Index, seen: SeenSample | None) -> SampleCounts:
    counts = SampleCounts()
    for number, shard in enumerate(index.shards):
        with open_shard(shard) as file:
            for row in index.rows_of(number):
                row["parts"] = [part for part in row["parts"] if part["ext"] == layout.JSON_PART]
                try:
                    sample = json.loads(read_parts(file, shard, row)[layout.JSON_PART])
                    counts.add(sample)
                except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
                    raise ShardError(
                        f"{shard}: {row['key']} is no sample of this format; `llaso-data validate` says more"
                    ) from error
                if seen is not None:
                    seen(shard, sample)
    return counts


def _corpus(stated: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: dict(sorted(stated[name].items())) for name in ("licenses", "consents") if name in stated}
    return {"audios": stated["audios"], "hours": manifest.hours(stated["seconds"]), **named}
