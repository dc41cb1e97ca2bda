"""Pages that a person works in: a small server for this machine, for as long as the work takes.

The address has a token that is drawn for every run, and is answered under this machine's names only; so neither another
user of the machine nor a page of another site can ask for anything. :mod:`llaso_data.report.web` answers the requests.
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
    """What one command serves until it is closed; a context manager. ``url`` is the page's address.

    Everything that :meth:`page`, :meth:`gets` and :meth:`posts` name is called in threads, several at a time.
    Raises LLaSOError where the address is taken, or the packages that serve pages are not installed.
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
        self._socket = _listening(host, port)
        self.host, self.port = host, int(self._socket.getsockname()[1])
        self._names = {"localhost", socket.gethostname().lower(), host.lower()}
        self.reading = ThreadPoolExecutor(self.most_threads, "page-get")
        self.saving = ThreadPoolExecutor(self.most_threads, "page-post")
        self.decoder = ThreadPoolExecutor(1, "decoder")  # a thread that stays: the decoding process ends with it
        self._server = Server(self)

    @property
    def url(self) -> str:
        return self._url(self.token)

    def once(self) -> str:
        """An address that leads to the page one time: a browser's command line is seen by all users of the machine."""
        self._once.append(secrets.token_urlsafe(16))
        return self._url(self._once[-1])

    def redeemed(self, token: str) -> bool:
        """Whether a token is one of :meth:`once` that nobody came with before."""
        try:
            self._once.remove(token)
        except ValueError:
            return False
        return True

    @property
    def exposure(self) -> str | None:
        """What it means to listen elsewhere than on loopback; None there."""
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
        """Answers requests until :meth:`stop`, or until a signal, which it raises as it would have been raised.

        What is being answered then is answered first, for a few seconds at most.
        """
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Lets :meth:`serve` end, from whatever thread."""
        self._server.should_exit = True

    def __enter__(self: S) -> S:
        return self

    def __exit__(self, *_: object) -> None:
        """What is being saved is saved before anybody else may have the files."""
        self._socket.close()
        for threads in (self.reading, self.saving):
            threads.shutdown(wait=False, cancel_futures=True)
        self.decoder.shutdown(cancel_futures=True)
        for threads in (self.reading, self.saving):
            threads.shutdown()
        self.close()

    def close(self) -> None:
        """Gives up what the pages hold, once nobody can ask any more."""

    def page(self) -> tuple[str, str]:
        """(the page, its policy)."""
        raise NotImplementedError

    def gets(self) -> Mapping[str, Callable[[str], Json]]:
        """By the first part of a path, what gives an object for the rest of it."""
        raise NotImplementedError

    def posts(self) -> Mapping[str, Callable[[Mapping[str, Any]], Json]]:
        """By path, what takes a JSON object and gives one."""
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


def _listening(host: str, port: int) -> socket.socket:
    """A socket that takes connections from now on: whoever is told the address may come at once."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(128)
    except (OSError, OverflowError) as error:
        made.close()
        why = getattr(error, "strerror", None) or error
        raise LLaSOError(f"{host}:{port}: cannot be listened at ({why}); pass another --port") from error
    return made
