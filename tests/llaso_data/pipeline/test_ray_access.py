"""Who reaches Ray: a cluster of ours listens on loopback behind a token, and one that we join may have its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from llaso_data.errors import LLaSOError
from llaso_data.pipeline import ray_access
from tests.support.ray_outsiders import SERVICES, auth, environment, joined

BARE = "the cluster at {} has no token: whoever reaches its ports runs code on it"
START = """
import ray, sys
from llaso_data.pipeline.ray_cluster import connection
with connection(None, "", log_to_driver=False, logging_level="ERROR", num_cpus=1):
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster whose user wants no token."""
    told = environment(tmp_path_factory.mktemp("home"), **auth(mode="disabled"))
    with subprocess.Popen(
        [sys.executable, "-c", START], env=told, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()


@pytest.mark.slow
def test_a_cluster_without_a_token_is_joined_and_named_once(bare: str, tmp_path: Path) -> None:
    tries = [(bare, {}), (bare, auth(token="x")), (bare, auth(mode="token", token="x"))]
    found, told = joined(tries, tmp_path)
    assert found[:2] == [42, 42] and told == BARE.format(bare) + "\n"
    assert found[2].startswith(f"RAY_AUTH_MODE is token, and the cluster at {bare} has no token: ")


@pytest.mark.parametrize("code, said", [("OK", True), ("UNAUTHENTICATED", False)])
def test_a_cluster_is_asked_whether_it_has_a_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, code: str, said: bool
) -> None:
    """What Ray's GCS says to one without a token, said by a server of our own."""
    for name in ("MODE", "TOKEN", "TOKEN_PATH"):
        monkeypatch.delenv(f"RAY_AUTH_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))

    def check_alive(_: bytes, context: Any) -> bytes:
        if code != "OK":
            context.abort(grpc.StatusCode[code], "who are you?")
        return b""

    service, method = f"ray.rpc.{SERVICES[0]}".split("/")
    server = grpc.server(futures.ThreadPoolExecutor(1))
    handlers = {method: grpc.unary_unary_rpc_method_handler(check_alive)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with ray_access.this_machine_alone():
            if said:
                assert [ray_access.auth_of(address) for _ in range(2)] == [{"RAY_AUTH_MODE": "disabled"}] * 2
            else:
                with pytest.raises(LLaSOError, match=f"^the cluster at {address} asks for a token: "):
                    ray_access.auth_of(address)
    finally:
        server.stop(None)
    assert caplog.messages == [BARE.format(address)] * said


@pytest.mark.parametrize(
    "said, sent",
    [
        (auth(mode="disabled"), {}),
        (auth(token="mine"), auth(mode="token")),
        (auth(token_path=__file__), auth(mode="token")),
        (auth(mode="token", token="mine"), auth(mode="token")),
    ],
)
def test_what_the_user_says_of_tokens_is_heeded(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, str], sent: dict[str, str]
) -> None:
    for name in ("MODE", "TOKEN", "TOKEN_PATH"):
        monkeypatch.delenv(f"RAY_AUTH_{name}", raising=False)
    drawn = {ray_access.own_token()["RAY_AUTH_TOKEN"] for _ in range(2)}
    assert len(drawn) == 2 and all(len(one) == 64 for one in drawn)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert ray_access.own_token() == sent


def test_a_file_without_a_token_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    (empty := tmp_path / "empty").write_text("\n")
    for path in (empty, tmp_path / "none", tmp_path):
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
        with pytest.raises(LLaSOError, match=f"^RAY_AUTH_TOKEN_PATH: {path}: there is no such file, or no token in it"):
            ray_access.own_token()


def test_rays_folder_is_the_users_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        monkeypatch.setenv("RAY_TMPDIR", base)
        folder = ray_access.private_folder()
        assert folder.parent == Path(base) and folder.stat().st_mode & 0o777 == 0o700
        folder.chmod(0o777)
        assert ray_access.private_folder().stat().st_mode & 0o777 == 0o700
        folder.rmdir()
        folder.symlink_to(tmp_path)  # as somebody else would, who came first
        with pytest.raises(LLaSOError, match="is not a folder of yours"):
            ray_access.private_folder()
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setenv("TMPDIR", "/tmp/" + "long/" * 30)  # no room for the sockets
    assert ray_access.private_folder().parent == Path("/tmp")
