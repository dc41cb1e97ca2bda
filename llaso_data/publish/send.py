"""Bring files to the hub, in commits of bounded size."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from llaso_data.errors import LLaSOError
from llaso_data.io import interrupts, storage
from llaso_data.io.hub_upload import HubRepository, RepositoryState
from llaso_data.publish import plan
from llaso_data.publish.plan import LocalFile, Plan
from llaso_data.shards import layout

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

_COMMIT_FILES, _COMMIT_BYTES = 256, 32 << 30  # the hub allows 128 commits an hour
_GROUP_FILES, _GROUP_BYTES = 16, 2 << 30  # of a store, so many lie on the disk at once
_LAST_FILES = 10_000  # the hub's limit of a commit is 25,000
_IN_MEMORY_BYTES = 1 << 23  # a file of a store up to this size is not written to the disk
_CHUNK_BYTES = 1 << 22

Sent = Callable[[Sequence[LocalFile]], None]


def send(
    hub: HubRepository, state: RepositoryState, todo: Plan, files: Sequence[LocalFile], message: str, sent: Sent
) -> None:
    """Make a repository as planned.

    Args:
        hub: The repository.
        state: As it is now.
        todo: What is to be done.
        files: All files that are to be in it.
        message: Of the commits.
        sent: Is told which files have gone up.

    Raises:
        CommitUnsureError: A commit may have been made or not.
        LLaSOError: A file is damaged, or the hub refuses.
    """
    from huggingface_hub import CommitOperationDelete

    assert state.tree is not None
    parent, removed, last = state.tree.commit, set(todo.removed), list(todo.sent)
    in_stages = todo.stages or len(last) > _LAST_FILES
    data = [file for file in last if _is_data(file)] if in_stages else []
    batches = list(_cut(data, _COMMIT_FILES, _COMMIT_BYTES))
    if len(batches) > 1:
        last = [file for file in last if not _is_data(file)]
        pending = plan.pending_file(files, _older(hub, state))
        for number, batch in enumerate(batches, 1):
            first = [pending] if number == 1 and not pending.is_there(state.files.get(plan.PENDING)) else []
            operations = _uploaded(hub, [*first, *batch], sent)
            parent = hub.commit(operations, f"{message} ({number} of {len(batches) + 1})", parent)
        removed.add(plan.PENDING)
    operations = _uploaded(hub, last, sent)
    gone = [CommitOperationDelete(path, is_folder=False) for path in sorted(removed)]
    if operations or gone:
        hub.commit([*operations, *gone], message, parent)


def _older(hub: HubRepository, state: RepositoryState) -> plan.Older:
    return plan.older(state.files, lambda path: hub.read(state, path), ())


def _is_data(file: LocalFile) -> bool:
    """Whether a file is a tar or its sidecar, of which nobody reads before there is a manifest."""
    return layout.shard_number(file.path.rpartition("/")[2]) is not None


def _uploaded(
    hub: HubRepository, files: Sequence[LocalFile], sent: Sent
) -> list[CommitOperationAdd | CommitOperationDelete]:
    """The operations that add files whose content the hub has."""
    operations: list[CommitOperationAdd | CommitOperationDelete] = []
    for group in _cut(files, _GROUP_FILES, _GROUP_BYTES):
        interrupts.check()
        with ExitStack() as stack:
            added = [_operation(file, stack) for file in group]
            hub.upload(added)
        for file, operation in zip(group, added, strict=True):
            if operation.upload_info.sha256.hex() != file.sha256:
                raise _damaged(file)
        operations += added
        sent(group)
    return operations


def _operation(file: LocalFile, stack: ExitStack) -> CommitOperationAdd:
    from huggingface_hub import CommitOperationAdd

    if not file.uri:
        return CommitOperationAdd(file.path, file.data)
    if storage.is_local(file.uri):
        return CommitOperationAdd(file.path, storage.absolute(file.uri))
    if file.size_bytes <= _IN_MEMORY_BYTES:
        return CommitOperationAdd(file.path, storage.read_bytes(file.uri))
    return CommitOperationAdd(file.path, _fetched(file, stack.enter_context(storage.scratch())))


def _fetched(file: LocalFile, folder: str) -> str:
    """A copy on this disk of a file on a store."""
    target, sha256 = os.path.join(folder, "file"), hashlib.sha256()
    with storage.writing(target, folder), open(target, "wb") as out, storage.open_read(file.uri) as source:
        while chunk := source.read(_CHUNK_BYTES):
            interrupts.check()
            sha256.update(chunk)
            out.write(chunk)
    if sha256.hexdigest() != file.sha256:
        raise _damaged(file)
    return target


def _damaged(file: LocalFile) -> LLaSOError:
    return LLaSOError(
        f"{file.uri or file.path} has other bytes than its {layout.MANIFEST} says, or was changed meanwhile; it is not "
        "published. `llaso-data validate` says more"
    )


def _cut(files: Sequence[LocalFile], most_files: int, most_bytes: int) -> Iterator[list[LocalFile]]:
    """Files in their order, in lists that are as long as the limits allow."""
    batch: list[LocalFile] = []
    size_bytes = 0
    for file in files:
        if batch and (len(batch) == most_files or size_bytes + file.size_bytes > most_bytes):
            yield batch
            batch, size_bytes = [], 0
        batch.append(file)
        size_bytes += file.size_bytes
    if batch:
        yield batch
