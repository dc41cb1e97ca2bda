"""Looking at Ray as somebody else would: from a process without its token, at its ports, at its files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import psutil

SERVICES = (  # of each kind of port that Ray has, a call that runs code, reads objects or tells of them
    "NodeInfoGcsService/CheckAlive",
    "NodeManagerService/GetNodeStats",
    "ObjectManagerService/Pull",
    "CoreWorkerService/PushTask",
)
JOIN = """
import json, logging, os, sys
from llaso_data.errors import LLaSOError
from llaso_data.pipeline.ray_cluster import connection
logging.basicConfig(format="%(message)s")
for address, auth in json.load(sys.stdin):
    os.environ.update(auth)
    try:
        with connection(address, "", log_to_driver=False, logging_level="ERROR"):
            import ray
            found = ray.get(ray.remote(num_cpus=0)(lambda: 6 * 7).remote())
    except LLaSOError as error:
        found = str(error)
    after = {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH")}
    print(json.dumps([found, after == auth]))
    for name in auth:
        del os.environ[name]
"""


def auth(**variables: str) -> dict[str, str]:
    return {f"RAY_AUTH_{name.upper()}": value for name, value in variables.items()}


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """Of another user, so to speak: none of Ray's variables, and a home without a token."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "HOME": str(folder), **variables}


def family() -> list[Any]:
    """Our process, and what our cluster is made of."""
    return [psutil.Process(), *psutil.Process().children(recursive=True)]


def listening() -> list[Any]:
    """(address, port) of every listening socket of ours."""
    sockets: list[Any] = []
    for process in family():
        with suppress(psutil.NoSuchProcess):  # an idle worker that has ended since
            sockets += process.net_connections("inet")
    return [socket.laddr for socket in sockets if socket.status == psutil.CONN_LISTEN]


def answer(port: int, method: str, *metadata: tuple[str, str]) -> str:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            channel.unary_unary(f"/ray.rpc.{method}")(b"", timeout=10, metadata=metadata)
            return "OK"
        except grpc.RpcError as error:
            return str(error.code().name)


def http_status(port: int) -> int | None:
    """What a port says to a request without a token; None if nothing listens there any more."""
    try:
        return int(urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).status)
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionRefusedError):
            return None
        raise


def joined(tries: list[tuple[str, dict[str, str]]], folder: Path) -> tuple[list[Any], str]:
    """What came of each try in a process of another user, and what was said on standard error."""
    done = subprocess.run(
        [sys.executable, "-c", JOIN],
        input=json.dumps(tries), env=environment(folder), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(as_it_was for _, as_it_was in found), "the environment changed"
    return [said for said, _ in found], done.stderr
