"""Requests to a hub: repeated where that may help, counted, and refused with a message that says what to do."""

from __future__ import annotations

import email.utils
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from llaso_data.errors import LLaSOError
from llaso_data.io.store_errors import StoreError, reason

ATTEMPTS = 8
"""Failures in a row, without a byte between them, before an error counts: with their waits about a minute."""

FIRST_ATTEMPTS = 3
"""Times that a command tries to reach a hub at all: a wrong address or a missing network is to be said soon."""

_FIRST_WAIT_S = 0.5  # doubled after each failure
_LONGEST_WAIT_S = 30.0
_LONGEST_ASKED_S = 3600.0  # a server that asks for more is out of order for this run
REPEATED = frozenset((408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524))
"""Statuses after which the same request may succeed."""
_REDIRECTS = 20
_TIMEOUT_S = 10.0  # the client's own default, for a connection and for each piece of an answer
_RESET = re.compile(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)")  # ratelimit: "api";r=0;t=55


class StoppedError(LLaSOError):
    """Transfers were told to stop."""


class Traffic:
    """What transfers have cost so far, and the word to stop; one for all threads of a command.

    Attributes:
        requests: sent, whatever came of them.
        retries: failures after which the same was asked again.
        received_bytes: of files.
        waited_s: that threads have waited before they asked again, added up.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.retries = 0
        self.received_bytes = 0
        self.waited_s = 0.0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._closed_until: dict[str, float] = {}  # host: when it may be asked again

    def stop(self) -> None:
        """Let every transfer end with StoppedError at its next step."""
        self._stopped.set()

    def check(self) -> None:
        """Raises StoppedError after :meth:`stop`."""
        if self._stopped.is_set():
            raise StoppedError("transfers were stopped")

    def asking(self, url: str) -> None:
        """Count a request, after the wait that its host has asked every thread for."""
        self.wait(self._closed_until.get(urlsplit(url).netloc, 0.0) - time.monotonic())
        with self._lock:
            self.requests += 1

    def received(self, size_bytes: int) -> None:
        """Count bytes of a file."""
        with self._lock:
            self.received_bytes += size_bytes

    def close(self, url: str, seconds: float) -> None:
        """Let no thread ask the host of an address for some seconds."""
        self._closed_until[urlsplit(url).netloc] = time.monotonic() + seconds

    def retrying(self, seconds: float) -> None:
        """Count a failure, and wait."""
        with self._lock:
            self.retries += 1
            self.waited_s += max(seconds, 0.0)
        self.wait(seconds)

    def wait(self, seconds: float) -> None:
        """Raises StoppedError where :meth:`stop` comes first."""
        if seconds > 0:
            self._stopped.wait(seconds)
        self.check()


class Patience:
    """How often one thing is asked for again.

    Args:
        what: the repository and file, for messages. Never an address: those may be signed.
        traffic: where failures are counted.
        unreachable: times in a row that a server may not be reached at all before that counts.
    """

    def __init__(self, what: str, traffic: Traffic, unreachable: int = ATTEMPTS) -> None:
        self.what = what
        self.traffic = traffic
        self._unreachable = unreachable
        self._failures = 0

    def again(self, cause: str, asked_s: float | None = None, reached: bool = True) -> None:
        """Wait after a failure.

        Args:
            cause: what failed, for the message.
            asked_s: seconds that the server asks to wait for.
            reached: whether a server was reached.

        Raises:
            StoreError: where this has failed too often, or the server asks for too long a wait.
        """
        self._failures += 1
        if self._failures >= (ATTEMPTS if reached else self._unreachable):
            raise StoreError(
                f"{self.what}: {cause}, {self._failures} times in a row; what has arrived is kept, "
                "the same command goes on from there"
            )
        if asked_s is not None and asked_s > _LONGEST_ASKED_S:
            raise StoreError(f"{self.what}: {cause}, and the server asks to wait for {asked_s / 3600:.1f} hours")
        wait_s = min(_FIRST_WAIT_S * 2 ** (self._failures - 1), _LONGEST_WAIT_S)
        self.traffic.retrying(wait_s if asked_s is None else asked_s)

    def went_on(self) -> None:
        """Something arrived: earlier failures no longer count."""
        self._failures = 0


def open_answer(url: str, headers: Mapping[str, str], patience: Patience, method: str = "GET") -> Any:
    """Ask for an address through huggingface_hub's session, again where the server or the connection fails.

    Redirects are not followed: the caller decides where its token may go.

    Args:
        url: the address.
        headers: of the request.
        patience: whose failures and requests these are.
        method: of HTTP.

    Returns:
        The client's response, open and unread, with any status but those that are worth a repetition. Close it.

    Raises:
        StoreError: where it fails too often.
        StoppedError: after :meth:`Traffic.stop`.
    """
    from huggingface_hub import get_session

    refuse_offline(patience.what)
    traffic = patience.traffic
    while True:
        traffic.asking(url)
        client = get_session()
        try:
            request = client.build_request(method, url, headers=dict(headers), timeout=timeout_s())
            response = client.send(request, stream=True, follow_redirects=False)
        except Exception as error:
            if not is_broken(error):
                raise
            reached = type(error).__name__ != "ConnectError"
            patience.again(f"the connection failed ({reason(error)})", reached=reached)
            continue
        if response.status_code not in REPEATED:
            return response
        response.close()
        asked_s = seconds_asked(response.headers)
        if asked_s is not None and asked_s <= _LONGEST_ASKED_S:
            traffic.close(url, asked_s)
        patience.again(f"the server answered {response.status_code}", asked_s)


def read_answer(url: str, headers: Callable[[str], Mapping[str, str]], patience: Patience) -> Any:
    """:func:`open_answer`, read whole, after redirects.

    Args:
        url: the address.
        headers: gives those of a request to an address.
        patience: whose failures and requests these are.
    """
    for _ in range(_REDIRECTS):
        response = open_answer(url, headers(url), patience)
        try:
            response.read()
        except Exception as error:
            if not is_broken(error):
                raise
            patience.again(f"the connection failed ({reason(error)})")
            continue
        finally:
            response.close()
        if not response.is_redirect:
            return response
        url = urljoin(url, response.headers.get("location", ""))
    raise StoreError(f"{patience.what}: the hub leads from one address to another without an end")


def is_broken(error: Exception) -> bool:
    """Whether an exception of the client is of the connection: refused, reset, cut off, too slow."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return "TransportError" in names and "UnsupportedProtocol" not in names


def timeout_s() -> float:
    """Seconds without a byte after which a connection counts as broken: ``HF_HUB_DOWNLOAD_TIMEOUT``."""
    try:
        return float(os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT") or _TIMEOUT_S)
    except ValueError:
        raise LLaSOError(
            f"HF_HUB_DOWNLOAD_TIMEOUT={os.environ['HF_HUB_DOWNLOAD_TIMEOUT']}: a number of seconds is expected"
        ) from None


def refuse_offline(what: str) -> None:
    """Raises LLaSOError where ``HF_HUB_OFFLINE`` forbids requests."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in constants.ENV_VARS_TRUE_VALUES:
        raise LLaSOError(f"{what}: HF_HUB_OFFLINE forbids asking a hub; unset it, or name a folder on a disk")


def seconds_asked(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait for: ``Retry-After`` as a number or a date, or the hub's ``ratelimit``.

    The number is a whole one by the standard; servers of speech and chats also send fractions.
    """
    if (limit := _RESET.search(headers.get("ratelimit", ""))) is not None:
        return float(limit[1]) + 1.0  # it counts whole seconds
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    try:
        return max(email.utils.parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError):
        return None
