"""Indexes WebDataset tars that other software wrote, so that they can be streamed as our shards are.

:mod:`llaso_data.shards.foreign_scan` reads a tar. Its sidecar stores the result, so that no tar is read twice.
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
_SCANNING_VERSION = 3  # of how members are grouped and read; a sidecar of another version is written again
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class IndexTask:
    """One tar to index."""

    uri: str
    path: str  # its name in the manifest
    sidecar: str  # URI
    language: str | None  # of samples whose JSON does not say
    task: str | None  # of samples whose JSON does not say


@dataclass(frozen=True, slots=True)
class IndexSummary:
    """What was indexed. ``members`` is ``used`` plus all of ``left_out``.

    Attributes:
        out: Folder or URI of the index.
        shards: Tars.
        reused: Tars whose sidecar was up to date.
        samples: Samples in the index.
        hours: Hours of audio.
        members: Members of all tars.
        used: Members that are parts of samples.
        left_out: Other members, by kind.
        links: Links that were followed.
        joined: Archives that begin after another's end, in one file.
        keys_to_the_last_dot: Samples whose key ends at the last dot of the name, not at the first.
        scattered: Samples whose parts are not contiguous.
        skipped: Names of members that belong to no sample.
        without_audio: Names of samples without audio.
        problems: What is lost or cannot be read. Audio that cannot be read has a duration of 0 in the index.
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
        """The summary as JSON."""
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
    """Writes a sidecar per tar, ``index.arrow`` and ``manifest.json``.

    A tar that did not change since its sidecar was written is not read again.

    Args:
        uri: A tar, or a folder of tars.
        out: Folder to write to; by default beside the tars.
        language: Language of samples whose JSON does not say; a code or an English name.
        task: Task of samples whose JSON does not say.
        strict: Refuses tars of which a reader would miss anything: a member other than folders and ``__…__`` is left
            out, a sample has no audio, or there are problems. No manifest is written then.
        progress: Called with (tars indexed, tars) after each tar.

    Raises:
        LLaSOError: There is no plain tar, a tar is damaged, a foreign file would be replaced, ``language`` is no
            language, or ``strict`` refuses.
    """
    uri = storage.absolute(uri)
    is_tar = uri.endswith(".tar")
    if is_tar and not storage.exists(uri):
        raise LLaSOError(f"{uri}: no such tar; name a tar or a folder of tars, and no pattern")
    root = uri.rpartition("/")[0] if is_tar else uri
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
    if language is not None and (code := languages.language(language)) != language:
        if code is None:
            raise LLaSOError(f"--language {language!r} is no language; write its code (en, hsb) or its English name")
        language = code
    tasks, compressed = _plan(uri, root, out, language, task)
    _refuse_to_replace(out, tasks)
    shards: list[tuple[str, ShardInfo]] = []
    findings_of: dict[str, Findings] = {}
    reused = 0
    for item in tasks:
        info, findings, up_to_date = index_tar(item)
        held.check()
        shards.append((item.sidecar, info))
        findings_of[item.path] = findings
        reused += up_to_date
        if progress is not None:
            progress(len(shards), len(tasks))
    summary = _summary(out, shards, findings_of, reused, compressed)
    if strict:
        _refuse_losses(findings_of, summary)
    plan = records.digest("foreign", *(field for _, info in shards for field in (info.path, info.sha256)))
    options = {"language": language, "task": task}
    held.confirm()
    manifest.finish(out, shards, profile=manifest.FOREIGN, plan=plan, options=options, source=None)
    return summary


