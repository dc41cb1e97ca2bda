"""Access to Ray: a cluster that we start is on loopback and asks for a token; one that we join is asked for its own.

Whoever reaches the ports of a Ray cluster can run code as its user. Ray has no public setting for loopback alone on
Linux, and reads its environment variables once, when it is imported. Only this file uses Ray's internals for that.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.io.loopback import LOOPBACK, environment, is_loopback, torch_on_loopback

log = logging.getLogger(__name__)

LOCAL = "local"
"""The address that asks for a cluster of our own."""

_MODE, _TOKEN, _TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_HOW_TO_SEND = (
    f"set {_MODE}=token, and the token that it was started with: {_TOKEN}, {_TOKEN_PATH} or ~/.ray/auth_token"
)
_ANSWER_S = 20.0
_SOCKET_BYTES = 103  # the longest path of a Unix socket that Ray takes
_BELOW_FOLDER = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"

_warned_addresses: set[str] = set()  # addresses without a token, each warned of once


def address_of(address: str | None) -> str:
    """The address of the cluster to join: the given one, else RAY_ADDRESS, else :data:`LOCAL`."""
    return address or os.environ.get("RAY_ADDRESS") or LOCAL


def start(**options: Any) -> None:
    """Starts Ray on this machine for this user alone: on loopback, with a token, its files in a private folder.

    Every cluster gets a new token, which is in the environment of Ray's processes only. The user's own variables for
    Ray's authentication win. Call :func:`stop` afterwards, also where this failed.

    Args:
        options: Further arguments of ``ray.init``.

    Raises:
        LLaSOError: The folder belongs to somebody else.
    """
    import ray

    with environment({**own_token(), **torch_on_loopback()}), this_machine_alone():
        read_environment()
        ray.init(
            address=LOCAL,
            include_dashboard=False,
            _node_ip_address=LOOPBACK,
            _temp_dir=str(private_folder() / "ray"),
            **options,
        )
    listens = ray.util.get_node_ip_address()
    if not is_loopback(listens):
        log.warning("Ray listens at %s, not on loopback alone; its token is all that keeps others out", listens)


def join(address: str, **options: Any) -> None:
    """Connects to a Ray cluster, with the user's token where it asks for one; warns where it asks for none.

    Call :func:`stop` afterwards, also where this failed.

    Args:
        address: ``HOST:PORT``, ``ray://HOST:PORT`` or ``auto``.
        options: Further arguments of ``ray.init``.

    Raises:
        LLaSOError: The token is missing or wrong, or the user set one and the cluster has none.
        OSError: Nothing listens at the address.
    """
    import ray
    from ray._private.services import canonicalize_bootstrap_address

    check_reachable(address)
    if address == "auto":
        address = str(canonicalize_bootstrap_address(address))
    with this_machine_alone() if _only_on_loopback(address) else nullcontext(), environment(auth_of(address)):
        read_environment()
        ray.init(address=address, **options)


def stop() -> None:
    """Ends the connection of :func:`start` or :func:`join`; Ray forgets the token."""
    import ray

    ray.shutdown()
    read_environment()


def check_reachable(address: str) -> None:
    """Raises OSError where nothing listens at ``host:port`` or ``ray://host:port``. Ray would try for minutes."""
    endpoint = _host_and_port(address.removeprefix("ray://"))
    if endpoint is not None:
        socket.create_connection(endpoint, timeout=10).close()


def own_token() -> dict[str, str]:
    """The environment variables of a cluster that we start: a new token, unless the user set how to authenticate."""
    mode = os.environ.get(_MODE, "").lower()
    if mode not in ("", "token"):
        return {}
    _check_token_file()
    if os.environ.get(_TOKEN) or os.environ.get(_TOKEN_PATH) or (mode and _header()):
        return {_MODE: "token"}
    return {_MODE: "token", _TOKEN: secrets.token_hex(32)}


