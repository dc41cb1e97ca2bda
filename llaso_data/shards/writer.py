"""Write one shard: a tar and, after it, the sidecar index that commits it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

from isal.isal_zlib import crc32

from llaso_data.errors import LLaSOError
from llaso_data.io import checksums, storage, tar_headers
from llaso_data.shards import index, layout
from llaso_data.shards.index import IndexRow, PartRow, ShardInfo
from llaso_data.shards.layout import EncodedSample


def write(out: str, name: str, samples: Iterable[EncodedSample], *, digest: str, dataset: str) -> ShardInfo:
    """Write samples as a shard and its sidecar; both appear complete, the sidecar last.

    Args:
        out: The folder or URI of the dataset.
        name: Of the tar (:func:`~llaso_data.shards.layout.shard_name`).
        samples: With ascending keys. The same samples give the same bytes.
        digest: Of what the shard is made from; a rerun knows its own by it.
        dataset: Digest of the set of shards that it belongs to.

    Returns:
        What the sidecar says.

    Raises:
        LLaSOError: A key comes twice or out of order.
        ValueError: A key or a part cannot be a name.
    """
    rows: list[IndexRow] = []
    with storage.whole(storage.join(out, name)) as path, checksums.HashingWriter(path) as file:
        for sample in samples:
            if rows and sample.key <= rows[-1].key:
                raise LLaSOError(f"{name}: sample {sample.key} after {rows[-1].key}: twice, or out of order")
            rows.append(_append(file, sample))
        file.write(tar_headers.END)
        size_bytes = file.tell()
    info = ShardInfo(
        path=name,
        sha256=file.sha256(),
        bytes=size_bytes,
        samples=len(rows),
        duration_s=round(sum(row.duration_s for row in rows), 6),
        digest=digest,
        dataset=dataset,
        columns=index.later_columns(rows),
    )
    index.write_sidecar(storage.join(out, layout.sidecar_name(name)), rows, info)
    return info


def finished(out: str, name: str, *, digest: str, dataset: str) -> ShardInfo | None:
    """The shard that an earlier run committed under this digest, or None where it must be written."""
    info = index.sidecar_info(storage.join(out, layout.sidecar_name(name)))
    if info is None or info.digest != digest or info.dataset != dataset:
        return None
    try:
        return info if storage.stat(storage.join(out, name))["size"] == info.bytes else None
    except FileNotFoundError:
        return None


def _append(file: IO[bytes], sample: EncodedSample) -> IndexRow:
    parts = []
    for part in sorted(sample.parts):
        data = sample.parts[part]
        offset = tar_headers.write_member(file, layout.member_name(sample.key, part), data)
        parts.append(PartRow(part, offset, len(data), crc32(data)))
    return IndexRow.of(sample, parts)
