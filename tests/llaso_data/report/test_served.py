"""The server of our pages: who may ask, how much, for how long; and how it ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import llaso_data
from llaso_data.errors import LLaSOError
from llaso_data.report.served import Json, Served

JSON = {"Content-Type": "application/json"}
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Desk(Served):
    """A page, what can be read, and a drawer that things are put into."""

    command = "desk"

    def __init__(self, host: str = "127.0.0.1", **options: Any) -> None:
        self.drawer: list[Any] = []
        self.gate, self.at_gate = threading.Event(), 0
        self.closed_with: list[Any] | None = None
        super().__init__(host, **options)

    def page(self) -> tuple[str, str]:
        return "<p>a desk</p>", "default-src 'none'; img-src data:"

    def gets(self) -> Mapping[str, Callable[[str], Json]]:
        return {"echo": lambda name: {"said": name}, "large": lambda name: {"x": "x" * int(name)}, "wait": self.wait}

    def wait(self, name: str) -> Json:
        self.at_gate += 1
        assert self.gate.wait(20)
        return {"waited": name}

    def posts(self) -> Mapping[str, Callable[[Mapping[str, Any]], Json]]:
        return {"put": self.put, "put-late": lambda said: self.wait("") and self.put(said)}

    def put(self, said: Mapping[str, Any]) -> Json:
        self.drawer.append(said["it"])
        return {"saved": said["it"]}

    def close(self) -> None:
        self.closed_with = list(self.drawer)


@contextlib.contextmanager
def serving(kind: type[Desk] = Desk, **options: Any) -> Iterator[Desk]:
    with kind(**options) as desk:
        thread = threading.Thread(target=desk.serve)
        thread.start()
        try:
            yield desk
        finally:
            desk.gate.set()
            desk.stop()
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def desk() -> Iterator[Desk]:
    with serving() as made:
        yield made


def ask(
    desk: Desk, path: str = "", body: Any = None, method: str | None = None, **headers: str
) -> tuple[int, Mapping[str, str], str]:
    """An answer of what is behind the token, or of a path that begins with a slash."""
    connection = http.client.HTTPConnection(desk.host, desk.port, timeout=20)
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    where = path if path.startswith("/") else f"/{desk.token}/{path}"
    try:
        connection.request(method or ("GET" if data is None else "POST"), where, data, {**JSON, **named})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def status(desk: Desk, *args: Any, **headers: str) -> int:
    return ask(desk, *args, **headers)[0]


def raw(desk: Desk, text: str) -> socket.socket:
    """A connection on which so much was said."""
    made = socket.create_connection((desk.host, desk.port), timeout=20)
    made.sendall(text.replace("TOKEN", desk.token).replace("\n", "\r\n").encode())
    return made


def rest(connection: socket.socket) -> bytes:
    """Everything that is said until the server closes; a reset closes, too."""
    parts = []
    with connection:
        try:
            while part := connection.recv(1 << 20):
                parts.append(part)
        except ConnectionResetError:
            pass
    return b"".join(parts)


def test_every_reply_carries_what_keeps_a_page_to_itself(desk: Desk) -> None:
    asked = {
        200: [ask(desk), ask(desk, "echo/x"), ask(desk, "put", {"it": 1})],
        303: [ask(desk, "/" + desk.once().split("/", 3)[3])],
        403: [
            ask(desk, "/"),
            ask(desk, Host="evil.example"),
            ask(desk, "put", {"it": 2}, Origin="http://evil.example"),
            ask(desk, "put", {"it": 2}, Origin="null"),
        ],
        404: [ask(desk, "other"), ask(desk, "echo"), ask(desk, "put/"), ask(desk, "other", {})],
        405: [ask(desk, "put"), ask(desk, "", {}), ask(desk, method="PUT")],
        409: [ask(desk, "put", b"{"), ask(desk, "put", b"[" * 60_000), ask(desk, "put", [1])],
        413: [ask(desk, "put", b" " * ((1 << 16) + 1))],
        415: [ask(desk, "put", {"it": 2}, Content_Type="text/plain")],
        500: [ask(desk, "large/many"), ask(desk, "put", {})],
    }
    for wanted, answers in asked.items():
        for code, headers, text in answers:
            assert code == wanted, text
            assert {name: headers[name] for name in ALWAYS} == ALWAYS
            assert headers["Content-Security-Policy"].endswith("; frame-ancestors 'none'") and not headers["Server"]
    policies = [said[1]["Content-Security-Policy"] for said in asked[200]]
    assert policies[0] == "default-src 'none'; img-src data:; frame-ancestors 'none'"
    assert set(policies[1:]) == {"default-src 'none'; frame-ancestors 'none'"}
    assert desk.drawer == [1]


def test_what_goes_wrong_is_said_to_the_page_and_shown_at_the_terminal(
    desk: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    assert json.loads(ask(desk, "put", {})[2]) == {"error": "KeyError: 'it'"}
    said = capfd.readouterr().err
    assert said.count("Traceback") == 1 and "self.drawer.append" in said
    for text in ("nonsense\n\n", "GET / HTTP/1.1\nHost: a\nHost: b\n\n", "POST /TOKEN/put HTTP/1.1\nHost: localhost\n"):
        raw(desk, text).close()
    assert rest(raw(desk, "nonsense\n\n")).startswith(b"HTTP/1.1 400")
    assert status(desk) == 200 and capfd.readouterr().err == ""


def test_paths_are_decoded_once(desk: Desk) -> None:
    said = {
        path: json.loads(ask(desk, path)[2])["said"] for path in ("echo/", "echo/a%2Fb%20%C3%A9", "echo/%2561/..?x")
    }
    assert list(said.values()) == ["", "a/b é", "%61/.."]


def test_it_is_asked_by_the_names_of_this_machine_only(desk: Desk) -> None:
    own = ["localhost", "LOCALHOST:8000", socket.gethostname()]  # any port: it may be a tunnel's
    numbers = ["127.0.0.1", "10.1.2.3:80", "[::1]:8000"]  # no names, and nobody can make them point elsewhere
    assert {host: status(desk, Host=host) for host in own + numbers} == dict.fromkeys(own + numbers, 200)
    others = ["evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "[::1", ""]
    assert {host: status(desk, Host=host) for host in others} == dict.fromkeys(others, 403)


def test_who_says_no_name_is_refused(desk: Desk) -> None:
    assert rest(raw(desk, "GET /TOKEN/ HTTP/1.0\n\n")).startswith(b"HTTP/1.1 403")
    assert rest(raw(desk, "GET /TOKEN/ HTTP/1.1\nConnection: close\n\n")).startswith(b"HTTP/1.1 400")


def test_too_much_is_refused_before_it_was_read(desk: Desk) -> None:
    post = "POST /TOKEN/put HTTP/1.1\nHost: localhost\nContent-Type: application/json\n"
    chunk = f"2000\n{'x' * 0x2000}\n"
    for more in (
        "Content-Length: 9999999999\n\n",  # of which nothing comes
        "Content-Length: 9999999999\nExpect: 100-continue\n\n",
        "Transfer-Encoding: chunked\n\n" + 9 * chunk,  # which does not end
    ):
        with raw(desk, post + more) as connection:
            assert connection.recv(12) == b"HTTP/1.1 413"
    pad = (1 << 16) - len('{"it": 1}')
    assert status(desk, "put", b'{"it": 1}' + b" " * pad) == 200
    with raw(desk, f'{post}Transfer-Encoding: chunked\n\n9\n{{"it": 2}}\n0\n\n') as connection:
        assert connection.recv(12) == b"HTTP/1.1 200"
    assert desk.drawer == [1, 2]


class Hasty(Desk):
    patience_s = 0.5


class Narrow(Desk):
    patience_s = 1.5
    most_connections = 6


def test_clients_that_keep_it_waiting_are_let_go_and_slow_ones_are_not() -> None:
    with serving(Hasty) as desk:
        began = time.monotonic()
        silent, halting = raw(desk, ""), raw(desk, "GET /TOKEN/ HTTP/1.1\nHo")
        late = raw(desk, "POST /TOKEN/put HTTP/1.1\nHost: localhost\nContent-Length: 9\n\n{")
        deaf = raw(desk, "GET /TOKEN/large/30000000 HTTP/1.1\nHost: localhost\n\n")
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < began + 10:
                halting.sendall(b"s")  # goes on and on
                time.sleep(0.05)
        assert time.monotonic() < began + 10
        assert rest(silent) == rest(halting) == b""
        assert rest(late).startswith(b"HTTP/1.1 408")
        while desk._server.server_state.connections:
            assert time.monotonic() < began + 10
            time.sleep(0.05)
        assert 0 < len(rest(deaf)) < 30_000_000
        slow = raw(desk, "GET /TOKEN/large/20000000 HTTP/1.1\nHost: localhost\nConnection: close\n\n")
        heard = 0
        for _ in range(24):
            time.sleep(0.05)  # twice as long, in all, as anybody is waited for
            heard += len(slow.recv(500_000))
        assert heard + len(rest(slow)) > 20_000_000
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ask, desk, "wait/x")
            time.sleep(1.0)
            desk.gate.set()  # what takes the server long is not the client's fault
            assert waiting.result()[0] == 200


def test_there_is_a_limit_of_connections_which_those_who_say_nothing_do_not_hold_for_long() -> None:
    with serving(Narrow) as desk:
        idle = [raw(desk, "") for _ in range(6)]
        assert status(desk) == 503
        assert [rest(connection) for connection in idle] == [b""] * 6
        assert status(desk) == 200


def test_many_save_at_once_while_more_than_there_are_threads_wait_for_something_to_read(desk: Desk) -> None:
    desk.gate.clear()
    with ThreadPoolExecutor(60) as pool:
        reading = [pool.submit(ask, desk, f"wait/{n}") for n in range(30)]
        saved = list(pool.map(lambda n: ask(desk, "put", {"it": n}), range(30)))
        assert [code for code, _, _ in saved] == [200] * 30 and sorted(desk.drawer) == list(range(30))
        assert desk.at_gate <= Desk.most_threads
        desk.gate.set()
        assert [json.loads(one.result()[2]) for one in reading] == [{"waited": str(n)} for n in range(30)]


def test_a_place_that_cannot_be_listened_at_is_said(desk: Desk) -> None:
    for host, port, why in (
        ("127.0.0.1", desk.port, "Address already in use"),
        ("127.0.0.1", 70_000, "0-65535"),
        ("192.0.2.7", 0, "assign"),
        ("no name.example", 0, "cannot serve a page there"),
    ):
        with pytest.raises(LLaSOError, match=rf"{host}:{port}: .*{why}.*; pass another --port"):
            Desk(host, port=port)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_loopback_has_two_addresses() -> None:
    with serving(host="::1") as desk:
        assert desk.url == f"http://[::1]:{desk.port}/{desk.token}/" and desk.exposure is None
        assert status(desk) == 200


def test_without_its_packages_it_says_which_extra_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "llaso_data.report.web", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(LLaSOError, match=r"needs uvicorn: pip install 'llaso\[serve\]'"):
        Desk()


# How it ends.


class Ending(Desk):
    ending_s = 0


def test_what_is_being_saved_is_saved_before_the_files_are_given_up() -> None:
    with ThreadPoolExecutor(1) as pool, Ending() as desk:
        thread = threading.Thread(target=desk.serve)
        thread.start()
        saving = pool.submit(ask, desk, "put-late", {"it": 7})
        while not desk.at_gate:
            time.sleep(0.01)
        desk.stop()
        thread.join(10)
        assert not thread.is_alive() and desk.drawer == []  # it was not waited for, and nothing was confirmed
        threading.Timer(0.3, desk.gate.set).start()
        assert saving.result()[0] == 500  # sent again by the page, if it ever finds us again
    assert desk.closed_with == [7]


COMMAND = """
import sys, time, click
from llaso_data.commands import Commands
from tests.llaso_data.report.test_served import Desk
class Slow(Desk):
    def put(self, said):
        print("saving", flush=True)
        time.sleep(0.7)
        return super().put(said)
