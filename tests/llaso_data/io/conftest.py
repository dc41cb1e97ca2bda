"""A folder to write to, on a disk and on an object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest


@pytest.fixture
def memory() -> Iterator[str]:
    """A folder on fsspec's store in memory, which has no rename and no fsync and is locked as object stores are."""
    yield "memory://test-io"
    fs = fsspec.filesystem("memory")
    if fs.exists("/test-io"):
        fs.rm("/test-io", recursive=True)


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "out") if request.param == "local" else str(request.getfixturevalue("memory"))
