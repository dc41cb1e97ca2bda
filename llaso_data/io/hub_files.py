"""Files of a repository on a hub (Hugging Face, ModelScope): the list of them, one of them whole, or a part of one.

A list is pinned to a commit and has the sum of every file. A file is compared with it while it arrives: the client
itself takes wrong bytes of the right number.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from llaso_data import uris
from llaso_data.errors import LLaSOError
from llaso_data.io import hugging_face, modelscope
from llaso_data.io.hub_listing import Hub
from llaso_data.io.hub_listing import HubFile as HubFile
from llaso_data.io.hub_requests import Patience, Traffic, is_broken, open_answer
from llaso_data.io.store_errors import AddressError, StoreError, reason, writing

_WRONG_SUMS = 3  # times that a file with a wrong sum is fetched anew
_SEGMENT_BYTES = 40_000_000_000  # a CDN gives at most 50 GB in one answer
_CHUNK_BYTES = 1 << 20
_SMALL_BYTES = 1 << 24  # of a file up to this size a part may come with the whole
_SLOW_BYTES, _SLOW_S = 1 << 16, 60.0  # fewer bytes in this time: another connection is likely to do better
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_EXPIRED = frozenset((400, 401, 403, 404, 410))  # what servers say of a signed address that was valid
_SIGNED_KEPT = 10_000


HUBS: dict[str, Hub] = {"hf": hugging_face, "ms": modelscope}
"""The hubs, by the protocol of their addresses."""


class WrongSumError(LLaSOError):
    """A file arrives with another sum than the repository states, again and again."""


@dataclass(frozen=True)
class HubTree:
    """The files of a repository, or of a folder in it, at one commit.

    :func:`fetch` and :func:`read_range` do not look at ``files``: a process that fetches some needs no list of all.

    Attributes:
        repo: ``OWNER/NAME``.
        kind: ``datasets`` or ``models``.
        commit: the id of the commit.
        files: sorted by path.
        hub: the protocol of its address, a key of :data:`HUBS`.
    """

    repo: str
    kind: str
    commit: str
    files: tuple[HubFile, ...] = ()
    hub: str = "hf"

    @property
    def uri(self) -> str:
        """The address of the repository at its commit."""
        return f"{self.hub}://{self.kind}/{self.repo}@{self.commit}"


def tree(uri: str, traffic: Traffic | None = None) -> HubTree:
    """List a repository, or a folder of one, as it is now.

    Args:
        uri: ``hf://datasets/OWNER/NAME``, ``hf://models/OWNER/NAME`` or ``hf://OWNER/NAME`` (a model), with a revision
            as ``@REV`` after the name, and with a folder below it; ``ms://OWNER/NAME`` on ModelScope (a data set).
        traffic: where requests are counted.

    Raises:
        AddressError: where there is no such repository, revision or folder.
        LLaSOError: where access needs a token or the acceptance of terms, or the repository lists a path that leads
            out of it.
        StoreError: where the hub fails.
    """
    if (kind := uris.scheme(uri)) not in HUBS:
        raise AddressError(f"{uri}: begins with none of {', '.join(f'{name}://' for name in HUBS)}")
    place = HUBS[kind].parse(uri)
    commit, files = HUBS[kind].listed(place, traffic or Traffic())
    return HubTree(place.repo, place.kind, commit, tuple(sorted(files, key=lambda file: file.path)), kind)


def look(uri: str, traffic: Traffic | None = None) -> tuple[HubTree, HubFile]:
    """One file as it is now, by one request; what reads it needs no further address.

    Args:
        uri: ``hf://datasets/OWNER/NAME[@REV]/FILE``.
        traffic: where requests are counted.

    Returns:
        The repository at its commit, without a list of files, and the file.

    Raises:
        MissingEntryError: where there is no such file; there may be a folder.
        AddressError, LLaSOError, StoreError: as :func:`tree` does.
    """
    place = hugging_face.parse(uri)
    commit, file, target = hugging_face.described(place, traffic or Traffic())
    tree = HubTree(place.repo, place.kind, commit)
    if target is not None:
        _keep(hugging_face.file_address(tree.kind, tree.repo, tree.commit, file.path), target)
    return tree, file


def fetch(
    tree: HubTree,
    file: HubFile,
    path: str,
    traffic: Traffic | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Bring a file to a local path, by one request where nothing fails, and compare its sum.

    What lies at the path already is taken for the beginning of the file. It stays where this fails or is killed.

    Args:
        tree: says the repository and the commit.
        file: of this repository.
        path: on a disk; its folder exists.
        traffic: where requests and bytes are counted, and who may stop this.
        progress: is told how many bytes have come since it was last told; fewer than 0 where some are thrown away.

    Raises:
        WrongSumError: where the sum is wrong again and again, with both sums.
        LLaSOError: where access is refused or the file is gone.
        StoreError: where the hub or the disk fails.
        StoppedError: after :meth:`Traffic.stop`.
    """
    traffic, told = traffic or Traffic(), progress or (lambda size_bytes: None)
    with writing(path, os.path.dirname(path)):
        for _ in range(_WRONG_SUMS):
            with _Receiver(file, path, told) as receiver:
                _receive(tree, file, receiver, traffic)
                got = receiver.digest()
                if got == file.sum or not file.sum:
                    return
                receiver.restart()
    kind = "SHA-1 of git" if file.sha256 is None else "SHA-256"
    raise WrongSumError(
        f"{tree.repo}: {file.path}: the bytes that arrive are not those of the repository, {_WRONG_SUMS} times: their "
        f"{kind} is {got}, and {file.sum} is stated; nothing of them is kept. Try later, or another mirror"
    )


