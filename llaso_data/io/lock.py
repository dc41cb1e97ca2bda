"""One run per output: who writes to a folder holds its lock; who only reads needs none.

On a disk the lock is the kernel's (``flock`` on a hidden file), given back when its holder dies, however it dies. A
store has no such thing: there the lock is an object made by a conditional PUT, which its holder writes again every
:data:`BEAT_S`; one that was not written for :data:`EXPIRY_S` is a dead run's. Its age is told by the store's clock.
A disk without ``flock`` is treated as a store.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import secrets
import shlex
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from typing import Any

from llaso_data import uris
from llaso_data.errors import LLaSOError
from llaso_data.io import flock, storage
from llaso_data.io.atomic import lives, process_space

LOCK = ".llaso.lock"
BEAT_S = 20.0
EXPIRY_S = 120.0  # six beats

_READ_ONLY = {
    "http": "an HTTP server takes no files from us",
    "https": "an HTTP server takes no files from us",
    "hf": "every file would be a commit of its own, and nothing keeps two runs apart",
}
_QUICK_ATTEMPTS = 3  # of the first look at a store, and the last: a wrong address is to be said soon
_QUICK_S = 5.0


class LockedError(LLaSOError):
    """Another run holds the output, or took it over."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock; ``space`` says in which machine's life and process namespace ``pid`` counts."""

    what: str
    host: str
    pid: int
    started: str
    command: str
    token: str
    space: str

    @classmethod
    def me(cls, what: str) -> Holder:
        """This process, as the holder of a lock on ``what``, with a new token."""
        return cls(
            what=what,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            command=shlex.join(uris.masked(word, alone=True) for word in sys.argv),
            token=secrets.token_hex(16),
            space=process_space(),
        )

    @classmethod
    def read(cls, data: bytes) -> Holder | None:
        """None where the data is not (or not yet) a holder's."""
        try:
            values = json.loads(data)
            return cls(**{field.name: values[field.name] for field in fields(cls)})
        except (ValueError, KeyError, TypeError):
            return None

    def dump(self) -> bytes:
        """The lock file's content, as :meth:`read` takes it."""
        return (json.dumps(asdict(self), indent=2, sort_keys=True) + "\n").encode()

    def is_dead(self) -> bool:
        """True where it can be seen from here that the process is gone; False says nothing."""
        return bool(self.space) and self.space == process_space() and not lives(self.pid)


class Held:
    """A lock that this process holds."""

    def __init__(self, uri: str, holder: Holder) -> None:
        self.uri = uri
        self.holder = holder

    @property
    def token(self) -> str:
        """What the lock's file says while this run holds it: a worker that sees another is an orphan."""
        return self.holder.token

    def check(self) -> None:
        """Raises LockedError where it is known by now that another run has taken over. Asks nobody."""

    def confirm(self) -> None:
        """Raises LockedError where another run has taken over: for the moment before what cannot be undone."""


@contextmanager
def exclusive(uri: str, what: str) -> Iterator[Held]:
    """Hold the lock of an output for as long as the context is open.

    A local folder is made where it is not there; one that was made and stayed empty is removed again.

    Args:
        uri: the output's folder, on a disk or on a store.
        what: the command, for the messages of others.

    Raises:
        LockedError: where another run holds it.
        StoreError: where it cannot be written to.
    """
    uri = storage.absolute(uri)
    if (scheme := storage.scheme(uri)) in _READ_ONLY:
        raise LLaSOError(
            f"{uri}: cannot be written to: {_READ_ONLY[scheme]}. Write to a disk or a bucket and upload what is there"
        )
    with _folder(uri) if storage.is_local(uri) else contextlib.nullcontext(), _held(uri, Holder.me(what)) as held:
        yield held


