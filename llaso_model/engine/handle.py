"""A request on its way: read while it is answered, awaited or cancelled."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from llaso_data.errors import LLaSOError
from llaso_model.engine.requests import Answer, Details, FinishReason, Request
from llaso_model.engine.text import TextStream

log = logging.getLogger(__name__)


class Handle:
    """What :meth:`Engine.submit` returns. Its methods may be called from any thread.

    Iterating over it gives the pieces of the text while they come, and ends with the answer. It raises what
    :meth:`result` raises.
    """

    def __init__(
        self,
        request: Request,
        prompt: Any,
        wake: Callable[[], None],
        decode: Callable[[Sequence[int]], str],
        on_text: Callable[[str], None] | None = None,
        on_end: Callable[[Handle], None] | None = None,
    ) -> None:
        self.request = request
        self.cancelled = False
        self.prompt_tokens = 0 if prompt is None else prompt.tokens
        self.cost = self.prompt_tokens + request.sampling.max_new_tokens
        self.details: Details | None = None
        self._prompt, self._wake, self._on_text, self._on_end = prompt, wake, on_text, on_end
        self._stream = TextStream(decode, request.sampling.stop)
        self._tokens: list[int] = []
        self._pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._is_read = False
        self._ended = threading.Event()
        self._answer: Answer | None = None
        self._error: Exception | None = None

    @classmethod
    def failed(cls, request: Request, error: Exception) -> Handle:
        """The handle of a request that was refused."""
        handle = cls(request, None, lambda: None, lambda tokens: "")
        handle.end(error)
        return handle

    @property
    def tokens(self) -> list[int]:
        """The tokens of the answer so far."""
        return list(self._tokens)

    @property
    def ended(self) -> bool:
        """Whether it has its answer or its error."""
        return self._ended.is_set()

    @property
    def error(self) -> Exception | None:
        """What went wrong; None: nothing, or it has not ended."""
        return self._error

    def cancel(self) -> None:
        """Ends the request before the next step. What there is of its answer is kept."""
        self.cancelled = True
        self._wake()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits for the end. Returns whether it came within ``timeout_s`` seconds; None: it is waited for."""
        return self._ended.wait(timeout_s)

    def result(self, timeout_s: float | None = None) -> Answer:
        """The answer.

        Args:
            timeout_s: Seconds to wait for it; None: as long as it takes.

        Raises:
            TimeoutError: It did not come in time.
            LLaSOError: The request failed; errors of other kinds are its cause.
        """
        if not self.wait(timeout_s):
            raise TimeoutError(f"no answer within {timeout_s} s")
        if isinstance(self._error, LLaSOError):
            raise self._error
        if self._error is not None:
            kind = type(self._error).__name__
            raise LLaSOError(f"a request could not be answered ({kind}: {self._error})") from self._error
        assert self._answer is not None
        return self._answer

    def __iter__(self) -> Iterator[str]:
        self._is_read = True
        while (piece := self._pieces.get()) is not None:
            yield piece
        self._pieces.put(None)
        self.result()

    def take_prompt(self) -> Any:
        """The prompt, which is not kept: the engine reads it once."""
        prompt, self._prompt = self._prompt, None
        return prompt

    def read(self, token: int, ends: bool) -> FinishReason | None:
        """Adds a token. Returns why the answer ends with it, or None. Called by the engine.

        Args:
            token: The next one.
            ends: Whether it is one that ends answers.
        """
        self._tokens.append(token)
        if ends:
            return "stop"
        if self._is_read or self._on_text is not None or self.request.sampling.stop:  # else the text is made once
            self._pass_on(self._stream.read(self._tokens))
        if self._stream.stopped:
            return "stop"
        return "length" if len(self._tokens) >= self.request.sampling.max_new_tokens else None

    def end(self, how: str | Exception) -> None:
        """Ends the request with a reason or an error. Called by the engine."""
        try:
            if isinstance(how, Exception):
                self._error = how
            else:
                self._pass_on(self._stream.finish(self._tokens))
                reason = cast(FinishReason, how)
                tokens = tuple(self._tokens)
                self._answer = Answer(self._stream.text, tokens, reason, self.prompt_tokens, self.details)
        except Exception as error:  # of the one who listens
            self._error = error
        self._prompt = None
        self._ended.set()
        self._pieces.put(None)
        if self._on_end is not None:
            try:
                self._on_end(self)
            except Exception:
                log.exception("what was to be called at the end of a request has failed")

    def _pass_on(self, piece: str) -> None:
        if piece:
            self._pieces.put(piece)
            if self._on_text is not None:
                self._on_text(piece)