def auth_of(address: str) -> dict[str, str]:
    """The environment variables with which a cluster is joined.

    Raises:
        LLaSOError: The token is missing or wrong, or the user set one and the cluster has none.
    """
    mode = os.environ.get(_MODE, "").lower()
    refused = _refused(address, {})
    if refused is None:
        return {}  # it speaks TLS, or is no cluster: Ray will find out
    if not refused:
        if mode not in ("", "disabled"):
            raise LLaSOError(
                f"{_MODE} is {mode}, and the cluster at {address} has no token: start it with one, or set "
                f"{_MODE}=disabled to join it as it is (whoever reaches its ports runs code on it)"
            )
        if address not in _warned_addresses:
            _warned_addresses.add(address)
            log.warning("the cluster at %s has no token: whoever reaches its ports runs code on it", address)
        return {_MODE: "disabled"}
    if mode == "disabled" or not (header := _header()):
        raise LLaSOError(f"the cluster at {address} asks for a token: {_HOW_TO_SEND}")
    if _refused(address, header):
        raise LLaSOError(f"the cluster at {address} refuses the token that it is sent: {_HOW_TO_SEND}")
    return {_MODE: mode or "token"}


def _refused(address: str, header: Mapping[str, str]) -> bool | None:
    """Whether a cluster wants another token than this header has; None where it does not answer in clear."""
    import grpc
    from ray._private.services import canonicalize_bootstrap_address

    client = address.startswith("ray://")
    target = address.removeprefix("ray://") if client else canonicalize_bootstrap_address(address)
    method = "RayletDriver/ClusterInfo" if client else "NodeInfoGcsService/CheckAlive"
    with grpc.insecure_channel(target, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(f"/ray.rpc.{method}")(b"", timeout=_ANSWER_S, metadata=tuple(header.items()))
        except grpc.RpcError as error:
            code = error.code()
            if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return None
            return bool(code == grpc.StatusCode.UNAUTHENTICATED)
    return False


def _header() -> dict[str, str]:
    """The header with which Ray sends the token of its variables or of the user's file; empty without a token."""
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]
    from ray.exceptions import AuthenticationError

    _check_token_file()
    with _read_with({_MODE: "token"}):
        try:
            return dict(AuthenticationTokenLoader.instance().get_token_for_http_header())
        except AuthenticationError:
            return {}


def _check_token_file() -> None:
    """Raises LLaSOError where the user names a file without a token, on which some versions of Ray crash."""
    path = os.environ.get(_TOKEN_PATH)
    if not path or os.environ.get(_TOKEN):
        return
    try:
        token = Path(path).read_text().strip()
    except (OSError, ValueError):
        token = ""
    if not token:
        raise LLaSOError(f"{_TOKEN_PATH}: {path}: there is no such file, or no token in it")


@contextmanager
def _read_with(variables: dict[str, str]) -> Iterator[None]:
    """Lets Ray read other environment variables for a while."""
    try:
        with environment(variables):
            read_environment()
            yield
    finally:
        read_environment()


def read_environment() -> None:
    """Lets Ray read its environment variables again, which it otherwise reads once, when it is imported."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def this_machine_alone() -> Iterator[None]:
    """Keeps Ray on loopback, as on macOS. Elsewhere Ray replaces loopback by an address that other machines reach."""
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _only_on_loopback(address: str) -> bool:
    """Whether a cluster answers on loopback but not at the machine's outward address, which Ray would use instead."""
    import ray

    endpoint = _host_and_port(address)
    if endpoint is None or not is_loopback(endpoint[0]):
        return False
    try:
        check_reachable(f"{ray.util.get_node_ip_address()}:{endpoint[1]}")
    except OSError:
        return True
    return False


def _host_and_port(address: str) -> tuple[str, int] | None:
    host, colon, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if colon and port.isdigit() else None


def private_folder() -> Path:
    """A folder for Ray's files that only this user may read. Everybody may write to Ray's default folder.

    Raises:
        LLaSOError: The folder belongs to somebody else.
    """
    configured = os.environ.get("RAY_TMPDIR")
    bases = [configured] if configured else [os.environ.get("TMPDIR") or "/tmp", "/tmp"]
    folders = [Path(base, f"llaso-{os.getuid()}").absolute() for base in bases]
    short = (candidate for candidate in folders if len(os.fsencode(candidate)) + len(_BELOW_FOLDER) <= _SOCKET_BYTES)
    folder = next(short, folders[-1])
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise LLaSOError(f"{folder} is not a folder of yours: Ray's files would be in other hands; set RAY_TMPDIR")
    if stat.S_IMODE(status.st_mode) != 0o700:
        folder.chmod(0o700)
    return folder
