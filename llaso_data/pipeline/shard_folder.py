"""Checks the output folder of shard: it may hold shards to go on with, shards to replace, or foreign files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.io import outputs, storage
from llaso_data.shards import certificate, index, layout, manifest, reader, tar
from llaso_data.shards.index import ShardInfo

_BY = "llaso-data shard"


def clear(out: str, dataset: str, overwrite: bool) -> None:
    """Makes the folder ready for the shards of ``dataset``, of which some may be there already.

    With ``overwrite`` the shards of another dataset are removed, with their sidecars, index, manifest and certificate.
    All other files stay.

    Raises:
        LLaSOError: The folder holds shards of another dataset (and not ``overwrite``), or a foreign file has a name
            that the run needs.
    """
    present = {row["path"]: row["size"] for row in storage.listing(out)}
    stated = _stated(out, present)
    # An index beside our manifest is ours even where it cannot be read: it may be damaged.
    outputs.refuse(storage.join(out, layout.INDEX), _BY, lambda uri: stated is not None or index.is_index(uri))
    certificate.refuse(out, _BY)
    shards = {name: size for name, size in present.items() if layout.shard_number(name) is not None}
    datasets = _datasets(out, shards, everywhere=overwrite or storage.is_local(out))
    if stated is None:
        stated = next(filter(None, datasets), dataset)
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


@dataclass(frozen=True, slots=True)
class Earlier:
    """The finished shards of a folder that further ones are added to."""

    manifest: dict[str, Any]
    infos: tuple[ShardInfo, ...]

    @property
    def plan(self) -> str:
        """The digest of what they were made from."""
        return str(self.manifest["plan"])

    @property
    def next_number(self) -> int:
        """The number of the first shard that is added."""
        return 1 + max(layout.shard_number(info.path) or 0 for info in self.infos)


def earlier(out: str, audio: str) -> Earlier:
    """The shards of a folder.

    Args:
        out: The folder.
        audio: The format of the sounds that are to be added.

    Raises:
        LLaSOError: The folder holds no finished shards of ours, a damaged one, or shards with sounds of another format.
    """
    stated = reader.read_manifest(out)
    if stated["profile"] != manifest.LLASO:
        raise LLaSOError(f"{out} holds shards that `{_BY}` did not write; choose another --out")
    held = (stated["options"] or {}).get("audio")
    if held != audio:
        raise LLaSOError(f"{out} holds {held}, and --audio {audio} cannot be added to it; choose another --out")
    infos = []
    for entry in stated["shards"]:
        info = index.sidecar_info(storage.join(out, layout.sidecar_name(entry["path"])))
        if info is None:
            raise LLaSOError(f"{out}: the index of {entry['path']} is gone or damaged; fetch the set again")
        infos.append(info)
    return Earlier(stated, tuple(infos))


def utterance_ids(out: str) -> bytes:
    """The ids of all utterances in the shards of a folder, 16 bytes each.

    Raises:
        LLaSOError: A sample cannot be read, so that it is not known what the shards hold.
    """
    ids: list[bytes] = []
    for stored in reader.stored_samples(out):
        if not isinstance(stored, reader.StoredSample):
            raise stored
        ids += [bytes.fromhex(audio.id) for audio in stored.sample.audios]
    return b"".join(ids)


def clear_unfinished(out: str, before: Earlier, dataset: str) -> None:
    """Remove shards that a killed ``--append`` left, where they are not those of ``dataset``."""
    fs, root = storage.filesystem(out)
    for row in storage.listing(out):
        number = layout.shard_number(row["path"])
        if number is None or number < before.next_number:
            continue
        info = index.sidecar_info(storage.join(out, layout.sidecar_name(layout.shard_name(number))))
        if info is None or info.dataset != dataset:
            fs.rm_file(storage.join(root, row["path"]))


def _stated(out: str, present: Iterable[str]) -> str | None:
    """The manifest's dataset, None without a manifest. Raises LLaSOError where the manifest is not of our shards."""
    if layout.MANIFEST not in present:
        return None
    uri = storage.join(out, layout.MANIFEST)
    if not manifest.is_manifest(outputs.json_at(uri), manifest.LLASO):
        raise LLaSOError(f"{uri} is of something else than shards of `{_BY}`; choose another --out")
    return manifest.plan_of(out)


def _datasets(out: str, shards: Mapping[str, int], everywhere: bool) -> list[str | None]:
    """The dataset of each shard; None for an unfinished shard of ours.

    A tar is ours if its header is, or if it has the size that our sidecar states. A sidecar is ours if it names a
    dataset, or if its tar's header is ours, for the sidecar may be damaged. Unless ``everywhere``, only the first
    complete pair of tar and sidecar is read, because an object store is slow.

    Raises:
        LLaSOError: A tar or sidecar is not ours.
    """
    datasets: list[str | None] = []
    for name in sorted({f"{name.rpartition('.')[0]}.tar" for name in shards}):
        sidecar = layout.sidecar_name(name)
        if any(datasets) and not everywhere and {name, sidecar} <= set(shards):
            continue
        info = index.sidecar_info(storage.join(out, sidecar)) if sidecar in shards else None
        has_dataset = info is not None and bool(info.dataset)
        sizes = (0, info.bytes) if info is not None and has_dataset else (0,)
        if name in shards and shards[name] not in sizes and not _is_tar(storage.join(out, name)):
            raise outputs.foreign(storage.join(out, name), _BY)
        if sidecar in shards and not has_dataset and not shards.get(name):
            raise outputs.foreign(storage.join(out, sidecar), _BY)
        datasets.append(info.dataset if info is not None and has_dataset else None)
    return datasets


def _is_tar(uri: str) -> bool:
    with storage.open_read(uri) as file:
        return tar.is_ours(file.read(tar.BLOCK_BYTES))
