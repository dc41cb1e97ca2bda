"""Run a download: compare what is there, fetch what is not, and let every file appear whole and right or not at all."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field

from llaso_data.errors import LLaSOError
from llaso_data.io import atomic, checksums, hub_files, storage
from llaso_data.io.hub_files import HubFile, WrongSumError
from llaso_data.io.hub_requests import Traffic
from llaso_data.io.lock import exclusive
from llaso_data.pipeline.download import folder, licence
from llaso_data.pipeline.download.folder import Notes
from llaso_data.pipeline.download.plan import Plan, Wanted, plan, refuse_other, statuses, wanted

WORKERS = 8
"""Files that come at the same time."""

_LOOK_EVERY_S = 0.5  # for Ctrl-C


@dataclass
class DownloadSummary:
    """What a download did; ``files`` is ``kept + compared + fetched + failed``.

    Attributes:
        repo: the repository's address at its commit.
        out: where it lies now.
        licence: what its card states; None where it states none.
        files: wanted.
        bytes: of these.
        kept: were there, and known to be right.
        compared: were there, and are right.
        fetched: came in this run.
        fetched_bytes: of what came in this run, also what came twice.
        replaced: of the fetched, those that took the place of other content.
        failed: path and reason of what could not be had.
        without_sum: of which the hub states none, so that only their size was compared.
        requests: sent.
        retries: failures after which the same was asked again.
        seconds: that it took.
        notes: what else the user should know.
    """

    repo: str
    out: str
    licence: str | None
    files: int
    bytes: int
    kept: int = 0
    compared: int = 0
    fetched: int = 0
    fetched_bytes: int = 0
    replaced: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    without_sum: int = 0
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


Progress = Callable[[int], None]


def download(
    uri: str,
    out: str,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    workers: int = WORKERS,
    overwrite: bool = False,
    verify: bool = False,
    started: Callable[[int, int], None] = lambda size_bytes, files: None,
    progress: Progress = lambda size_bytes: None,
) -> DownloadSummary:
    """Make a folder hold a repository's files, each with the repository's sum.

    Args:
        uri: the repository's address, with a revision or a folder.
        out: the output's folder.
        include: patterns of the files that are wanted; of none, all.
        exclude: patterns of those that are not.
        workers: files that come at the same time.
        overwrite: replace files that have other content.
        verify: compare all files that are there, also those that were compared before.
        started: is told how many bytes of how many files there are to be compared and fetched.
        progress: is told of bytes, from any thread.

    Raises:
        LLaSOError: where files with other content are there, there is no room, or access is refused.
        StoreError: where the hub, the disk or the store fails.
    """
    started_s, out, traffic = time.monotonic(), storage.absolute(out), Traffic()
    chosen = wanted(uri, include, exclude, traffic)
    summary = DownloadSummary(
        repo=chosen.tree.uri,
        out=out,
        licence=licence.stated(chosen.tree, traffic),
        files=len(chosen.files),
        bytes=chosen.size_bytes,
        without_sum=sum(not file.sum for file in chosen.files),
        notes=said(chosen),
    )
    with exclusive(out, "llaso-data download"):
        storage.sweep_scratch()
        folder.sweep_parts(out, chosen.tree)
        run = _Run(chosen, out, Notes(out), traffic, progress)
        try:
            run.fill(summary, workers, overwrite, verify, started)
        finally:
            run.notes.save()
        summary.requests, summary.retries = traffic.requests, traffic.retries
        summary.fetched_bytes, summary.seconds = traffic.received_bytes, time.monotonic() - started_s
        checksums.write_json(storage.join(out, folder.HIDDEN, folder.SUMMARY), asdict(summary))
    return summary


def said(chosen: Wanted) -> list[str]:
    """What the user should know of a choice."""
    notes = [f"no file matches {pattern!r}" for pattern in chosen.unused]
    if chosen.colliding:
        names = ", ".join(chosen.colliding[:4])
        notes.append(f"{len(chosen.colliding)} names differ only by case, which not every disk keeps apart ({names})")
    return notes


@dataclass
class _Run:
    chosen: Wanted
    out: str
    notes: Notes
    traffic: Traffic
    progress: Progress
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fill(
        self,
        summary: DownloadSummary,
        workers: int,
        overwrite: bool,
        verify: bool,
        started: Callable[[int, int], None],
    ) -> None:
        """Compare, then fetch."""
        self._prepare_folder()
        seen = plan(self.chosen, self.out, self.notes, verify)
        if not overwrite:
            refuse_other(seen.other, self.out)
        to_do = (*seen.to_compare, *seen.to_fetch, *seen.other)
        self._refuse_full_disk(seen)
        started(sum(file.size_bytes for file in to_do), len(to_do))
        summary.kept = len(seen.kept)
        wrong = list(seen.other)

        def compare(file: HubFile) -> None:
            right = self._is_right(file)
            with self._lock:
                summary.compared += right
                wrong.extend([] if right else [file])

        self._all(seen.to_compare, compare, workers)
        if not overwrite:
            refuse_other(wrong, self.out)

        def bring(file: HubFile) -> None:
            try:
                self._bring(file)
            except WrongSumError as error:
                summary.failed[file.path] = str(error)
            else:
                with self._lock:
                    summary.fetched += 1

        self._all([*seen.to_fetch, *wrong], bring, workers)
        summary.replaced = sum(file.path not in summary.failed for file in wrong)

    def _prepare_folder(self) -> None:
        if not storage.is_local(self.out):
            return
        hidden = storage.join(self.out, folder.HIDDEN)
        with storage.writing(hidden, self.out):
            os.makedirs(hidden, exist_ok=True)
        if self.chosen.colliding and os.path.exists(storage.join(self.out, folder.HIDDEN.upper())):
            raise LLaSOError(
                f"{self.out}: this disk ignores case, and the repository has files whose names differ only by it "
                f"({', '.join(self.chosen.colliding[:4])}); use another disk, or --exclude"
            )

    def _refuse_full_disk(self, seen: Plan) -> None:
        if not storage.is_local(self.out):
            return
        parts = (folder.part_path(self.out, self.chosen.tree, file) for file in seen.to_fetch)
        there = sum(os.path.getsize(part) for part in parts if os.path.exists(part))
        needed = sum(file.size_bytes for file in seen.to_fetch) - there
        free = shutil.disk_usage(self.out).free
        if needed > free:
            raise storage.StoreError(
                f"{self.out}: {needed / 1e9:.3f} GB are to come, and the disk has room for {free / 1e9:.3f} GB; choose "
                "files with --include, or another --out"
            )

    def _all(self, files: Sequence[HubFile], work: Callable[[HubFile], None], workers: int) -> None:
        """Work on every file, in threads. The first error, or a signal, stops all of them."""
        waiting = iter(files)

        def work_on() -> None:
            while (file := self._next(waiting)) is not None:
                work(file)

        with ThreadPoolExecutor(workers, "download") as pool:
            tasks = {pool.submit(work_on) for _ in range(min(workers, len(files)))}
            try:
                while tasks:
                    done, tasks = wait(tasks, _LOOK_EVERY_S, FIRST_EXCEPTION)
                    for task in done:
                        task.result()
            except BaseException:
                self.traffic.stop()
                raise

    def _next(self, waiting: Iterator[HubFile]) -> HubFile | None:
        with self._lock:
            return next(waiting, None)

    def _is_right(self, file: HubFile) -> bool:
        """Whether a file that is there has its sum; then it is noted."""
        (status,) = statuses(self.out, [file])
        state = hub_files.sum_of(file)
        with storage.open_read(storage.join(self.out, file.path)) as opened:
            while chunk := opened.read(1 << 20):
                self.traffic.check()
                state.update(chunk)
                self.progress(len(chunk))
        right = not file.sum or state.hexdigest() == file.sum
        if right and status is not None:
            self.notes.add(file, status)
        return right

    def _bring(self, file: HubFile) -> None:
        tree, target = self.chosen.tree, storage.join(self.out, file.path)
        if storage.is_local(self.out):
            part = folder.part_path(self.out, tree, file)
            hub_files.fetch(tree, file, part, self.traffic, self.progress)
            with storage.writing(target, self.out):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                atomic.synced(part)
                atomic.publish(part, target)
        else:
            with storage.whole(target) as path:
                hub_files.fetch(tree, file, path, self.traffic, self.progress)
        (status,) = statuses(self.out, [file])
        if status is not None:
            self.notes.add(file, status)