def read_range(tree: HubTree, file: HubFile, start: int, end: int, traffic: Traffic | None = None) -> bytes:
    """Bytes ``start`` to ``end`` (exclusive) of a file. No sum says whether they are right: the hub has none of parts.

    The signed address is asked for once; later calls use it until it expires.

    Args:
        tree: says the repository and the commit.
        file: of this repository.
        start: the first byte.
        end: the byte after the last, not after the end of the file.
        traffic: where requests and bytes are counted, and who may stop this.

    Raises:
        ValueError: for a range that is not within the file.
        LLaSOError: where access is refused or the file is gone.
        StoreError: where the hub fails, or gives other bytes than it was asked for.
    """
    if not 0 <= start <= end <= file.size_bytes:
        raise ValueError(f"{file.path}: bytes {start} to {end} of {file.size_bytes}")
    if start == end:
        return b""
    patience = Patience(f"{tree.repo}: {file.path}", traffic or Traffic())
    while True:
        with closing(_content(tree, file, start, end, patience)) as response:
            whole = response.status_code == 200 and file.size_bytes <= _SMALL_BYTES
            try:
                data = response.read() if whole or _begins_at(response, start, file) else None
            except Exception as error:
                if not is_broken(error):
                    raise
                patience.again(f"the connection failed ({reason(error)})")
                continue
        if data is not None and len(data) == (file.size_bytes if whole else end - start):
            patience.traffic.received(len(data))
            return bytes(data[start:end] if whole else data)
        patience.again(f"the server gave other bytes than {start} to {end}")


def sum_of(file: HubFile) -> Any:
    """A new state of ``hashlib`` that a file's bytes go through, for what :attr:`HubFile.sum` states."""
    if file.sha256 is not None or not file.oid:
        return hashlib.sha256()
    # https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
    return hashlib.sha1(b"blob %d\0" % file.size_bytes, usedforsecurity=False)


class _Receiver:
    """A file that is written and hashed while its bytes arrive; it begins with what lies there already."""

    def __init__(self, file: HubFile, path: str, told: Callable[[int], None]) -> None:
        self._file = file
        self._told = told
        self._out = open(path, "a+b", buffering=0)  # noqa: SIM115
        self._state = sum_of(self._file)
        self.position = 0
        if os.fstat(self._out.fileno()).st_size > file.size_bytes:
            self.restart()
        self._out.seek(0)
        while chunk := self._out.read(_CHUNK_BYTES):
            self._state.update(chunk)
            self._count(len(chunk))

    def __enter__(self) -> _Receiver:
        return self

    def __exit__(self, *error: object) -> None:
        self._out.close()

    def _count(self, size_bytes: int) -> None:
        self.position += size_bytes
        self._told(size_bytes)

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._out.write(rest) :]
        self._state.update(data)
        self._count(len(data))

    def restart(self) -> None:
        """Throw away what has arrived."""
        self._out.truncate(0)
        self._state = sum_of(self._file)
        self._count(-self.position)

    def digest(self) -> str:
        return str(self._state.hexdigest())


