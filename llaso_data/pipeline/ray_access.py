"""Who reaches Ray. A cluster of ours listens on loopback, behind a token; one that we join is asked whether it has one.

Whoever reaches the ports of a Ray cluster runs code as its user. Ray knows no public way to say "this machine alone"
on Linux, and reads its variables once, when it is imported; what of its inside is needed for that is in this file only.
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

_told: set[str] = set()  # addresses without a token of which that was said


def address_of(address: str | None) -> str:
    """Of the cluster that is joined: what the user named, else RAY_ADDRESS, else :data:`LOCAL`."""
    return address or os.environ.get("RAY_ADDRESS") or LOCAL


def start(**options: Any) -> None:
    """Start Ray on this machine, for this user alone: on loopback, behind a token, its files in a folder of the user's.

    The token is drawn anew for every cluster and is in the environment of Ray's processes only; a user who has said
    how Ray shall authenticate is heeded. :func:`stop` ends it, also where this failed. Raises LLaSOError where the
    folder is somebody else's.

    Args:
        options: further arguments of ``ray.init``.
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
    """Connect to a Ray cluster, with the user's token where it asks for one; says so where it has none.

    :func:`stop` ends it, also where this failed. Raises LLaSOError where the token is missing, wrong or one too many,
    OSError where nothing listens there.

    Args:
        address: ``HOST:PORT``, ``ray://HOST:PORT`` or ``auto``.
        options: further arguments of ``ray.init``.
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
    """End what :func:`start` or :func:`join` began; Ray forgets the token, and is as it was before."""
    import ray

    ray.shutdown()
    read_environment()


def check_reachable(address: str) -> None:
    """Raises OSError where nothing listens at ``host:port`` or ``ray://host:port``; Ray itself tries for minutes."""
    place = _host_and_port(address.removeprefix("ray://"))
    if place is not None:
        socket.create_connection(place, timeout=10).close()


def own_token() -> dict[str, str]:
    """The variables of a cluster that we start: a token of its own, unless the user has said otherwise."""
    said = os.environ.get(_MODE, "").lower()
    if said not in ("", "token"):
        return {}
    _check_token_file()
    if os.environ.get(_TOKEN) or os.environ.get(_TOKEN_PATH) or (said and _header()):
        return {_MODE: "token"}
    return {_MODE: "token", _TOKEN: secrets.token_hex(32)}


def auth_of(address: str) -> dict[str, str]:
    """The variables with which a cluster is joined."""
    said = os.environ.get(_MODE, "").lower()
    refused = _refused(address, {})
    if refused is None:
        return {}  # it speaks TLS, or is no cluster: Ray will find out
    if not refused:
        if said not in ("", "disabled"):
            raise LLaSOError(
                f"{_MODE} is {said}, and the cluster at {address} has no token: start it with one, or set "
                f"{_MODE}=disabled to join it as it is (whoever reaches its ports runs code on it)"
            )
        if address not in _told:
            _told.add(address)
            log.warning("the cluster at %s has no token: whoever reaches its ports runs code on it", address)
        return {_MODE: "disabled"}
    if said == "disabled" or not (header := _header()):
        raise LLaSOError(f"the cluster at {address} asks for a token: {_HOW_TO_SEND}")
    if _refused(address, header):
        raise LLaSOError(f"the cluster at {address} refuses the token that it is sent: {_HOW_TO_SEND}")
    return {_MODE: said or "token"}


def _refused(address: str, header: Mapping[str, str]) -> bool | None:
    """Whether a cluster wants another token than this header has; None where it does not answer in clear."""
    import grpc
    from ray._private.services import canonicalize_bootstrap_address

    client = address.startswith("ray://")
    place = address.removeprefix("ray://") if client else canonicalize_bootstrap_address(address)
    method = "RayletDriver/ClusterInfo" if client else "NodeInfoGcsService/CheckAlive"
    with grpc.insecure_channel(place, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(f"/ray.rpc.{method}")(b"", timeout=_ANSWER_S, metadata=tuple(header.items()))
        except grpc.RpcError as error:
            code = error.code()
            if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return None
            return bool(code == grpc.StatusCode.UNAUTHENTICATED)
    return False


def _header() -> dict[str, str]:
    """What Ray sends with its token: that of the variables, or of the user's file; empty where there is none."""
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]
    from ray.exceptions import AuthenticationError

    _check_token_file()
    with _read_with({_MODE: "token"}):
        try:
            return dict(AuthenticationTokenLoader.instance().get_token_for_http_header())
        except AuthenticationError:
            return {}


def _check_token_file() -> None:
    """Raises LLaSOError where the user names a file without a token: of that, some versions of Ray die."""
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
    """Ray as it would be with other variables."""
    try:
        with environment(variables):
            read_environment()
            yield
    finally:
        read_environment()


def read_environment() -> None:
    """Ray looks at its variables when it is imported, and keeps the token that it has found."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def this_machine_alone() -> Iterator[None]:
    """Ray as on macOS, where it leaves loopback as it is: elsewhere it replaces it by an address that others reach."""
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _only_on_loopback(address: str) -> bool:
    """Whether an address of this machine is not listened at by its other name, which Ray would take instead."""
    import ray

    place = _host_and_port(address)
    if place is None or not is_loopback(place[0]):
        return False
    try:
        check_reachable(f"{ray.util.get_node_ip_address()}:{place[1]}")
    except OSError:
        return True
    return False


def _host_and_port(address: str) -> tuple[str, int] | None:
    host, colon, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if colon and port.isdigit() else None


def private_folder() -> Path:
    """A folder that is this user's alone. Ray lets everybody write to its own, sockets and all."""
    given = os.environ.get("RAY_TMPDIR")
    bases = [given] if given else [os.environ.get("TMPDIR") or "/tmp", "/tmp"]
    folders = [Path(base, f"llaso-{os.getuid()}").absolute() for base in bases]
    short = (one for one in folders if len(os.fsencode(one)) + len(_BELOW_FOLDER) <= _SOCKET_BYTES)
    folder = next(short, folders[-1])
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise LLaSOError(f"{folder} is not a folder of yours: Ray's files would be in other hands; set RAY_TMPDIR")
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)
    return folder
