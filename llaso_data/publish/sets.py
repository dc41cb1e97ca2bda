"""Which sets of shards lie in a folder, under which names the hub loads them, and which files of them are published."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.io import outputs, storage
from llaso_data.records import SPLITS
from llaso_data.shards import certificate, layout, manifest, reader
from llaso_data.shards.reader import Index

DEFAULT = "default"
"""The configuration of a set that lies in the folder itself, or in folders of splits."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class SetFile:
    """A file that is published.

    Attributes:
        path: Below the repository, and below the folder of the sets.
        size_bytes: As the manifest says it of tars, else None: whoever sends the file looks.
        sha256: Likewise.
    """

    path: str
    size_bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """Shards of a set that have the same parts, as one split of a configuration of ``datasets``.

    Attributes:
        name: Of the configuration.
        split: ``train``, ``validation`` or ``test``.
        paths: Of its tars, below the repository; a pattern where it is all tars of a folder.
        parts: The names of the parts that each of its samples has, sorted.
        samples: How many there are.
        hours: Of audio.
        bytes: Of its tars.
    """

    name: str
    split: str
    paths: tuple[str, ...]
    parts: tuple[str, ...]
    samples: int
    hours: float
    bytes: int


@dataclass(frozen=True, slots=True)
class ShardSet:
    """One set of shards.

    Attributes:
        uri: Its folder.
        folder: The same below what is published; empty where it is that.
        declared: Its manifest.
        configs: As what it is loaded.
        files: What is published of it.
    """

    uri: str
    folder: str
    declared: Mapping[str, Any]
    configs: tuple[Config, ...]
    files: tuple[SetFile, ...]

    def path(self, name: str) -> str:
        """A file of the set below the repository."""
        return below(self.folder, name)


@dataclass(frozen=True, slots=True)
class Found:
    """The sets of a folder, and the files in it that are not published."""

    sets: tuple[ShardSet, ...]
    left_out: tuple[str, ...]


def find(uri: str) -> Found:
    """The sets of shards in a folder: itself, or those in folders below it, as ``convert`` writes them.

    Raises:
        LLaSOError: There is none; one cannot be published (its audio lies elsewhere, it is not finished, a shard mixes
            samples of different parts), or two would have one name.
    """
    rows = storage.listing(storage.absolute(uri))
    names = [row["path"] for row in rows if not any(part.startswith(".") for part in row["path"].split("/"))]
    folders = sorted(
        folder
        for folder in {name.rpartition("/")[0] for name in names if name.rpartition("/")[2] == layout.MANIFEST}
        if manifest.is_manifest(outputs.json_at(storage.join(uri, below(folder, layout.MANIFEST))))
    )
    if not folders:
        raise LLaSOError(f"{uri}: {_what_else(uri, names)}")
    sets = tuple(_open(uri, folder, names) for folder in folders)
    _refuse_same_names(uri, sets)
    published = {file.path for one in sets for file in one.files}
    ignored = {"README.md"}
    return Found(sets, tuple(name for name in names if name not in published | ignored))


def named_files(folder: str, declared: Mapping[str, Any]) -> list[str]:
    """The files that a manifest names, with those that always lie beside it; below the repository.

    Args:
        folder: Of the manifest, below the repository.
        declared: The manifest. It may come from a repository: what is no plain name of ours is passed over.
    """
    tars = [str(entry["path"]) for entry in declared["shards"]]
    tars = [path for path in tars if layout.shard_number(path) is not None and path.endswith(".tar")]
    kept = [str(one["index"]) for one in declared.get("generations", []) if manifest.is_generation(str(one["index"]))]
    names = [*tars, *map(layout.sidecar_name, tars), layout.INDEX, *kept, layout.CERTIFICATE, layout.MANIFEST]
    return [below(folder, name) for name in names]


def below(folder: str, name: str) -> str:
    """The path of a file in a folder; of none, its name."""
    return f"{folder}/{name}" if folder else name


