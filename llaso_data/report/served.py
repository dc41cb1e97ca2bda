"""A small server on this machine for a page that a person works in, as long as the work takes.

The address has a token that is new in every run, and the server answers under this machine's names only. So neither
another user of the machine nor a page of another site can request anything. :mod:`llaso_data.report.web` answers.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit

from llaso_data.errors import LLaSOError
from llaso_data.extras import needed_for
from llaso_data.io.loopback import LOOPBACK, is_loopback

S = TypeVar("S", bound="Served")

Json = dict[str, Any]


class Served:
    """The pages of one command; a context manager.

    :meth:`page` and the functions that :meth:`gets` and :meth:`posts` name are called in threads, several at a time.

    Raises:
        LLaSOError: where the address is taken, or the packages that serve pages are not installed.
    """

    command: str  # that printed the address
    patience_s = 60.0  # how long a client may take to say what it asks, and to take the answer
    ending_s = 3  # for what is being answered when the server is to end
    most_connections = 256  # that are answered; those above get 503
    most_threads = 16  # that read, and as many that save: a save does not wait behind sounds that are decoded

    def __init__(self, host: str = LOOPBACK, port: int = 0) -> None:
        with needed_for(f"the page of {self.command}"):
            from llaso_data.report.web import Server

        self.token = secrets.token_urlsafe(16)
        self._once: list[str] = []
        self._socket = listen(host, port)
        self.host, self.port = host, int(self._socket.getsockname()[1])
        self._names = {"localhost", socket.gethostname().lower(), host.lower()}
        self.reading = ThreadPoolExecutor(self.most_threads, "page-get")
        self.saving = ThreadPoolExecutor(self.most_threads, "page-post")
        self.decoder = ThreadPoolExecutor(1, "decoder")  # a thread that stays: the decoding process ends with it
        self._server = Server(self)

    @property
    def url(self) -> str:
        """The page's address, with its token."""
        return self._url(self.token)

    def once(self) -> str:
        """An address that works once, for a browser's command line, which all users of the machine can see."""
        self._once.append(secrets.token_urlsafe(16))
        return self._url(self._once[-1])

    def redeemed(self, token: str) -> bool:
        """Whether a token comes from :meth:`once` and was not used before; it is used now."""
        try:
            self._once.remove(token)
        except ValueError:
            return False
        return True

    @property
    def exposure(self) -> str | None:
        """A warning where the server listens on more than loopback; else None."""
        if is_loopback(self.host):
            return None
        return (
            f"listening at {self.host or '0.0.0.0'}, for other machines too: whoever has the address reads and "
            "answers, and it crosses the network in clear"
        )

    def _url(self, token: str) -> str:
        shown = "localhost" if self.host in ("", "0.0.0.0", "::") else self.host
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}/{token}/"

    def serve(self) -> None:
        """Answer requests until :meth:`stop`, or until a signal, which is raised again afterwards.

        Requests in progress are answered first, for ``ending_s`` seconds at most.
        """
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Let :meth:`serve` end; from any thread."""
        self._server.should_exit = True

    def __enter__(self: S) -> S:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the server. Requests that save something are finished before the files are released."""
        self._socket.close()
        for threads in (self.reading, self.saving):
            threads.shutdown(wait=False, cancel_futures=True)
        self.decoder.shutdown(cancel_futures=True)
        for threads in (self.reading, self.saving):
            threads.shutdown()
        self.close()

    def close(self) -> None:
        """Release what the pages hold, when no more requests can come."""

    def page(self) -> tuple[str, str]:
        """The page and its Content-Security-Policy."""
        raise NotImplementedError

    def gets(self) -> Mapping[str, Callable[[str], Json]]:
        """First part of a path → the function that answers, given the rest of the path."""
        raise NotImplementedError

    def posts(self) -> Mapping[str, Callable[[Mapping[str, Any]], Json]]:
        """Path → the function that answers, given the JSON object that was sent."""
        raise NotImplementedError

    def is_named(self, host: str) -> bool:
        """Whether a Host header means this machine and not a name that was made to point here (DNS rebinding).

        Any port will do: it may come through a tunnel.
        """
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
            return True
        except ValueError:
            return name in self._names


def listen(host: str, port: int, *, what: str = "a page", options: str = "--port", backlog: int = 128) -> socket.socket:
    """A socket that accepts connections at once, before the address is printed.

    Args:
        host: A name or an address of this machine.
        port: 0: a free one.
        what: Is served, for the error.
        options: Of the command that may name another place, for the error.
        backlog: Connections that wait.

    Raises:
        LLaSOError: The address is taken, or there is none such.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(backlog)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise LLaSOError(f"{host}:{port}: cannot serve {what} there ({reason}); pass another {options}") from error
    return listener