def refuse_orphans(uri: str, token: str | None) -> None:
    """Stop a worker whose run was given up.

    Args:
        uri: the output's folder.
        token: that of the worker's run (:attr:`Held.token`); None asks for nothing.

    Raises:
        LockedError: where another run holds the lock, or none does.
    """
    if token is None:
        return
    try:
        holder = Holder.read(storage.read_bytes(storage.join(uri, LOCK)))
    except FileNotFoundError:
        holder = None
    if holder is None or holder.token != token:
        raise LockedError(f"{uri}: the run of this worker is over; nothing was written")


@contextmanager
def _folder(path: str) -> Iterator[None]:
    """The folder, and those above it, made for the while and kept where anything came into it."""
    made = []
    above = path
    while not os.path.lexists(above):
        made.append(above)
        above = os.path.dirname(above)
    try:
        with storage.writing(path):
            os.makedirs(path, exist_ok=True)
        yield
    finally:
        with suppress(OSError):
            for folder in made:
                os.rmdir(folder)


@contextmanager
def _held(uri: str, holder: Holder) -> Iterator[Held]:
    if storage.is_local(uri):
        with storage.writing(uri, uri):
            descriptor = _flock(uri)
        if descriptor is not None:
            try:
                with storage.writing(uri, uri):
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, holder.dump(), 0)
                yield Held(uri, holder)
            finally:
                _release(uri, descriptor)
            return
    lease = _Lease(uri, holder)
    lease.take()
    try:
        yield lease
    finally:
        lease.release()


# flock

_descriptors: set[int] = set()


def _flock(uri: str) -> int | None:
    """The locked file's descriptor, None where this disk knows no such locks. Raises LockedError."""
    _forget_in_children()
    path = storage.join(uri, LOCK)
    while True:
        made = False
        try:
            try:
                descriptor = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
                made = True
        except FileExistsError:
            continue
        try:
            taken = flock.lock(descriptor, wait=False)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in flock.UNSUPPORTED:
                raise
            if made:
                os.remove(path)
            return None
        if not taken:
            data = os.pread(descriptor, 1 << 16, 0)
            os.close(descriptor)
            raise LockedError(_busy(uri, Holder.read(data), "It ends with that run, however it ends."))
        if flock.is_at(path, descriptor):
            _descriptors.add(descriptor)
            return descriptor
        os.close(descriptor)  # its last holder removed the file between our two steps


def _release(uri: str, descriptor: int) -> None:
    """The file goes while it is locked, so whoever waits for it sees that it is no longer the one with the name."""
    with suppress(OSError):
        os.remove(storage.join(uri, LOCK))
    _descriptors.discard(descriptor)
    os.close(descriptor)


def _close_all() -> None:
    for descriptor in _descriptors:
        with suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()


_registered = False


def _forget_in_children() -> None:
    """A forked child shares the lock: one that outlives this process must not keep it."""
    global _registered
    if not _registered:
        os.register_at_fork(after_in_child=_close_all)
        _registered = True


# a store


