"""Counts of a set of shards: hours, samples, languages, tasks, durations, speakers."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
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
        speakers: Different known speakers, by corpus and id. This and the next three are None where the samples' JSON
            was not read.
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
    genders: dict[str, int] | None = None
    text_origins: dict[str, int] | None = None
    words: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The counts as JSON."""
        return asdict(self)


def stats(uri: str, *, read_samples: bool = True) -> Stats:
    """Counts a dataset from its index, and speakers, genders, origins and words from each sample's JSON.

    Args:
        uri: Folder or URI of the shards.
        read_samples: False reads no tar.

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
    sample_counts = _read_samples(index) if read_samples and declared["profile"] == manifest.LLASO else {}
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
        **sample_counts,
    )


def _counted(index: Index, column: str) -> dict[str, dict[str, float]] | None:
    return manifest.counts(index.table, column) if column in index.table.schema.names else None


def _read_samples(index: Index) -> dict[str, Any]:
    speakers: set[tuple[str, str]] = set()
    genders: Counter[str] = Counter()
    origins: Counter[str] = Counter()
    words = 0
    for number, shard in enumerate(index.shards):
        with open_shard(shard) as file:
            for row in index.rows_of(number):
                row["parts"] = [part for part in row["parts"] if part["ext"] == layout.JSON_PART]
                try:
                    sample = json.loads(read_parts(file, shard, row)[layout.JSON_PART])
                    for entry in sample["audios"]:
                        speaker = entry["speaker"]
                        if speaker["id"]["value"] != records.UNKNOWN:
                            speakers.add((entry["source"]["corpus"], speaker["id"]["value"]))
                        genders[speaker["gender"]["value"]] += 1
                        origins[entry.get("text_origin", records.UNKNOWN)] += 1
                        words += len(entry["words"])
                except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
                    raise ShardError(
                        f"{shard}: {row['key']} is no sample of this format; `llaso-data validate` says more"
                    ) from error
    return {
        "speakers": len(speakers),
        "genders": dict(sorted(genders.items())),
        "text_origins": dict(sorted(origins.items())),
        "words": words,
    }