@click.group("llaso-data", cls=Commands)
def main(): pass
@main.command()
def work():
    with Slow() as desk:
        print(desk.port, desk.token, flush=True)
        desk.serve()
main(["work"])
"""


@contextlib.contextmanager
def running(**options: Any) -> Iterator[tuple[subprocess.Popen[str], Desk]]:
    """A command that serves, and something to ask it with."""
    root = str(Path(llaso_data.__file__).parents[1])
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "PYTHONPATH": root}
    run = subprocess.Popen([sys.executable, "-c", COMMAND], env=environment, text=True, **pipes, **options)
    assert run.stdout is not None
    asking = Desk.__new__(Desk)
    asking.host = "127.0.0.1"
    port, asking.token = run.stdout.readline().split()
    asking.port = int(port)
    try:
        yield run, asking
    finally:
        run.kill()
        run.communicate()


@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGTERM] * 9])
def test_a_signal_ends_it_with_its_exit_code_and_what_is_being_saved_is_confirmed(
    numbers: list[signal.Signals],
) -> None:
    with running() as (run, asking), ThreadPoolExecutor(1) as pool:
        saving = pool.submit(ask, asking, "put", {"it": 1})
        assert run.stdout is not None and run.stdout.readline() == "saving\n"
        for number in numbers:
            run.send_signal(number)
        assert saving.result()[0] == 200
        _, said = run.communicate(timeout=20)
        assert run.returncode == 128 + numbers[0]
        assert said == "llaso-data: stopped; what is finished is kept, the same command goes on from there\n"


def test_it_ends_with_connections_open_and_a_signal_that_is_ignored_stays_so() -> None:
    with running(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) as (run, asking):
        idle = raw(asking, "GET /TOKEN/ HTTP/1.1\nHost: localhost\n\n")
        assert idle.recv(12) == b"HTTP/1.1 200"
        run.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert status(asking) == 200
        run.send_signal(signal.SIGTERM)
        assert run.wait(20) == 128 + signal.SIGTERM
        idle.close()
