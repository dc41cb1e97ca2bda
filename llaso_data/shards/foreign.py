"""Index WebDataset tars that something else wrote, so that they are read as ours are.

What a tar holds, :mod:`llaso_data.shards.foreign_scan` finds out; a sidecar keeps it, so that no tar is read twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from llaso_data import languages, records
from llaso_data.errors import LLaSOError
from llaso_data.io import checksums, lock, outputs, storage
from llaso_data.io.archive import COMPRESSED
from llaso_data.shards import foreign_scan, index, layout, manifest
from llaso_data.shards.foreign_scan import Findings
from llaso_data.shards.index import ShardInfo
from llaso_data.shards.tar import ShardError

_FINDINGS = "llaso.findings"
_SCANNING_VERSION = 3  # of how members are grouped and read: sidecars of another are written again
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class IndexTask:
    """One tar to index; ``path`` is how the manifest will name it."""

    uri: str
    path: str
    sidecar: str
    language: str | None
    task: str | None


@dataclass(frozen=True, slots=True)
class IndexSummary:
    """What was indexed: ``members`` = ``used`` + ``left_out``, which is by kind.

    ``links`` are those that were read, ``joined`` the archives that begin after another's end. Of samples,
    ``keys_to_the_last_dot`` counts those whose key does not end at the first, ``scattered`` those whose parts are no
    neighbours. ``skipped`` members belong to no sample; ``problems`` say what is lost or cannot be read (such audio has
    a duration of 0 in the index).
    """

    out: str
    shards: int
    reused: int
    samples: int
    hours: float
    members: int
    used: int
    left_out: dict[str, int]
    links: int
    joined: int
    keys_to_the_last_dot: int
    scattered: int
    skipped: tuple[str, ...]
    without_audio: tuple[str, ...]
    problems: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def index_foreign(
    uri: str,
    out: str | None = None,
    *,
    language: str | None = None,
    task: str | None = None,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> IndexSummary:
    """Write a sidecar per tar, ``index.arrow`` and ``manifest.json``, beside the tars or in the folder ``out``.

    ``uri`` is a tar or a folder of tars. ``language`` and ``task`` fill the columns of samples whose JSON does not
    say. A tar that did not change since its sidecar was written is not read again. Raises LLaSOError where
    there is no plain tar, a tar is damaged, a file that is not ours would be replaced, or, if it is ``strict``, where
    anything but folders and ``__…__`` is left out, a sample has no audio, or there are problems: then no manifest is
    written.
    """
    uri = storage.absolute(uri)
    root = uri.rpartition("/")[0] if uri.endswith(".tar") else uri
    with lock.exclusive(root if out is None else out, "index") as held:
        return _index(uri, root, held, language, task, strict, progress)


def _index(
    uri: str,
    root: str,
    held: lock.Held,
    language: str | None,
    task: str | None,
    strict: bool,
    progress: Callable[[int, int], None] | None,
) -> IndexSummary:
    out = held.uri
    if language is not None and (said := languages.language(language)) != language:
        if said is None:
            raise LLaSOError(f"--language {language!r} is no language; write its code (en, hsb) or its English name")
        language = said
    tasks, compressed = _plan(uri, root, out, language, task)
    _refuse_to_replace(out, tasks)
    shards: list[tuple[str, ShardInfo]] = []
    found: dict[str, Findings] = {}
    reused = 0
    for item in tasks:
        info, findings, known = index_tar(item)
        held.check()
        shards.append((item.sidecar, info))
        found[item.path] = findings
        reused += known
        if progress is not None:
            progress(len(shards), len(tasks))
    summary = _summary(out, shards, found, reused, compressed)
    if strict:
        _refuse_losses(found, summary)
    plan = records.digest("foreign", *(field for _, info in shards for field in (info.path, info.sha256)))
    options = {"language": language, "task": task}
    held.confirm()
    manifest.finish(out, shards, profile=manifest.FOREIGN, plan=plan, options=options, source=None)
    return summary


def _summary(
    out: str, shards: list[tuple[str, ShardInfo]], found: dict[str, Findings], reused: int, compressed: list[str]
) -> IndexSummary:
    every = found.values()
    left_out = sum((Counter(one.left_out) for one in every), Counter[str]())
    problems = [name for path, one in found.items() for name in one.problems.of(path)]
    return IndexSummary(
        out=out,
        shards=len(shards),
        reused=reused,
        samples=sum(info.samples for _, info in shards),
        hours=manifest.hours(sum(info.duration_s for _, info in shards)),
        members=sum(one.members for one in every),
        used=sum(one.used for one in every),
        left_out=dict(sorted(left_out.items())),
        links=sum(one.links for one in every),
        joined=sum(one.joined for one in every),
        keys_to_the_last_dot=sum(one.at_last_dot for one in every),
        scattered=sum(one.scattered for one in every),
        skipped=(*compressed, *(name for path, one in found.items() for name in one.skipped.of(path))),
        without_audio=tuple(name for path, one in found.items() for name in one.without_audio.of(path)),
        problems=(*problems, *_halves(shards, found)),
    )


def _halves(shards: list[tuple[str, ShardInfo]], found: dict[str, Findings]) -> Iterator[str]:
    """Samples without audio whose key has audio in another tar: writers that count bytes cut samples in two so."""
    without: dict[str, list[str]] = {}
    for path, one in found.items():
        for key in one.without_audio.first:
            without.setdefault(key, []).append(path)
    if not without:
        return
    wanted = pa.array(sorted(without), pa.string())
    for sidecar, info in shards:
        column = index.open_arrow(sidecar)["key"]
        for key in column.filter(pc.is_in(column, value_set=wanted)).to_pylist():
            if info.path not in without[key]:
                yield f"{info.path}!{key}: half a sample; other parts of it are in {', '.join(without[key])}"


def _refuse_losses(found: dict[str, Findings], summary: IndexSummary) -> None:
    """Raises ShardError where a reader of these tars would miss anything."""
    listed = [
        *summary.problems,
        *(f"{name}: it has no audio" for name in summary.without_audio),
        *(f"{name}: it belongs to no sample" for path, one in found.items() for name in one.missed(path)),
    ]
    if listed:
        more = [f"and {len(listed) - _SHOWN:,} more"] if len(listed) > _SHOWN else []
        raise ShardError("\n  ".join(["refused, because strict indexing was asked for:", *listed[:_SHOWN], *more]))


def index_tar(task: IndexTask) -> tuple[ShardInfo, Findings, bool]:
    """Index one tar; the last is true where its sidecar was up to date."""
    state = storage.stat(task.uri)
    digest = records.digest(
        "foreign", layout.FORMAT_VERSION, _SCANNING_VERSION, state["version"], task.path, task.language, task.task
    )
    info = index.sidecar_info(task.sidecar)
    if info is not None and info.digest == digest and (known := _known(task.sidecar)) is not None:
        return info, known, True
    table, findings = foreign_scan.scan(task.uri, task.language, task.task)
    info = ShardInfo(
        path=task.path,
        sha256=checksums.sha256(task.uri)[0],
        bytes=state["size"],
        samples=table.num_rows,
        duration_s=round(pc.sum(table["duration_s"]).as_py() or 0.0, 6),
        digest=digest,
        dataset="",
    )
    index.write_sidecar(task.sidecar, table, info, {_FINDINGS: findings.to_json()})
    return info, findings, False


def _known(sidecar: str) -> Findings | None:
    """What a sidecar keeps of what was found in its tar."""
    try:
        return Findings.from_json(index.stated(index.open_arrow(sidecar), sidecar)[_FINDINGS])
    except (KeyError, ValueError, TypeError):
        return None


def _plan(uri: str, root: str, out: str, language: str | None, task: str | None) -> tuple[list[IndexTask], list[str]]:
    names = [uri[len(root) + 1 :]] if uri != root else [row["path"] for row in storage.listing(root)]
    tars = [name for name in names if name.endswith(".tar")]
    if not tars:
        compressed = next((name for name in names if name.endswith(COMPRESSED)), None)
        hint = f"; {compressed} is compressed, and only plain tars can be read in place" if compressed else ""
        raise LLaSOError(f"{uri} holds no .tar files{hint}")
    sidecars = [storage.join(out, layout.sidecar_name(name)) for name in tars]
    if storage.join(out, layout.INDEX) in sidecars:
        raise LLaSOError(f"{root}/index.tar: the name of its index is taken by {layout.INDEX}; rename the tar")
    tasks = [
        IndexTask(storage.join(root, name), name if out == root else storage.join(root, name), sidecar, language, task)
        for name, sidecar in zip(tars, sidecars, strict=True)
    ]
    return tasks, [name for name in names if name.endswith(COMPRESSED)]


def _refuse_to_replace(out: str, tasks: Iterable[IndexTask]) -> None:
    by, path = "llaso-data index", storage.join(out, layout.MANIFEST)
    outputs.refuse(path, by, lambda uri: manifest.is_manifest(outputs.json_at(uri), manifest.FOREIGN))
    if not outputs.is_there(path):
        outputs.refuse(storage.join(out, layout.INDEX), by, index.is_index)
    for task in tasks:
        outputs.refuse(task.sidecar, by, _is_sidecar)


def _is_sidecar(uri: str) -> bool:
    """Whether it is of a tar that was indexed, and not of a shard of ours, which belongs to a dataset."""
    info = index.sidecar_info(uri)
    return info is not None and not info.dataset
