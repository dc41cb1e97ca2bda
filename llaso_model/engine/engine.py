"""The queue, the slots and their limits. Requests come from any thread; one thread decodes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from llaso_data.errors import LLaSOError
from llaso_model.engine.backends import Backend
from llaso_model.engine.handle import Handle
from llaso_model.engine.requests import Answer, Busy, Request
from llaso_model.sounds import InputError

Value = TypeVar("Value")
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an engine holds at once.

    Attributes:
        slots: Rows that are decoded together.
        tokens: Of the prompts and the longest answers of all these rows. A request of more than this is refused.
        waiting: Requests that wait for a slot. More are refused with :class:`Busy`.
    """

    slots: int = 32
    tokens: int = 2**18
    waiting: int = 1024


@dataclass(slots=True)
class Counts:
    """What an engine has done since it was made: requests by how they ended, steps, and tokens of answers."""

    answered: int = 0
    cancelled: int = 0
    failed: int = 0
    steps: int = 0
    tokens: int = 0


class Engine:
    """Answers requests in a running batch.

    An error belongs to the request that made it; the others go on. :meth:`run` answers requests in the thread of its
    caller. A server calls :meth:`start`, and then :meth:`submit` from any thread.

    Args:
        backend: What computes the rows.
        limits: What is held at once.
    """

    def __init__(self, backend: Backend, limits: Limits = Limits()) -> None:
        self.backend, self.limits, self.counts = backend, limits, Counts()
        self._changed = threading.Condition()
        self._decoding = threading.Lock()
        self._waiting: deque[Handle] = deque()
        self._rows: dict[int, Handle] = {}  # by slot; only the thread that decodes changes it
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many requests wait for a slot."""
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        """Whether it takes no more requests: it was closed, or has failed."""
        return self._closed

    @property
    def decoding(self) -> int:
        """How many slots have a row."""
        return len(self._rows)

    def submit(
        self,
        request: Request,
        on_text: Callable[[str], None] | None = None,
        on_end: Callable[[Handle], None] | None = None,
    ) -> Handle:
        """Takes a request. Its prompt is prepared in this thread.

        Args:
            request: What is asked.
            on_text: Called with each piece of the text, in the thread that decodes.
            on_end: Called once with the handle, when it has its answer or its error.

        Returns:
            The handle by which the answer is awaited, read while it comes, or cancelled.

        Raises:
            Busy: As many requests wait as may, or the engine is closed.
            LLaSOError: The request cannot be used, or is larger than the limits.
        """
        if len(self._waiting) >= self.limits.waiting:
            raise Busy(f"{len(self._waiting)} requests wait already; ask again later")
        prompt = self.backend.prepare(request)
        cost = prompt.tokens + request.sampling.max_new_tokens
        if cost > self.limits.tokens:
            raise InputError(
                f"a prompt of {prompt.tokens:,} tokens and {request.sampling.max_new_tokens:,} of its answer are more "
                f"than the {self.limits.tokens:,} that the engine holds: shorten the audio, or lower max_new_tokens"
            )
        handle = Handle(request, prompt, self._wake, self.backend.decode, on_text, on_end)
        with self._changed:
            if self._closed:
                raise Busy("the engine is closed")
            self._waiting.append(handle)
            self._changed.notify_all()
        return handle

    def run(self, requests: Iterable[Request]) -> list[Handle]:
        """Answers requests and returns when all have ended. Few of them are prepared before they are read.

        Args:
            requests: Taken one by one, as slots become free.

        Returns:
            Their handles, in order. That of a request that cannot be used has the error.
        """
        handles: list[Handle] = []
        for request in requests:
            while len(self._waiting) >= min(self.limits.slots, self.limits.waiting):
                self._go_on(handles)
            try:
                handles.append(self.submit(request))
            except LLaSOError as error:
                handles.append(Handle.failed(request, error))
        while not all(handle.ended for handle in handles):
            self._go_on(handles)
        return handles

    def step(self) -> bool:
        """Drops rows that were cancelled, reads prompts into free slots, and goes on with all rows by a token.

        Returns:
            Whether there is more to do.
        """
        with self._decoding:
            self._drop_cancelled()
            self._admit()
            if self._rows:
                self.counts.steps += 1
                tokens = self._each(list(self._rows), self.backend.step, {})
                for slot, new in tokens.items():
                    self._read(slot, new)
            return bool(self._rows or self._waiting)

    def start(self) -> None:
        """Starts the thread that decodes whenever there is something to do."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._decode, name="llaso-engine", daemon=True)
            self._thread.start()

    def close(self, cancel: bool = True) -> None:
        """Takes no more requests, and returns when those that it has are ended.

        Args:
            cancel: Whether they are cancelled, or answered first.
        """
        with self._changed:
            self._closed = True
            handles = [*self._waiting, *self._rows.values()]
            self._changed.notify_all()
        if cancel:
            for handle in handles:
                handle.cancel()
        if self._thread is not None:
            self._thread.join()
        while self.step():
            pass

    def _decode(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._rows):
                    if self._closed:
                        return
                    self._changed.wait()
            try:
                self.step()
            except Exception as error:  # a fault of the engine or the backend: nobody may wait for ever
                self._abandon(error)
                raise

    def _abandon(self, error: Exception) -> None:
        with self._changed:
            self._closed = True
            handles = [*self._waiting, *self._rows.values()]
            self._waiting.clear()
            self._rows.clear()
        for handle in handles:
            self._end(handle, error)

    def _wake(self) -> None:
        """Called when a request is cancelled."""
        with self._changed:
            self._changed.notify_all()

    def _go_on(self, handles: Sequence[Handle]) -> None:
        """A step; where another thread decodes, a while for it."""
        if self._thread is None:
            self.step()
        elif (own := next((handle for handle in handles if not handle.ended), None)) is not None:
            own.wait(_LOOK_EVERY_S)
        else:
            time.sleep(_LOOK_EVERY_S)

    def _drop_cancelled(self) -> None:
        with self._changed:
            gone = [handle for handle in self._waiting if handle.cancelled]
            for handle in gone:
                self._waiting.remove(handle)
        for handle in gone:
            self._end(handle, "cancelled")
        for slot in [slot for slot, handle in self._rows.items() if handle.cancelled]:
            self._leave(slot, "cancelled")

    def _admit(self) -> None:
        """Reads the prompts that wait, in their order, as far as slots and tokens allow."""
        free = [slot for slot in range(self.limits.slots) if slot not in self._rows]
        tokens = self.limits.tokens - sum(handle.cost for handle in self._rows.values())
        admitted: dict[int, Any] = {}
        while free and self._waiting and (tokens := tokens - self._waiting[0].cost) >= 0:
            slot = free.pop(0)
            with self._changed:
                self._rows[slot] = self._waiting.popleft()
            admitted[slot] = self._rows[slot].take_prompt()

        def read(slots: Sequence[int]) -> dict[int, None]:
            try:
                self.backend.admit({slot: admitted[slot] for slot in slots})
            except Exception:
                self.backend.retire(slots)
                raise
            return {}

        self._each(list(admitted), read, {})

    def _each(
        self, slots: Sequence[int], work: Callable[[Sequence[int]], dict[int, Value]], done: dict[int, Value]
    ) -> dict[int, Value]:
        """Does work on slots together; where it fails, in halves, so that only rows end by whose own work it fails."""
        if not slots:
            return done
        try:
            done.update(work(slots))
        except Exception as error:
            if len(slots) == 1:
                self._leave(slots[0], error)
            else:
                self._each(slots[: len(slots) // 2], work, done)
                self._each(slots[len(slots) // 2 :], work, done)
        return done

    def _read(self, slot: int, tokens: Sequence[int]) -> None:
        """Gives a row its tokens, and ends it where they end the answer."""
        handle = self._rows[slot]
        try:
            reason = None
            for token in tokens:
                self.counts.tokens += 1
                reason = handle.read(token, token in self.backend.stop_tokens)
                if reason is None and self._is_late(slot, handle):
                    reason = "stop"
                if reason is not None:
                    break
        except Exception as error:  # of the one who listens
            self._leave(slot, error)
        else:
            if reason is not None:
                self._leave(slot, reason)

    def _is_late(self, slot: int, handle: Handle) -> bool:
        """Whether the last token of a row was heard after the time that its request says."""
        if (until_s := handle.request.until_s) is None:
            return False
        heard_s = self.backend.details(slot, len(handle.tokens)).heard_s
        return bool(heard_s) and heard_s[-1] > until_s

    def _leave(self, slot: int, how: str | Exception) -> None:
        with self._changed:
            handle = self._rows.pop(slot)
        if handle.request.sampling.details:
            handle.details = self.backend.details(slot, len(handle.tokens))
        self.backend.retire([slot])
        self._end(handle, how)

    def _end(self, handle: Handle, how: str | Exception) -> None:
        if isinstance(how, Exception):
            self.counts.failed += 1
        elif how == "cancelled":
            self.counts.cancelled += 1
        else:
            self.counts.answered += 1
        handle.end(how)


def answers_of(handles: Iterable[Handle]) -> list[Answer]:
    """The answers of requests that have ended. Raises the error of the first that has one."""
    return [handle.result() for handle in handles]
