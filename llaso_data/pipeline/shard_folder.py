"""What lies in the folder that shards are to be written to: ours to go on with, ours to replace, or not ours at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llaso_data.errors import LLaSOError
from llaso_data.io import outputs, storage
from llaso_data.shards import certificate, index, layout, manifest, tar

_BY = "llaso-data shard"


def clear(out: str, dataset: str, overwrite: bool) -> None:
    """Make the folder ready for the shards of ``dataset``, of which some may be there.

    With ``overwrite`` other shards of ours are removed, and what belongs to them. Whatever else lies in the folder
    stays as it is.

    Raises:
        LLaSOError: where other shards of ours are there and not ``overwrite``; where a name that the run needs is
            taken by what is not ours, always.
    """
    present = {row["path"]: row["size"] for row in storage.listing(out)}
    stated = _stated(out, present)
    # An index beside our manifest is ours whatever it looks like: it may be damaged.
    outputs.refuse(storage.join(out, layout.INDEX), _BY, lambda uri: stated is not None or index.is_index(uri))
    certificate.refuse(out, _BY)
    shards = {name: size for name, size in present.items() if layout.shard_number(name) is not None}
    found = _datasets(out, shards, everywhere=overwrite or storage.is_local(out))
    if stated is None:
        stated = next(filter(None, found), dataset)
    if stated == dataset:
        return
    if not overwrite:
        raise LLaSOError(
            f"{out} holds shards of other records or options; choose another --out, or pass --overwrite to replace them"
        )
    fs, root = storage.filesystem(out)
    summaries = [name for name in (layout.MANIFEST, layout.CERTIFICATE, layout.INDEX) if name in present]
    for name in [*summaries, *(n for n in shards if n.endswith(".arrow")), *(n for n in shards if n.endswith(".tar"))]:
        fs.rm_file(storage.join(root, name))


def _stated(out: str, present: Iterable[str]) -> str | None:
    """The dataset of the manifest, None where there is none. Raises LLaSOError where it is not of our shards."""
    if layout.MANIFEST not in present:
        return None
    uri = storage.join(out, layout.MANIFEST)
    if not manifest.is_manifest(outputs.json_at(uri), manifest.LLASO):
        raise LLaSOError(f"{uri} is of something else than shards of `{_BY}`; choose another --out")
    return manifest.plan_of(out)


def _datasets(out: str, shards: Mapping[str, int], everywhere: bool) -> list[str | None]:
    """Which set each shard belongs to; None where it is the unfinished work of a run of ours.

    A tar is ours if its own header is, or if it has the size in bytes that a sidecar of ours says; a sidecar is if it
    says so, or its tar's header does, for it may be damaged. Of those that come in pairs only the first is looked at
    unless ``everywhere``: a store is slow. Raises LLaSOError where one is not ours.
    """
    found: list[str | None] = []
    for name in sorted({f"{name.rpartition('.')[0]}.tar" for name in shards}):
        sidecar = layout.sidecar_name(name)
        if any(found) and not everywhere and {name, sidecar} <= set(shards):
            continue
        info = index.sidecar_info(storage.join(out, sidecar)) if sidecar in shards else None
        known = info is not None and bool(info.dataset)
        sizes = (0, info.bytes) if info is not None and known else (0,)
        if name in shards and shards[name] not in sizes and not _is_tar(storage.join(out, name)):
            raise outputs.foreign(storage.join(out, name), _BY)
        if sidecar in shards and not known and not shards.get(name):
            raise outputs.foreign(storage.join(out, sidecar), _BY)
        found.append(info.dataset if info is not None and known else None)
    return found


def _is_tar(uri: str) -> bool:
    with storage.open_read(uri) as file:
        return tar.is_ours(file.read(tar.BLOCK_BYTES))
