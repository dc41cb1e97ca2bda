"""The tasks of one source before its archives are written, and what they stated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from llaso_data import records
from llaso_data.pipeline.convert.by_archive import source, work
from llaso_data.pipeline.convert.by_archive.archive import ArchiveTask, Writing
from llaso_data.pipeline.convert.by_archive.directories import LOOSE, ZIPS_AT_ONCE, DirectoriesTask
from llaso_data.pipeline.convert.by_archive.join import JoinTask, Places
from llaso_data.pipeline.convert.by_archive.origin import OriginFile, Scratch
from llaso_data.pipeline.convert.by_archive.scan import NO_BUCKET, ScanTask, others_of
from llaso_data.pipeline.convert.by_archive.source import ArchiveSource
from llaso_data.pipeline.convert.problems import Problems
from llaso_data.records import Failure

_LOOSE_AT_ONCE = 100_000
_GROWTH = 2  # of sound that is decoded and encoded as FLAC, about, at most


class Stages:
    """One source: its tasks are named by what decides their results, so that these are found again.

    Args:
        work_folder: Where results lie.
        of: The source.
        scratch: Where files are fetched to.
    """

    def __init__(self, work_folder: str, of: ArchiveSource, scratch: Scratch) -> None:
        self._work, self.source = work_folder, of
        self._digest, self._buckets = of.digest, of.buckets
        self.scans = [self._scan(number, table, scratch) for number, table in enumerate(of.tables)]
        self.listings = [self._listing(*batch) for batch in self._batches()]
        self._scanned: list[dict[str, Any]] = []
        self._listed: list[dict[str, Any]] = []
        self._joined: dict[int, dict[str, Any]] = {}

    def _scan(self, number: int, table: OriginFile, scratch: Scratch) -> ScanTask:
        origin = self.source.origin
        stated = (source.VERSION, origin.root, table.path, table.size_bytes, table.version, number, self._buckets)
        return ScanTask(
            name=f"scan-{records.digest('scan', *stated)}",
            work=self._work,
            origin=origin,
            file=table,
            number=number,
            buckets=self._buckets,
            scratch=scratch,
        )

    def _batches(self) -> Iterator[tuple[tuple[int, ...], tuple[OriginFile, ...]]]:
        archives, loose = self.source.archives, self.source.loose
        for start in range(0, len(archives), ZIPS_AT_ONCE):
            files = archives[start : start + ZIPS_AT_ONCE]
            yield tuple(range(start, start + len(files))), files
        for start in range(0, len(loose), _LOOSE_AT_ONCE):
            files = loose[start : start + _LOOSE_AT_ONCE]
            yield (LOOSE,) * len(files), files

    def _listing(self, numbers: tuple[int, ...], files: tuple[OriginFile, ...]) -> DirectoriesTask:
        origin = self.source.origin
        named = (value for file in files for value in (file.path, file.size_bytes, file.version))
        stated = (source.VERSION, origin.root, self._buckets, *numbers, *named)
        return DirectoriesTask(
            name=f"names-{records.digest('names', *stated)}",
            work=self._work,
            origin=origin,
            numbers=numbers,
            files=files,
            buckets=self._buckets,
        )

    # Joins

    def read_tables(self) -> None:
        """Read what scans and listings stated."""
        self._scanned = [self._record(task.name) for task in self.scans]
        self._listed = [self._record(task.name) for task in self.listings]

    def _record(self, name: str) -> dict[str, Any]:
        stated = work.read_record(self._work, name)
        assert stated is not None, name  # its stage is over
        return stated

    def join_names(self) -> list[str]:
        """Of all joins."""
        return [self._join_name(bucket) for bucket in self._all_buckets()]

    def _all_buckets(self) -> list[int]:
        return [NO_BUCKET, *range(self._buckets)]

    def _join_name(self, bucket: int) -> str:
        return f"join-{self._digest}-{bucket}"

    def _others_name(self, bucket: int) -> str:
        return f"others-{self._digest}-{bucket}"

    def _with_others(self) -> list[int]:
        """The buckets that have further audios of rows."""
        return [
            bucket
            for bucket in range(self._buckets)
            if any(work.places_of(stated, others_of(bucket)) for stated in self._scanned)
        ]

    def others(self) -> Iterator[JoinTask]:
        """Tasks that resolve further audios of rows."""
        for bucket in self._with_others():
            yield self._join(bucket, self._others_name(bucket), ())

    def joins(self, needs_rows: bool) -> Iterator[JoinTask]:
        """The joins of all buckets; without what they read where they are only asked for their names."""
        if not needs_rows:
            for bucket in self._all_buckets():
                yield self._task(bucket, self._join_name(bucket))
            return
        resolved = [(name, self._record(name)) for name in map(self._others_name, self._with_others())]
        for bucket in self._all_buckets():
            places = tuple(
                (work.rows_uri(self._work, name), place)
                for name, stated in resolved
                for place in work.places_of(stated, bucket)
            )
            yield self._join(bucket, self._join_name(bucket), places)

    def _join(self, bucket: int, name: str, resolved: Places) -> JoinTask:
        scans = list(zip(self.scans, self._scanned, strict=True))
        listings = list(zip(self.listings, self._listed, strict=True))
        is_bucket = bucket != NO_BUCKET
        return replace(
            self._task(bucket, name),
            rows=self._places(scans, bucket),
            others=self._places(scans, others_of(bucket)) if is_bucket else (),
            members=self._places(listings, bucket) if is_bucket else (),
            resolved=resolved,
        )

    def _task(self, bucket: int, name: str) -> JoinTask:
        return JoinTask(
            name=name,
            work=self._work,
            bucket=bucket,
            buckets=self._buckets,
            root=self.source.origin.root,
            tables=self.source.reading.tables,
        )

    def _places(self, stated: Sequence[tuple[ScanTask | DirectoriesTask, dict[str, Any]]], number: int) -> Places:
        return tuple(
            (work.rows_uri(self._work, task.name), place)
            for task, one in stated
            for place in work.places_of(one, number)
        )

    # Archives

    def read_joins(self) -> None:
        """Read what joins stated."""
        self._joined = {bucket: self._record(self._join_name(bucket)) for bucket in self._all_buckets()}

    def audio_counts(self) -> set[int]:
        """How many audios rows have."""
        return {int(count) for stated in self._scanned for count in stated["audios"]}

    def archives(self, writing: Writing) -> Iterator[ArchiveTask]:
        """The archives that have rows, in their order, and last the rows whose sound lies in none.

        The numbers of their parts are not known here: ``first`` is 0, and the names are to be made with it.
        """
        others = dict(enumerate(self.source.archives)) if self._with_others() else {}
        for number in (*range(len(self.source.archives)), LOOSE):
            file = None if number == LOOSE else self.source.archives[number]
            key = str(number)
            row_count = sum(int(stated["rows"].get(key, 0)) for stated in self._joined.values())
            if not row_count:
                continue
            share = min(1.0, writing.settings.samples_per_part / row_count)
            version = None if file is None else (file.path, file.version)
            yield ArchiveTask(
                name=records.digest("archive", self._digest, number, str(version), writing.digest),
                work=self._work,
                origin=self.source.origin,
                number=number,
                file=file,
                others=others,
                first=0,
                row_count=row_count,
                rows=tuple(
                    (work.rows_uri(self._work, self._join_name(bucket)), place)
                    for bucket, stated in self._joined.items()
                    for place in work.places_of(stated, number)
                ),
                listed_sum=next((one["sums"][key] for one in self._listed if key in one["sums"]), None),
                largest_part_bytes=0 if file is None else int(_GROWTH * file.size_bytes * share),
                writing=writing,
            )

    # The end

    def count_rows(self, problems: Problems) -> int:
        """All rows of the tables, and the archives that cannot be read: the layout's reader counts each as a row.

        What is wrong with rows that reached no archive is counted.
        """
        unreadable = self.unreadable()
        for uri, why in unreadable.items():
            problems.add(Failure("unreadable", f"{uri}: {why}"))
        for stated in (*self._scanned, *self._joined.values()):
            problems.join(stated["problems"], stated["examples"])
        return len(unreadable) + sum(int(stated["rows"]) for stated in self._scanned)

    def counts(self) -> dict[str, int]:
        """How many archives and members there are, and members that no row names."""
        return {
            "archives": len(self.source.archives),
            "members": sum(sum(stated["members"].values()) for stated in self._listed),
            "unused": sum(stated["unused"] for stated in self._joined.values()),
        }

    def notes(self) -> dict[str, int]:
        """What is to be said besides, as the layout's reader says it."""
        notes: dict[str, int] = {}
        by_name = [stated["by_name"] for stated in self._joined.values() if stated["by_name"]]
        if by_name:
            kind = "audio found by its name alone, in another folder"
            _, path, found = by_name[0]
            notes[f"{kind}: {path} is taken for {found}"] = sum(count for count, *_ in by_name)
        repeated = [stated["repeated"] for stated in self._listed if stated["repeated"][0]]
        if repeated:
            kind = "members of zips whose name came before"
            notes[f"{kind}: {repeated[0][1]}"] = sum(count for count, *_ in repeated)
        return notes

    def unreadable(self) -> dict[str, str]:
        """The addresses of archives that cannot be read, and why."""
        return {
            self.source.origin.uri(path): why for stated in self._listed for path, why in stated["unreadable"].items()
        }

    def names(self, of_lists: bool = True) -> list[str]:
        """Of all tasks; without ``of_lists`` without those that depend on lists of members."""
        scans = [task.name for task in self.scans]
        if not of_lists:
            return scans
        others = map(self._others_name, self._with_others())
        return [*scans, *(task.name for task in self.listings), *others, *self.join_names()]