def _summary(
    out: str, shards: list[tuple[str, ShardInfo]], findings_of: dict[str, Findings], reused: int, compressed: list[str]
) -> IndexSummary:
    all_findings = findings_of.values()
    left_out = sum((Counter(findings.left_out) for findings in all_findings), Counter[str]())
    problems = [name for path, findings in findings_of.items() for name in findings.problems.with_path(path)]
    return IndexSummary(
        out=out,
        shards=len(shards),
        reused=reused,
        samples=sum(info.samples for _, info in shards),
        hours=manifest.hours(sum(info.duration_s for _, info in shards)),
        members=sum(findings.members for findings in all_findings),
        used=sum(findings.used for findings in all_findings),
        left_out=dict(sorted(left_out.items())),
        links=sum(findings.links for findings in all_findings),
        joined=sum(findings.joined for findings in all_findings),
        keys_to_the_last_dot=sum(findings.at_last_dot for findings in all_findings),
        scattered=sum(findings.scattered for findings in all_findings),
        skipped=(
            *compressed,
            *(name for path, findings in findings_of.items() for name in findings.skipped.with_path(path)),
        ),
        without_audio=tuple(
            name for path, findings in findings_of.items() for name in findings.without_audio.with_path(path)
        ),
        problems=(*problems, *_split_samples(shards, findings_of)),
    )


def _split_samples(shards: list[tuple[str, ShardInfo]], findings_of: dict[str, Findings]) -> Iterator[str]:
    """Samples without audio whose other parts are in another tar. Writers that count bytes split samples so."""
    tars_without_audio: dict[str, list[str]] = {}
    for path, findings in findings_of.items():
        for key in findings.without_audio.first:
            tars_without_audio.setdefault(key, []).append(path)
    if not tars_without_audio:
        return
    keys = pa.array(sorted(tars_without_audio), pa.string())
    for sidecar, info in shards:
        column = index.open_arrow(sidecar)["key"]
        for key in column.filter(pc.is_in(column, value_set=keys)).to_pylist():
            if info.path not in tars_without_audio[key]:
                yield f"{info.path}!{key}: half a sample; other parts of it are in {', '.join(tars_without_audio[key])}"


def _refuse_losses(findings_of: dict[str, Findings], summary: IndexSummary) -> None:
    """Raises ShardError where a reader of these tars would miss anything."""
    losses = [
        *summary.problems,
        *(f"{name}: it has no audio" for name in summary.without_audio),
        *(f"{name}: it belongs to no sample" for path, tar in findings_of.items() for name in tar.missed(path)),
    ]
    if losses:
        more = [f"and {len(losses) - _SHOWN:,} more"] if len(losses) > _SHOWN else []
        raise ShardError("\n  ".join(["refused, because strict indexing was asked for:", *losses[:_SHOWN], *more]))


def index_tar(task: IndexTask) -> tuple[ShardInfo, Findings, bool]:
    """Indexes one tar, unless its sidecar is up to date.

    Returns:
        The tar's line of the manifest, what was found in it, and whether its sidecar was up to date.

    Raises:
        ShardError: The tar is damaged, or a member's name leaves the folder.
    """
    file_state = storage.stat(task.uri)
    digest = records.digest(
        "foreign", layout.FORMAT_VERSION, _SCANNING_VERSION, file_state["version"], task.path, task.language, task.task
    )
    info = index.sidecar_info(task.sidecar)
    if info is not None and info.digest == digest and (kept_findings := _read_findings(task.sidecar)) is not None:
        return info, kept_findings, True
    table, findings = foreign_scan.scan(task.uri, task.language, task.task)
    info = ShardInfo(
        path=task.path,
        sha256=checksums.sha256(task.uri)[0],
        bytes=file_state["size"],
        samples=table.num_rows,
        duration_s=round(pc.sum(table["duration_s"]).as_py() or 0.0, 6),
        digest=digest,
        dataset="",
    )
    index.write_sidecar(task.sidecar, table, info, {_FINDINGS: findings.to_json()})
    return info, findings, False


def _read_findings(sidecar: str) -> Findings | None:
    """The findings that a sidecar stores; None where it has none that can be read."""
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
    """Whether a file is the sidecar of an indexed tar. A sidecar that names a dataset is one of our shards'."""
    info = index.sidecar_info(uri)
    return info is not None and not info.dataset
