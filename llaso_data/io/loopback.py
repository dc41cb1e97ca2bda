"""Staying on this machine: its loopback address, and an environment in which what we start listens there only."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

LOOPBACK = "127.0.0.1"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, and nobody else can be."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for as long as the block takes; then they are what they were before."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def unless_said(changes: Mapping[str, str]) -> dict[str, str]:
    """Those of some variables that the environment does not have yet: the user's own stay."""
    return {name: value for name, value in changes.items() if name not in os.environ}


def torch_on_loopback() -> dict[str, str]:
    """The variables with which torch's ranks on one machine meet on loopback, and not at the machine's name."""
    interface = "lo0" if sys.platform == "darwin" else "lo"
    return unless_said({"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface})