class _Lease(Held):
    """A lock object that a thread of the holder keeps young."""

    def __init__(self, uri: str, holder: Holder) -> None:
        super().__init__(uri, holder)
        self._lock = storage.join(uri, LOCK)
        self._fs, self._path = storage.filesystem(self._lock)
        self._lost = ""
        self._done = threading.Event()
        self._beater = threading.Thread(target=self._beat, name="llaso-lock", daemon=True)

    def take(self) -> None:
        """Raises LockedError, or StoreError where nothing can be written there."""
        now = self._probe()
        for _ in range(3):  # who else wants it may come between any two steps
            current = self._read()
            if current is None:
                self._create()
                continue
            holder, seen = current
            if holder is not None and holder.token == self.token:
                self._beater.start()
                return
            age_s = (now - seen).total_seconds() if now and seen else 0.0
            if age_s < EXPIRY_S and not (holder is not None and holder.is_dead()):
                hint = (
                    f"If that run is dead, its lock ends by itself {max(1, round(EXPIRY_S - age_s))} s from now; "
                    f"to end it at once, remove {self._lock}."
                )
                raise LockedError(_busy(self.uri, holder, hint))
            with storage.writing(self._lock), suppress(FileNotFoundError):
                self._fs.rm_file(self._path)
        raise LockedError(_busy(self.uri, None, "It came at the same moment: try again."))

    def check(self) -> None:
        if self._lost:
            raise LockedError(f"{self.uri}: {self._lost}; finished work is kept")

    def confirm(self) -> None:
        self.check()
        current = self._read()
        if current is None or current[0] is None or current[0].token != self.token:
            self._lost = _taken(current)
            self.check()

    def release(self) -> None:
        self._done.set()
        fs, path = storage.filesystem(self._lock, _QUICK_ATTEMPTS)
        with suppress(Exception):  # it ends by itself; what the run did, or that its store is gone, matters more
            self._beater.join(_QUICK_S)
            holder = Holder.read(fs.cat_file(path))
            if holder is not None and holder.token == self.token:
                fs.rm_file(path)

    def _probe(self) -> datetime.datetime | None:
        """Write and remove an object: whether that can be done, and what time it is there."""
        fs, path = storage.filesystem(storage.join(self.uri, f".llaso.{self.token}.tmp"), _QUICK_ATTEMPTS)
        with storage.writing(self.uri):
            try:
                fs.pipe_file(path, b"")
            except FileNotFoundError as error:
                cause = f"there is no such bucket ({storage.reason(error)}); make it first"
                raise storage.StoreError(f"{self.uri}: cannot be written: {cause}") from error
            now = _modified(fs.info(path))
            fs.rm_file(path)
        return now

    def _create(self) -> None:
        """Make the object unless it is there; reading it afterwards says whose it is, whatever the store promises."""
        with storage.writing(self._lock):
            try:
                self._fs.pipe_file(self._path, self.holder.dump(), mode="create")
            except (TypeError, ValueError, NotImplementedError):  # fsspec's class for this store has no such mode
                self._fs.pipe_file(self._path, self.holder.dump())
            except OSError:
                if not self._fs.exists(self._path):  # else another came first
                    raise

    def _read(self) -> tuple[Holder | None, datetime.datetime | None] | None:
        """Who holds it and when that was last said; None where nobody does."""
        try:
            data = storage.read_bytes(self._lock)
            return Holder.read(data), _modified(self._fs.info(self._path))
        except FileNotFoundError:
            return None

    def _beat(self) -> None:
        last_s = time.monotonic()
        while not self._done.wait(BEAT_S):
            try:
                current = self._read()
                if current is None or current[0] is None or current[0].token != self.token:
                    self._lost = _taken(current)
                    return
                if storage.is_local(self._lock):
                    storage.write_bytes(self._lock, self.holder.dump())  # whole, as a store does it
                else:
                    self._fs.pipe_file(self._path, self.holder.dump())
                last_s = time.monotonic()
            except Exception as error:  # the next beat may come through
                if time.monotonic() - last_s > EXPIRY_S:
                    self._lost = f"the lock could not be kept for {EXPIRY_S:.0f} s ({storage.reason(error)})"
                    return


def _taken(current: tuple[Holder | None, Any] | None) -> str:
    if current is None:
        return "the lock of this run was removed"
    by = "" if current[0] is None else f": {_described(current[0])}"
    return f"another run has taken over{by}"


def _modified(info: dict[str, Any]) -> datetime.datetime | None:
    """When a store says that an object was written."""
    for name in ("LastModified", "last_modified", "updated", "mtime", "created"):
        value = info.get(name)
        if isinstance(value, str):
            with suppress(ValueError):
                value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
        if isinstance(value, int | float):
            value = datetime.datetime.fromtimestamp(value, datetime.timezone.utc)
        if isinstance(value, datetime.datetime):
            return value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)
    return None


def _described(holder: Holder) -> str:
    return f"{holder.what}, process {holder.pid} on {holder.host} since {holder.started} ({holder.command})"


def _busy(uri: str, holder: Holder | None, hint: str) -> str:
    by = "" if holder is None else f": {_described(holder)}"
    return f"{uri}: another run writes there{by}. Wait for it, or choose another --out. {hint}"