def _receive(tree: HubTree, file: HubFile, receiver: _Receiver, traffic: Traffic) -> None:
    """Get what the receiver lacks."""
    patience = Patience(f"{tree.repo}: {file.path}", traffic)
    while receiver.position < file.size_bytes:
        end = min(receiver.position + _SEGMENT_BYTES, file.size_bytes)
        with closing(_content(tree, file, receiver.position, end, patience)) as response:
            if response.status_code == 200 and receiver.position:
                receiver.restart()
            elif not _begins_at(response, receiver.position, file):
                patience.again("the server gave another part of the file than it was asked for")
                continue
            before = receiver.position
            cause = _pour(response, receiver, file, patience)
        if cause is not None:
            patience.again(cause)
        elif receiver.position == before:
            patience.again("the server gave nothing")


def _pour(response: Any, receiver: _Receiver, file: HubFile, patience: Patience) -> str | None:
    """Take the bytes of an answer; say what broke off."""
    traffic, since, size_bytes = patience.traffic, time.monotonic(), 0
    try:
        for chunk in response.iter_bytes():
            traffic.check()
            traffic.received(len(chunk))
            if receiver.position + len(chunk) > file.size_bytes:
                raise LLaSOError(
                    f"{patience.what}: more than the {file.size_bytes} bytes that the repository states arrive"
                )
            receiver.write(chunk)
            patience.went_on()
            size_bytes += len(chunk)
            if (now := time.monotonic()) - since > _SLOW_S:
                if size_bytes < _SLOW_BYTES:
                    return f"{size_bytes} bytes in {_SLOW_S:.0f} s"
                since, size_bytes = now, 0
    except Exception as error:
        if not is_broken(error):
            raise
        return f"the connection failed ({reason(error)})"
    return None


# Addresses

_signed: OrderedDict[str, str] = OrderedDict()  # address on the hub: where it last led to
_signed_lock = threading.Lock()


def _content(tree: HubTree, file: HubFile, start: int, end: int, patience: Patience) -> Any:
    """An open answer with content: status 200 or 206. The token goes to the hub's own host only."""
    hub = HUBS[tree.hub]
    address = hub.file_address(tree.kind, tree.repo, tree.commit, file.path)
    headers = {"Accept-Encoding": "identity"}
    if start > 0 or end < file.size_bytes:
        headers["Range"] = f"bytes={start}-{end - 1}"
    asked, first = address, True
    for _ in range(100):
        signed = _signed.get(asked)
        own = hub.headers(signed or asked)
        response = open_answer(signed or asked, {**own, **headers}, patience)
        status = response.status_code
        if status in (200, 206):
            return response
        response.close()
        if status in _REDIRECTS:
            target = urljoin(signed or asked, response.headers.get("location", ""))
            if hub.is_own(target) and signed is None:
                asked = target
            else:
                _keep(asked, target)
        elif signed is not None and status in _EXPIRED | {416}:
            with _signed_lock:
                _signed.pop(asked, None)
            patience.again(f"the signed address was answered with {status}", 0.0 if first else None)
            first = False
        else:
            raise hub.refusal(response, tree.kind, tree.repo, patience.what)
    raise StoreError(f"{patience.what}: the hub leads from one address to another without an end")


def _keep(asked: str, target: str) -> None:
    with _signed_lock:
        _signed[asked] = target
        while len(_signed) > _SIGNED_KEPT:
            _signed.popitem(last=False)


def _begins_at(response: Any, start: int, file: HubFile) -> bool:
    """Whether an answer has the file's bytes from ``start`` on."""
    if response.status_code == 200:
        return start == 0
    with suppress(ValueError):
        unit, _, rest = response.headers.get("content-range", "").partition(" ")
        span, _, total = rest.partition("/")
        return unit == "bytes" and int(span.partition("-")[0]) == start and total in ("*", str(file.size_bytes))
    return False