def _open(root: str, folder: str, present: Sequence[str]) -> ShardSet:
    uri = storage.join(storage.absolute(root), folder) if folder else storage.absolute(root)
    declared = reader.read_manifest(uri)
    if declared["profile"] == manifest.IN_PLACE:
        raise LLaSOError(
            f"{uri} is indexed in place: its audio lies in other files, and none would be published; run "
            f"`llaso-data convert {uri} --out SHARDS`, and push those"
        )
    if declared["profile"] != manifest.LLASO:
        raise LLaSOError(
            f"{uri} is an index of tars that were made elsewhere; `llaso-data convert` makes shards of them, or upload "
            "them as they are with `hf upload`"
        )
    index = _checked_index(uri, declared)
    there = frozenset(present)
    tars = {below(folder, entry["path"]) for entry in declared["shards"]}
    if not tars:
        raise LLaSOError(f"{uri} has no shards; there is nothing to publish")
    if strange := sorted(tars - set(named_files(folder, declared))):
        raise LLaSOError(f"{uri}: its {layout.MANIFEST} names {strange[0]!r} as a shard, which is no name of ours")
    named = [path for path in named_files(folder, declared) if path in there or not path.endswith(layout.CERTIFICATE)]
    missing = [path for path in named if path not in there]
    if missing:
        raise LLaSOError(f"{uri}: {missing[0]} is missing, which its manifest names; fetch or write the set again")
    if certificate.of_shards(uri, declared).certificate is None:  # none, or that of another set
        named = [path for path in named if path != below(folder, layout.CERTIFICATE)]
    stated = {below(folder, entry["path"]): entry for entry in declared["shards"]}
    files = tuple(
        SetFile(path, stated[path]["bytes"], stated[path]["sha256"]) if path in stated else SetFile(path)
        for path in named
    )
    return ShardSet(uri, folder, declared, _configs(uri, folder, declared, index), files)


def _checked_index(uri: str, declared: Mapping[str, Any]) -> Index:
    """The index, which must be that of the manifest: a removal or a growth that was stopped leaves another."""
    index = reader.open_index(uri)
    if index.digest != declared["plan"] or len(index) != declared["samples"]:
        raise LLaSOError(
            f"{uri}: its {layout.INDEX} and {layout.MANIFEST} are not of one state: a command that changes the set was "
            "stopped. Run that command again, to its end, and then push"
        )
    return index


