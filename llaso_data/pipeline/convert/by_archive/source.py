"""Which sources are converted archive by archive, and what lies in them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from llaso_data import formats, records
from llaso_data.errors import LLaSOError
from llaso_data.formats import llaso_json
from llaso_data.io import disk_budget, hub_files, hugging_face
from llaso_data.pipeline.convert.by_archive.archive_rows import LAYOUT, Reading
from llaso_data.pipeline.convert.by_archive.origin import Origin, OriginFile, Scratch
from llaso_data.pipeline.convert.samples import OpenSamples
from llaso_data.recipe import Run, SourceSpec
from llaso_data.uris import extension

VERSION = 1
"""Changes with what the stages make of the same files."""

BUCKET_BYTES = 32 << 20
"""Of JSON that goes into one bucket, about: a join has one bucket in memory, a few times over."""
_ZIP_BYTES = 1 << 20  # of names in a zip, about
_MOST_BUCKETS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSource:
    """A source of the layout ``llaso_json`` whose sound lies in zips.

    Attributes:
        tables: The JSON files, in the order of their paths.
        archives: The zips, in the order of their paths.
        loose: All other files: sound may lie unpacked beside the zips.
    """

    origin: Origin
    reading: Reading
    tables: tuple[OriginFile, ...]
    archives: tuple[OriginFile, ...]
    loose: tuple[OriginFile, ...]

    @property
    def buckets(self) -> int:
        """How many buckets rows and members are divided into."""
        size_bytes = sum(table.size_bytes for table in self.tables) + _ZIP_BYTES * len(self.archives)
        return min(1 + size_bytes // BUCKET_BYTES, _MOST_BUCKETS)

    @property
    def digest(self) -> str:
        """Of all files, by name and version: what a join is a function of."""
        files = (file for kind in (self.tables, self.archives, self.loose) for file in (None, *kind))
        named = (("",) if file is None else (file.path, file.size_bytes, file.version) for file in files)
        return records.digest("by archive", VERSION, self.origin.root, *(value for one in named for value in one))


def archive_sources(opened: Sequence[OpenSamples], run: Run) -> list[ArchiveSource]:
    """The sources of a run as they are converted archive by archive; none where they are read as all others are.

    Raises:
        LLaSOError: Some are converted so and others are not, or a file is larger than the disk budget.
    """
    found = [archive_source(one) for one in opened]
    _refuse_mixed([one.spec for one in opened], found)
    sources = [one for one in found if one is not None]
    if sources:
        scratch = scratch_of(run)
        for one in sources:
            _refuse_large(one, scratch)
    return sources


def archive_source(opened: OpenSamples) -> ArchiveSource | None:
    """The source as it is converted archive by archive; None for one that is not."""
    source, hub = opened.source, opened.hub
    if source is None:
        return None
    spec, tree = source.spec, source.tree
    if source.recognition.layout.name != LAYOUT or spec.limit is not None or tree.is_file:
        return None
    if not any(extension(file.path) == "zip" for file in tree.files):
        return None
    of_hub = {} if hub is None else {file.path: file for file in hub.files}
    folder = "" if hub is None else f"{hugging_face.parse(tree.root).folder}/".lstrip("/")
    files = [OriginFile(*file, of_hub.get(folder + file.path)) for file in tree.files]
    tables = {path for path, _ in llaso_json.tables(spec, tree)}
    bare = None if hub is None else hub_files.HubTree(hub.repo, hub.kind, hub.commit)
    return ArchiveSource(
        origin=Origin(tree.root, bare),
        reading=Reading(
            spec=spec,
            corpus=spec.corpus or formats.corpus_name(spec.path),
            license=llaso_json.license_of(spec, tree),
            tables=tuple(file.path for file in files if file.path in tables),
        ),
        tables=tuple(file for file in files if file.path in tables),
        archives=tuple(file for file in files if extension(file.path) == "zip"),
        loose=tuple(file for file in files if file.path not in tables and extension(file.path) != "zip"),
    )


def _refuse_mixed(specs: Sequence[SourceSpec], by_archive: Sequence[object | None]) -> None:
    """Raises LLaSOError where some sources are converted archive by archive and others are not."""
    if None not in by_archive or not any(one is not None for one in by_archive):
        return
    whole = next(spec for spec, one in zip(specs, by_archive, strict=True) if one is not None)
    other = next(spec for spec, one in zip(specs, by_archive, strict=True) if one is None)
    raise LLaSOError(
        f"{whole.path} is converted archive by archive, and {other.path} is not: convert the one first, and then the "
        "other with --append"
    )


def scratch_of(run: Run) -> Scratch:
    """Where archives go, and how much of it.

    Raises:
        LLaSOError: The folder is not there, or the budget is no size.
    """
    base = os.path.abspath(os.path.expanduser(run.scratch or tempfile.gettempdir()))
    if not os.path.isdir(base):
        raise LLaSOError(f"--scratch {base}: no such folder; make it, on every machine of the run")
    said = run.disk_budget
    return Scratch(base, disk_budget.half_of_free(base) if said is None else disk_budget.parse_size(said))


def _refuse_large(source: ArchiveSource, scratch: Scratch) -> None:
    """Raises LLaSOError where a file that is to be fetched is larger than the budget, before anything is."""
    origin = source.origin
    files = [*(source.tables if origin.fetches(is_table=True) else ()), *(source.archives if origin.fetches() else ())]
    large = [file for file in files if file.size_bytes > scratch.budget_bytes]
    if large:
        first, more = large[0], f", and {len(large) - 1} more files are too large" if len(large) > 1 else ""
        raise LLaSOError(
            f"{origin.uri(first.path)} has {first.size_bytes / 1e9:,.3f} GB, and "
            f"the disk budget is {scratch.budget_bytes / 1e9:,.3f} GB{more}; give more with --disk-budget, on a larger "
            "disk with --scratch"
        )
