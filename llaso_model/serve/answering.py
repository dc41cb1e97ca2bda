"""The engine for an event loop: prompts are prepared in threads, text comes as it is decoded, leaving cancels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from llaso_model.engine.engine import Engine
from llaso_model.engine.handle import Handle
from llaso_model.engine.requests import Answer, Busy, Request
from llaso_model.serve.errors import ApiError

Value = TypeVar("Value")
_BUSY_S = 0.1


class Asked:
    """A request on its way, for one event loop. Iterating gives the pieces of its text."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()
        self._ended = asyncio.Event()
        self.handle: Handle | None = None

    def on_text(self, piece: str) -> None:
        """Called in the thread that decodes."""
        self._call(self._pieces.put_nowait, piece)

    def on_end(self, handle: Handle) -> None:
        """Called in the thread that decodes."""
        self._call(self._end, handle)

    async def __aiter__(self) -> AsyncIterator[str]:
        while (piece := await self._pieces.get()) is not None:
            yield piece
        await self.result()

    async def result(self) -> Answer:
        """The answer. Raises what the engine's handle raises."""
        await self._ended.wait()
        assert self.handle is not None
        return self.handle.result()

    def _end(self, handle: Handle) -> None:
        self.handle = handle
        self._pieces.put_nowait(None)
        self._ended.set()

    def _call(self, work: Callable[[Any], None], value: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work, value)


class Answering:
    """Asks an engine whose thread runs.

    Args:
        engine: It is started.
        threads: Prepare prompts.
        context: The most tokens that the model takes, the answer's among them; None: as many as the engine holds.
    """

    def __init__(self, engine: Engine, threads: ThreadPoolExecutor, context: int | None = None) -> None:
        self.engine, self._threads, self._context = engine, threads, context

    @asynccontextmanager
    async def ask(self, request: Request, patient: bool = False, streams: bool = True) -> AsyncIterator[Asked]:
        """Asks. At the end of the block a request that has no answer yet is cancelled.

        Args:
            request: What is asked.
            patient: Whether it waits where the engine has as many requests as it takes.
            streams: Whether its text is read while it comes.

        Raises:
            ApiError: The prompt is longer than the model's context, or the engine has ended.
            Busy: The engine takes no more.
            LLaSOError: The request cannot be used.
        """
        asked = Asked()
        handle = await self._submitted(request, asked, streams)
        while handle is None and patient:
            await asyncio.sleep(_BUSY_S)
            handle = await self._submitted(request, asked, streams)
        if handle is None:
            raise Busy(f"{self.engine.waiting} requests wait already; ask again later")
        try:
            if self._context is not None and handle.cost > self._context:
                raise ApiError(
                    400,
                    f"{handle.prompt_tokens:,} tokens and {request.sampling.max_new_tokens:,} of the answer "
                    f"are more than the {self._context:,} that the model takes: send less, or lower max_tokens",
                    "messages",
                    "context_length_exceeded",
                )
            yield asked
        finally:
            handle.cancel()

    async def _submitted(self, request: Request, asked: Asked, streams: bool) -> Handle | None:
        """The handle; None where the engine is busy. Where the caller is cancelled meanwhile, so is the request."""
        if self.engine.closed:
            raise ApiError(503, "the engine has ended", code="shutting_down", headers={"Retry-After": "5"})
        if self.engine.waiting >= self.engine.limits.waiting:
            return None
        on_text = asked.on_text if streams else None
        submitting = asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: self.engine.submit(request, on_text, asked.on_end)
        )
        try:
            return await asyncio.shield(submitting)
        except Busy:
            return None
        except asyncio.CancelledError:
            submitting.add_done_callback(_cancel)
            raise


def _cancel(submitting: asyncio.Future[Handle]) -> None:
    if not submitting.cancelled() and submitting.exception() is None:
        submitting.result().cancel()


async def in_threads(threads: ThreadPoolExecutor, work: Callable[..., Value], *args: Any) -> Value:
    """The result of work in a thread. It goes on where the caller is cancelled."""
    return await asyncio.get_running_loop().run_in_executor(threads, work, *args)
