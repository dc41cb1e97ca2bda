"""What a download has to do: which files are wanted, which of them are there, and which must not be replaced."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from llaso_data import uris
from llaso_data.errors import LLaSOError
from llaso_data.io import hub_files, storage
from llaso_data.io.hub_files import HubFile, HubTree
from llaso_data.io.hub_requests import Traffic
from llaso_data.io.lock import LOCK
from llaso_data.pipeline.download.folder import HIDDEN, Notes

_NAMED = 5  # files that a message names


@dataclass(frozen=True)
class Wanted:
    """Files of a repository, and what the user's patterns made of them.

    Attributes:
        tree: all of it.
        files: those that are wanted.
        unused: patterns that matched nothing.
        colliding: names that differ from another one only by case, or by how their characters are composed.
    """

    tree: HubTree
    files: tuple[HubFile, ...]
    unused: tuple[str, ...]
    colliding: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """Of all wanted files."""
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True)
class Plan:
    """What is to be done with each wanted file.

    Attributes:
        kept: there, and compared earlier.
        to_compare: there with the right size; their sums are not known yet.
        to_fetch: not there.
        other: there with another size.
    """

    kept: tuple[HubFile, ...]
    to_compare: tuple[HubFile, ...]
    to_fetch: tuple[HubFile, ...]
    other: tuple[HubFile, ...]


def address(repo: str, kind: str, revision: str | None) -> str:
    """The address that the command's words stand for.

    Args:
        repo: ``OWNER/NAME``, or an address of a hub.
        kind: ``dataset`` or ``model``, for what does not say it.
        revision: a branch, tag or commit.

    Raises:
        LLaSOError: where two revisions are named.
    """
    scheme = uris.scheme(repo)
    if scheme and scheme not in hub_files.HUBS:
        known = " or ".join(f"{name}://" for name in hub_files.HUBS)
        raise LLaSOError(f"{repo}: download takes OWNER/NAME of the Hugging Face hub, or an address with {known}")
    if not scheme:
        repo = f"hf://{kind}s/{repo}"
    elif scheme == "ms" and not repo.startswith(("ms://datasets/", "ms://models/")):
        repo = f"ms://{kind}s/{repo.removeprefix('ms://')}"
    place = hub_files.HUBS[uris.scheme(repo)].parse(repo)
    if revision is None:
        return repo
    if place.revision is not None and place.revision != revision:
        raise LLaSOError(f"{repo}: --revision {revision} names another revision than the address does")
    folder = f"/{place.folder}" if place.folder else ""
    return f"{uris.scheme(repo)}://{place.kind}/{place.repo}@{revision.replace('/', '%2F')}{folder}"


def wanted(uri: str, include: Sequence[str], exclude: Sequence[str], traffic: Traffic) -> Wanted:
    """List a repository, and choose.

    Args:
        uri: the repository's address.
        include: patterns of paths in which ``*`` stands for any characters, also ``/``; of none, all files.
        exclude: patterns of what is left out.
        traffic: where requests are counted.

    Raises:
        LLaSOError: where nothing is left, or a name is ours, and what :func:`llaso_data.io.hub_files.tree` raises.
    """
    tree = hub_files.tree(uri, traffic)
    matches: Counter[str] = Counter(dict.fromkeys((*include, *exclude), 0))
    files = tuple(file for file in tree.files if _is_wanted(file.path, include, exclude, matches))
    if not files:
        raise LLaSOError(f"{tree.uri}: none of its {len(tree.files)} files is wanted by --include and --exclude")
    for file in files:
        if file.path == LOCK or file.path.split("/")[0] == HIDDEN:
            raise LLaSOError(f"{tree.uri}: its file {file.path} has a name that this program uses; leave it out")
    unused = tuple(pattern for pattern, count in matches.items() if not count)
    return Wanted(tree, files, unused, _colliding([file.path for file in files]))


def plan(wanted: Wanted, out: str, notes: Notes | None, verify: bool = False) -> Plan:
    """Look which files are there.

    Args:
        wanted: the files.
        out: the output's folder.
        notes: which files were compared; None for none.
        verify: take no note for true.

    Raises:
        LLaSOError: where a folder stands in a file's place.
        StoreError: where the disk or the store fails.
    """
    kept, to_compare, to_fetch, other = (list[HubFile]() for _ in range(4))
    for file, status in zip(wanted.files, statuses(out, wanted.files), strict=True):
        if status is None:
            to_fetch.append(file)
        elif status["size"] != file.size_bytes:
            other.append(file)
        elif notes is not None and not verify and notes.has(file, status):
            kept.append(file)
        else:
            to_compare.append(file)
    return Plan(*map(tuple, (kept, to_compare, to_fetch, other)))


def statuses(out: str, files: Sequence[HubFile]) -> list[dict[str, Any] | None]:
    """:func:`llaso_data.io.storage.stat_many` of files of the output. Raises LLaSOError for a folder in one's place."""
    places = [storage.join(out, file.path) for file in files]
    if storage.is_local(out):
        for place in places:
            if os.path.isdir(place):
                raise LLaSOError(f"{place}: a folder stands where a file of the repository belongs; move it away")
    return storage.stat_many(places)


def refuse_other(files: Sequence[HubFile], out: str) -> None:
    """Raises LLaSOError where there are any: they have other content than the repository."""
    if files:
        named = ", ".join(file.path for file in files[:_NAMED])
        more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
        raise LLaSOError(
            f"{out}: {len(files)} files are there with other content than in the repository ({named}{more}); "
            "--overwrite replaces them, or choose another --out"
        )


def _is_wanted(path: str, include: Sequence[str], exclude: Sequence[str], matches: Counter[str]) -> bool:
    hits = [pattern for pattern in (*include, *exclude) if fnmatchcase(path, _whole(pattern))]
    matches.update(hits)
    return (not include or bool({*hits} & {*include})) and not {*hits} & {*exclude}


def _whole(pattern: str) -> str:
    return f"{pattern}*" if pattern.endswith("/") else pattern


def _colliding(paths: Sequence[str]) -> tuple[str, ...]:
    folded = [unicodedata.normalize("NFC", path).casefold() for path in paths]
    counts = Counter(folded)
    return tuple(path for path, key in zip(paths, folded, strict=True) if counts[key] > 1)
