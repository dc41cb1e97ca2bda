"""The loopback address, and variables with which libraries listen on nothing else."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

LOOPBACK = "127.0.0.1"


def is_loopback(host: str) -> bool:
    """Whether a host name or address is a loopback one."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the block; afterwards they have their old values."""
    old_values = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in old_values.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def unless_set(changes: Mapping[str, str]) -> dict[str, str]:
    """The variables that the environment does not have yet, so that the user's own values stay."""
    return {name: value for name, value in changes.items() if name not in os.environ}


def torch_on_loopback() -> dict[str, str]:
    """The variables with which torch's ranks on one machine connect over loopback."""
    interface = "lo0" if sys.platform == "darwin" else "lo"
    return unless_set({"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface})
