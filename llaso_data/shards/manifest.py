"""``manifest.json``: the summary of a set of shards, written last."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from llaso_data import records
from llaso_data.io import checksums, storage
from llaso_data.shards import index, layout
from llaso_data.shards.index import ShardInfo
from llaso_data.shards.reader import open_index, read_manifest

LLASO = "llaso"
FOREIGN = "webdataset"
IN_PLACE = "in_place"

_GENERATION = re.compile(r"index-\d{6,}\.arrow")
COUNTED = {"languages": "language", "tasks": "task", "modalities": "modality"}
"""Manifest fields and the columns of the index that they count."""
COUNTED_LATER = {"splits": "split", "licenses": "license", "consents": "consent"}
"""The same of columns that an index has only where they say something."""


def finish(
    out: str,
    shards: Sequence[tuple[str, ShardInfo]],
    *,
    profile: str,
    plan: str,
    options: Mapping[str, Any] | None,
    source: Mapping[str, Any] | None,
    grows: bool = False,
) -> dict[str, Any]:
    """Write ``index.arrow`` from the sidecars and then ``manifest.json``; returns the manifest.

    Args:
        out: The dataset's folder.
        shards: (URI of the sidecar, what it says) in the order that gives the shards their numbers.
        profile: :data:`LLASO` or :data:`FOREIGN`.
        plan: The digest of what they were made from, by which a rerun knows its own.
        options: What they were made with.
        source: What they were made from.
        grows: Whether the folder has a finished set already, to which shards are added. Its index is kept under the
            number of its generation, for streams that began with it.
    """
    generations = _kept_generations(out, plan) if grows else []
    index_uri = storage.join(out, layout.INDEX)
    later = {name for _, info in shards for name in info.columns}
    index.write_index(index_uri, [(uri, info.path) for uri, info in shards], plan, later)
    table = open_index(out, whole=False, trusted=True).table  # of sidecars that were checked
    infos = [info for _, info in shards]
    manifest = {
        "format": layout.FORMAT,
        "format_version": layout.FORMAT_VERSION,
        "profile": profile,
        "digest": content_digest((info.path, info.sha256) for info in infos),
        "plan": plan,
        "options": None if options is None else dict(options),
        "source": None if source is None else dict(source),
        "samples": table.num_rows,
        "hours": hours(sum(info.duration_s for info in infos)),
        "bytes": sum(info.bytes for info in infos),
        **{name: counts(table, column) for name, column in counted(table).items()},
        "index": layout.INDEX,
        "shards": [
            {
                "path": info.path,
                "sha256": info.sha256,
                "bytes": info.bytes,
                "samples": info.samples,
                "hours": hours(info.duration_s),
            }
            for info in infos
        ],
    }
    if generations:
        manifest |= {"generation": len(generations) + 1, "generations": generations}
    checksums.write_json(storage.join(out, layout.MANIFEST), manifest)
    return manifest


def counted(table: pa.Table) -> dict[str, str]:
    """Manifest fields and the columns of an index that they count."""
    return COUNTED | {field: name for field, name in COUNTED_LATER.items() if name in table.schema.names}


def generation_index(number: int) -> str:
    """The name of the index of an earlier generation: ``index-000001.arrow``."""
    return f"index-{number:06d}.arrow"


def is_generation(name: str) -> bool:
    """Whether a file of this name is the index of an earlier generation."""
    return _GENERATION.fullmatch(name) is not None


def is_summary_name(name: str) -> bool:
    """Whether a file of this name is the manifest, the certificate or an index of shards."""
    return name in (layout.MANIFEST, layout.INDEX, layout.CERTIFICATE) or is_generation(name)


def _kept_generations(out: str, plan: str) -> list[dict[str, Any]]:
    """What the manifest says of the generations before the one ``plan``; the index of the last of them is kept.

    Raises:
        LLaSOError: There is no manifest of shards.
    """
    stated = read_manifest(out)
    if stated["plan"] == plan:  # a run that was killed after its manifest
        return list(stated.get("generations", []))
    number = int(stated.get("generation", 1))
    kept = generation_index(number)
    if index.dataset_of(storage.join(out, layout.INDEX)) == stated["plan"]:  # else a killed run has replaced it
        storage.write_bytes(storage.join(out, kept), storage.read_bytes(storage.join(out, layout.INDEX)))
    entry = {name: stated[name] for name in ("digest", "plan", "samples", "hours")}
    return [*stated.get("generations", []), {"generation": number, **entry, "index": kept}]


def content_digest(shards: Iterable[tuple[str, str]]) -> str:
    """The dataset's digest, from (path, SHA-256) of its tars in order: it names these bytes and no others."""
    return records.digest("shards", *(part for shard in shards for part in shard))


def hours(seconds: float) -> float:
    """Seconds as hours, to 6 decimals."""
    return round(seconds / 3600, 6)


def counts(table: pa.Table, column: str) -> dict[str, dict[str, float]]:
    """Samples and hours by the values of a column of the index; null counts as ``unknown``."""
    # Not by Arrow's group_by: it imports its datasets, and pandas where there is one.
    places: dict[str | None, int] = {}
    codes = [np.zeros(0, np.int64)]
    for chunk in table[column].chunks:
        encoded = chunk.dictionary_encode("encode")
        known = [places.setdefault(value, len(places)) for value in encoded.dictionary.to_pylist()]
        codes.append(np.array(known, np.int64)[index.numbers(encoded.indices)])
    code = np.concatenate(codes)
    durations_s = np.concatenate([np.zeros(0), *map(index.numbers, table["duration_s"].chunks)])
    samples = np.bincount(code, minlength=len(places)).tolist()
    seconds = np.bincount(code, durations_s, len(places)).tolist()
    return {
        value or "unknown": {"samples": samples[place], "hours": hours(seconds[place])}
        for value, place in sorted(places.items(), key=lambda item: item[0] or "unknown")
    }


def plan_of(uri: str) -> str | None:
    """The plan that a folder's manifest states; None where it has no manifest of shards. Raises DamagedError."""
    try:
        manifest = checksums.read_json(storage.join(uri, layout.MANIFEST), "; remove it and run the command again")
    except (FileNotFoundError, ValueError):
        return None
    return str(manifest.get("plan")) if is_manifest(manifest) else None


def is_manifest(stated: Any, profile: str | None = None) -> bool:
    """Whether JSON is a manifest of shards: of any, or of those that are ours (:data:`LLASO`) or were indexed."""
    has_format = isinstance(stated, dict) and stated.get("format") == layout.FORMAT
    return has_format and profile in (None, stated.get("profile"))