def _configs(uri: str, folder: str, declared: Mapping[str, Any], index: Index) -> tuple[Config, ...]:
    """One for each group of shards that have the same parts."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for number in range(len(index.shards)):
        of_samples = _parts_in(index, number)
        if len(of_samples) > 1:
            raise LLaSOError(
                f"{uri}: {declared['shards'][number]['path']} mixes samples of different parts "
                f"({'; '.join(', '.join(parts) for parts in sorted(of_samples))}), and `datasets` loads only tars "
                f"whose samples are alike; run `llaso-data convert {uri} --group-by parts --out SETS`, and push SETS"
            )
        for parts in of_samples:
            _refuse_strange_parts(uri, parts)
            groups.setdefault(parts, []).append(number)
    base, split = _names(uri, folder, declared)
    alone = len(groups) == 1
    return tuple(
        _config(folder, declared, base if alone else _joined(base, group_name(parts, groups)), split, parts, numbers)
        for parts, numbers in sorted(groups.items())
    )


def _parts_in(index: Index, shard: int) -> set[tuple[str, ...]]:
    """The names of the parts that samples of a shard have, sorted: more than one tuple where samples differ."""
    first, last = index.first_rows[shard : shard + 2]
    found: set[tuple[str, ...]] = set()
    for chunk in index.table["parts"].slice(first, last - first).chunks:
        names = chunk.flatten().field("ext").to_pylist()
        offsets = (chunk.offsets.to_numpy() - chunk.offsets[0].as_py()).tolist()
        found |= {tuple(sorted(names[start:end])) for start, end in pairwise(offsets)}
    return found


def _refuse_strange_parts(uri: str, parts: Sequence[str]) -> None:
    try:
        for part in parts:
            layout.member_name("key", part)
    except ValueError as error:
        raise LLaSOError(
            f"{uri}: its {layout.INDEX} names parts that no shard has ({error}); fetch it again"
        ) from error


def _config(
    folder: str,
    declared: Mapping[str, Any],
    name: str,
    split: str,
    parts: tuple[str, ...],
    numbers: Sequence[int],
) -> Config:
    entries = [declared["shards"][number] for number in numbers]
    whole = len(entries) == len(declared["shards"])
    paths = [below(folder, "shard-*.tar")] if whole else [below(folder, entry["path"]) for entry in entries]
    return Config(
        name=name,
        split=split,
        paths=tuple(paths),
        parts=parts,
        samples=sum(entry["samples"] for entry in entries),
        hours=round(sum(entry["hours"] for entry in entries), 6),
        bytes=sum(entry["bytes"] for entry in entries),
    )


def group_name(parts: Sequence[str], among: Iterable[Sequence[str]]) -> str:
    """What shards of these parts are called beside others: ``text``, ``1-audio``, ``2-audios``, as ``convert`` does.

    Args:
        parts: Names of the parts of a sample.
        among: Those of all groups: where two have as many audios, the format of the sound is added.
    """
    name = layout.name_of_parts(_count(parts))
    alike = [other for other in among if _count(other) == _count(parts)]
    return name if len(alike) == 1 else "-".join([name, *sorted({part.rpartition(".")[2] for part in _sounds(parts)})])


def _names(uri: str, folder: str, declared: Mapping[str, Any]) -> tuple[str, str]:
    """The configuration and the split that a folder of shards is: ``train/1-audio`` is ``1-audio``, ``train``."""
    steps = folder.split("/") if folder else []
    if wrong := [step for step in steps if not _NAME.fullmatch(step)]:
        raise LLaSOError(
            f"{uri}: the hub knows no configuration named {wrong[0]!r}; rename the folder (letters, digits, _, - and .)"
        )
    splits = [step for step in steps if step in SPLITS]
    others = [step for step in steps if step not in SPLITS]
    of_samples = declared.get("splits") or {}
    stated = [*of_samples] if len(of_samples) == 1 and next(iter(of_samples)) in SPLITS else ["train"]
    return "-".join(others) or DEFAULT, (splits or stated)[0]


def _joined(base: str, group: str) -> str:
    return group if base == DEFAULT else f"{base}-{group}"


def _sounds(parts: Sequence[str]) -> list[str]:
    return [part for part in parts if part != layout.JSON_PART]


def _count(parts: Sequence[str]) -> int:
    return len(_sounds(parts))


def _refuse_same_names(uri: str, sets: Sequence[ShardSet]) -> None:
    known: dict[tuple[str, str], str] = {}
    for one in sets:
        for config in one.configs:
            other = known.setdefault((config.name, config.split), one.folder)
            if other != one.folder:
                raise LLaSOError(
                    f"{uri}: {other or '.'} and {one.folder or '.'} would both be the split {config.split} of the "
                    f"configuration {config.name}; rename a folder, or push them to repositories of their own"
                )


def _what_else(uri: str, names: Sequence[str]) -> str:
    """Why there is nothing to push, and what the folder seems to be."""
    if not names:
        return "there is no such folder, or it is empty"
    summary = outputs.json_at(storage.join(uri, "convert.json"))
    if isinstance(summary, dict) and isinstance(summary.get("to"), str):
        return (
            f"it holds the layout {summary['to']}, and push publishes shards; run "
            f"`llaso-data convert {uri} --out SHARDS`, or upload it as it is with `hf upload`"
        )
    some = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return f"no finished set of shards lies in it or below it ({some}); `llaso-data convert` and `shard` write them"
